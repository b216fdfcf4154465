"""Which access events the calls of the patient service record, and for which patients."""

import pytest

from gen.pulsetrack.patient.v1 import (
    CreatePatientRequest,
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientsRequest,
    UndeletePatientRequest,
)
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.access_events import SERVICE, summarize, wait_for_events
from tests.patient.factory import a_patient, create_request, update_request


def test_repeated_create_records_a_read(patients: Client, admin: Client) -> None:
    request = CreatePatientRequest(patient=a_patient(), request_id="audited-twice")
    created, again = (patients.create_patient(request) for _ in range(2))
    assert again == created
    assert summarize(wait_for_events(admin, created.id, 2)) == [("CreatePatient", "OK")] * 2


def test_change_without_effect_records_a_read(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, name=created.name))
    admin.undelete_patient(UndeletePatientRequest(id=created.id))
    assert summarize(wait_for_events(admin, created.id, 3)) == [
        ("CreatePatient", "OK"),
        ("UpdatePatient", "OK"),
        ("UndeletePatient", "OK"),
    ]


def test_id_in_a_create_request_is_ignored(patients: Client, admin: Client) -> None:
    other = patients.create_patient(create_request())
    with pytest.raises(Rejected):
        patients.create_patient(create_request(id=other.id, email=other.email))
    patients.get_patient(GetPatientRequest(id=other.id))
    assert summarize(wait_for_events(admin, other.id, 2)) == [("CreatePatient", "OK"), ("GetPatient", "OK")]


def test_list_is_one_event_of_all_its_patients(patients: Client, admin: Client) -> None:
    created = [patients.create_patient(create_request(name="Listed Together")) for _ in range(3)]
    patients.list_patients(ListPatientsRequest(query="listed together"))
    [first, *others] = [wait_for_events(admin, patient.id, 2)[-1] for patient in created]
    assert (first.method, first.patient_id) == (f"{SERVICE}/ListPatients", created[0].id)
    assert [(event.id, event.patient_id) for event in others] == [(first.id, each.id) for each in created[1:]]


def test_change_and_its_event_share_a_transaction(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    transactions = sql("SELECT xmin::text FROM patients WHERE id = $1", created.id)
    transactions += sql("SELECT xmin::text FROM access_events WHERE $1 = ANY(patient_ids)", created.id)
    assert len(transactions) == 2
    assert len(set(transactions)) == 1


def test_events_of_a_deleted_patient_are_retained(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with pytest.raises(Rejected):
        patients.get_patient(GetPatientRequest(id=created.id))
    assert summarize(wait_for_events(admin, created.id, 3)) == [
        ("CreatePatient", "OK"),
        ("DeletePatient", "OK"),
        ("GetPatient", "NOT_FOUND"),
    ]
