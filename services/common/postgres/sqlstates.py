"""Maps Postgres errors to failures, by SQLSTATE."""

import asyncpg

from services.common.errors import (
    DatabaseTooSlow,
    DependencyUnavailable,
    Failure,
    TransactionConflict,
    ValueRejected,
)

FAILURES: dict[str, type[Failure]] = {
    "08": DependencyUnavailable,  # the connection failed
    "22000": ValueRejected,  # asyncpg: an argument does not match its type
    "22003": ValueRejected,  # a number out of range
    "22007": ValueRejected,  # an invalid date or time
    "22008": ValueRejected,  # a date or time out of range
    "22021": ValueRejected,  # a character that the encoding lacks, such as NUL
    "22P02": ValueRejected,  # an invalid text representation
    "22P05": ValueRejected,  # a character that cannot be translated
    "25006": DependencyUnavailable,  # the database is read-only: a standby, or a disk that is almost full
    "25P03": DatabaseTooSlow,  # idle_in_transaction_session_timeout
    "25P04": DatabaseTooSlow,  # transaction_timeout
    "28": DependencyUnavailable,  # the role is not allowed to log in
    "3D": DependencyUnavailable,  # the database does not exist
    "40": TransactionConflict,  # rolled back: a deadlock, a serialization failure
    "40003": DependencyUnavailable,  # unknown whether it was committed
    "53": DependencyUnavailable,  # insufficient resources: connections, memory, disk
    "55006": DependencyUnavailable,  # an object is in use
    "55P03": DependencyUnavailable,  # a lock is not available
    "57": DependencyUnavailable,  # an operator intervened: shutdown, start-up, crash
    "57014": DatabaseTooSlow,  # canceled: statement_timeout
    "58": DependencyUnavailable,  # an error outside of Postgres, such as of its disk
    "72": DependencyUnavailable,  # the snapshot is too old
}
"""Failures that the client or the environment causes, by SQLSTATE or by its first two characters for a whole class.

Any other SQLSTATE is a bug or a deployment error, such as a missing table or privilege, an unexpected constraint
violation, or corrupted data. It is logged with a traceback, and the client receives INTERNAL.
"""


def find_failure(error: asyncpg.PostgresError) -> type[Failure] | None:
    """Returns the failure that corresponds to an error, or None if it is a bug or a deployment error."""
    state = error.sqlstate or ""
    return FAILURES.get(state) or FAILURES.get(state[:2])
