"""Adds an index for each sort order of ListPatients. Names sort by code point, independently of the server's locale."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Changes the collation of names, and replaces the indexes."""
    op.alter_column("patients", "name", type_=sa.Text(collation="C"))
    op.drop_index("patients_newest", "patients")
    for column in ("name", "create_time", "update_time", "date_of_birth"):
        op.create_index(f"patients_by_{column}", "patients", [column, "id"])
