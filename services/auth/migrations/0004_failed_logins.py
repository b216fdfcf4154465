"""Creates the table of failed logins, by a digest of the email address."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "failed_logins",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("times", sa.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False, index=True),
    )
