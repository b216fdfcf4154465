"""Numbers transactions by a function, so journals continue after the database is restored into another server."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_JOURNALS = ("access_events",)


def upgrade() -> None:
    """Creates the function and the incarnations of the database, and numbers new rows by the function."""
    op.create_table(
        "incarnations",
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("shift", sa.BigInteger, nullable=False),
        sa.Column("begin_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.execute(
        "CREATE FUNCTION journal_number(transaction xid8) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE"
        " RETURN transaction::text::bigint"
    )
    for table in _JOURNALS:
        op.alter_column(table, "transaction", server_default=sa.text("journal_number(pg_current_xact_id())"))
