"""The destinations of the outbox: the Kafka topic of patient events, billing, and mail to care teams."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import betterproto2
import grpc
from asyncpg import Record
from google.protobuf.message import DecodeError

from gen.google.protobuf import Empty
from gen.google.rpc import Status
from gen.pulsetrack.auth.v1 import NotifyUsersRequest
from gen.pulsetrack.billing.v1 import (
    BatchFollowPatientsRequest,
    BatchFollowPatientsResponse,
    BillingAccount,
    FollowPatientRequest,
)
from services.common.errors import DependencyUnavailable
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.common.rpc.client import RemoteMethod, ServiceCredentials
from services.patient.changes import BILLING, EVENT_CODEC, TOPIC
from services.patient.notifications import NOTIFICATION_CODEC, NOTIFICATIONS

_TIMEOUT_SECONDS = 4
"""How long a call may take. A batch and its single calls are delivered within a lease of 10 s."""

_ERASED = "erased"
"""The name and email address of the billing account of an erased patient. Billing requires both."""

_log = logging.getLogger(__name__)


class EventRejected(Exception):  # noqa: N818 - billing rejected it
    """Raised when billing does not accept an event."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"{status.code} {status.message}")


class EventsTopic:
    """Publishes every event to Kafka, as the CloudEvents Kafka protocol binding 1.0 defines it (binary mode)."""

    name = TOPIC
    batch = 100

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def find_incarnation(self) -> str:
        """Returns the topic's id. Raises DependencyUnavailable."""
        return await self._publisher.topic_id()

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        """Publishes rows in order, all or none. Raises DependencyUnavailable."""
        await self._publisher.publish([_to_message(row) for row in rows])
        return [None] * len(rows)


class BillingAccounts:
    """Opens a billing account for each new patient, and updates its name, email address and deletion state."""

    name = BILLING
    batch = 100
    """The maximum number of requests in BatchFollowPatientsRequest."""

    def __init__(self, billing: grpc.aio.Channel, credentials: ServiceCredentials) -> None:
        self._follow_patients = RemoteMethod(
            billing,
            "billing",
            "BatchFollowPatients",
            BatchFollowPatientsRequest,
            BatchFollowPatientsResponse,
            credentials=credentials,
        )
        self._follow_patient = RemoteMethod(
            billing, "billing", "FollowPatient", FollowPatientRequest, BillingAccount, credentials=credentials
        )

    async def find_incarnation(self) -> None:
        """Returns None: billing never loses delivered events."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Passes all rows to billing in one call, and returns the outcomes. Raises DependencyUnavailable."""
        outcomes: dict[int, BaseException | None] = {}
        batch: list[_Event] = []
        for row in rows:
            try:
                batch.append(_Event(row["id"], _build_request(row["payload"]), row["traceparent"]))
            except (ValueError, DecodeError) as error:
                outcomes[row["id"]] = error
        if batch:
            outcomes |= zip((event.row_id for event in batch), await self._deliver_batch(batch), strict=True)
        return [outcomes[row["id"]] for row in rows]

    async def _deliver_batch(self, batch: Sequence["_Event"]) -> Sequence[BaseException | None]:
        """Falls back to one call for each event if billing rejects the batch as a whole.

        This isolates an event that makes the batch fail, and serves a billing of the previous version.
        """
        request = BatchFollowPatientsRequest(requests=[event.request for event in batch])
        try:
            async with _limit_time():
                response = await self._follow_patients(request, parents=[event.traceparent for event in batch])
        except grpc.aio.AioRpcError as error:
            _log.warning("billing rejected a batch, calling it for each event: %s", error.code().name)
            return await self._deliver_singly(batch)
        failed = response.failed_requests
        return [EventRejected(failed[index]) if index in failed else None for index in range(len(batch))]

    async def _deliver_singly(self, batch: Sequence["_Event"]) -> Sequence[BaseException | None]:
        return await _gather_outcomes(map(self._deliver_event, batch))

    async def _deliver_event(self, event: "_Event") -> None:
        async with _limit_time():
            await self._follow_patient(event.request, parents=[event.traceparent])


class CareTeamMail:
    """Informs the members of a care team by mail, which auth sends once for each event and member."""

    name = NOTIFICATIONS
    batch = 20

    def __init__(self, auth: grpc.aio.Channel, credentials: ServiceCredentials) -> None:
        self._notify_users = RemoteMethod(
            auth, "auth", "NotifyUsers", NotifyUsersRequest, Empty, credentials=credentials
        )

    async def find_incarnation(self) -> None:
        """Returns None: mail is not sent again."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Passes the requests in rows to auth, and returns the outcomes. Raises DependencyUnavailable."""
        return await _gather_outcomes(map(self._deliver_row, rows))

    async def _deliver_row(self, row: Record) -> None:
        async with _limit_time():
            await self._notify_users(NOTIFICATION_CODEC.loads(row["payload"]), parents=[row["traceparent"]])


class _Event(NamedTuple):
    row_id: int
    request: FollowPatientRequest
    traceparent: str


async def _gather_outcomes(deliveries: Iterable[Coroutine[Any, Any, None]]) -> Sequence[BaseException | None]:
    """Runs deliveries concurrently, and returns their outcomes. Raises DependencyUnavailable if all do."""
    outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
    if all(isinstance(outcome, DependencyUnavailable) for outcome in outcomes):
        raise DependencyUnavailable from outcomes[0]
    return outcomes


@asynccontextmanager
async def _limit_time() -> AsyncIterator[None]:
    """Limits the time of a call, including the request for a service token."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            yield
    except TimeoutError as error:
        raise DependencyUnavailable from error


def _build_request(payload: bytes) -> FollowPatientRequest:
    """Returns the request for the event in a payload. Raises ValueError, DecodeError."""
    event = EVENT_CODEC.loads(payload)
    _, change = betterproto2.which_one_of(event, "event")
    patient = None if change is None else change.patient  # the truth value would compare every field with its default
    if patient is None:
        raise ValueError("the event has no patient")
    return FollowPatientRequest(
        patient_id=patient.id,
        name=patient.name or _ERASED,
        email=patient.email or _ERASED,
        restricted=patient.restricted,
        sequence=event.sequence,
        deleted=patient.delete_time is not None,
    )


def _to_message(row: Record) -> OutgoingMessage:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(row["event_id"]),
        "ce_type": row["type"],
        "ce_source": "/pulsetrack/patient",
        "ce_time": row["create_time"].isoformat(),
        "content-type": "application/protobuf",
    }
    return OutgoingMessage(key=row["key"], value=row["payload"], headers=headers, traceparent=row["traceparent"])
