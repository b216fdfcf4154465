"""Replaces the index of access events by subject with one that returns the events of each subject in order of time.

The version before has no index for its searches by subject during the upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the indexes and drops the previous one."""
    op.drop_index("access_events_by_subject", "access_events")
    op.create_index(
        "access_events_of_subject",
        "access_events",
        [sa.text("(subject_ids[1])"), "occur_time", "id"],
        postgresql_where=sa.text("cardinality(subject_ids) <= 1"),
    )
    op.create_index(
        "access_events_of_subjects",
        "access_events",
        ["subject_ids"],
        postgresql_using="gin",
        postgresql_where=sa.text("cardinality(subject_ids) > 1"),
    )
