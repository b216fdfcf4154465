"""Stores the serialized message of each patient, which reads return.

The columns stay empty until a patient changes. Until then, and after a change by the previous version, reads use the
revision instead, so no row is rewritten here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("patients", sa.Column("message", sa.LargeBinary))
    op.add_column("patients", sa.Column("message_sequence", sa.BigInteger))
