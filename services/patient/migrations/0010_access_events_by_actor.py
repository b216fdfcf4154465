"""Adds the index for searching access events by caller."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Creates the index."""
    op.create_index("access_events_by_actor", "access_events", ["actor_id", "id"])
