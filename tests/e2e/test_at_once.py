"""Many who do the same at once, at each door of the gateway: one of them succeeds, the others learn why not."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient, UpdatePatientRequest
from tests.e2e.sessions import Session, a_patient, list_all
from tests.harness.concurrency import call_concurrently

DOORS = ("native", "rest")


def patient_of(body: dict[str, Any]) -> Patient:
    return Patient(**{"date_of_birth" if name == "dateOfBirth" else name: value for name, value in body.items()})


def creating(user: Session, door: str, body: dict[str, Any], request_id: str = "") -> Any:
    """Returns what creates a patient at a door when it is called."""
    if door == "rest":
        return partial(user.rest.post, "/v1/patients", json=body, params={"requestId": request_id})
    request = CreatePatientRequest(patient=patient_of(body), request_id=request_id)
    return partial(user.client("patient").create_patient, request)


def updating(user: Session, door: str, change: dict[str, Any]) -> Any:
    """Returns what updates a patient at a door when it is called."""
    if door == "rest":
        return partial(user.rest.patch, f"/v1/patients/{change['id']}", json=change)
    return partial(user.client("patient").update_patient, UpdatePatientRequest(patient=patient_of(change)))


def results(calls: list[Any]) -> Counter[tuple[Any, str]]:
    """Makes calls at once and counts their statuses, HTTP's or gRPC's, with the reason in them."""
    answers, refused = call_concurrently(calls)
    counted = Counter((refusal.code.name, refusal.reason) for refusal in refused)
    return counted + Counter(status_of(answer) for answer in answers)


def status_of(answer: object) -> tuple[Any, str]:
    if not isinstance(answer, httpx.Response):
        return "OK", ""
    return answer.status_code, answer.json()["details"][0]["reason"] if answer.is_error else ""


@pytest.mark.parametrize("door", DOORS)
def test_one_of_sixteen_concurrent_creates_with_one_email_succeeds(user: Session, door: str) -> None:
    body = a_patient()
    failed = 409 if door == "rest" else "ALREADY_EXISTS"
    found = results([creating(user, door, body)] * 16)
    assert found == {(200 if door == "rest" else "OK", ""): 1, (failed, "EMAIL_ALREADY_EXISTS"): 15}
    assert len(list_all(user, "/v1/patients", "patients", query=body["email"])) == 1


@pytest.mark.parametrize("door", DOORS)
def test_one_of_twelve_concurrent_updates_with_one_etag_succeeds(user: Session, door: str) -> None:
    created = user.post("/v1/patients", a_patient())
    changes = [{"id": created["id"], "etag": created["etag"], "phone": f"+351 {number}"} for number in range(12)]
    failed = 409 if door == "rest" else "ABORTED"
    found = results([updating(user, door, change) for change in changes])
    assert found == {(200 if door == "rest" else "OK", ""): 1, (failed, "ETAG_MISMATCH"): 11}
    assert len(user.get(f"/v1/patients/{created['id']}/revisions")["revisions"]) == 2


@pytest.mark.parametrize("door", DOORS)
def test_eight_concurrent_creates_with_one_request_id_create_one_patient(user: Session, door: str) -> None:
    body = a_patient()
    answers, refused = call_concurrently([creating(user, door, body, request_id=str(uuid4()))] * 8)
    assert refused == []
    assert len({repr(answer.json() if door == "rest" else answer) for answer in answers}) == 1
    assert len(answers) == 8
    assert len(list_all(user, "/v1/patients", "patients", query=body["email"])) == 1
