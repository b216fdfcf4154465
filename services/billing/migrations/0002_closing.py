"""Stores why an account is closed: by an admin, or because its patient is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Replaces the stored status by the reasons from which it is computed."""
    op.add_column("accounts", sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("accounts", sa.Column("patient_deleted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("accounts", sa.Column("sequence", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE accounts SET closed = true WHERE status = 'CLOSED'")
    op.drop_column("accounts", "status")
    status = sa.Computed("CASE WHEN closed OR patient_deleted THEN 'CLOSED' ELSE 'ACTIVE' END", persisted=True)
    op.add_column("accounts", sa.Column("status", sa.Text, status))
