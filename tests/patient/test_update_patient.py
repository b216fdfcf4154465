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
    """A patient with every field that is not unique."""
    created: Patient = patients.create_patient(create_request(**OPTIONAL))
    return created


def own_fields(patient: Patient) -> dict[str, object]:
    """Returns what a caller may change."""
    names = ("name", "email", "address", "date_of_birth", "medical_record_number", *OPTIONAL)
    return {name: getattr(patient, name) for name in names}


def test_a_mask_says_which_fields_change(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, "name", name="Ana Costa", address="ignored", phone="999"))
    assert own_fields(changed) == own_fields(ana) | {"name": "Ana Costa"}


def test_without_a_mask_the_fields_that_have_a_value_change(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, name="Ana Costa", sex=Sex.FEMALE))
    assert own_fields(changed) == own_fields(ana) | {"name": "Ana Costa", "sex": Sex.FEMALE}


def test_an_empty_mask_is_as_none(patients: Client, ana: Patient) -> None:
    request = UpdatePatientRequest(patient=Patient(id=ana.id, phone="999"), update_mask=FieldMask())
    assert patients.update_patient(request).phone == "999"


def test_a_star_changes_all_fields(patients: Client, ana: Patient) -> None:
    new = a_patient(name="Ana Costa", registered_date="2002-03-04")
    changed = patients.update_patient(update_request(ana, "*", **own_fields(new)))
    assert own_fields(changed) == own_fields(new)


def test_the_answer_is_what_is_stored(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, name="Ana Costa"))
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == changed
    assert (changed.id, changed.create_time) == (ana.id, ana.create_time)
    assert changed.update_time > ana.update_time
    assert changed.etag != ana.etag


@pytest.mark.parametrize("mask", [(), ("*",), ("id", "create_time", "update_time", "delete_time", "etag", "name")])
def test_output_only_fields_are_ignored(patients: Client, ana: Patient, mask: tuple[str, ...]) -> None:
    long_ago = datetime(1999, 1, 1, tzinfo=UTC)
    times = {"create_time": long_ago, "update_time": long_ago, "delete_time": long_ago}
    changed = patients.update_patient(update_request(ana, *mask, **(own_fields(ana) | times | {"name": "Ana Costa"})))
    assert changed.name == "Ana Costa"
    assert (changed.id, changed.create_time, changed.delete_time) == (ana.id, ana.create_time, None)
    assert changed.update_time > ana.update_time


