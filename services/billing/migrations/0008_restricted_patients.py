"""Adds whether the patient of an account is restricted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the column with a constant default, which rewrites no rows."""
    op.add_column("accounts", sa.Column("restricted", sa.Boolean, nullable=False, server_default=sa.false()))
