"""Adds the index of the accounts of each status, newest first."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Creates the index."""
    op.create_index("accounts_of_status", "accounts", ["status", sa.text("create_time DESC"), sa.text("id DESC")])
