"""Adds the index that finds the outbox rows of a patient."""

from services.common.postgres.alembic.concurrently import create_index

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Creates the index."""
    create_index("outbox_by_key", "outbox", ["key"])
