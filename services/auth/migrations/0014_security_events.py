"""Creates the indexes of security events, which are access events with a type."""

import sqlalchemy as sa

from services.common.postgres.alembic.concurrently import create_index

revision = "0014"
down_revision = "0013"

_TYPE = """substring(method, '^[^ ]+ [{]"security_event":"([A-Z_]+)"')"""


def upgrade() -> None:
    """Creates the indexes. No existing event has a type."""
    for name, columns in {
        "access_events_security": [],
        "access_events_security_by_type": [sa.text(f"({_TYPE})")],
        "access_events_security_of_subject": [sa.text("(subject_ids[1])")],
    }.items():
        order, has_type = ("occur_time", "id"), sa.text(f"{_TYPE} IS NOT NULL")
        create_index(name, "access_events", [*columns, *order], postgresql_where=has_type)
