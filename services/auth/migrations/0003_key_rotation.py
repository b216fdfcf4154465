"""Adds the activation and retirement times of signing keys."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the columns. An existing key is active since its creation."""
    time = sa.DateTime(timezone=True)
    op.add_column("signing_keys", sa.Column("activate_time", time, nullable=False, server_default=sa.func.now()))
    op.add_column("signing_keys", sa.Column("retire_time", time))
    op.execute("UPDATE signing_keys SET activate_time = create_time")
