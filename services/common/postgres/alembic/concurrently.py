"""Creates indexes of large tables without blocking writes. Every new index of an existing table is created so."""

from collections.abc import Sequence
from typing import Any

from alembic import op

LOCK_TIMEOUT_MS = 2_000
"""How long a migration waits for the lock of a table."""


def create_index(name: str, table: str, columns: Sequence[Any], **options: Any) -> None:
    """Creates an index outside of the migration's transaction, which is committed before.

    A migration that creates indexes so has no other statement, because a failed migration is repeated: the repetition
    drops the indexes that were created, also the invalid one that the failure left. Waits for every transaction of the
    database, without a timeout.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, if_not_exists=True, postgresql_concurrently=True, **options)
        op.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
