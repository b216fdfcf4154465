"""Makes record numbers unique regardless of case, width and invisible characters."""

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
_LIMIT = 20


def upgrade() -> None:
    """Creates a unique index, which also applies to the rows that the previous version writes.

    Raises SettingsError with the ids of patients whose record numbers collide. An admin must resolve the collision.
    """
    found = op.get_bind().execute(
        sa.text(
            "SELECT string_agg(id::text, ', ' ORDER BY create_time) FROM patients"  # noqa: S608 - a constant
            f" WHERE medical_record_number IS NOT NULL GROUP BY {_KEY} HAVING count(*) > 1 ORDER BY 1 LIMIT {_LIMIT}"
        )
    )
    if collisions := [ids for [ids] in found]:
        raise SettingsError(
            "some patients have record numbers that differ only in case, width or invisible characters. Start the "
            "previous version, change or clear the numbers with UpdatePatient, and migrate again. "
            f"Patients: {'; '.join(collisions)}"
        )
    op.create_index("patients_record_number_key", "patients", [sa.text(_KEY)], unique=True)
