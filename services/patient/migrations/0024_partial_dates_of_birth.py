"""Adds the last day of dates of birth of which only the year or month is known."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Adds the column, which is empty for all patients: their dates are full."""
    op.add_column("patients", sa.Column("last_date_of_birth", sa.Date))
