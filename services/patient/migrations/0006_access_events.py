"""Creates the access events, which record each access to patient data. They are append-only, as are the revisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "access_events",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("patient_ids", ARRAY(sa.Uuid), nullable=False),
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
    op.create_table_comment("revisions", "append-only")
    op.create_index("access_events_by_patient", "access_events", ["patient_ids"], postgresql_using="gin")
    op.create_index("access_events_journal", "access_events", ["transaction", "position"])
