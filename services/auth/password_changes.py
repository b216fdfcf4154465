"""Changes of passwords: by the user, and with a token that an admin has created."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Record
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    ChangePasswordRequest,
    CreatePasswordResetRequest,
    CreatePasswordResetResponse,
    ResetPasswordRequest,
    SecurityEventType,
)
from services.auth.errors import ResetTokenInvalid, UserInactive
from services.auth.login_limits import clear_failures
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import Template
from services.auth.models import LOCK_OWN_USER, password_resets, users
from services.auth.opaque_tokens import create_token, hash_token
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Match, Passwords
from services.auth.reauthentication import lock_verified, verify_password
from services.auth.security_events import record_security_event
from services.auth.session_store import end_sessions
from services.auth.user_rows import get_user
from services.common.audit.events import record_actor
from services.common.context import Caller
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement

RESET_VALIDITY = timedelta(hours=1)

UNCHANGED = "must differ from the current password"

_reset = password_resets.c
_is_valid = (_reset.digest == bindparam("digest"), _reset.expire_time > func.now())
_new_reset = upsert(password_resets).values({name: bindparam(name) for name in ("user_id", "digest", "expire_time")})
_CREATE_RESET = Statement(
    _new_reset.on_conflict_do_update(
        index_elements=[_reset.user_id],
        set_={name: _new_reset.excluded[name] for name in ("digest", "expire_time")},
    )
)
_GET_USER_OF_RESET = Statement(select(users).join(password_resets).where(*_is_valid, users.c.disabled.is_(False)))
_USE_RESET = Statement(delete(password_resets).where(*_is_valid).returning(_reset.user_id))
_DELETE_RESET = Statement(delete(password_resets).where(_reset.user_id == bindparam("user_id")))
_SET_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.disabled.is_(False))
    .values(password_hash=bindparam("new"))
    .returning(users.c.id)
)


async def create_reset(tx: Transaction, user_id: UUID) -> tuple[str, datetime]:
    """Returns a token that sets a new password for a user once, and its expiration time. It replaces an earlier one."""
    token, expire_time = create_token(), datetime.now(UTC) + RESET_VALIDITY
    await tx.run(_CREATE_RESET, user_id=user_id, digest=hash_token(token), expire_time=expire_time)
    return token, expire_time


class PasswordChanges:
    """Changes passwords. A password change ends sessions, invalidates a reset token, and sends mail to the user."""

    def __init__(self, db: Database, mails: MailOutbox, passwords: Passwords, rules: PasswordRules) -> None:
        self._db = db
        self._mails = mails
        self._passwords = passwords
        self._rules = rules

    async def change_password(self, request: ChangePasswordRequest, caller: Caller) -> Empty:
        """Replaces the caller's password and ends the caller's other sessions.

        Raises InvalidCredentials for a wrong current password, TooManyFailedLogins, UserNotFound, FieldsInvalid.
        """
        user = await verify_password(self._db, self._passwords, caller, request.current_password)
        new = await self._hash_new(user, request.new_password)
        async with self._db.begin() as tx:
            await lock_verified(tx, user)
            await tx.run(_SET_PASSWORD, user_id=user["id"], new=new)
            await tx.run(_DELETE_RESET, user_id=user["id"])
            await end_sessions(tx, user["id"], kept_id=UUID(caller.session_id) if caller.session_id else None)
            self._mails.notify(tx, user, Template.PASSWORD_CHANGED)
            record_security_event(tx, SecurityEventType.PASSWORD_CHANGED, user["id"])
        return Empty()

    async def create_password_reset(
        self, request: CreatePasswordResetRequest, tx: Transaction
    ) -> CreatePasswordResetResponse:
        """Returns a token that sets a new password for a user once. Raises UserNotFound, UserInactive."""
        user = await get_user(tx, request.user_id)
        if user["disabled"]:
            raise UserInactive
        token, expire_time = await create_reset(tx, user["id"])
        self._mails.notify(tx, user, Template.PASSWORD_RESET_CREATED)
        record_security_event(tx, SecurityEventType.PASSWORD_RESET_CREATED, user["id"])
        return CreatePasswordResetResponse(token=token, expire_time=expire_time)

    async def reset_password(self, request: ResetPasswordRequest) -> Empty:
        """Sets the password of a reset token's user and ends the user's sessions.

        Raises ResetTokenInvalid, FieldsInvalid.
        """
        digest = hash_token(request.token)
        user = await self._db.row(_GET_USER_OF_RESET, digest=digest)
        if user is None:  # first, because password hashing is expensive
            raise ResetTokenInvalid
        new = await self._hash_new(user, request.new_password)
        async with self._db.begin() as tx:
            await tx.run(LOCK_OWN_USER, id=user["id"])  # first, as in every change of a user
            used = await tx.row(_USE_RESET, digest=digest)
            if used is None or await tx.row(_SET_PASSWORD, user_id=user["id"], new=new) is None:
                raise ResetTokenInvalid  # a concurrent call was first
            await clear_failures(tx, user["email_key"])
            await end_sessions(tx, user["id"])
            self._mails.notify(tx, user, Template.PASSWORD_CHANGED)
            record_actor(user["id"])
            record_security_event(tx, SecurityEventType.PASSWORD_RESET, user["id"])
        return Empty()

    async def _hash_new(self, user: Record, password: str) -> str:
        """Returns the hash of a user's new password. Raises FieldsInvalid if it is weak or the current one."""
        violation = await self._rules.find_violation(password, user["email"], user["username"])
        if not violation and await self._passwords.verify(user["password_hash"], password) is not Match.NONE:
            violation = UNCHANGED
        if violation:
            raise FieldsInvalid({"new_password": violation})
        return await self._passwords.hash(password)
