"""CreatePatient."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.patient.v1 import CreatePatientRequest, GetPatientRequest, Sex
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.patient.factory import create_request


def test_response_equals_the_stored_patient(patients: Client) -> None:
    created = patients.create_patient(
        create_request(sex=Sex.FEMALE, phone="+351 21 000", medical_record_number="MRN-1")
    )
    assert created == patients.get_patient(GetPatientRequest(id=created.id))


def test_registered_date_defaults_to_today(patients: Client) -> None:
    assert patients.create_patient(create_request()).registered_date == datetime.now(UTC).date().isoformat()
    assert patients.create_patient(create_request(registered_date="2020-01-31")).registered_date == "2020-01-31"


def test_text_is_normalized_to_nfc_and_trimmed(patients: Client) -> None:
    assert patients.create_patient(create_request(name=" Jose\u0301 ")).name == "Jos\u00e9"


def test_email_is_unique_regardless_of_case(patients: Client) -> None:
    patients.create_patient(create_request(email="one@clinic.test"))
    with pytest.raises(Rejected) as rejected:
        patients.create_patient(create_request(email="ONE@Clinic.test"))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.ALREADY_EXISTS, "EMAIL_ALREADY_EXISTS")


def test_one_of_concurrent_creates_with_the_same_email_succeeds(patients: Client, sql: Sql) -> None:
    created, rejected = call_concurrently(
        [lambda: patients.create_patient(create_request(email="race@clinic.test"))] * 16
    )
    assert len(created) == 1
    assert [rejection.reason for rejection in rejected] == ["EMAIL_ALREADY_EXISTS"] * 15
    assert {rejection.code for rejection in rejected} == {StatusCode.ALREADY_EXISTS}
    assert len(sql("SELECT FROM patients WHERE email_key = 'race@clinic.test'")) == 1


def test_record_number_is_unique_unless_empty(patients: Client) -> None:
    for number in ("", "", "MRN-2"):
        patients.create_patient(create_request(medical_record_number=number))
    for number in (" MRN-2 ", "mrn-2"):
        with pytest.raises(Rejected, match="ALREADY_EXISTS RECORD_NUMBER_ALREADY_EXISTS"):
            patients.create_patient(create_request(medical_record_number=number))


def test_output_only_fields_are_ignored(patients: Client) -> None:
    long_ago = datetime(1999, 1, 1, tzinfo=UTC)
    given_id = str(uuid4())
    created = patients.create_patient(
        create_request(id=given_id, create_time=long_ago, update_time=long_ago, delete_time=long_ago, etag="7")
    )
    assert created.id != given_id
    assert UUID(created.id).version == 7
    assert created.create_time == created.update_time > long_ago
    assert created.delete_time is None
    assert created.etag != "7"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 101),
        ("name", "a\x00b"),
        ("email", "nobody"),
        ("address", ""),
        ("address", "x" * 201),
        ("date_of_birth", ""),
        ("date_of_birth", "1980-02-30"),
        ("date_of_birth", "29.02.1980"),
        ("date_of_birth", "2999-01-01"),
        ("registered_date", "2020-13-01"),
        ("phone", "call me"),
        ("sex", 9),
        ("medical_record_number", "x" * 65),
    ],
)
def test_invalid_field_is_reported_by_its_path(patients: Client, field: str, value: object) -> None:
    with pytest.raises(Rejected) as rejected:
        patients.create_patient(create_request(**{field: value}))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    assert list(rejected.value.violations) == [f"patient.{field}"]


def test_request_without_a_patient_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        patients.create_patient(CreatePatientRequest())
    required = ["name", "email", "address", "date_of_birth"]
    assert list(rejected.value.violations) == [f"patient.{field}" for field in required]
