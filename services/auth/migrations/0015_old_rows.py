"""Creates the indexes by which old rows are found."""

import sqlalchemy as sa

from services.common.postgres.alembic.concurrently import create_index

revision = "0015"
down_revision = "0014"

_TABLES = ("refresh_tokens", "login_challenges", "password_resets", "email_verifications", "invitations")


def upgrade() -> None:
    """Creates the indexes."""
    for table in _TABLES:
        create_index(f"ix_{table}_expire_time", table, ["expire_time"])
    create_index("sessions_old", "sessions", [sa.text("LEAST(expire_time, end_time)")])
