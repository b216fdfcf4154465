"""The outbox rows of a change of a patient."""

import re

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, PatientEvent
from services.common.protobuf import codec
from services.patient.changes import TOPIC
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID
from tests.patient.factory import create_request, update_request

ROWS = "SELECT *, xmin::text AS transaction FROM outbox WHERE key = $1 AND destination = $2 ORDER BY id"


def read_events(sql: Sql, patient_id: str) -> list[PatientEvent]:
    """Returns the events of a patient that are addressed to Kafka."""
    return [codec.codec_of(PatientEvent).loads(row["payload"]) for row in sql(ROWS, patient_id, TOPIC)]


def test_creation_adds_a_row_for_kafka_and_one_for_billing(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    [row] = sql(ROWS, created.id, TOPIC)
    [for_billing] = sql(ROWS, created.id, "billing")
    assert row["event_id"] == for_billing["event_id"]
    assert row["payload"] == for_billing["payload"]
    assert row["type"] == for_billing["type"] == "pulsetrack.patient.v1.PatientCreated"
    assert (row["delivered_time"], row["attempts"]) == (None, 0)


def test_patient_and_outbox_rows_are_written_in_one_transaction(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    written = sql("SELECT xmin::text FROM patients WHERE id = $1::uuid", created.id)
    written += sql("SELECT xmin::text FROM outbox WHERE key = $1", created.id)
    assert len(written) == 3
    assert len(set(written)) == 1


@pytest.mark.parametrize(
    "fields",
    [{"email": "first@clinic.test"}, {"medical_record_number": "MRN-1"}, {"name": ""}, {"date_of_birth": "2999-01-01"}],
)
def test_rejected_creation_adds_no_row(patients: Client, sql: Sql, fields: dict[str, str]) -> None:
    if not sql("SELECT FROM patients WHERE email = 'first@clinic.test'"):
        patients.create_patient(create_request(email="first@clinic.test", medical_record_number="MRN-1"))
    before = sql("SELECT id FROM outbox UNION SELECT 0")
    with pytest.raises(Rejected):
        patients.create_patient(create_request(**fields))
    assert sql("SELECT id FROM outbox UNION SELECT 0") == before


def test_each_change_adds_an_event_with_the_changed_patient(patients: Client, admin: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    updated = patients.update_patient(update_request(created, name="Ana Costa"))
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    first, second, third = read_events(sql, created.id)
    assert first.created
    assert first.created.patient == created
    assert second.updated
    assert second.updated.patient == updated
    assert third.deleted
    assert third.deleted.patient == deleted
    assert [event.sequence for event in (first, second, third)] == [1, 2, 3]
    assert [event.actor_id for event in (first, second, third)] == [USER_ID, USER_ID, ADMIN_ID]
    assert [event.occur_time for event in (first, second, third)] == [
        created.update_time,
        updated.update_time,
        deleted.update_time,
    ]
    assert len({event.event_id for event in (first, second, third)}) == 3


def read_billing_types(sql: Sql, patient_id: str) -> list[str]:
    """Returns the types of the events of a patient that are addressed to billing."""
    return [row["type"].rpartition(".")[2] for row in sql(ROWS, patient_id, "billing")]


@pytest.mark.parametrize("fields", [{"name": "Ana Costa"}, {"email": "ana.costa@clinic.test"}], ids=["name", "email"])
def test_update_of_a_billing_field_is_sent_to_billing(patients: Client, sql: Sql, fields: dict[str, str]) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, **fields))
    assert read_billing_types(sql, created.id) == ["PatientCreated", "PatientUpdated"]


def test_other_updates_are_not_sent_to_billing(patients: Client, admin: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, phone="112", address="2 High Street"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    assert read_billing_types(sql, created.id) == ["PatientCreated", "PatientDeleted"]


def test_rejected_change_adds_no_row(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="ABORTED"):
        patients.update_patient(update_request(created, name="Ana Costa", etag="stale"))
    with pytest.raises(Rejected, match="PERMISSION_DENIED"):
        patients.delete_patient(DeletePatientRequest(id=created.id))
    assert len(read_events(sql, created.id)) == 1


def test_event_has_the_trace_of_its_call(patients: Client, sql: Sql) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = patients.create_patient(create_request(), metadata=(("traceparent", trace),))
    untraced = patients.create_patient(create_request())
    assert [row["traceparent"] for row in sql(ROWS, traced.id, TOPIC)] == [trace]
    assert [len(row["traceparent"]) for row in sql(ROWS, untraced.id, TOPIC)] == [len(trace)]


def test_invalid_traceparent_is_replaced(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request(), metadata=(("traceparent", "00-anything"),))
    [row] = sql(ROWS, created.id, TOPIC)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", row["traceparent"])
