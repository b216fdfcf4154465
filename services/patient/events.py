"""What happened to patients: recorded in the outbox, delivered to Kafka and to billing."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import betterproto2
import grpc
from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.billing.v1 import BillingAccount, CreateBillingAccountRequest, FollowPatientRequest
from gen.pulsetrack.patient.v1 import (
    Patient,
    PatientCreated,
    PatientDeleted,
    PatientEvent,
    PatientUndeleted,
    PatientUpdated,
)
from services.common.audit.events import record_change
from services.common.context import Caller, current_traceparent
from services.common.errors import DependencyUnavailable
from services.common.messaging.kafka import Outgoing, Publisher
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Transaction
from services.common.protobuf import codec
from services.common.rpc.client import Remote, ServiceCredentials
from services.patient.records import patient_of
from services.patient.revisions import add_revision

TOPIC = "patient.events.v1"

_BILLING = "billing"
_BILLING_SECONDS = 5
_COPIED_BY_BILLING = ("name", "email")
_FIELDS = {
    PatientCreated: "created",
    PatientUpdated: "updated",
    PatientDeleted: "deleted",
    PatientUndeleted: "undeleted",
}
_codec = codec.codec_of(PatientEvent)

Kind = type[PatientCreated] | type[PatientUpdated] | type[PatientDeleted] | type[PatientUndeleted]


async def record(
    outbox: Outbox,
    tx: Transaction,
    kind: Kind,
    row: Mapping[str, Any],
    caller: Caller,
    *,
    before: Mapping[str, Any] | None = None,
) -> Patient:
    """Writes what a change leaves, in its transaction, and returns the patient after it.

    That is a revision, an access event, and in the outbox what happened. Billing is not sent an update that leaves what
    it copies as it was `before`.
    """
    is_for_billing = before is None or any(row[name] != before[name] for name in _COPIED_BY_BILLING)
    patient = patient_of(row)
    await add_revision(tx, kind, patient, row["sequence"], caller)
    await record_change(tx, row["id"])
    event_id = uuid7()
    happened: dict[str, Any] = {_FIELDS[kind]: kind(patient=patient)}
    event = PatientEvent(
        event_id=str(event_id),
        sequence=row["sequence"],
        actor_id=caller.id,
        occur_time=row["update_time"],
        **happened,
    )
    await outbox.add(
        tx,
        destinations=[TOPIC, _BILLING] if is_for_billing else [TOPIC],
        event_id=event_id,
        key=patient.id,
        kind=codec.full_name(kind),
        payload=_codec.dumps(event),
    )
    return patient


class EventsTopic:
    """Delivers every event to Kafka, with the headers of the CloudEvents Kafka protocol binding 1.0, binary mode."""

    name = TOPIC
    batch = 100

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def life(self) -> str:
        """Returns the topic's id. Raises DependencyUnavailable."""
        return await self._publisher.topic_id()

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        """Publishes in order, all or nothing. Raises DependencyUnavailable."""
        await self._publisher.publish([_message(row) for row in rows])
        return [None] * len(rows)


class BillingAccounts:
    """Has billing open an account for each new patient, and keep it up to date: name, email, whether it is deleted."""

    name = _BILLING
    batch = 32

    def __init__(self, billing: grpc.aio.Channel, credentials: ServiceCredentials) -> None:
        self._create_account = Remote(
            billing,
            "billing",
            "CreateBillingAccount",
            CreateBillingAccountRequest,
            BillingAccount,
            credentials=credentials,
        )
        self._follow_patient = Remote(
            billing, "billing", "FollowPatient", FollowPatientRequest, BillingAccount, credentials=credentials
        )

    async def life(self) -> None:
        """Billing forgets nothing."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Calls billing for each row. Raises DependencyUnavailable if it answered none."""
        outcomes = await asyncio.gather(*(self._tell(row) for row in rows), return_exceptions=True)
        if all(isinstance(outcome, DependencyUnavailable) for outcome in outcomes):
            raise DependencyUnavailable from outcomes[0]
        return outcomes

    async def _tell(self, row: Record) -> None:
        current_traceparent.set(row["traceparent"])  # of the task that gather made for this row
        try:
            async with asyncio.timeout(_BILLING_SECONDS):  # for the service token and the call
                await self._follow(row)
        except TimeoutError as error:
            raise DependencyUnavailable from error

    async def _follow(self, row: Record) -> None:
        event = _codec.loads(row["payload"])
        _, happened = betterproto2.which_one_of(event, "event")
        patient = happened.patient if happened else None
        if patient is None:
            raise ValueError("the event tells of no patient")
        who = {"patient_id": patient.id, "name": patient.name, "email": patient.email}
        if isinstance(happened, PatientCreated):
            await self._create_account(CreateBillingAccountRequest(**who))
        else:
            deleted = patient.delete_time is not None
            await self._follow_patient(FollowPatientRequest(**who, sequence=event.sequence, deleted=deleted))


def _message(row: Record) -> Outgoing:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(row["event_id"]),
        "ce_type": row["type"],
        "ce_source": "/pulsetrack/patient",
        "ce_time": row["create_time"].isoformat(),
        "content-type": "application/protobuf",
    }
    return Outgoing(key=row["key"], value=row["payload"], headers=headers, traceparent=row["traceparent"])
