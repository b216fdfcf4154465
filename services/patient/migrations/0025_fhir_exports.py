"""Adds bulk exports of FHIR."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "fhir_exports",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("transaction", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
