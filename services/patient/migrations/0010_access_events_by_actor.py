"""Access events are searched by who called, too."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Creates the index."""
    op.create_index("access_events_by_actor", "access_events", ["actor_id", "id"])
