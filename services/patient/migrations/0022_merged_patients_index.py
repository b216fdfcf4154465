"""Adds the index that finds the patients that are merged into a patient."""

import sqlalchemy as sa

from services.common.postgres.alembic.concurrently import create_index

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Creates the index, which has no rows yet."""
    create_index("patients_merged", "patients", ["merged_into"], postgresql_where=sa.text("merged_into IS NOT NULL"))
