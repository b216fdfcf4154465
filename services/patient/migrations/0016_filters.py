"""Adds indexes for the filters of ListPatients, and drops the index that searches used before version 0013."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Replaces the index."""
    op.create_index("patients_by_sex", "patients", ["sex", "create_time", "id"])
    op.create_index("patients_by_registered_date", "patients", ["registered_date"])
    op.drop_index("patients_search", "patients")
