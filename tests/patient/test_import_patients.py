"""ImportPatients: the outcome of each record, and the patients that it creates."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    ImportMode,
    ImportOutcome,
    ImportPatientsRequest,
    ImportResult,
    ListPatientsRequest,
    Patient,
)
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.patient.care import User, create_restricted
from tests.patient.factory import a_patient, create_request

CREATED, UPDATED, SAME, REFUSED = (
    ImportOutcome.CREATED,
    ImportOutcome.UPDATED,
    ImportOutcome.SAME,
    ImportOutcome.REFUSED,
)


def run(client: Client, *records: Patient, upsert: bool = False) -> list[ImportResult]:
    """Imports records and returns their results."""
    mode = ImportMode.UPSERT if upsert else ImportMode.UNSPECIFIED
    request = ImportPatientsRequest(patients=list(records), mode=mode)
    results: list[ImportResult] = client.import_patients(request).results
    return results


def outcomes(results: list[ImportResult]) -> list[tuple[ImportOutcome, str]]:
    """Returns the outcomes and reasons."""
    return [(result.outcome, result.reason) for result in results]


def with_number(**fields: Any) -> Patient:
    """Returns a record with a record number of its own."""
    return a_patient(**({"medical_record_number": f"MRN-{uuid4()}"} | fields))


def test_new_records_are_created_in_order(admin: Client) -> None:
    records = [with_number(name="One"), a_patient(name="Two")]
    results = run(admin, *records)
    assert outcomes(results) == [(CREATED, "")] * 2
    created = [admin.get_patient(GetPatientRequest(id=result.patient_id)) for result in results]
    assert [(each.name, each.email) for each in created] == [(each.name, each.email) for each in records]


def test_repeated_import_changes_nothing(admin: Client) -> None:
    records = [with_number(), a_patient()]
    first = run(admin, *records)
    again = run(admin, *records, upsert=True)
    assert outcomes(again) == [(SAME, "")] * 2
    assert [each.patient_id for each in again] == [each.patient_id for each in first]


def test_different_record_is_refused_or_updates_its_patient(admin: Client) -> None:
    record = with_number()
    [created] = run(admin, record)
    changed = replace(record, phone="112")
    assert outcomes(run(admin, changed)) == [(REFUSED, "RECORD_NUMBER_ALREADY_EXISTS")]
    assert outcomes(run(admin, changed, upsert=True)) == [(UPDATED, "")]
    assert admin.get_patient(GetPatientRequest(id=created.patient_id)).phone == "112"


def test_refused_record_does_not_affect_the_others(admin: Client) -> None:
    taken = admin.create_patient(create_request())
    results = run(admin, with_number(), with_number(name="", email="no"), with_number(email=taken.email), a_patient())
    assert outcomes(results) == [
        (CREATED, ""),
        (REFUSED, "FIELDS_INVALID"),
        (REFUSED, "EMAIL_ALREADY_EXISTS"),
        (CREATED, ""),
    ]


def test_update_to_the_email_address_of_another_patient_is_refused(admin: Client) -> None:
    taken, first, second = admin.create_patient(create_request()), with_number(), with_number()
    run(admin, first, second)
    results = run(admin, replace(first, email=taken.email), replace(second, phone="112"), upsert=True)
    assert outcomes(results) == [(REFUSED, "EMAIL_ALREADY_EXISTS"), (UPDATED, "")]


def test_updates_without_a_conflict_share_a_transaction(admin: Client, sql: Sql) -> None:
    records = [with_number() for _ in range(30)]
    ids = [each.patient_id for each in run(admin, *records)]
    changed = [replace(each, phone="112") for each in records]
    assert outcomes(run(admin, *changed, upsert=True)) == [(UPDATED, "")] * 30
    transactions = sql("SELECT DISTINCT xmin::text FROM patients WHERE id = ANY($1)", ids)
    transactions += sql("SELECT DISTINCT xmin::text FROM revisions WHERE patient_id = ANY($1) AND revision = 2", ids)
    assert len({row["xmin"] for row in transactions}) == 1
    assert {admin.get_patient(GetPatientRequest(id=each)).etag for each in ids} == {"2"}


def test_two_records_of_a_patient_with_different_keys_are_imported_in_order(admin: Client) -> None:
    record = with_number()
    [created] = run(admin, record)
    numbered, other = replace(record, email=f"{uuid4()}@clinic.test"), replace(record, medical_record_number="")
    results = run(admin, numbered, replace(other, phone="112"), upsert=True)
    assert outcomes(results) == [(UPDATED, "")] * 2
    patient = admin.get_patient(GetPatientRequest(id=created.patient_id))
    assert (patient.email, patient.phone) == (record.email, "112")


def test_import_restricts_a_patient(admin: Client, sql: Sql) -> None:
    records = [with_number(), with_number()]
    run(admin, *records)
    changed = [replace(records[0], restricted=True), replace(records[1], phone="112")]
    results = run(admin, *changed, upsert=True)
    assert outcomes(results) == [(UPDATED, "")] * 2
    [row] = sql("SELECT id FROM patients WHERE restricted AND id = ANY($1)", [each.patient_id for each in results])
    assert str(row["id"]) == results[0].patient_id


def test_variant_of_a_record_number_is_the_same_key(admin: Client) -> None:
    record = with_number()
    variant = replace(record, medical_record_number=record.medical_record_number.lower(), phone="112")
    assert outcomes(run(admin, record, variant, upsert=True)) == [(CREATED, ""), (UPDATED, "")]


def test_violations_are_those_of_create_patient(admin: Client) -> None:
    fields = {"name": "", "email": "no", "date_of_birth": "2999-01-01", "phone": "x"}
    with pytest.raises(Rejected) as rejected:
        admin.create_patient(create_request(**fields))
    [result] = run(admin, a_patient(**fields))
    assert {each.field: each.description for each in result.violations} == rejected.value.violations


def test_records_of_a_key_are_imported_in_order(admin: Client) -> None:
    record = with_number()
    results = run(admin, record, record, replace(record, phone="1234"), replace(record, phone="5678"), upsert=True)
    assert outcomes(results) == [(CREATED, ""), (SAME, ""), (UPDATED, ""), (UPDATED, "")]
    assert admin.get_patient(GetPatientRequest(id=results[0].patient_id)).phone == "5678"


def test_concurrent_imports_of_the_same_records_create_each_once(admin: Client) -> None:
    name = uuid4().hex
    records = [with_number(name=name) for _ in range(30)]
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(lambda each: run(admin, *each), [records, records[::-1]] * 2))
    assert sorted(each.outcome for results in runs for each in results) == [CREATED] * 30 + [SAME] * 90
    assert len(admin.list_patients(ListPatientsRequest(query=name, page_size=100)).patients) == 30


def test_imported_patient_has_the_records_of_a_created_one(admin: Client, sql: Sql) -> None:
    created = admin.create_patient(create_request())
    ids = [created.id, *(each.patient_id for each in run(admin, *(with_number() for _ in range(8))))]
    outbox = "SELECT destination, type FROM outbox WHERE key = $1 ORDER BY destination"
    revision = "SELECT revision, actor_id, type FROM revisions WHERE patient_id = $1"
    event = "SELECT actor_id, outcome FROM access_events WHERE $1::uuid = ANY(patient_ids)"
    for query in (outbox, revision, event):
        rows = [[dict(row) for row in sql(query, each)] for each in ids]
        assert rows[0]
        assert rows[1:] == rows[:1] * 8


def test_record_of_a_deleted_patient_is_refused(admin: Client) -> None:
    record = with_number()
    [created] = run(admin, record)
    admin.delete_patient(DeletePatientRequest(id=created.patient_id))
    assert outcomes(run(admin, record, upsert=True)) == [(REFUSED, "RECORD_NUMBER_ALREADY_EXISTS")]


def test_record_of_a_hidden_patient_is_refused_as_by_create_patient(patients: Client, signer: Signer) -> None:
    hidden = create_restricted(User(patients, signer).client, medical_record_number=f"MRN-{uuid4()}")
    client = patients.with_token(signer.long_lived_token("CLIENT", scope="patients.write"))
    same = a_patient(email=hidden.email, medical_record_number=hidden.medical_record_number)
    assert run(client, same, upsert=True) == [ImportResult(outcome=REFUSED, reason="RECORD_NUMBER_ALREADY_EXISTS")]


def test_only_admins_and_machine_clients_import(patients: Client) -> None:
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        run(patients, a_patient())


@pytest.mark.parametrize("count", [0, 501])
def test_number_of_records_is_limited(admin: Client, count: int) -> None:
    with pytest.raises(Rejected, match="FIELDS_INVALID") as rejected:
        run(admin, *[Patient()] * count)
    assert list(rejected.value.violations) == ["patients"]
