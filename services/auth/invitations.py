"""Invitations: an admin invites a person to create a user with a given email address and role."""

from datetime import UTC, datetime, timedelta

from asyncpg import Record
from sqlalchemy import LargeBinary, Text, Uuid, bindparam, func, insert, select, update
from uuid_utils.compat import uuid7

from gen.pulsetrack.auth.v1 import (
    AcceptInvitationRequest,
    CreateInvitationRequest,
    CreateInvitationResponse,
    Invitation,
    InvitationState,
    ListInvitationsRequest,
    ListInvitationsResponse,
    RevokeInvitationRequest,
    SecurityEventType,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.checks import UserChecks
from services.auth.domain import to_columns
from services.auth.errors import EmailAlreadyExists, InvitationAccepted, InvitationInvalid, InvitationNotFound
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import Template, format_time
from services.auth.models import GET_USER_BY_EMAIL, invitations, mailed_invitations
from services.auth.opaque_tokens import create_token, hash_token
from services.auth.passwords import Passwords
from services.auth.security_events import record_security_event
from services.auth.users import insert_user
from services.common.audit.events import record_read
from services.common.context import Caller
from services.common.emails import build_key
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement
from services.common.text import normalize

DEFAULT_VALIDITY = timedelta(days=3)

_row = invitations.c
_with_state = select(invitations, (_row.expire_time <= func.now()).label("is_expired"))
_is_open = (_row.user_id.is_(None), _row.revoke_time.is_(None))
_is_pending = (*_is_open, _row.expire_time > func.now())

_NEW = ("id", "digest", "email", "email_key", "role", "creator_id", "expire_time")
_INSERT = Statement(insert(invitations).values({name: bindparam(name) for name in _NEW}).returning(*_row))
_LIST = Listing(_with_state, _row.create_time, _row.id)
_GET_FOR_UPDATE = Statement(_with_state.where(_row.id == bindparam("id")).with_for_update())
_of_admin = select(_row.id).where(_row.digest == bindparam("token_digest", type_=LargeBinary)).scalar_subquery()
_of_mail = (
    select(mailed_invitations.c.invitation_id)
    .where(mailed_invitations.c.digest == bindparam("token_digest", type_=LargeBinary))
    .scalar_subquery()
)
_GET_PENDING = Statement(
    select(invitations, _of_mail.is_not(None).label("is_mailed")).where(
        _row.id == func.coalesce(_of_admin, _of_mail), *_is_pending
    )
)
_INSERT_MAILED = Statement(
    insert(mailed_invitations).values(invitation_id=bindparam("invitation_id"), digest=bindparam("digest"))
)
_ACCEPT = Statement(
    update(invitations)
    .where(_row.id == bindparam("invitation_id"), *_is_pending)
    .values(user_id=bindparam("new_user_id", type_=Uuid))
    .returning(_row.id)
)
_revoke = update(invitations).where(*_is_open).values(revoke_time=func.now())
_REVOKE = Statement(_revoke.where(_row.id == bindparam("invitation_id")).returning(*_row))
_LOCK_EMAIL = Statement(select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("key", type_=Text), 3))))
_REVOKE_EARLIER = Statement(_revoke.where(_row.email_key == bindparam("key")))


