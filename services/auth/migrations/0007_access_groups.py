"""Creates groups of subjects. The access event of a list refers to a group instead of each subject."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "access_groups",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("subject_ids", ARRAY(sa.Uuid), nullable=False),
        comment="append-only",
    )
    op.create_index("access_groups_by_subject", "access_groups", ["subject_ids"], postgresql_using="gin")
