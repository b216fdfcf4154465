"""The RPCs of the auth service."""

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.google.api import HttpBody
from gen.google.protobuf import Empty
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from gen.pulsetrack.auth.v1 import (
    CreateUserRequest,
    GetCurrentUserRequest,
    GetJwksRequest,
    GetTrustBundleRequest,
    IssueServiceTokenRequest,
    ListUsersRequest,
    ListUsersResponse,
    LoginRequest,
    LogoutRequest,
    RefreshTokenRequest,
    ServiceToken,
    SignUpRequest,
    TokenPair,
    TrustBundle,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.checks import UserChecks
from services.auth.domain import has_fewer_rights, merge_user, to_columns, to_user
from services.auth.errors import (
    EmailAlreadyExists,
    InvalidCredentials,
    LastAdmin,
    RefreshTokenInvalid,
    UsernameAlreadyExists,
    UserNotFound,
)
from services.auth.login_limits import check_login_limit, count_failure, reset_failures
from services.auth.models import (
    DELETE_EXPIRED_REFRESH_TOKENS,
    DELETE_REFRESH_FAMILY,
    DELETE_REFRESH_TOKENS_OF_USER,
    GET_AN_ENABLED_ADMIN,
    GET_USER,
    GET_USER_BY_EMAIL,
    INSERT_REFRESH_TOKEN,
    INSERT_USER,
    INSERT_USER_IF_NEW,
    LIST_USERS,
    LOCK_REFRESH_FAMILY,
    REPLACE_PASSWORD_HASH,
    REVOKE_TOKENS,
    SEARCH,
    UPDATE_USER,
    USE_REFRESH_TOKEN,
)
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Match, Passwords
from services.auth.tokens import SigningKeys, create_refresh_token, hash_refresh_token
from services.common.audit.events import record_actor, record_change, record_read
from services.common.context import Caller
from services.common.emails import build_key
from services.common.errors import FieldsInvalid, UserDisabled
from services.common.postgres.database import Database, Transaction
from services.common.rpc.token_rules import SERVICE_ROLE, SERVICES_AUDIENCE, USERS_AUDIENCE
from services.common.settings import SettingsError
from services.common.text import prepare_password

_CONFLICTS = {
    "users_email_key_key": EmailAlreadyExists,
    "users_username_key_key": UsernameAlreadyExists,
    "users_username_skeleton_key": UsernameAlreadyExists,
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lifetimes:
    """The lifetime of each kind of token, in seconds."""

    access_token: int
    refresh_token: int
    service_token: int


class AuthService:
    """Manages users and sessions, and issues the tokens that the other services verify."""

    def __init__(
        self,
        db: Database,
        keys: SigningKeys,
        passwords: Passwords,
        *,
        rules: PasswordRules,
        service_secrets: Mapping[str, str],
        lifetimes: Lifetimes,
    ) -> None:
        self._db = db
        self._keys = keys
        self._passwords = passwords
        self._rules = rules
        self.checks = UserChecks(rules)
        self._service_secrets = service_secrets
        self._lifetimes = lifetimes

    async def sign_up(self, request: SignUpRequest) -> User:
        """Creates a user with the role USER.

        Raises FieldsInvalid for a weak password or a deceptive username, EmailAlreadyExists, UsernameAlreadyExists.
        """
        columns = await self._validate_new_user(request, Role.USER)
        async with self._db.begin() as tx:
            return await _insert_user(tx, columns)

    async def login(self, request: LoginRequest) -> TokenPair:
        """Starts a session. Raises InvalidCredentials, TooManyFailedLogins, UserDisabled."""
        email_key = build_key(request.email)
        await check_login_limit(self._db, email_key)  # first, because password verification is expensive
        user = await self._db.row(GET_USER_BY_EMAIL, email_key=email_key)
        record_read([user["id"]] if user else [])  # an unknown address is not recorded: it may be a password
        match = await self._passwords.verify(user and user["password_hash"], request.password)
        if user is None or match is Match.NONE:
            await count_failure(self._db, email_key)
            raise InvalidCredentials
        if match is Match.OUTDATED:
            new = await self._passwords.hash(request.password)
            await self._db.row(REPLACE_PASSWORD_HASH, user_id=user["id"], old=user["password_hash"], new=new)
        async with self._db.begin() as tx:
            await reset_failures(tx, email_key)
            await tx.run(DELETE_EXPIRED_REFRESH_TOKENS, user_id=user["id"])
            return await self._issue_tokens(tx, user, family=uuid7())

    async def refresh_token(self, request: RefreshTokenRequest) -> TokenPair:
        """Returns new tokens for a session. Token reuse revokes the session.

        Raises RefreshTokenInvalid, UserDisabled.
        """
        digest = hash_refresh_token(request.refresh_token)
        async with self._db.begin() as tx:
            await tx.run(LOCK_REFRESH_FAMILY, digest=digest)
            if used := await tx.row(USE_REFRESH_TOKEN, digest=digest):
                record_read([used["user_id"]])
                user = await tx.row(GET_USER, id=used["user_id"])
                return await self._issue_tokens(tx, user, family=used["family_id"])
            if ended := await tx.row(DELETE_REFRESH_FAMILY, digest=digest):
                record_read([ended["user_id"]])
        raise RefreshTokenInvalid  # outside the transaction, which must commit

    async def logout(self, request: LogoutRequest) -> Empty:
        """Ends a session."""
        digest = hash_refresh_token(request.refresh_token)
        async with self._db.begin() as tx:
            await tx.run(LOCK_REFRESH_FAMILY, digest=digest)  # waits for a concurrent refresh, whose token must end too
            if ended := await tx.row(DELETE_REFRESH_FAMILY, digest=digest):
                record_actor(ended["user_id"])
                record_change(tx, ended["user_id"])
        return Empty()

    async def get_current_user(self, request: GetCurrentUserRequest, caller: Caller, tx: Transaction) -> User:
        """Returns the caller's own user.

        Raises UserNotFound.
        """
        row = await tx.row(GET_USER, id=caller.id)
        if row is None:
            raise UserNotFound
        record_read([row["id"]])
        return to_user(row)

    async def create_user(self, request: CreateUserRequest, tx: Transaction) -> User:
        """Creates a user with a role chosen by the admin, by default USER.

        Raises FieldsInvalid for a weak password or a deceptive username, EmailAlreadyExists, UsernameAlreadyExists.
        """
        return await _insert_user(tx, await self._validate_new_user(request, request.role or Role.USER))

    async def list_users(self, request: ListUsersRequest, tx: Transaction) -> ListUsersResponse:
        """Returns a page of users, newest first.

        Raises PageTokenInvalid.
        """
        rows, next_page_token = await LIST_USERS.read_page(tx, request)
        record_read(row["id"] for row in rows)
        return ListUsersResponse(users=[to_user(row) for row in rows], next_page_token=next_page_token)

    async def update_user(self, request: UpdateUserRequest, tx: Transaction) -> User:
        """Changes the role of a user, or disables or enables the user. Calls are serialized by `AccountCheck`.

        Raises FieldsInvalid, UserNotFound, LastAdmin.
        """
        change = request.user or User()
        row = await tx.row(GET_USER, id=change.id)
        if row is None:
            raise UserNotFound
        current = to_user(row)
        user = merge_user(current, change, request.update_mask.paths if request.update_mask else None)
        await tx.run(UPDATE_USER, user_id=row["id"], new_role=user.role.name, now_disabled=user.disabled)
        if user.disabled != current.disabled:
            # Also when the user is enabled: a login concurrent with the earlier update may have left a session.
            await tx.run(DELETE_REFRESH_TOKENS_OF_USER, user_id=row["id"])
        if has_fewer_rights(user, current):
            await tx.run(REVOKE_TOKENS, user_id=row["id"])
        if await tx.row(GET_AN_ENABLED_ADMIN) is None:
            raise LastAdmin
        record_change(tx, row["id"])
        return user

    async def search_user_access_events(
        self, request: SearchAccessEventsRequest, tx: Transaction
    ) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(tx, request)

    async def issue_service_token(self, request: IssueServiceTokenRequest) -> ServiceToken:
        """Issues a service token in exchange for a client id and its secret.

        Raises InvalidCredentials.
        """
        secret = self._service_secrets.get(request.client_id, "")
        if not secret or not hmac.compare_digest(secret.encode(), request.client_secret.encode()):
            raise InvalidCredentials
        seconds = self._lifetimes.service_token
        token = self._keys.sign(
            subject=request.client_id, role=SERVICE_ROLE, audience=SERVICES_AUDIENCE, seconds=seconds
        )
        return ServiceToken(access_token=token, token_type="Bearer", expires_in=seconds)  # noqa: S106 - a scheme, not a secret

    async def get_jwks(self, request: GetJwksRequest) -> HttpBody:
        """Returns the public signing keys. Raises DependencyUnavailable."""
        return HttpBody(content_type="application/json", data=self._keys.jwks())

    async def get_trust_bundle(self, request: GetTrustBundleRequest) -> TrustBundle:
        """Returns the public keys and the revocations. Raises DependencyUnavailable."""
        return self._keys.trust_bundle()

    async def ensure_admin(self, email: str, password: str) -> None:
        """Creates the first admin from the settings, unless a user with the email address exists.

        Raises SettingsError if the password is weak.
        """
        row = await self._db.row(GET_USER_BY_EMAIL, email_key=build_key(email))
        if row is None:
            if violation := await self._rules.find_violation(prepare_password(password), email):
                raise SettingsError(f"PULSETRACK_ADMIN_PASSWORD {violation}")
            # The email address is also the username. Sign-up cannot have taken it, since it rejects "@" in usernames.
            columns = to_columns(email, email, await self._passwords.hash(password), role=Role.ADMIN)
            await self._db.row(INSERT_USER_IF_NEW, **columns)
        elif row["role"] != "ADMIN":
            _log.warning("the user with the email address PULSETRACK_ADMIN_EMAIL is not an admin and is not promoted")

    async def _validate_new_user(self, request: SignUpRequest | CreateUserRequest, role: Role) -> dict[str, Any]:
        """Returns the columns of a new user. Raises FieldsInvalid."""
        if violations := await self.checks.new_user(request):
            raise FieldsInvalid(violations)
        return to_columns(request.email, request.username, await self._passwords.hash(request.password), role=role)

    async def _issue_tokens(self, tx: Transaction, user: Record | None, *, family: UUID) -> TokenPair:
        if user is None or user["disabled"]:
            raise UserDisabled
        record_actor(user["id"])
        record_change(tx, user["id"])
        refresh_token = create_refresh_token()
        await tx.run(
            INSERT_REFRESH_TOKEN,
            digest=hash_refresh_token(refresh_token),
            family_id=family,
            user_id=user["id"],
            expire_time=datetime.now(UTC) + timedelta(seconds=self._lifetimes.refresh_token),
        )
        seconds, version = self._lifetimes.access_token, user["token_version"]
        access_token = self._keys.sign(
            subject=str(user["id"]), role=user["role"], audience=USERS_AUDIENCE, seconds=seconds, version=version
        )
        return TokenPair(
            access_token=access_token,
            refresh_token=refresh_token,
            token_type="Bearer",  # noqa: S106 - a scheme, not a secret
            expires_in=seconds,
        )


async def _insert_user(tx: Transaction, columns: dict[str, Any]) -> User:
    """Inserts a user. Raises EmailAlreadyExists, UsernameAlreadyExists."""
    row = await tx.row(INSERT_USER, conflicts=_CONFLICTS, **columns)
    record_actor(columns["id"])  # the new user is the actor of a sign-up
    record_change(tx, columns["id"])
    return to_user(row)
