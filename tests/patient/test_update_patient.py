"""UpdatePatient."""

from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.google.protobuf import FieldMask
from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    Patient,
    Sex,
    UpdatePatientRequest,
)
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.patient.factory import a_patient, create_request, update_request

OPTIONAL = {"phone": "112", "sex": Sex.OTHER, "registered_date": "2001-02-03"}


@pytest.fixture
def ana(patients: Client) -> Patient:
    """A patient with all fields but the record number."""
    created: Patient = patients.create_patient(create_request(**OPTIONAL))
    return created


def writable_fields(patient: Patient) -> dict[str, object]:
    """Returns the writable fields of a patient."""
    names = ("name", "email", "address", "date_of_birth", "medical_record_number", *OPTIONAL)
    return {name: getattr(patient, name) for name in names}


def test_mask_selects_the_updated_fields(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, "name", name="Ana Costa", address="ignored", phone="999"))
    assert writable_fields(changed) == writable_fields(ana) | {"name": "Ana Costa"}


def test_without_a_mask_fields_with_values_are_updated(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, name="Ana Costa", sex=Sex.FEMALE))
    assert writable_fields(changed) == writable_fields(ana) | {"name": "Ana Costa", "sex": Sex.FEMALE}


def test_empty_mask_is_treated_as_absent(patients: Client, ana: Patient) -> None:
    request = UpdatePatientRequest(patient=Patient(id=ana.id, phone="999"), update_mask=FieldMask())
    assert patients.update_patient(request).phone == "999"


@pytest.mark.parametrize("mask", [(), ("etag",), ("create_time",)])
def test_update_of_no_field_is_rejected(patients: Client, ana: Patient, mask: tuple[str, ...]) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.update_patient(update_request(ana, *mask, etag=ana.etag))
    assert list(rejected.value.violations) == ["update_mask"]


def test_star_mask_updates_all_fields(patients: Client, ana: Patient) -> None:
    new = a_patient(name="Ana Costa", registered_date="2002-03-04")
    changed = patients.update_patient(update_request(ana, "*", **writable_fields(new)))
    assert writable_fields(changed) == writable_fields(new)


def test_response_equals_the_stored_patient(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, name="Ana Costa"))
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == changed
    assert (changed.id, changed.create_time) == (ana.id, ana.create_time)
    assert changed.update_time > ana.update_time
    assert changed.etag != ana.etag


@pytest.mark.parametrize("mask", [(), ("*",), ("id", "create_time", "update_time", "delete_time", "etag", "name")])
def test_output_only_fields_are_ignored(patients: Client, ana: Patient, mask: tuple[str, ...]) -> None:
    long_ago = datetime(1999, 1, 1, tzinfo=UTC)
    times = {"create_time": long_ago, "update_time": long_ago, "delete_time": long_ago}
    changed = patients.update_patient(
        update_request(ana, *mask, **(writable_fields(ana) | times | {"name": "Ana Costa"}))
    )
    assert changed.name == "Ana Costa"
    assert (changed.id, changed.create_time, changed.delete_time) == (ana.id, ana.create_time, None)
    assert changed.update_time > ana.update_time


