"""CreatePatient with a request id: a repeated request returns the first response."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import CreatePatientRequest, GetPatientRequest
from services.common.protobuf import codec
from services.common.protobuf.contract import SERVICES
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import a_patient, create_request, update_request

PATH = f"/{SERVICES['patient']}/CreatePatient"
CLAIM = (
    "INSERT INTO answers (actor_id, request_type, request_id, digest)"
    " SELECT actor_id, request_type, $2, digest FROM answers WHERE request_id = $1"
)


def create_with_id(request_id: str, **fields: object) -> CreatePatientRequest:
    """Returns a request that creates a patient, with a request id."""
    return CreatePatientRequest(patient=a_patient(**fields), request_id=request_id)


def key_header(value: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata with the Idempotency-Key header."""
    return (("idempotency-key", value),)


def count_patients(sql: Sql, name: str) -> int:
    return len(sql("SELECT FROM patients WHERE name = $1", name))


def test_repeated_request_returns_the_first_response_unchanged(patients: Client, sql: Sql) -> None:
    request = codec.codec_of(CreatePatientRequest).dumps(create_with_id("r-1", name="Repeated", phone="112"))
    first = patients.call(PATH, request)
    assert patients.call(PATH, request) == first
    assert count_patients(sql, "Repeated") == 1
    assert len(sql("SELECT FROM outbox WHERE destination = 'patient.events.v1'")) == 1


def test_repeated_request_returns_the_patient_as_first_created(patients: Client) -> None:
    request = create_with_id("r-2")
    first = patients.create_patient(request)
    changed = patients.update_patient(update_request(first, phone="112"))
    assert patients.create_patient(request) == first
    assert patients.get_patient(GetPatientRequest(id=first.id)) == changed


def test_request_id_with_different_content_is_rejected(patients: Client, sql: Sql) -> None:
    patients.create_patient(create_with_id("r-3"))
    with pytest.raises(Rejected, match="INVALID_ARGUMENT REQUEST_ID_REUSED"):
        patients.create_patient(create_with_id("r-3", name="Another Patient"))
    assert count_patients(sql, "Another Patient") == 0


def test_request_ids_are_scoped_to_the_caller(patients: Client, admin: Client) -> None:
    assert patients.create_patient(create_with_id("r-4")).id != admin.create_patient(create_with_id("r-4")).id


def test_requests_without_an_id_are_not_deduplicated(patients: Client) -> None:
    patients.create_patient(create_request(email="twice@clinic.test"))
    with pytest.raises(Rejected, match="EMAIL_ALREADY_EXISTS"):
        patients.create_patient(create_request(email="twice@clinic.test"))


@pytest.mark.parametrize("wrong", [{"email": "taken@clinic.test"}, {"date_of_birth": "2999-01-01"}])
def test_failed_request_does_not_use_up_its_id(patients: Client, sql: Sql, wrong: dict[str, str]) -> None:
    request_id = str(uuid4())
    if not sql("SELECT FROM patients WHERE email = 'taken@clinic.test'"):
        patients.create_patient(create_request(email="taken@clinic.test"))
    with pytest.raises(Rejected):
        patients.create_patient(create_with_id(request_id, **wrong))
    assert not sql("SELECT FROM answers WHERE request_id = $1", request_id)
    assert patients.create_patient(create_with_id(request_id)).id


def test_concurrent_repetitions_create_one_patient_and_share_the_response(patients: Client, sql: Sql) -> None:
    request = codec.codec_of(CreatePatientRequest).dumps(create_with_id("r-5", name="One Of Eight"))
    responses, rejected = call_concurrently([lambda: patients.call(PATH, request)] * 8)
    assert rejected == []
    assert len(responses) == 8
    assert len(set(responses)) == 1
    assert count_patients(sql, "One Of Eight") == 1


def test_one_of_concurrent_requests_with_one_id_and_different_content_succeeds(patients: Client, sql: Sql) -> None:
    requests = [create_with_id("r-6", name="One Of Many") for _ in range(8)]
    created, rejected = call_concurrently([partial(patients.create_patient, request) for request in requests])
    assert len(created) == 1
    assert [rejection.reason for rejection in rejected] == ["REQUEST_ID_REUSED"] * 7
    assert count_patients(sql, "One Of Many") == 1


def test_repetition_waits_for_the_first_request_and_runs_if_that_fails(patients: Client, sql: Sql) -> None:
    patients.create_patient(create_with_id("r-7"))
    request = create_with_id("r-8", name="Second Try")
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks(CLAIM, "r-7", "r-8"):  # a first request in progress, which is then rolled back
            second = threads.submit(patients.create_patient, request)
            eventually(lambda: sql.count_waiting() == 1)
        assert second.result() == patients.create_patient(request)
    assert count_patients(sql, "Second Try") == 1


def test_request_id_expires_after_24_hours(patients: Client, sql: Sql) -> None:
    first = patients.create_patient(create_with_id("r-9"))
    sql("UPDATE answers SET create_time = now() - interval '23 hours 59 minutes' WHERE request_id = 'r-9'")
    with pytest.raises(Rejected, match="REQUEST_ID_REUSED"):
        patients.create_patient(create_with_id("r-9"))
    sql("UPDATE answers SET create_time = now() - interval '24 hours 1 second' WHERE request_id = 'r-9'")
    again = create_with_id("r-9")
    second = patients.create_patient(again)
    assert second.id != first.id
    assert patients.create_patient(again) == second


def test_expired_responses_are_pruned(patients: Client, sql: Sql) -> None:
    for request_id in ("r-10", "r-11"):
        patients.create_patient(create_with_id(request_id))
    sql("UPDATE answers SET create_time = now() - interval '25 hours' WHERE request_id = 'r-10'")
    patients.create_patient(create_with_id("r-12"))
    stored = {row["request_id"] for row in sql("SELECT request_id FROM answers")}
    assert stored >= {"r-11", "r-12"}
    assert "r-10" not in stored


def test_idempotency_key_header_is_equivalent_to_the_field(patients: Client) -> None:
    request = create_with_id("r-13")
    first = patients.create_patient(request)
    in_header = CreatePatientRequest(patient=request.patient)
    assert patients.create_patient(in_header, metadata=key_header("r-13")) == first
    assert patients.create_patient(request, metadata=key_header("r-13")) == first
    assert patients.create_patient(request, metadata=key_header("")) == first


@pytest.mark.parametrize("metadata", [key_header("r-15"), (*key_header("r-14"), *key_header("r-15"))])
def test_header_that_differs_from_the_field_is_rejected(
    patients: Client, metadata: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_with_id("r-14"), metadata=metadata)
    assert list(rejected.value.violations) == ["request_id"]


@pytest.mark.parametrize("request_id", ["x" * 129, "a\x00b", "caf\u00e9"])
def test_invalid_request_id_is_rejected(patients: Client, request_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_with_id(request_id))
    assert list(rejected.value.violations) == ["request_id"]


def test_invalid_header_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_request(), metadata=key_header("x" * 129))
    assert list(rejected.value.violations) == ["request_id"]


def test_longest_request_id_is_accepted(patients: Client) -> None:
    assert patients.create_patient(create_with_id("~" * 128)).id
