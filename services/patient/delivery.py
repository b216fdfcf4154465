"""The destinations of the outbox: the Kafka topic of patient events, and billing."""

import asyncio
from collections.abc import Sequence

import betterproto2
import grpc
from asyncpg import Record

from gen.pulsetrack.billing.v1 import BillingAccount, CreateBillingAccountRequest, FollowPatientRequest
from gen.pulsetrack.patient.v1 import PatientCreated
from services.common.context import current_traceparent
from services.common.errors import DependencyUnavailable
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.common.rpc.client import RemoteMethod, ServiceCredentials
from services.patient.changes import BILLING, EVENT_CODEC, TOPIC

_BILLING_TIMEOUT_SECONDS = 5


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
    batch = 32

    def __init__(self, billing: grpc.aio.Channel, credentials: ServiceCredentials) -> None:
        self._create_account = RemoteMethod(
            billing,
            "billing",
            "CreateBillingAccount",
            CreateBillingAccountRequest,
            BillingAccount,
            credentials=credentials,
        )
        self._follow_patient = RemoteMethod(
            billing, "billing", "FollowPatient", FollowPatientRequest, BillingAccount, credentials=credentials
        )

    async def find_incarnation(self) -> None:
        """Returns None: billing never loses delivered events."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Calls billing for each row, and returns the outcomes. Raises DependencyUnavailable if it is down."""
        outcomes = await asyncio.gather(*(self._deliver_row(row) for row in rows), return_exceptions=True)
        if all(isinstance(outcome, DependencyUnavailable) for outcome in outcomes):
            raise DependencyUnavailable from outcomes[0]
        return outcomes

    async def _deliver_row(self, row: Record) -> None:
        current_traceparent.set(row["traceparent"])  # gather runs each row in a task with its own context
        try:
            async with asyncio.timeout(_BILLING_TIMEOUT_SECONDS):  # includes the request for a service token
                await self._call_billing(row["payload"])
        except TimeoutError as error:
            raise DependencyUnavailable from error

    async def _call_billing(self, payload: bytes) -> None:
        event = EVENT_CODEC.loads(payload)
        _, change = betterproto2.which_one_of(event, "event")
        patient = change.patient if change else None
        if patient is None:
            raise ValueError("the event has no patient")
        copied = {"patient_id": patient.id, "name": patient.name, "email": patient.email}
        if isinstance(change, PatientCreated):
            await self._create_account(CreateBillingAccountRequest(**copied))
        else:
            deleted = patient.delete_time is not None
            await self._follow_patient(FollowPatientRequest(**copied, sequence=event.sequence, deleted=deleted))


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
