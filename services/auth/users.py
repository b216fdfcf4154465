"""The RPCs that manage users."""

import logging
from typing import Any
from uuid import UUID

from sqlalchemy import select

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from gen.pulsetrack.auth.v1 import (
    CreateUserRequest,
    GetCurrentUserRequest,
    ListUsersRequest,
    ListUsersResponse,
    SecurityEventType,
    SignUpRequest,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.checks import UserChecks
from services.auth.domain import has_fewer_rights, merge_user, to_columns, to_user
from services.auth.email_verifications import VERIFY_EMAIL, send_verification
from services.auth.errors import EmailAlreadyExists, LastAdmin, UsernameAlreadyExists
from services.auth.mail_outbox import MailOutbox
from services.auth.models import (
    DELETE_RESETS,
    GET_USER_BY_EMAIL,
    INSERT_USER,
    INSERT_USER_IF_NEW,
    LIST_USERS,
    REVOKE_INVITATIONS,
    REVOKE_TOKENS,
    SEARCH,
    UPDATE_USER,
    users,
)
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Passwords
from services.auth.security_events import record_security_event
from services.auth.session_store import end_sessions
from services.auth.user_rows import get_user
from services.common.audit.events import record_actor, record_change, record_read
from services.common.context import Caller
from services.common.emails import build_key
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement
from services.common.settings import SettingsError
from services.common.text import prepare_password

_CONFLICTS = {
    "users_email_key_key": EmailAlreadyExists,
    "users_username_key_key": UsernameAlreadyExists,
    "users_username_skeleton_key": UsernameAlreadyExists,
}
_GET_AN_ENABLED_ADMIN = Statement(
    select(users.c.id).where(users.c.role == "ADMIN", users.c.disabled.is_(False)).limit(1)
)
_log = logging.getLogger(__name__)


class Users:
    """Creates, lists and changes users."""

    def __init__(self, db: Database, mails: MailOutbox, passwords: Passwords, rules: PasswordRules) -> None:
        self._db = db
        self._mails = mails
        self._passwords = passwords
        self._rules = rules
        self.checks = UserChecks(rules)

    async def sign_up(self, request: SignUpRequest) -> User:
        """Creates a user with the role USER.

        Raises FieldsInvalid for a weak password or a deceptive username, EmailAlreadyExists, UsernameAlreadyExists.
        """
        columns = await self._validate_new_user(request, Role.USER)
        async with self._db.begin() as tx:
            return await insert_user(tx, self._mails, columns, SecurityEventType.USER_CREATED)

    async def get_current_user(self, request: GetCurrentUserRequest, caller: Caller, tx: Transaction) -> User:
        """Returns the caller's own user.

        Raises UserNotFound.
        """
        row = await get_user(tx, caller.id)
        record_read([row["id"]])
        return to_user(row)

    async def create_user(self, request: CreateUserRequest, tx: Transaction) -> User:
        """Creates a user with a role chosen by the admin, by default USER.

        Raises FieldsInvalid for a weak password or a deceptive username, EmailAlreadyExists, UsernameAlreadyExists.
        """
        columns = await self._validate_new_user(request, request.role or Role.USER)
        return await insert_user(tx, self._mails, columns, SecurityEventType.USER_CREATED)

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
        row = await get_user(tx, change.id)
        current = to_user(row)
        user = merge_user(current, change, request.update_mask.paths if request.update_mask else None)
        await tx.run(UPDATE_USER, user_id=row["id"], new_role=user.role.name, now_disabled=user.disabled)
        if user.disabled != current.disabled:
            # Also when the user is enabled: a login concurrent with the earlier update may have left a session.
            await end_sessions(tx, row["id"])
        if has_fewer_rights(user, current):
            await tx.run(REVOKE_TOKENS, user_id=row["id"])
            await tx.run(REVOKE_INVITATIONS, creator=row["id"])
            # An admin may have created any of them.
            await tx.run(DELETE_RESETS, id_of_user=row["id"], of_all=current.role is Role.ADMIN)
        if await tx.row(_GET_AN_ENABLED_ADMIN) is None:
            raise LastAdmin
        _record_update(tx, row["id"], current, user)
        return user

    async def search_user_access_events(
        self, request: SearchAccessEventsRequest, tx: Transaction
    ) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(tx, request)

    async def ensure_admin(self, email: str, password: str) -> None:
        """Creates the first admin from the settings, unless a user with the email address exists.

        Raises SettingsError if the password is weak.
        """
        row = await self._db.row(GET_USER_BY_EMAIL, email_key=build_key(email))
        if row is None:
            if violation := await self._rules.find_violation(prepare_password(password), email):
                raise SettingsError(f"PULSETRACK_ADMIN_PASSWORD {violation}")
            # The email address is also the username. Sign-up cannot have taken it, since it rejects "@" in usernames.
            password_hash = await self._passwords.hash(password)
            columns = to_columns(email, email, password_hash, role=Role.ADMIN, email_verified=True)
            await self._db.row(INSERT_USER_IF_NEW, **columns)
        elif row["role"] == "ADMIN":
            await self._db.row(VERIFY_EMAIL, user_id=row["id"])  # of an admin that an earlier version has created
        else:
            _log.warning("the user with the email address PULSETRACK_ADMIN_EMAIL is not an admin and is not promoted")

    async def _validate_new_user(self, request: SignUpRequest | CreateUserRequest, role: Role) -> dict[str, Any]:
        """Returns the columns of a new user. Raises FieldsInvalid."""
        if violations := await self.checks.new_user(request.email, request.username, request.password):
            raise FieldsInvalid(violations)
        return to_columns(request.email, request.username, await self._passwords.hash(request.password), role=role)


async def insert_user(
    tx: Transaction, mails: MailOutbox, columns: dict[str, Any], event_type: SecurityEventType
) -> User:
    """Inserts a user, sends mail to verify the email address, and records an event of a type.

    Raises EmailAlreadyExists, UsernameAlreadyExists.
    """
    row = await tx.row(INSERT_USER, conflicts=_CONFLICTS, **columns)
    await send_verification(tx, mails, row)
    record_actor(columns["id"])  # the new user is the actor of a sign-up
    record_security_event(tx, event_type, columns["id"])
    return to_user(row)


def _record_update(tx: Transaction, user_id: UUID, before: User, after: User) -> None:
    """Records an event for each change of a user, or one without a type if there is none."""
    if before.role != after.role:
        record_security_event(tx, SecurityEventType.USER_ROLE_CHANGED, user_id)
    if before.disabled != after.disabled:
        change = SecurityEventType.USER_DISABLED if after.disabled else SecurityEventType.USER_ENABLED
        record_security_event(tx, change, user_id)
    if before == after:
        record_change(tx, user_id)
