"""Creates the outbox of mails, the requests for mails, and what verifies email addresses."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_TIME = sa.DateTime(timezone=True)
_now = sa.func.now()


def upgrade() -> None:
    """Creates the tables, and a column for verified addresses. The address of no existing user counts as verified."""
    op.add_column("users", sa.Column("email_verified", sa.Boolean, nullable=False, server_default="false"))
    _create_mails()
    op.create_table(
        "mail_requests",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=_now),
    )
    op.create_table(
        "email_verifications",
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("expire_time", _TIME, nullable=False),
    )
    op.create_table(
        "mailed_invitations",
        sa.Column("invitation_id", sa.Uuid, sa.ForeignKey("invitations.id"), primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    )


def _create_mails() -> None:
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("encrypted_content", sa.LargeBinary),
        sa.Column("create_time", _TIME, nullable=False, server_default=_now),
        sa.Column("expire_time", _TIME, nullable=False),
        sa.Column("due_time", _TIME, nullable=False, server_default=_now),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("outcome", sa.Text, sa.CheckConstraint("outcome IN ('SENT', 'FAILED', 'EXPIRED')")),
        sa.Column("end_time", _TIME),
    )
    op.create_index("mails_waiting", "mails", ["due_time"], postgresql_where=sa.text("end_time IS NULL"))
    op.create_index("mails_ended", "mails", ["end_time"])
    op.create_index("mails_of_user", "mails", ["user_id", "create_time"])
