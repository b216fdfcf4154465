"""Responses contain the stored message of a patient, which is always that of the latest change."""

import random
from collections.abc import Iterator

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    Patient,
    UndeletePatientRequest,
)
from services.common.protobuf.contract import message_class
from services.patient.domain import PATIENT_CODEC, to_patient
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request

COLUMNS_ONLY = (  # what a version without the column `message` writes
    "WITH changed AS (UPDATE patients SET phone = $2, sequence = sequence + 1 WHERE id = $1 RETURNING *)"
    " INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient)"
    " SELECT id, sequence, 'an actor', update_time, 2, $3 FROM changed"
)
FIELDS = {
    ("id", 1, "string"),
    ("name", 2, "string"),
    ("email", 3, "string"),
    ("address", 4, "string"),
    ("date_of_birth", 5, "string"),
    ("registered_date", 6, "string"),
    ("phone", 7, "string"),
    ("sex", 8, "enum"),
    ("medical_record_number", 9, "string"),
    ("create_time", 10, "message"),
    ("update_time", 11, "message"),
    ("delete_time", 12, "message"),
    ("etag", 13, "string"),
    ("restricted", 14, "bool"),
    ("merged_into", 15, "string"),
}


def stored(sql: Sql, patient_id: str) -> Patient:
    """Returns the patient that the columns of a row represent."""
    [row] = sql("SELECT * FROM patients WHERE id = $1", patient_id)
    return to_patient(row)


def listed(patients: Client, patient_id: str) -> Patient:
    page = patients.list_patients(ListPatientsRequest(show_deleted=True, page_size=1000))
    found: list[Patient] = [each for each in page.patients if each.id == patient_id]
    return found[0]


def searched(patients: Client, patient: Patient) -> Patient:
    page = patients.list_patients(ListPatientsRequest(query=patient.email, show_deleted=True))
    found: list[Patient] = page.patients
    assert len(found) == 1
    return found[0]


def changes(patients: Client, admin: Client, patient: Patient, chance: random.Random) -> Iterator[Patient]:
    """Makes random changes and yields the patient after each."""
    for number in range(12):
        if patient.delete_time:
            patient = admin.undelete_patient(UndeletePatientRequest(id=patient.id))
        elif chance.random() < 0.3:
            patient = admin.delete_patient(DeletePatientRequest(id=patient.id))
        else:
            field = chance.choice(["name", "address", "phone", "medical_record_number"])
            value = f"{chance.choice(['112', 'Zoë', '東京'])} {number}" if field != "phone" else f"112 00{number}"
            patient = patients.update_patient(update_request(patient, **{field: value}))
        yield patient


@pytest.mark.parametrize("seed", range(3))
def test_every_response_equals_the_columns_after_each_change(
    patients: Client, admin: Client, sql: Sql, seed: int
) -> None:
    created = patients.create_patient(create_request())
    assert created == stored(sql, created.id)
    for changed in changes(patients, admin, created, random.Random(seed)):
        assert changed == stored(sql, created.id) == listed(patients, created.id) == searched(patients, created)
        if changed.delete_time is None:
            assert patients.get_patient(GetPatientRequest(id=created.id)) == changed
        [latest] = patients.list_patient_revisions(ListPatientRevisionsRequest(id=created.id, page_size=1)).revisions
        assert latest.patient == changed


def change_by_previous_version(sql: Sql, patient: Patient) -> Patient:
    """Changes the phone of a patient as the previous version does, and returns the patient."""
    patient = stored(sql, patient.id)
    patient.phone, patient.etag = "999", str(int(patient.etag) + 1)
    sql(COLUMNS_ONLY, patient.id, "999", PATIENT_CODEC.dumps(patient))
    return patient


def test_message_of_an_earlier_change_is_not_returned(patients: Client, sql: Sql) -> None:
    changed = change_by_previous_version(sql, patients.create_patient(create_request(phone="112")))
    assert patients.get_patient(GetPatientRequest(id=changed.id)) == changed
    assert listed(patients, changed.id) == searched(patients, changed) == changed


def test_patient_without_a_message_is_read_from_its_revision(patients: Client, sql: Sql) -> None:
    patient = patients.create_patient(create_request())
    sql("UPDATE patients SET message = NULL, message_sequence = NULL WHERE id = $1", patient.id)
    assert patients.get_patient(GetPatientRequest(id=patient.id)) == patient
    assert listed(patients, patient.id) == patient


def test_change_after_one_by_the_previous_version_stores_the_message(patients: Client, sql: Sql) -> None:
    changed = change_by_previous_version(sql, patients.create_patient(create_request(phone="112")))
    again = patients.update_patient(update_request(changed, name="Again"))
    [row] = sql("SELECT message, message_sequence, sequence FROM patients WHERE id = $1", again.id)
    assert (PATIENT_CODEC.loads(row["message"]), row["message_sequence"]) == (again, row["sequence"])


def test_deleted_patient_is_not_returned(patients: Client, admin: Client) -> None:
    patient = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=patient.id))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=patient.id))


def test_fields_of_stored_messages_have_not_changed() -> None:
    # A new field is empty in the stored messages of patients. If that is wrong, add a migration that clears the column
    # `message` and rewrites the latest revisions, and then change this set.
    fields = message_class("pulsetrack.patient.v1.Patient").DESCRIPTOR.fields
    kinds = {8: "bool", 9: "string", 14: "enum", 11: "message"}
    assert {(field.name, field.number, kinds[field.type]) for field in fields} == FIELDS