@pytest.mark.parametrize("path", ["surname", "patient.name", "name.first", "Name", "dateOfBirth", ""])
def test_a_mask_with_an_unknown_field_is_refused(patients: Client, ana: Patient, path: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.update_patient(update_request(ana, "name", path, name="Ana Costa"))
    assert list(refused.value.violations) == ["update_mask"]
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_a_mask_clears_an_optional_field(patients: Client) -> None:
    bea = patients.create_patient(create_request(phone="112", sex=Sex.MALE, medical_record_number="MRN-BEA"))
    changed = patients.update_patient(update_request(bea, "phone", "sex", "medical_record_number"))
    assert (changed.phone, changed.sex, changed.medical_record_number) == ("", Sex.UNSPECIFIED, "")


def test_a_record_number_that_was_cleared_is_free(patients: Client) -> None:
    bea = patients.create_patient(create_request(medical_record_number="MRN-FREE"))
    patients.update_patient(update_request(bea, "medical_record_number"))
    assert patients.create_patient(create_request(medical_record_number="MRN-FREE")).id != bea.id


@pytest.mark.parametrize("field", ["name", "email", "address", "date_of_birth"])
def test_a_required_field_cannot_be_cleared(patients: Client, ana: Patient, field: str) -> None:
    for mask in ((field,), ("*",)):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
            patients.update_patient(update_request(ana, *mask, **(own_fields(ana) | {field: ""})))
        assert list(refused.value.violations) == [f"patient.{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "\u3000"), ("email", "nobody"), ("date_of_birth", "2999-01-01"), ("registered_date", "2020-02-30")],
)
def test_a_field_that_breaks_its_rule_is_named(patients: Client, ana: Patient, field: str, value: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.update_patient(update_request(ana, field, **{field: value}))
    assert list(refused.value.violations) == [f"patient.{field}"]


def test_a_stale_etag_is_refused_and_the_current_one_accepted(patients: Client, ana: Patient) -> None:
    changed = patients.update_patient(update_request(ana, phone="999", etag=ana.etag))
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        patients.update_patient(update_request(ana, phone="000", etag=ana.etag))
    assert patients.update_patient(update_request(ana, phone="000", etag=changed.etag)).phone == "000"


def test_of_those_who_update_one_state_at_once_one_succeeds(patients: Client, ana: Patient) -> None:
    for area in range(3):  # again, when the service has enough connections to be really at once
        requests = [update_request(ana, phone=f"{area}-{number}", etag=ana.etag) for number in range(12)]
        changed, refused = call_concurrently([partial(patients.update_patient, request) for request in requests])
        assert {(refusal.code, refusal.reason) for refusal in refused} == {(StatusCode.ABORTED, "ETAG_MISMATCH")}
        assert len(refused) == 11
        [ana] = changed
        assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_updates_at_once_lose_nothing_and_follow_each_other(patients: Client, ana: Patient, sql: Sql) -> None:
    changes = {"name": "Ana Costa", "address": "2 Low Street", "phone": "999", "sex": Sex.FEMALE}
    requests = [update_request(ana, **{name: value}) for name, value in changes.items()]
    changed, _ = call_concurrently([partial(patients.update_patient, request) for request in requests])
    assert own_fields(patients.get_patient(GetPatientRequest(id=ana.id))) == own_fields(ana) | changes
    in_order = sorted(changed, key=lambda patient: int(patient.etag))
    assert in_order == sorted(changed, key=lambda patient: patient.update_time)
    assert len(sql("SELECT FROM outbox WHERE key = $1", ana.id)) == 2 + len(changes) + 1  # billing follows the name


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("email", "taken@clinic.test", "EMAIL_ALREADY_EXISTS"),
        ("medical_record_number", "MRN-TAKEN", "RECORD_NUMBER_ALREADY_EXISTS"),
    ],
)
def test_what_belongs_to_another_patient_is_refused(
    patients: Client, ana: Patient, field: str, value: str, reason: str
) -> None:
    patients.create_patient(create_request(**{field: value}))
    with pytest.raises(Rejected, match=f"ALREADY_EXISTS {reason}"):
        patients.update_patient(update_request(ana, **{field: value.upper()}))
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_a_patient_may_write_its_own_email_in_another_case(patients: Client, ana: Patient) -> None:
    assert patients.update_patient(update_request(ana, email=ana.email.upper())).email == ana.email.upper()


def test_an_update_that_changes_nothing_is_no_event(patients: Client, ana: Patient, sql: Sql) -> None:
    before = len(sql("SELECT FROM outbox"))
    assert patients.update_patient(update_request(ana)) == ana
    assert patients.update_patient(update_request(ana, "*", **own_fields(ana))) == ana
    assert patients.update_patient(update_request(ana, name=f" {ana.name} ", etag=ana.etag)) == ana
    assert len(sql("SELECT FROM outbox")) == before


def test_a_deleted_patient_is_not_found(patients: Client, admin: Client, ana: Patient) -> None:
    admin.delete_patient(DeletePatientRequest(id=ana.id))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.update_patient(update_request(ana, name="Ana Costa"))


def test_an_unknown_patient_is_not_found(patients: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.update_patient(update_request(Patient(id=str(uuid4())), name="Ana Costa"))


@pytest.mark.parametrize(
    ("request_", "violated"),
    [
        (UpdatePatientRequest(), "patient"),
        (UpdatePatientRequest(patient=Patient(name="Ana")), "patient"),
        (UpdatePatientRequest(patient=Patient(id="42")), "patient.id"),
    ],
)
def test_an_update_must_say_of_whom(patients: Client, request_: UpdatePatientRequest, violated: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.update_patient(request_)
    assert list(refused.value.violations) == [violated]


def test_two_emails_swapped_at_once_conflict_or_are_taken(patients: Client) -> None:
    for _ in range(3):
        one, other = (patients.create_patient(create_request()) for _ in range(2))
        swaps = [update_request(one, "email", email=other.email), update_request(other, "email", email=one.email)]
        _, refused = call_concurrently([partial(patients.update_patient, swap) for swap in swaps])
        assert {each.reason for each in refused} <= {"EMAIL_ALREADY_EXISTS", "TRANSACTION_CONFLICT"}
