"""Creates the index that ListUsers reads, newest user first."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates the index."""
    op.create_index("users_newest", "users", [sa.text("create_time DESC"), sa.text("id DESC")])
