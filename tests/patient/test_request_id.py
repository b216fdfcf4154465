"""CreatePatient with a request id: the first answer is the answer of every repetition."""

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


def requesting(request_id: str, **fields: object) -> CreatePatientRequest:
    """Returns the request that creates a patient, with a request id."""
    return CreatePatientRequest(patient=a_patient(**fields), request_id=request_id)


def key(value: str) -> tuple[tuple[str, str], ...]:
    """Returns the header, as metadata."""
    return (("idempotency-key", value),)


def patients_named(sql: Sql, name: str) -> int:
    return len(sql("SELECT FROM patients WHERE name = $1", name))


def test_a_repetition_gets_the_bytes_of_the_first_answer(patients: Client, sql: Sql) -> None:
    request = codec.codec_of(CreatePatientRequest).dumps(requesting("r-1", name="Repeated", phone="112"))
    first = patients.call(PATH, request)
    assert patients.call(PATH, request) == first
    assert patients_named(sql, "Repeated") == 1
    assert len(sql("SELECT FROM outbox WHERE destination = 'patient.events.v1'")) == 1


def test_a_repetition_gets_the_patient_as_it_was_then(patients: Client) -> None:
    request = requesting("r-2")
    first = patients.create_patient(request)
    changed = patients.update_patient(update_request(first, phone="112"))
    assert patients.create_patient(request) == first
    assert patients.get_patient(GetPatientRequest(id=first.id)) == changed


def test_the_same_id_with_other_content_is_refused(patients: Client, sql: Sql) -> None:
    patients.create_patient(requesting("r-3"))
    with pytest.raises(Rejected, match="INVALID_ARGUMENT REQUEST_ID_REUSED"):
        patients.create_patient(requesting("r-3", name="Somebody Else"))
    assert patients_named(sql, "Somebody Else") == 0


def test_another_callers_id_is_another_id(patients: Client, admin: Client) -> None:
    assert patients.create_patient(requesting("r-4")).id != admin.create_patient(requesting("r-4")).id


def test_requests_without_an_id_are_no_repetitions(patients: Client) -> None:
    patients.create_patient(create_request(email="twice@clinic.test"))
    with pytest.raises(Rejected, match="EMAIL_ALREADY_EXISTS"):
        patients.create_patient(create_request(email="twice@clinic.test"))


@pytest.mark.parametrize("wrong", [{"email": "taken@clinic.test"}, {"date_of_birth": "2999-01-01"}])
def test_a_request_that_failed_leaves_nothing(patients: Client, sql: Sql, wrong: dict[str, str]) -> None:
    request_id = str(uuid4())
    if not sql("SELECT FROM patients WHERE email = 'taken@clinic.test'"):
        patients.create_patient(create_request(email="taken@clinic.test"))
    with pytest.raises(Rejected):
        patients.create_patient(requesting(request_id, **wrong))
    assert not sql("SELECT FROM answers WHERE request_id = $1", request_id)
    assert patients.create_patient(requesting(request_id)).id


def test_of_those_who_send_one_id_at_once_one_creates_and_all_get_its_answer(patients: Client, sql: Sql) -> None:
    request = codec.codec_of(CreatePatientRequest).dumps(requesting("r-5", name="One Of Eight"))
    answers, refused = call_concurrently([lambda: patients.call(PATH, request)] * 8)
    assert refused == []
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert patients_named(sql, "One Of Eight") == 1


def test_of_those_who_send_one_id_with_other_contents_at_once_one_succeeds(patients: Client, sql: Sql) -> None:
    requests = [requesting("r-6", name="One Of Many") for _ in range(8)]
    created, refused = call_concurrently([partial(patients.create_patient, request) for request in requests])
    assert len(created) == 1
    assert [refusal.reason for refusal in refused] == ["REQUEST_ID_REUSED"] * 7
    assert patients_named(sql, "One Of Many") == 1


def test_a_repetition_waits_for_the_first_and_takes_its_place_if_that_fails(patients: Client, sql: Sql) -> None:
    patients.create_patient(requesting("r-7"))
    request = requesting("r-8", name="Second Try")
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks(CLAIM, "r-7", "r-8"):  # a first request under way, which is then rolled back
            second = threads.submit(patients.create_patient, request)
            eventually(lambda: sql.count_waiting() == 1)
        assert second.result() == patients.create_patient(request)
    assert patients_named(sql, "Second Try") == 1


def test_an_answer_is_forgotten_after_a_day(patients: Client, sql: Sql) -> None:
    first = patients.create_patient(requesting("r-9"))
    sql("UPDATE answers SET create_time = now() - interval '23 hours 59 minutes' WHERE request_id = 'r-9'")
    with pytest.raises(Rejected, match="REQUEST_ID_REUSED"):
        patients.create_patient(requesting("r-9"))
    sql("UPDATE answers SET create_time = now() - interval '24 hours 1 second' WHERE request_id = 'r-9'")
    again = requesting("r-9")
    second = patients.create_patient(again)
    assert second.id != first.id
    assert patients.create_patient(again) == second


def test_forgotten_answers_are_pruned(patients: Client, sql: Sql) -> None:
    for request_id in ("r-10", "r-11"):
        patients.create_patient(requesting(request_id))
    sql("UPDATE answers SET create_time = now() - interval '25 hours' WHERE request_id = 'r-10'")
    patients.create_patient(requesting("r-12"))
    kept = {row["request_id"] for row in sql("SELECT request_id FROM answers")}
    assert kept >= {"r-11", "r-12"}
    assert "r-10" not in kept


def test_the_header_says_the_same_as_the_field(patients: Client) -> None:
    request = requesting("r-13")
    first = patients.create_patient(request)
    in_header = CreatePatientRequest(patient=request.patient)
    assert patients.create_patient(in_header, metadata=key("r-13")) == first
    assert patients.create_patient(request, metadata=key("r-13")) == first
    assert patients.create_patient(request, metadata=key("")) == first


@pytest.mark.parametrize("metadata", [key("r-15"), (*key("r-14"), *key("r-15"))])
def test_a_header_that_differs_from_the_field_is_refused(
    patients: Client, metadata: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.create_patient(requesting("r-14"), metadata=metadata)
    assert list(refused.value.violations) == ["request_id"]


@pytest.mark.parametrize("request_id", ["x" * 129, "a\x00b", "caf\u00e9"])
def test_an_id_that_breaks_its_rule_is_refused(patients: Client, request_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.create_patient(requesting(request_id))
    assert list(refused.value.violations) == ["request_id"]


def test_a_header_that_breaks_the_rule_is_refused(patients: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.create_patient(create_request(), metadata=key("x" * 129))
    assert list(refused.value.violations) == ["request_id"]


def test_the_longest_id_is_accepted(patients: Client) -> None:
    assert patients.create_patient(requesting("~" * 128)).id
