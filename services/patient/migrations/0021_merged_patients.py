"""Adds merged patients."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Adds the column and its constraint, without reading rows: none is merged."""
    op.add_column("patients", sa.Column("merged_into", sa.Uuid))
    op.create_check_constraint(
        "patients_merged_are_deleted",
        "patients",
        "merged_into IS NULL OR delete_time IS NOT NULL",
        postgresql_not_valid=True,
    )
