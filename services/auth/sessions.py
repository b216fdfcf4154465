"""The RPCs that begin, extend, list and end sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    ListSessionsRequest,
    ListSessionsResponse,
    ListUserSessionsRequest,
    ListUserSessionsResponse,
    LoginRequest,
    LogoutRequest,
    RefreshTokenRequest,
    RevokeSessionsRequest,
    RevokeSessionsResponse,
    RevokeUserSessionsRequest,
    RevokeUserSessionsResponse,
    SecurityEventType,
    Session,
    TokenPair,
    VerifySecondFactorRequest,
)
from services.auth.errors import (
    ChallengeInvalid,
    CodeInvalid,
    EmailNotVerified,
    InvalidCredentials,
    RefreshTokenInvalid,
    SessionNotFound,
)
from services.auth.factor_store import FactorStore
from services.auth.login_challenges import (
    count_wrong_code,
    create_challenge,
    delete_challenge,
    lock_challenged_user,
)
from services.auth.login_limits import check_login_limit, count_failure, reset_failures
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import Template
from services.auth.models import GET_USER, GET_USER_BY_EMAIL, LOCK_OWN_USER, REPLACE_PASSWORD_HASH
from services.auth.one_time_codes import is_one_time_password, normalize_code
from services.auth.passwords import Match, Passwords
from services.auth.security_events import failing_as, record_security_event, set_event_type
from services.auth.session_store import (
    LIST_SESSIONS,
    add_token,
    begin_or_extend,
    end_oldest,
    end_sessions,
    find_owner,
    use_token,
)
from services.auth.tokens import SigningKeys
from services.auth.user_rows import get_user
from services.common.audit.events import record_actor, record_change, record_read
from services.common.context import Caller
from services.common.emails import build_key
from services.common.errors import UserDisabled
from services.common.postgres.database import Database, Transaction
from services.common.rpc.token_rules import USERS_AUDIENCE


@dataclass(frozen=True)
class Lifetimes:
    """The lifetime of each kind of token, in seconds."""

    access_token: int
    refresh_token: int
    service_token: int


class Sessions:
    """Begins, extends, lists and ends sessions."""

    def __init__(
        self,
        db: Database,
        mails: MailOutbox,
        keys: SigningKeys,
        passwords: Passwords,
        *,
        lifetimes: Lifetimes,
        factors: FactorStore,
        requires_verified_email: bool,
    ) -> None:
        self._db = db
        self._mails = mails
        self._keys = keys
        self._passwords = passwords
        self._lifetimes = lifetimes
        self._factors = factors
        self._requires_verified_email = requires_verified_email

    @failing_as(SecurityEventType.LOGIN_FAILED)
    async def login(self, request: LoginRequest) -> TokenPair:
        """Begins a session, or returns a challenge if the user has a second factor.

        Raises InvalidCredentials, TooManyFailedLogins, UserDisabled, EmailNotVerified.
        """
        email_key = build_key(request.email)
        user = await self._db.row(GET_USER_BY_EMAIL, email_key=email_key)
        record_read([user["id"]] if user else [])  # an unknown address is not recorded: it may be a password
        await check_login_limit(self._db, email_key)  # first, because password verification is expensive
        match = await self._passwords.verify(user and user["password_hash"], request.password)
        if user is None or match is Match.NONE:
            await count_failure(self._db, email_key)
            raise InvalidCredentials
        password_hash = user["password_hash"]
        if match is Match.OUTDATED:
            new = await self._passwords.hash(request.password)
            if await self._db.row(REPLACE_PASSWORD_HASH, user_id=user["id"], old=password_hash, new=new) is None:
                return await self.login(request)  # a concurrent login has replaced the hash
            password_hash = new
        async with self._db.begin() as tx:
            locked = await tx.row(LOCK_OWN_USER, id=user["id"])  # waits for a change of the password or factor
            if locked is None or locked["password_hash"] != password_hash:
                raise InvalidCredentials
            if not locked["second_factor"]:
                return await self._begin_session(tx, locked)
            await check_login_limit(tx, email_key)  # the failures remain: the password alone is not a login
            self._check_account(locked)
            challenge = await create_challenge(tx, locked)
            set_event_type(SecurityEventType.LOGIN_CHALLENGED)
            return TokenPair(challenge=challenge)

    @failing_as(SecurityEventType.LOGIN_FAILED)
    async def verify_second_factor(self, request: VerifySecondFactorRequest) -> TokenPair:
        """Begins the session of a user who was challenged at login.

        Raises ChallengeInvalid, CodeInvalid, TooManyFailedLogins, UserDisabled, EmailNotVerified.
        """
        async with self._db.begin() as tx:
            user = await lock_challenged_user(tx, request.challenge)
            if user is None:
                raise ChallengeInvalid
            record_read([user["id"]])
            self._check_account(user)
            await check_login_limit(tx, user["email_key"])
            if await self._factors.use_code(tx, user["id"], request.code):
                await delete_challenge(tx, request.challenge)
                if not is_one_time_password(normalize_code(request.code)):
                    self._mails.notify(tx, user, Template.RECOVERY_CODE_USED)
                return await self._begin_session(tx, user)
            await count_wrong_code(tx, request.challenge)
            await count_failure(tx, user["email_key"])
        raise CodeInvalid  # outside the transaction, which must commit

    async def refresh_token(self, request: RefreshTokenRequest) -> TokenPair:
        """Returns new tokens for a session. Token reuse ends the session.

        Raises RefreshTokenInvalid, UserDisabled, EmailNotVerified.
        """
        async with self._db.begin() as tx:
            if owner := await find_owner(tx, request.refresh_token):
                user_id, session_id = owner["user_id"], owner["family_id"]
                record_read([user_id])
                is_active = await self._begin_or_extend(tx, user_id, session_id)
                if is_active and await use_token(tx, request.refresh_token):
                    tokens = await self._issue_tokens(tx, await tx.row(GET_USER, id=user_id), session_id)
                    record_change(tx, user_id)
                    return tokens
                if is_active and not owner["is_expired"]:
                    set_event_type(SecurityEventType.REFRESH_TOKEN_REUSED)
                await end_sessions(tx, user_id, session_id=session_id)
        raise RefreshTokenInvalid  # outside the transaction, which must commit

    async def logout(self, request: LogoutRequest) -> Empty:
        """Ends a session."""
        async with self._db.begin() as tx:
            if owner := await find_owner(tx, request.refresh_token):
                await end_sessions(tx, owner["user_id"], session_id=owner["family_id"])
                record_actor(owner["user_id"])
                record_security_event(tx, SecurityEventType.LOGGED_OUT, owner["user_id"])
        return Empty()

    async def list_sessions(
        self, request: ListSessionsRequest, caller: Caller, tx: Transaction
    ) -> ListSessionsResponse:
        """Returns a page of the caller's active sessions, newest first. Raises PageTokenInvalid."""
        user_id = UUID(caller.id)
        record_read([user_id])
        rows, next_page_token = await LIST_SESSIONS.read_page(tx, request, user_id=user_id)
        return ListSessionsResponse(sessions=_to_sessions(rows, caller), next_page_token=next_page_token)

    async def list_user_sessions(
        self, request: ListUserSessionsRequest, caller: Caller, tx: Transaction
    ) -> ListUserSessionsResponse:
        """Returns a page of a user's active sessions, newest first. Raises UserNotFound, PageTokenInvalid."""
        user_id = (await get_user(tx, request.user_id))["id"]
        record_read([user_id])
        rows, next_page_token = await LIST_SESSIONS.read_page(tx, request, user_id=user_id)
        return ListUserSessionsResponse(sessions=_to_sessions(rows, caller), next_page_token=next_page_token)

    async def revoke_sessions(
        self, request: RevokeSessionsRequest, caller: Caller, tx: Transaction
    ) -> RevokeSessionsResponse:
        """Ends one session of the caller, or all, without the current one by default. Raises SessionNotFound."""
        kept = None if request.include_current or request.session_id else caller.session_id
        return RevokeSessionsResponse(
            revoked_count=await _revoke(tx, UUID(caller.id), session_id=request.session_id, kept_id=kept)
        )

    async def revoke_user_sessions(
        self, request: RevokeUserSessionsRequest, tx: Transaction
    ) -> RevokeUserSessionsResponse:
        """Ends one session of a user, or all. Raises UserNotFound, SessionNotFound."""
        user_id = (await get_user(tx, request.user_id))["id"]
        return RevokeUserSessionsResponse(revoked_count=await _revoke(tx, user_id, session_id=request.session_id))

    def _check_account(self, user: Record) -> None:
        if user["disabled"]:
            raise UserDisabled
        if self._requires_verified_email and not user["email_verified"]:
            raise EmailNotVerified

    async def _begin_session(self, tx: Transaction, user: Record) -> TokenPair:
        """Begins a session of an authenticated user. The transaction has locked the user's row."""
        await reset_failures(tx, user["email_key"])
        session_id = uuid7()
        await self._begin_or_extend(tx, user["id"], session_id)
        await end_oldest(tx, user["id"])
        tokens = await self._issue_tokens(tx, user, session_id)
        record_security_event(tx, SecurityEventType.LOGIN_SUCCEEDED, user["id"])
        return tokens

    async def _begin_or_extend(self, tx: Transaction, user_id: UUID, session_id: UUID) -> bool:
        return await begin_or_extend(tx, user_id, session_id, seconds=self._lifetimes.refresh_token)

    async def _issue_tokens(self, tx: Transaction, user: Record | None, session_id: UUID) -> TokenPair:
        if user is None:
            raise UserDisabled
        self._check_account(user)
        record_actor(user["id"])
        seconds = self._lifetimes.access_token
        return TokenPair(
            access_token=self._keys.sign(
                subject=str(user["id"]),
                role=self._factors.find_role(user),
                audience=USERS_AUDIENCE,
                seconds=seconds,
                token_version=user["token_version"],
                sid=str(session_id),
            ),
            refresh_token=await add_token(tx, user["id"], session_id, seconds=self._lifetimes.refresh_token),
            token_type="Bearer",  # noqa: S106 - a scheme, not a secret
            expires_in=seconds,
        )


async def _revoke(tx: Transaction, user_id: UUID, *, session_id: str, kept_id: str | None = None) -> int:
    """Ends one session, or all except the kept one, and returns their number. Raises SessionNotFound."""
    count = await end_sessions(
        tx, user_id, session_id=UUID(session_id) if session_id else None, kept_id=UUID(kept_id) if kept_id else None
    )
    if session_id and not count:
        raise SessionNotFound
    record_security_event(tx, SecurityEventType.SESSIONS_REVOKED, user_id)
    return count


def _to_sessions(rows: Sequence[Record], caller: Caller) -> list[Session]:
    return [
        Session(
            id=str(row["id"]),
            create_time=row["create_time"],
            last_use_time=row["last_use_time"],
            expire_time=row["expire_time"],
            remote_address=row["remote_address"],
            user_agent=row["user_agent"],
            current=str(row["id"]) == caller.session_id,
        )
        for row in rows
    ]
