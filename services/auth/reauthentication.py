"""Verification of the caller's current password before a change that a stolen access token must not allow."""

from asyncpg import Record

from gen.pulsetrack.auth.v1 import SecurityEventType
from services.auth.errors import InvalidCredentials
from services.auth.login_limits import check_login_limit, count_failure
from services.auth.models import LOCK_OWN_USER
from services.auth.passwords import Match, Passwords
from services.auth.security_events import failing_as
from services.auth.user_rows import get_user
from services.common.audit.events import record_read
from services.common.context import Caller
from services.common.postgres.database import Database, Transaction


@failing_as(SecurityEventType.REAUTHENTICATION_FAILED)
async def verify_password(db: Database, passwords: Passwords, caller: Caller, password: str) -> Record:
    """Returns the caller's user if the password is right. Takes long, so it runs outside of a transaction.

    Raises InvalidCredentials, TooManyFailedLogins, UserNotFound.
    """
    user = await get_user(db, caller.id)
    record_read([user["id"]])
    await check_login_limit(db, user["email_key"])
    if await passwords.verify(user["password_hash"], password) is Match.NONE:
        await count_failure(db, user["email_key"])
        raise InvalidCredentials
    await check_login_limit(db, user["email_key"])  # again, for the failures of concurrent calls
    return user


@failing_as(SecurityEventType.REAUTHENTICATION_FAILED)
async def lock_verified(tx: Transaction, user: Record) -> Record:
    """Returns and locks the current row of a user whose password was verified.

    Raises InvalidCredentials if a concurrent call has changed the password or disabled the user.
    """
    locked = await tx.row(LOCK_OWN_USER, id=user["id"])
    if locked is None or locked["disabled"] or locked["password_hash"] != user["password_hash"]:
        raise InvalidCredentials
    return locked
