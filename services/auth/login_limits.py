"""Limits failed logins per email address, whether or not a user has the address.

The limit applies to results: concurrent logins are counted after their passwords are verified. After ten
failures, the response no longer reveals whether a password was right.
"""

import hashlib
import math
from datetime import timedelta

from asyncpg import Record
from sqlalchemy import Interval, LargeBinary, bindparam, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import array, insert

from services.auth.errors import TooManyFailedLogins
from services.auth.models import failed_logins
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement

MAX_FAILURES = 10
"""The number of logins with one email address that may fail within the window."""
WINDOW = timedelta(minutes=15)

_PRUNE_BATCH = 10

_row = failed_logins.c
_window = literal(WINDOW, Interval)
_oldest = _row.times[MAX_FAILURES]  # NULL if there are fewer failures
_has_digest = _row.digest == bindparam("digest", type_=LargeBinary)
_wait = (_oldest + _window - func.now()).label("wait")

_GET_WAIT = Statement(select(_wait).where(_has_digest))
_first_failure = insert(failed_logins).values(
    digest=bindparam("digest"), times=array([func.now()]), expire_time=func.now() + _window
)
_COUNT_FAILURE = Statement(
    _first_failure.on_conflict_do_update(
        index_elements=[_row.digest],
        set_={
            "times": func.array_prepend(func.now(), _row.times, type_=_row.times.type)[1:MAX_FAILURES],
            "expire_time": _first_failure.excluded.expire_time,
        },
        where=or_(_oldest.is_(None), _oldest + _window <= func.now()),
    ).returning(_row.digest)
)
_DELETE_FAILURES = Statement(delete(failed_logins).where(_has_digest).returning(_wait))
_expired = select(_row.digest).where(_row.expire_time < func.now()).order_by(_row.expire_time)
_expired = _expired.limit(constant(_PRUNE_BATCH)).with_for_update(skip_locked=True)
_PRUNE = Statement(delete(failed_logins).where(_row.digest.in_(_expired)))


async def check_login_limit(db: Database | Transaction, email_key: str) -> None:
    """Raises TooManyFailedLogins if logins with the email address are blocked."""
    _check_wait(await db.row(_GET_WAIT, digest=_hash_email(email_key)))


async def count_failure(db: Database | Transaction, email_key: str) -> None:
    """Counts a failed login. Raises TooManyFailedLogins if concurrent logins have reached the limit."""
    digest = _hash_email(email_key)
    if await db.row(_COUNT_FAILURE, digest=digest) is None:
        _check_wait(await db.row(_GET_WAIT, digest=digest))
    await db.row(_PRUNE)


async def reset_failures(tx: Transaction, email_key: str) -> None:
    """Deletes the failures of an email address before a successful login.

    Raises TooManyFailedLogins if concurrent logins have reached the limit. The rollback then restores the failures.
    """
    _check_wait(await tx.row(_DELETE_FAILURES, digest=_hash_email(email_key)))


async def clear_failures(tx: Transaction, email_key: str) -> None:
    """Deletes the failures of an email address, also if they block logins, when its user has reset the password."""
    await tx.run(_DELETE_FAILURES, digest=_hash_email(email_key))


def _check_wait(row: Record | None) -> None:
    if row and row["wait"] and row["wait"] > timedelta():
        raise TooManyFailedLogins(retry_after=math.ceil(row["wait"].total_seconds()))


def _hash_email(email_key: str) -> bytes:
    """Returns the digest that is stored instead of the address: users type passwords into the wrong field."""
    return hashlib.sha256(email_key.encode()).digest()
