"""Rows that billing rejects block only later rows of the same patient."""

from functools import partial
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from grpc import StatusCode as Code

from gen.pulsetrack.patient.v1 import DeletePatientRequest, Patient, PatientCreated, PatientEvent
from services.billing.service import BillingService
from services.common.errors import Failure
from services.common.protobuf import codec
from tests.harness.client import Client
from tests.harness.delivery import WAITING, Delivery
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import create_request

SET_PAYLOAD = "UPDATE outbox SET payload = $2 WHERE id = $1"


def make_undeliverable(sql: Sql, patient_id: str) -> tuple[int, bytes]:
    """Makes billing reject the creation of a patient, and returns the id and the original payload of the row."""
    [row] = sql(
        "SELECT id, payload FROM outbox WHERE key = $1 AND destination = 'billing' AND type LIKE '%Created'", patient_id
    )
    invalid = PatientEvent(event_id=str(uuid4()), created=PatientCreated(patient=Patient(id="not an id")))
    sql(SET_PAYLOAD, row["id"], codec.codec_of(PatientEvent).dumps(invalid))
    return row["id"], row["payload"]


@pytest.mark.usefixtures("billing")
def test_undelivered_row_blocks_later_rows_of_the_same_patient(
    patients: Client, admin: Client, sql: Sql, delivery: Delivery
) -> None:
    created, other = (patients.create_patient(create_request()) for _ in range(2))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    row_id, payload = make_undeliverable(sql, created.id)
    with delivery.relays():
        eventually(partial(delivery.accounts, other.id))
        eventually(partial(sql, f"{WAITING} AND id = $1 AND attempts >= 2", row_id))
        assert not delivery.accounts(created.id)
        sql(SET_PAYLOAD, row_id, payload)
        delivery.wait()
    assert [account["status"] for account in delivery.accounts(created.id)] == ["CLOSED"]


@pytest.mark.usefixtures("billing")
def test_row_that_billing_rejects_does_not_block_other_patients(patients: Client, sql: Sql, delivery: Delivery) -> None:
    rejected, other = (patients.create_patient(create_request()) for _ in range(2))
    row_id, payload = make_undeliverable(sql, rejected.id)
    with delivery.relays():
        eventually(partial(delivery.accounts, other.id))
        eventually(partial(sql, f"{WAITING} AND id = $1 AND attempts >= 2", row_id))
        late = patients.create_patient(create_request())
        eventually(partial(delivery.accounts, late.id))
        sql(SET_PAYLOAD, row_id, payload)
        eventually(partial(delivery.accounts, rejected.id))


class BatchRejected(Failure):
    """Raised instead of the response to a batch."""

    code = Code.UNIMPLEMENTED
    reason = "BATCH_REJECTED"
    message = "The batch is rejected."


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize("code", [Code.UNIMPLEMENTED, Code.INTERNAL], ids=lambda code: code.name)
def test_events_of_a_batch_that_billing_rejects_are_delivered_singly(
    patients: Client, sql: Sql, delivery: Delivery, monkeypatch: pytest.MonkeyPatch, code: Code
) -> None:
    monkeypatch.setattr(BatchRejected, "code", code)
    monkeypatch.setattr(BillingService, "batch_follow_patients", AsyncMock(side_effect=BatchRejected))
    rejected, *others = (patients.create_patient(create_request()) for _ in range(4))
    row_id, payload = make_undeliverable(sql, rejected.id)
    with delivery.relays():
        eventually(lambda: all(delivery.accounts(other.id) for other in others))
        eventually(partial(sql, f"{WAITING} AND id = $1 AND attempts >= 1", row_id))
        sql(SET_PAYLOAD, row_id, payload)
        delivery.wait()


@pytest.mark.usefixtures("billing")
def test_row_that_cannot_be_parsed_does_not_block_other_patients(
    patients: Client, sql: Sql, delivery: Delivery
) -> None:
    invalid, other = (patients.create_patient(create_request()) for _ in range(2))
    row_id, payload = make_undeliverable(sql, invalid.id)
    sql(SET_PAYLOAD, row_id, b"\xff")
    with delivery.relays():
        eventually(partial(delivery.accounts, other.id))
        eventually(partial(sql, f"{WAITING} AND id = $1 AND attempts >= 1", row_id))
        sql(SET_PAYLOAD, row_id, payload)
        delivery.wait()
