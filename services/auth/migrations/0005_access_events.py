"""Creates access events, which record reads and changes of user data, and their seals. Both are append-only."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "access_events",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("subject_ids", ARRAY(sa.Uuid), nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("occur_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("remote_address", sa.Text, nullable=False),
        sa.Column(
            "transaction", sa.BigInteger, nullable=False, server_default=sa.text("pg_current_xact_id()::text::bigint")
        ),
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False),
        comment="append-only",
    )
    op.create_index("access_events_by_subject", "access_events", ["subject_ids"], postgresql_using="gin")
    op.create_index("access_events_by_actor", "access_events", ["actor_id", "id"])
    op.create_index("access_events_journal", "access_events", ["transaction", "position"])
    op.create_table(
        "access_seals",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("transaction", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        comment="append-only",
    )
