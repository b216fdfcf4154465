"""Adds whether a patient is erased."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds the column with a constant default, which rewrites no rows."""
    op.add_column("patients", sa.Column("erased", sa.Boolean, nullable=False, server_default=sa.false()))
