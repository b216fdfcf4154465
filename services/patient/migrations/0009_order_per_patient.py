"""Adds the index with which a relay finds undelivered earlier rows of a patient."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Creates the index."""
    op.create_index(
        "outbox_waiting_by_key",
        "outbox",
        ["destination", "key", "id"],
        postgresql_where=sa.text("delivered_time IS NULL"),
    )
