"""Turns the revisions into a journal, which can be read from any position."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the columns and the index of a journal. Existing revisions get the id of this transaction."""
    xid = sa.text("pg_current_xact_id()::text::bigint")
    op.add_column("revisions", sa.Column("transaction", sa.BigInteger, nullable=False, server_default=xid))
    op.add_column("revisions", sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False))
    op.create_index("revisions_journal", "revisions", ["transaction", "position"])