class Invitations:
    """Creates, lists, revokes and accepts invitations."""

    def __init__(self, db: Database, mails: MailOutbox, passwords: Passwords, checks: UserChecks) -> None:
        self._db = db
        self._mails = mails
        self._passwords = passwords
        self._checks = checks

    async def create_invitation(
        self, request: CreateInvitationRequest, caller: Caller, tx: Transaction
    ) -> CreateInvitationResponse:
        """Creates an invitation, which replaces an earlier one. Raises FieldsInvalid, EmailAlreadyExists."""
        if violations := await self._checks.create_invitation(request):
            raise FieldsInvalid(violations)
        email_key = build_key(request.email)
        if await tx.row(GET_USER_BY_EMAIL, email_key=email_key):
            raise EmailAlreadyExists
        await tx.run(_LOCK_EMAIL, key=email_key)  # concurrent calls replace each other's invitation
        await tx.run(_REVOKE_EARLIER, key=email_key)
        token = create_token()
        [row] = await tx.rows(
            _INSERT,
            id=uuid7(),
            digest=hash_token(token),
            email=normalize(request.email),
            email_key=email_key,
            role=(request.role or Role.USER).name,
            creator_id=caller.id,
            expire_time=request.expire_time or datetime.now(UTC) + DEFAULT_VALIDITY,
        )
        await self._send(tx, row)
        record_security_event(tx, SecurityEventType.INVITATION_CREATED, row["id"])
        return CreateInvitationResponse(invitation=_to_invitation(row, is_expired=False), token=token)

    async def list_invitations(self, request: ListInvitationsRequest, tx: Transaction) -> ListInvitationsResponse:
        """Returns a page of invitations, newest first. Raises PageTokenInvalid."""
        rows, next_page_token = await _LIST.read_page(tx, request)
        record_read(row["id"] for row in rows)
        invited = [_to_invitation(row, is_expired=row["is_expired"]) for row in rows]
        return ListInvitationsResponse(invitations=invited, next_page_token=next_page_token)

    async def revoke_invitation(self, request: RevokeInvitationRequest, tx: Transaction) -> Invitation:
        """Revokes an invitation. Raises InvitationNotFound, InvitationAccepted."""
        row = await tx.row(_GET_FOR_UPDATE, id=request.id)
        if row is None:
            raise InvitationNotFound
        if row["user_id"]:
            raise InvitationAccepted
        revoked = await tx.row(_REVOKE, invitation_id=request.id)
        record_security_event(tx, SecurityEventType.INVITATION_REVOKED, row["id"])
        return _to_invitation(revoked or row, is_expired=row["is_expired"])

    async def accept_invitation(self, request: AcceptInvitationRequest) -> User:
        """Creates the invited user.

        Raises InvitationInvalid, FieldsInvalid for a weak password, EmailAlreadyExists, UsernameAlreadyExists.
        """
        row = await self._db.row(_GET_PENDING, token_digest=hash_token(request.token))
        if row is None:  # first, because password hashing is expensive
            raise InvitationInvalid
        if violations := await self._checks.new_user(row["email"], request.username, request.password):
            raise FieldsInvalid(violations)
        password_hash = await self._passwords.hash(request.password)
        role, is_mailed = Role[row["role"]], row["is_mailed"]
        columns = to_columns(row["email"], request.username, password_hash, role=role, email_verified=is_mailed)
        async with self._db.begin() as tx:
            user = await insert_user(tx, self._mails, columns, SecurityEventType.INVITATION_ACCEPTED)
            accepted = await tx.row(_ACCEPT, invitation_id=row["id"], new_user_id=columns["id"])
            if accepted is None:  # a concurrent call was first
                raise InvitationInvalid
            return user

    async def _send(self, tx: Transaction, row: Record) -> None:
        """Sends an invitation with a token of its own, which only the owner of the address knows."""
        if self._mails.is_enabled:
            token = create_token()
            await tx.run(_INSERT_MAILED, invitation_id=row["id"], digest=hash_token(token))
            parameters = {"token": token, "expire_time": format_time(row["expire_time"])}
            self._mails.add(tx, Template.INVITATION, row["email"], parameters, expire_time=row["expire_time"])


def _to_invitation(row: Record, *, is_expired: bool) -> Invitation:
    if row["user_id"]:
        state = InvitationState.ACCEPTED
    elif row["revoke_time"]:
        state = InvitationState.REVOKED
    else:
        state = InvitationState.EXPIRED if is_expired else InvitationState.PENDING
    return Invitation(
        id=str(row["id"]),
        email=row["email"],
        role=Role[row["role"]],
        creator_id=str(row["creator_id"]),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        state=state,
        user_id=str(row["user_id"] or ""),
    )
