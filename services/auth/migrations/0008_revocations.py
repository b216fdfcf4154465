"""Adds token revocation: access tokens with a version below the user's are revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the columns. A token without a version has version 0."""
    time = sa.DateTime(timezone=True)
    op.add_column("users", sa.Column("token_version", sa.Integer, nullable=False, server_default="0"))
    op.add_column("users", sa.Column("revoke_time", time))
    op.create_index("users_revoked", "users", ["revoke_time"], postgresql_where=sa.text("revoke_time IS NOT NULL"))
