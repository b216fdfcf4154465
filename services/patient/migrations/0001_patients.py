"""Creates the patients and the outbox of their events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables."""
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_table(
        "patients",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False, unique=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("date_of_birth", sa.Date, nullable=False),
        sa.Column("registered_date", sa.Date, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("sex", sa.SmallInteger, nullable=False),
        sa.Column("medical_record_number", sa.Text, unique=True),
        sa.Column("search_key", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True)),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "patients_newest",
        "patients",
        [sa.text("create_time DESC"), sa.text("id DESC")],
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_index(
        "patients_search",
        "patients",
        ["search_key"],
        postgresql_using="gin",
        postgresql_ops={"search_key": "gin_trgm_ops"},
    )
    _create_outbox()


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("delivered_time", sa.DateTime(timezone=True)),
    )
    op.create_index(
        "outbox_waiting", "outbox", ["destination", "id"], postgresql_where=sa.text("delivered_time IS NULL")
    )
    op.create_index("outbox_delivered", "outbox", ["delivered_time"])
    op.create_table(
        "topics",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("topic_id", sa.Text, nullable=False),
    )
