"""Adds restricted patients, and the users to whom they are visible."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Adds the column with a constant default, which rewrites no rows, and the table of grants."""
    op.add_column("patients", sa.Column("restricted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "patient_grants",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("patient_id", sa.Uuid, primary_key=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expire_time", sa.DateTime(timezone=True)),
    )
    op.create_index("patient_grants_of_patient", "patient_grants", ["patient_id", "create_time", "user_id"])
