"""Requests for mail to an address: what they do must not depend on whether a user has the address.

A call stores the request, whatever the address is. A background task then looks for the user, so neither the response
nor its time reveals the result. A call does not wake the task: what the task does next to a call would delay it.
"""

from datetime import timedelta
from typing import Self

from asyncpg import Record
from sqlalchemy import Interval, bindparam, delete, func, insert, literal, select
from uuid_utils.compat import uuid7

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import RequestEmailVerificationRequest, RequestPasswordResetRequest, SecurityEventType
from services.auth.email_verifications import send_verification
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import Template
from services.auth.models import GET_USER_BY_EMAIL, LOCK_OWN_USER, mail_requests, mails
from services.auth.password_changes import create_reset
from services.auth.security_events import set_event_type
from services.common.audit.events import record_read
from services.common.background import BackgroundTask
from services.common.emails import build_key
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement

MAX_MAILS = 3
"""The number of mails of each kind that a user gets within the window."""

_WINDOW = timedelta(hours=1)
_IDLE_SECONDS = 2.0

_row = mail_requests.c
_INSERT = Statement(insert(mail_requests).values({name: bindparam(name) for name in ("id", "kind", "email_key")}))
_oldest = select(_row.id).order_by(_row.id).limit(1).with_for_update(skip_locked=True).scalar_subquery()
_TAKE = Statement(
    delete(mail_requests)
    .where(_row.id == _oldest)
    .returning(*_row, (_row.create_time > func.now() - literal(_WINDOW, Interval)).label("is_recent"))
)
_COUNT_MAILS = Statement(
    select(func.count().label("count"))
    .select_from(mails)
    .where(
        mails.c.user_id == bindparam("of_user"),
        mails.c.template == bindparam("of_template"),
        mails.c.create_time > func.now() - literal(_WINDOW, Interval),
    )
)


class MailRequests:
    """Stores requests for mail."""

    def __init__(self, db: Database, mails: MailOutbox) -> None:
        self._db = db
        self._mails = mails

    async def request_password_reset(self, request: RequestPasswordResetRequest) -> Empty:
        """Requests mail with a token that sets a new password."""
        set_event_type(SecurityEventType.PASSWORD_RESET_REQUESTED)
        return await self._store(Template.PASSWORD_RESET, request.email)

    async def request_email_verification(self, request: RequestEmailVerificationRequest) -> Empty:
        """Requests mail with a token that verifies the email address."""
        return await self._store(Template.EMAIL_VERIFICATION, request.email)

    async def _store(self, kind: Template, email: str) -> Empty:
        email_key = build_key(email)
        user = await self._db.row(GET_USER_BY_EMAIL, email_key=email_key)
        record_read([user["id"]] if user else [])  # for the audit log only
        if self._mails.is_enabled:
            await self._db.row(_INSERT, id=uuid7(), kind=kind.value, email_key=email_key)
        return Empty()


class MailRequestProcessor:
    """Processes requests while its context is open. Several processes can process the requests of one table."""

    def __init__(self, db: Database, mails: MailOutbox, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._db = db
        self._mails = mails
        self._task = BackgroundTask(self._run_round, activity="processing mail requests", interval=idle_seconds)

    async def __aenter__(self) -> Self:
        if self._mails.is_enabled:  # otherwise there are no requests
            self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._mails.is_enabled:
            await self._task.stop()

    async def _run_round(self) -> bool:
        """Processes one request. Returns True if there may be more."""
        async with self._db.begin() as tx:
            request = await tx.row(_TAKE)
            if request and request["is_recent"]:
                await self._process(tx, request)
        return request is not None

    async def _process(self, tx: Transaction, request: Record) -> None:
        found = await tx.row(GET_USER_BY_EMAIL, email_key=request["email_key"])
        user = found and await tx.row(LOCK_OWN_USER, id=found["id"])
        if user is None or user["disabled"]:
            return
        count = await tx.row(_COUNT_MAILS, of_user=user["id"], of_template=request["kind"])
        if count and count["count"] >= MAX_MAILS:
            return
        if request["kind"] == Template.PASSWORD_RESET:
            token, _ = await create_reset(tx, user["id"])
            self._mails.notify(tx, user, Template.PASSWORD_RESET, token=token)
        elif request["kind"] == Template.EMAIL_VERIFICATION:
            await send_verification(tx, self._mails, user)
