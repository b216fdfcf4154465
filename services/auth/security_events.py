"""Security events: access events with a type, which is a detail of the sealed event."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from asyncpg import Record
from sqlalchemy import DateTime, Text, Uuid, bindparam, select
from uuid_utils.compat import uuid7

from gen.pulsetrack.auth.v1 import (
    ListSecurityEventsRequest,
    ListSecurityEventsResponse,
    SecurityEvent,
    SecurityEventType,
)
from services.auth.models import AUDIT, EVENT_TYPE
from services.common.audit.events import current_access, record_change
from services.common.audit.tables import EVENT_COLUMNS, first_id, join_call, split_call
from services.common.errors import Failure
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import Listing
from services.common.rpc.metadata import read_user_agent

P = ParamSpec("P")
T = TypeVar("T")

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_TYPES = {str(each.name): each for each in SecurityEventType}

_event = AUDIT.events.c
_start, _end = (bindparam(name, type_=DateTime(timezone=True)) for name in ("start_time", "end_time"))
_of_type = bindparam("type", type_=Text) == EVENT_TYPE
_of_subject = first_id(AUDIT.events) == bindparam("subject_id", type_=Uuid)
_events = select(AUDIT.events).where(EVENT_TYPE.is_not(None), _event.occur_time >= _start, _event.occur_time < _end)
_LISTINGS = {
    (has_type, has_subject): Listing(
        _events.where(*((_of_type,) if has_type else ()), *((_of_subject,) if has_subject else ())),
        _event.occur_time,
        _event.id,
    )
    for has_type in (False, True)
    for has_subject in (False, True)
}
"""The events by whether the request selects a type and a subject. Each has its index."""


class Details(msgspec.Struct, frozen=True):
    """The details of an access event that is a security event. `EVENT_TYPE` reads the first field."""

    security_event: str
    user_agent: str = ""


class SecurityEvents:
    """Lists security events."""

    async def list_security_events(
        self, request: ListSecurityEventsRequest, tx: Transaction
    ) -> ListSecurityEventsResponse:
        """Returns a page of security events, newest first. Raises PageTokenInvalid."""
        return await read_security_events(tx, request)


async def read_security_events(
    db: Database | Transaction, request: ListSecurityEventsRequest
) -> ListSecurityEventsResponse:
    """Returns the page of a request. Raises PageTokenInvalid."""
    values: dict[str, Any] = {
        "type": request.type.name,
        "subject_id": request.subject_id or None,
        "start_time": request.start_time or _FIRST,
        "end_time": request.end_time or _LAST,
    }
    listing = _LISTINGS[bool(request.type), bool(request.subject_id)]
    rows, next_page_token = await listing.read_page(db, request, **values)
    events = [_to_security_event(row) for row in rows]
    return ListSecurityEventsResponse(security_events=events, next_page_token=next_page_token)


def record_security_event(tx: Transaction, event_type: SecurityEventType, subject_id: UUID) -> None:
    """Adds the event of the current call to the transaction that makes the change, with a type."""
    record_change(tx, subject_id, details=_encode(event_type))


def record_operation(tx: Transaction, event_type: SecurityEventType, command: str) -> None:
    """Adds the event of an operator's command to the transaction that makes the change."""
    values: dict[str, Any] = dict.fromkeys(EVENT_COLUMNS, "")
    details = msgspec.json.encode(Details(str(event_type.name))).decode()
    values |= {"id": uuid7(), "subject_ids": [], "method": join_call(command, details), "outcome": "OK"}
    tx.add(AUDIT.insert_event, **values | {"occur_time": datetime.now(UTC)})


def set_event_type(event_type: SecurityEventType) -> None:
    """Sets the type of the current call's event, which changes nothing."""
    current_access.get().details = _encode(event_type)


def failing_as(event_type: SecurityEventType) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Decorates a function: if it fails, the event of the current call has a type."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await function(*args, **kwargs)
            except Failure:
                set_event_type(event_type)
                raise

        return call

    return decorate


def _encode(event_type: SecurityEventType) -> str:
    return msgspec.json.encode(Details(str(event_type.name), read_user_agent())).decode()


def _to_security_event(row: Record) -> SecurityEvent:
    method, encoded = split_call(row["method"])
    details = msgspec.json.decode(encoded, type=Details)
    return SecurityEvent(
        id=str(row["id"]),
        type=_TYPES.get(details.security_event, SecurityEventType.UNSPECIFIED),
        subject_id=str(next(iter(row["subject_ids"]), "")),
        actor_id=row["actor_id"],
        outcome=row["outcome"],
        method=method,
        occur_time=row["occur_time"],
        remote_address=row["remote_address"],
        user_agent=details.user_agent,
        request_id=row["request_id"],
    )
