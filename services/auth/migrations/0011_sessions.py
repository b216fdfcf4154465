"""Creates sessions, invitations and password resets."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_TIME = sa.DateTime(timezone=True)
_now = sa.func.now()


def upgrade() -> None:
    """Creates the tables, and a session for each family of refresh tokens."""
    _create_sessions()
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False, index=True),
        sa.Column("role", sa.Text, sa.CheckConstraint("role IN ('USER', 'ADMIN')"), nullable=False),
        sa.Column("creator_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("create_time", _TIME, nullable=False, server_default=_now),
        sa.Column("expire_time", _TIME, nullable=False),
        sa.Column("revoke_time", _TIME),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")),
    )
    op.create_index("invitations_newest", "invitations", [sa.text("create_time DESC"), sa.text("id DESC")])
    op.create_table(
        "password_resets",
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("expire_time", _TIME, nullable=False),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=_now),
        sa.Column("last_use_time", _TIME, nullable=False, server_default=_now),
        sa.Column("expire_time", _TIME, nullable=False),
        sa.Column("remote_address", sa.Text, nullable=False, server_default=""),
        sa.Column("user_agent", sa.Text, nullable=False, server_default=""),
        sa.Column("end_time", _TIME),
    )
    op.execute(
        "INSERT INTO sessions (id, user_id, create_time, last_use_time, expire_time)"
        " SELECT family_id, user_id, min(create_time), max(create_time), max(expire_time)"
        " FROM refresh_tokens GROUP BY family_id, user_id"
    )
    newest = [sa.text("user_id DESC"), sa.text("create_time DESC"), sa.text("id DESC")]
    op.create_index("sessions_newest", "sessions", newest)
    op.create_index("sessions_ended", "sessions", ["end_time"], postgresql_where=sa.text("end_time IS NOT NULL"))
