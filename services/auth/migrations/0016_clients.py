"""Creates machine clients and their secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "clients",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("creator_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("expire_time", _TIME),
        sa.Column("revoke_time", _TIME),
        sa.Column("last_use_time", _TIME),
    )
    op.create_index("clients_newest", "clients", [sa.text("create_time DESC"), sa.text("id DESC")])
    op.create_table(
        "client_secrets",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("client_id", sa.Uuid, sa.ForeignKey("clients.id"), nullable=False, index=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("expire_time", _TIME),
        sa.Column("end_time", _TIME),
    )
    op.create_index(
        "client_secrets_ended", "client_secrets", ["end_time"], postgresql_where=sa.text("end_time IS NOT NULL")
    )
