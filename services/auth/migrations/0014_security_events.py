"""Creates the indexes of security events, which are access events with a type."""

import sqlalchemy as sa
from alembic import op

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
        op.create_index(
            name, "access_events", [*columns, "occur_time", "id"], postgresql_where=sa.text(f"{_TYPE} IS NOT NULL")
        )
