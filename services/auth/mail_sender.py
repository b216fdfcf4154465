"""The background task that sends the mails of the outbox.

A sender claims a mail: it sets its due time to the end of a lease and commits. It then sends the mail outside of any
transaction, and marks it. A mail whose sender has crashed is due again at the end of the lease. If it crashed after the
server had accepted the mail, the mail is sent again with the same Message-ID, by which servers detect duplicates.
"""

import logging
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Self

from asyncpg import Record
from cryptography.exceptions import InvalidTag
from opentelemetry import metrics
from sqlalchemy import DateTime, Interval, Text, any_, bindparam, func, null, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from services.auth.mail_outbox import MailOutbox
from services.auth.mail_settings import MailConfig
from services.auth.mail_templates import TEXTS, Template, render_body
from services.auth.mail_transport import (
    MailTransport,
    MessageDeferredError,
    MessageRejectedError,
    ServerUnavailableError,
    build_message,
)
from services.auth.models import mails
from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement
from services.common.retry import retry_while_unavailable

RETENTION = timedelta(days=7)
"""How long it is recorded that a mail was sent. In this time, a request of another service is not repeated."""

_LEASE = timedelta(minutes=2)
"""Longer than a connection and a message may take."""
_STOP_SECONDS = 1.0
"""The time in which a message in progress can be completed before the process ends."""
_FIRST_WAIT = timedelta(seconds=30)
_MAX_DOUBLINGS = 6
_IDLE_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""The time in seconds without attempts after the server was unavailable."""
_SENT, _FAILED, _EXPIRED = "SENT", "FAILED", "EXPIRED"

_log = logging.getLogger(__name__)
_meter = metrics.get_meter("pulsetrack")
_ended = _meter.create_counter("pulsetrack.mails.ended", unit="{mail}", description="Mails by outcome.")
_waiting = _meter.create_gauge("pulsetrack.mails.waiting", unit="{mail}", description="Mails that are not sent yet.")

_row = mails.c
_is_waiting = _row.end_time.is_(None)
_lease_end = _row.due_time == bindparam("lease_end", type_=DateTime(timezone=True))
_is_claimed = (_row.id == bindparam("mail_id"), _lease_end, _is_waiting)
_end = {"end_time": func.now(), "encrypted_content": null()}
_is_known = _row.template == any_(bindparam("templates", type_=ARRAY(Text)))  # a newer version may have added others
_due = (
    select(_row.id)
    .where(_is_waiting, _is_known, _row.due_time <= func.now(), _row.expire_time > func.now())
    .order_by(_row.due_time)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_CLAIM = Statement(
    update(mails)
    .where(_row.id == _due.scalar_subquery())
    .values(due_time=func.now() + bindparam("lease", type_=Interval), attempts=_row.attempts + 1)
    .returning(*_row)
)
_END = Statement(update(mails).where(*_is_claimed).values(outcome=bindparam("new_outcome"), **_end).returning(_row.id))
_POSTPONE = Statement(update(mails).where(*_is_claimed).values(due_time=func.now() + bindparam("wait", type_=Interval)))
_RELEASE = Statement(update(mails).where(*_is_claimed).values(due_time=func.now(), attempts=_row.attempts - 1))
_EXPIRE = Statement(
    update(mails).where(_is_waiting, _row.expire_time <= func.now()).values(outcome=_EXPIRED, **_end).returning(_row.id)
)
_COUNT = Statement(select(func.count().label("waiting")).select_from(mails).where(_is_waiting))


class MailSender:
    """Sends mails while its context is open. Several processes can send the mails of one outbox."""

    def __init__(
        self,
        db: Database,
        outbox: MailOutbox,
        config: MailConfig | None,
        *,
        transport: MailTransport | None = None,
        lease: timedelta = _LEASE,
        first_wait: timedelta = _FIRST_WAIT,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """Takes the configuration, or None if mails only expire. The transport, by default, is that of the config."""
        self._db = db
        self._outbox = outbox
        self._config = config
        self._transport = transport or (MailTransport(config) if config else None)
        self._lease, self._first_wait = lease, first_wait
        self._pause, self._pause_end = _FIRST_PAUSE, float("-inf")
        self._task = BackgroundTask(self._run_round, activity="sending mail", interval=idle_seconds)
        outbox.on_commit(self._task.wake)

    async def __aenter__(self) -> Self:
        self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop(grace_seconds=_STOP_SECONDS)
        if self._transport:
            await self._transport.close()

    async def measure(self) -> None:
        """Sets the gauge of the waiting mails of all processes. Raises DependencyUnavailable."""
        [row] = await self._db.rows(_COUNT)
        _waiting.set(row["waiting"])
        for outcome in (_SENT, _FAILED, _EXPIRED):
            _count(outcome, 0)  # the counters exist before the first mail

    async def _run_round(self) -> None:
        """Sends all due mails, one after another."""
        if expired := await self._db.rows(_EXPIRE):
            _count(_EXPIRED, len(expired))
            _log.warning("%d mails have expired before they were sent", len(expired))
        if not self._transport or not self._config:
            return
        while time.monotonic() >= self._pause_end and (mail := await self._claim()):
            await self._send(mail, self._transport, self._config)
        await self._transport.close()

    async def _claim(self) -> Record | None:
        return await self._db.row(_CLAIM, lease=self._lease, templates=[*Template])

    async def _send(self, mail: Record, transport: MailTransport, config: MailConfig) -> None:
        claim = {"mail_id": mail["id"], "lease_end": mail["due_time"]}
        try:
            content, template = self._outbox.open(mail), Template(mail["template"])
            create_time = mail["create_time"]
            body = render_body(template, content.parameters, create_time, config.public_url)
            subject, recipient = TEXTS[template].subject, content.recipient
            message = build_message(config.sender, recipient, subject, body, mail_id=mail["id"], time=create_time)
            await transport.send(message)
        except ServerUnavailableError as error:
            await self._db.row(_RELEASE, **claim)
            self._pause_end, self._pause = time.monotonic() + self._pause, min(self._pause * 2, _LONGEST_PAUSE)
            _log.warning("the mail server is unavailable: %s", error)
        except MessageDeferredError as error:
            wait = self._first_wait * 2 ** min(mail["attempts"] - 1, _MAX_DOUBLINGS)
            await self._db.row(_POSTPONE, **claim, wait=wait)
            _log.warning("mail %s (%s) is deferred: %s", mail["id"], mail["template"], error)
        except (MessageRejectedError, ValueError, KeyError, InvalidTag) as error:
            await self._finish(claim, _FAILED)
            reason = error if isinstance(error, MessageRejectedError) else type(error).__name__
            # Not an error of the system: users can enter addresses that do not exist.
            _log.warning("mail %s (%s) failed: %s", mail["id"], mail["template"], reason)
        except BaseException:  # even on cancellation: another sender can then claim the mail at once
            with suppress(DependencyUnavailable):
                await self._db.row(_RELEASE, **claim)
            raise
        else:
            self._pause = _FIRST_PAUSE
            await self._finish(claim, _SENT)

    async def _finish(self, claim: dict[str, Any], outcome: str) -> None:
        """Marks a mail, even if the database is unavailable at first: the mail would be sent again."""
        end = partial(self._db.row, _END, **claim, new_outcome=outcome)
        if await retry_while_unavailable(end, activity="marking a mail"):
            _count(outcome, 1)


def _count(outcome: str, count: int) -> None:
    _ended.add(count, {"pulsetrack.mail.outcome": outcome})
