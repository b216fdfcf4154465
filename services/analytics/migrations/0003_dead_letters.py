"""Adds the columns that ListDeadLetters and ReplayDeadLetter need."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds an id as the primary key. The digest stays unique and prevents duplicates."""
    new_id = sa.Column("id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid())
    op.add_column("dead_letters", new_id)
    op.add_column("dead_letters", sa.Column("attempts", sa.Integer, nullable=False, server_default="1"))
    op.add_column("dead_letters", sa.Column("replay_time", sa.DateTime(timezone=True)))
    op.drop_constraint("dead_letters_pkey", "dead_letters")
    op.create_primary_key("dead_letters_pkey", "dead_letters", ["id"])
    op.create_unique_constraint("dead_letters_digest_key", "dead_letters", ["digest"])
    op.create_index("dead_letters_newest", "dead_letters", [sa.text("receive_time DESC"), sa.text("id DESC")])
