"""The RPCs that set up and remove the second factor of a user."""

from uuid import UUID

from asyncpg import Record

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    ConfirmSecondFactorRequest,
    ConfirmSecondFactorResponse,
    EnrollSecondFactorRequest,
    EnrollSecondFactorResponse,
    RemoveSecondFactorRequest,
    RemoveUserSecondFactorRequest,
    SecurityEventType,
)
from services.auth.errors import CodeInvalid, SecondFactorAlreadyExists, SecondFactorNotFound
from services.auth.factor_store import FactorStore, has_secret, remove_factor
from services.auth.login_limits import check_login_limit, count_failure
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import Template
from services.auth.models import REVOKE_TOKENS
from services.auth.one_time_codes import build_uri, encode_secret
from services.auth.passwords import Passwords
from services.auth.reauthentication import lock_verified, verify_password
from services.auth.security_events import record_security_event, set_event_type
from services.auth.session_store import end_sessions
from services.auth.user_rows import get_user
from services.common.audit.events import record_change
from services.common.context import Caller
from services.common.postgres.database import Database, Transaction


class SecondFactors:
    """Sets up and removes second factors. Sessions verifies their codes at login."""

    def __init__(self, db: Database, mails: MailOutbox, passwords: Passwords, factors: FactorStore) -> None:
        self._db = db
        self._mails = mails
        self._passwords = passwords
        self._factors = factors

    async def enroll_second_factor(
        self, request: EnrollSecondFactorRequest, caller: Caller
    ) -> EnrollSecondFactorResponse:
        """Returns a new secret, which takes effect when it is confirmed.

        Raises InvalidCredentials for a wrong current password, TooManyFailedLogins, UserNotFound,
        SecondFactorAlreadyExists.
        """
        user = await verify_password(self._db, self._passwords, caller, request.current_password)
        async with self._db.begin() as tx:
            if (await lock_verified(tx, user))["second_factor"]:
                raise SecondFactorAlreadyExists
            secret = await self._factors.enroll(tx, user["id"])
            record_change(tx, user["id"])
        return EnrollSecondFactorResponse(secret=encode_secret(secret), uri=build_uri(secret, user["email"]))

    async def confirm_second_factor(
        self, request: ConfirmSecondFactorRequest, caller: Caller, tx: Transaction
    ) -> ConfirmSecondFactorResponse:
        """Confirms the second factor with a code, returns the recovery codes, and ends the caller's other sessions.

        Raises SecondFactorNotFound, SecondFactorAlreadyExists, CodeInvalid.
        """
        user = await get_user(tx, caller.id)
        user_id: UUID = user["id"]
        if user["second_factor"]:
            raise SecondFactorAlreadyExists
        if not await has_secret(tx, user_id):
            raise SecondFactorNotFound
        if not await self._factors.use_code(tx, user_id, request.code):
            raise CodeInvalid
        codes = await self._factors.confirm(tx, user_id)
        await end_sessions(tx, user_id, kept_id=UUID(caller.session_id) if caller.session_id else None)
        self._mails.notify(tx, user, Template.SECOND_FACTOR_ADDED)
        record_security_event(tx, SecurityEventType.SECOND_FACTOR_ADDED, user_id)
        return ConfirmSecondFactorResponse(recovery_codes=codes)

    async def remove_second_factor(self, request: RemoveSecondFactorRequest, caller: Caller) -> Empty:
        """Removes the caller's second factor.

        Raises InvalidCredentials for a wrong current password, CodeInvalid, TooManyFailedLogins, UserNotFound,
        SecondFactorNotFound.
        """
        user = await verify_password(self._db, self._passwords, caller, request.current_password)
        async with self._db.begin() as tx:
            if not (await lock_verified(tx, user))["second_factor"]:
                raise SecondFactorNotFound
            await check_login_limit(tx, user["email_key"])  # again, because concurrent guesses are serialized here
            if await self._factors.use_code(tx, user["id"], request.code):
                await self._remove(tx, user, Template.SECOND_FACTOR_REMOVED)
                return Empty()
            await count_failure(tx, user["email_key"])
            set_event_type(SecurityEventType.REAUTHENTICATION_FAILED)
        raise CodeInvalid  # outside the transaction, which must commit

    async def remove_user_second_factor(self, request: RemoveUserSecondFactorRequest, tx: Transaction) -> Empty:
        """Removes the second factor of a user and ends all sessions of the user.

        Raises UserNotFound, SecondFactorNotFound.
        """
        user = await get_user(tx, request.user_id)
        await self._remove(tx, user, Template.SECOND_FACTOR_REMOVED_BY_ADMIN)
        await end_sessions(tx, user["id"])
        return Empty()

    async def _remove(self, tx: Transaction, user: Record, notice: Template) -> None:
        if not await remove_factor(tx, user["id"]):
            raise SecondFactorNotFound
        if self._factors.is_required(user):
            await tx.run(REVOKE_TOKENS, user_id=user["id"])  # they have the role ADMIN
        self._mails.notify(tx, user, notice)
        record_security_event(tx, SecurityEventType.SECOND_FACTOR_REMOVED, user["id"])
