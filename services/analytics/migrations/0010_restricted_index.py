"""Adds the index of restricted patients."""

import sqlalchemy as sa

from services.common.postgres.alembic.concurrently import create_index

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Creates the index."""
    create_index("patients_restricted", "patients", ["patient_id"], postgresql_where=sa.text("restricted"))
