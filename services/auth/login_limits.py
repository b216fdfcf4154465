"""Log-ins that failed, counted for each email, whether a user has it or not, so that nobody guesses for long.

The verdict is what is limited: log-ins that overlap are counted when their passwords have been looked at, and all but
the first ten learn nothing, not even of a right one.
"""

import hashlib
import math
from datetime import timedelta

from asyncpg import Record
from sqlalchemy import Interval, LargeBinary, bindparam, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import array, insert

from services.auth.errors import TooManyFailedLogins
from services.auth.models import failed_logins
from services.common.postgres.database import Database, Statement, Transaction

MOST = 10
"""How many log-ins with one email may fail within the window."""
WINDOW = timedelta(minutes=15)

_PRUNED_AT_ONCE = 10

_row = failed_logins.c
_window = literal(WINDOW, Interval)
_oldest = _row.times[MOST]  # NULL as long as there are fewer
_is_it = _row.digest == bindparam("digest", type_=LargeBinary)
_wait = (_oldest + _window - func.now()).label("wait")

_WAIT = Statement(select(_wait).where(_is_it))
_new = insert(failed_logins).values(
    digest=bindparam("digest"), times=array([func.now()]), expire_time=func.now() + _window
)
_COUNT = Statement(
    _new.on_conflict_do_update(
        index_elements=[_row.digest],
        set_={
            "times": func.array_prepend(func.now(), _row.times, type_=_row.times.type)[1:MOST],
            "expire_time": _new.excluded.expire_time,
        },
        where=or_(_oldest.is_(None), _oldest + _window <= func.now()),
    ).returning(_row.digest)
)
_FORGET = Statement(delete(failed_logins).where(_is_it).returning(_wait))
_expired = (
    select(_row.digest).where(_row.expire_time < func.now()).limit(_PRUNED_AT_ONCE).with_for_update(skip_locked=True)
)
_PRUNE = Statement(delete(failed_logins).where(_row.digest.in_(_expired)))


async def refuse_if_failed_often(db: Database, email_key: str) -> None:
    """Returns if a log-in with this email may be tried. Raises TooManyFailedLogins."""
    _refuse(await db.row(_WAIT, digest=_digest(email_key)))


async def count_failure(db: Database, email_key: str) -> None:
    """Counts a log-in that failed. Raises TooManyFailedLogins if others have failed too often meanwhile."""
    digest = _digest(email_key)
    if await db.row(_COUNT, digest=digest) is None:
        _refuse(await db.row(_WAIT, digest=digest))
    await db.row(_PRUNE)


async def forget_failures(tx: Transaction, email_key: str) -> None:
    """Forgets the failures before a log-in that succeeds. Raises TooManyFailedLogins, which leaves them counted."""
    _refuse(await tx.row(_FORGET, digest=_digest(email_key)))


def _refuse(row: Record | None) -> None:
    if row and row["wait"] and row["wait"] > timedelta():
        raise TooManyFailedLogins(retry_after=math.ceil(row["wait"].total_seconds()))


def _digest(email_key: str) -> bytes:
    """Returns what is stored of an email: of whatever length, and nothing to read when it was a password by mistake."""
    return hashlib.sha256(email_key.encode()).digest()