@pytest.mark.parametrize("path", ["surname", "patient.name", "name.first", "Name", "dateOfBirth", ""])
def test_mask_with_an_unknown_field_is_rejected(patients: Client, ana: Patient, path: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.update_patient(update_request(ana, "name", path, name="Ana Costa"))
    assert list(rejected.value.violations) == ["update_mask"]
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_mask_clears_an_optional_field(patients: Client) -> None:
    bea = patients.create_patient(create_request(phone="112", sex=Sex.MALE, medical_record_number="MRN-BEA"))
    changed = patients.update_patient(update_request(bea, "phone", "sex", "medical_record_number"))
    assert (changed.phone, changed.sex, changed.medical_record_number) == ("", Sex.UNSPECIFIED, "")


def test_cleared_record_number_can_be_reused(patients: Client) -> None:
    bea = patients.create_patient(create_request(medical_record_number="MRN-FREE"))
    patients.update_patient(update_request(bea, "medical_record_number"))
    assert patients.create_patient(create_request(medical_record_number="MRN-FREE")).id != bea.id


@pytest.mark.parametrize("field", ["name", "email", "address", "date_of_birth"])
def test_required_field_cannot_be_cleared(patients: Client, ana: Patient, field: str) -> None:
    for mask in ((field,), ("*",)):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
            patients.update_patient(update_request(ana, *mask, **(writable_fields(ana) | {field: ""})))
        assert list(rejected.value.violations) == [f"patient.{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "\u3000"), ("email", "nobody"), ("date_of_birth", "2999-01-01"), ("registered_date", "2020-02-30")],
)
def test_invalid_field_is_reported_by_its_path(patients: Client, ana: Patient, field: str, value: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.update_patient(update_request(ana, field, **{field: value}))
    assert list(rejected.value.violations) == [f"patient.{field}"]


def test_stale_etag_is_rejected_and_current_etag_accepted(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, phone="999", etag=ana.etag))
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        patients.update_patient(update_request(ana, phone="000", etag=ana.etag))
    assert patients.update_patient(update_request(ana, phone="000", etag=changed.etag)).phone == "000"


def test_one_of_concurrent_updates_with_the_same_etag_succeeds(patients: Client, ana: Patient) -> None:
    for area in range(3):  # repeated, as the service opens more connections
        requests = [update_request(ana, phone=f"11{area}-{number}", etag=ana.etag) for number in range(12)]
        changed, rejected = call_concurrently([partial(patients.update_patient, request) for request in requests])
        assert {(rejection.code, rejection.reason) for rejection in rejected} == {(StatusCode.ABORTED, "ETAG_MISMATCH")}
        assert len(rejected) == 11
        [ana] = changed
        assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_concurrent_updates_are_serialized_and_none_is_lost(patients: Client, ana: Patient, sql: Sql) -> None:
    changes = {"name": "Ana Costa", "address": "2 Low Street", "phone": "999", "sex": Sex.FEMALE}
    requests = [update_request(ana, **{name: value}) for name, value in changes.items()]
    changed, _ = call_concurrently([partial(patients.update_patient, request) for request in requests])
    assert writable_fields(patients.get_patient(GetPatientRequest(id=ana.id))) == writable_fields(ana) | changes
    in_order = sorted(changed, key=lambda patient: int(patient.etag))
    assert in_order == sorted(changed, key=lambda patient: patient.update_time)
    assert (
        len(sql("SELECT FROM outbox WHERE key = $1", ana.id)) == 2 + len(changes) + 1
    )  # billing receives the name only


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("email", "taken@clinic.test", "EMAIL_ALREADY_EXISTS"),
        ("medical_record_number", "MRN-TAKEN", "RECORD_NUMBER_ALREADY_EXISTS"),
    ],
)
def test_email_or_record_number_of_another_patient_is_rejected(
    patients: Client, ana: Patient, field: str, value: str, reason: str
) -> None:
    patients.create_patient(create_request(**{field: value}))
    with pytest.raises(Rejected, match=f"ALREADY_EXISTS {reason}"):
        patients.update_patient(update_request(ana, **{field: value.upper()}))
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_case_of_the_patients_own_email_can_be_changed(patients: Client, ana: Patient) -> None:
    assert patients.update_patient(update_request(ana, email=ana.email.upper())).email == ana.email.upper()


def test_update_without_effect_publishes_no_event(patients: Client, ana: Patient, sql: Sql) -> None:
    before = len(sql("SELECT FROM outbox"))
    assert patients.update_patient(update_request(ana, "*", **writable_fields(ana))) == ana
    assert patients.update_patient(update_request(ana, name=f" {ana.name} ", etag=ana.etag)) == ana
    assert len(sql("SELECT FROM outbox")) == before


def test_deleted_patient_is_not_found(patients: Client, admin: Client, ana: Patient) -> None:
    admin.delete_patient(DeletePatientRequest(id=ana.id))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.update_patient(update_request(ana, name="Ana Costa"))


def test_unknown_patient_is_not_found(patients: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.update_patient(update_request(Patient(id=str(uuid4())), name="Ana Costa"))


@pytest.mark.parametrize(
    ("request_", "violated"),
    [
        (UpdatePatientRequest(), ["update_mask", "patient"]),
        (UpdatePatientRequest(patient=Patient(name="Ana")), ["patient"]),
        (UpdatePatientRequest(patient=Patient(id="42", name="Ana")), ["patient.id"]),
    ],
)
def test_update_without_a_valid_id_is_rejected(
    patients: Client, request_: UpdatePatientRequest, violated: list[str]
) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.update_patient(request_)
    assert list(rejected.value.violations) == violated


def test_concurrent_swap_of_two_emails_is_rejected(patients: Client) -> None:
    for _ in range(3):
        one, other = (patients.create_patient(create_request()) for _ in range(2))
        swaps = [update_request(one, "email", email=other.email), update_request(other, "email", email=one.email)]
        _, rejected = call_concurrently([partial(patients.update_patient, swap) for swap in swaps])
        assert {each.reason for each in rejected} <= {"EMAIL_ALREADY_EXISTS", "TRANSACTION_CONFLICT"}
