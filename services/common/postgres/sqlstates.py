"""Which failure an error of Postgres means, by its SQLSTATE."""

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
    "22000": ValueRejected,  # asyncpg: the value of an argument does not fit its type
    "22003": ValueRejected,  # a number out of range
    "22007": ValueRejected,  # an invalid date or time
    "22008": ValueRejected,  # a date or time out of range
    "22021": ValueRejected,  # a character that the encoding lacks, as NUL
    "22P02": ValueRejected,  # an invalid text representation
    "22P05": ValueRejected,  # a character that cannot be translated
    "25006": DependencyUnavailable,  # the database is read-only: a standby, or a disk that is nearly full
    "25P03": DatabaseTooSlow,  # idle_in_transaction_session_timeout
    "25P04": DatabaseTooSlow,  # transaction_timeout
    "28": DependencyUnavailable,  # the role may not log in (any more)
    "3D": DependencyUnavailable,  # there is no such database (any more)
    "40": TransactionConflict,  # rolled back: a deadlock, a serialization failure
    "40003": DependencyUnavailable,  # nobody knows whether it was committed
    "53": DependencyUnavailable,  # insufficient resources: connections, memory, disk
    "55006": DependencyUnavailable,  # an object is in use
    "55P03": DependencyUnavailable,  # a lock is not available
    "57": DependencyUnavailable,  # an operator intervened: shutdown, start-up, crash
    "57014": DatabaseTooSlow,  # canceled: statement_timeout
    "58": DependencyUnavailable,  # an error outside of Postgres, as of its disk
    "72": DependencyUnavailable,  # the snapshot is too old
}
"""What is the client's or the environment's doing, by SQLSTATE or, for a whole class, by its first two characters.

Any other is a fault of the program or of its deployment (a missing table or privilege, a violated constraint that no
handler expects, corrupted data), and is answered as INTERNAL and logged whole.
"""


def failure_of(error: asyncpg.PostgresError) -> type[Failure] | None:
    """Returns the failure that an error means, None if it is a fault of the program."""
    state = error.sqlstate or ""
    return FAILURES.get(state) or FAILURES.get(state[:2])
