"""Adds whether a patient is restricted."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds the column with a constant default, which rewrites no rows."""
    op.add_column("patients", sa.Column("restricted", sa.Boolean, nullable=False, server_default=sa.false()))
