"""Replaces the index of access events by patient with one that returns the events of each patient in order of time.

The version before has no index for its searches by patient during the upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Creates the indexes and drops the previous one."""
    op.drop_index("access_events_by_patient", "access_events")
    op.create_index(
        "access_events_of_subject",
        "access_events",
        [sa.text("(patient_ids[1])"), "occur_time", "id"],
        postgresql_where=sa.text("cardinality(patient_ids) <= 1"),
    )
    op.create_index(
        "access_events_of_subjects",
        "access_events",
        ["patient_ids"],
        postgresql_using="gin",
        postgresql_where=sa.text("cardinality(patient_ids) > 1"),
    )
