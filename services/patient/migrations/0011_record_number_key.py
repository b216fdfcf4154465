"""A record number belongs to one patient, whatever its case and width, and whatever invisible characters it has."""

import sqlalchemy as sa
from alembic import op

from services.common.settings import SettingsError

revision = "0011"
down_revision = "0010"

_KEY = (
    "lower(normalize(regexp_replace(medical_record_number, '["
    r"\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F"
    r"\uFEFF\uFFA0\uFFF0-\uFFF8\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF"
    "]', '', 'g'), NFKC) COLLATE pg_c_utf8)"
)
_SHOWN = 20


def upgrade() -> None:
    """Creates the index, which also holds for what the version before writes.

    Raises SettingsError with the ids of patients whose record numbers differ only in that: an admin decides.
    """
    found = op.get_bind().execute(
        sa.text(
            "SELECT string_agg(id::text, ', ' ORDER BY create_time) FROM patients"  # noqa: S608 - a constant
            f" WHERE medical_record_number IS NOT NULL GROUP BY {_KEY} HAVING count(*) > 1 ORDER BY 1 LIMIT {_SHOWN}"
        )
    )
    if same := [ids for [ids] in found]:
        raise SettingsError(
            "some patients have record numbers that differ only in case, width or invisible characters. Start the "
            "version before, change or clear the numbers by UpdatePatient, and migrate again. "
            f"Patients: {'; '.join(same)}"
        )
    op.create_index("patients_record_number_key", "patients", [sa.text(_KEY)], unique=True)
