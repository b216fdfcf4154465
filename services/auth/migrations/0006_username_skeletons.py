"""Adds the skeleton that usernames share if they look alike."""

import logging

import sqlalchemy as sa
from alembic import op

from services.auth.usernames import build_skeleton

revision = "0006"
down_revision = "0005"

_log = logging.getLogger(__name__)


def upgrade() -> None:
    """Adds the column. It stays empty for users that the previous version creates during the upgrade.

    It also stays empty for a user whose name looks like that of an earlier user; the log reports both ids.
    """
    op.add_column("users", sa.Column("username_skeleton", sa.Text))
    users = sa.Table("users", sa.MetaData(), autoload_with=op.get_bind())
    owners: dict[str, str] = {}
    for row in op.get_bind().execute(sa.select(users.c.id, users.c.username).order_by(users.c.create_time)).all():
        key = build_skeleton(row.username)
        if key in owners:
            _log.warning("the usernames of users %s and %s look alike; both are retained", owners[key], row.id)
            continue
        owners[key] = str(row.id)
        op.execute(users.update().where(users.c.id == row.id).values(username_skeleton=key))
    op.create_unique_constraint("users_username_skeleton_key", "users", ["username_skeleton"])
