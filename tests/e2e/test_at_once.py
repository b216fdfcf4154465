"""Concurrent identical calls over gRPC and REST: one succeeds, the others fail with the right reason."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient, UpdatePatientRequest
from tests.e2e.sessions import Session, a_patient, list_all
from tests.harness.concurrency import call_concurrently

PROTOCOLS = ("grpc", "rest")


def to_patient(body: dict[str, Any]) -> Patient:
    return Patient(**{"date_of_birth" if name == "dateOfBirth" else name: value for name, value in body.items()})


def bind_create(user: Session, protocol: str, body: dict[str, Any], request_id: str = "") -> Any:
    """Returns a function that creates a patient."""
    if protocol == "rest":
        return partial(user.rest.post, "/v1/patients", json=body, params={"requestId": request_id})
    request = CreatePatientRequest(patient=to_patient(body), request_id=request_id)
    return partial(user.client("patient").create_patient, request)


def bind_update(user: Session, protocol: str, change: dict[str, Any]) -> Any:
    """Returns a function that updates a patient."""
    if protocol == "rest":
        return partial(user.rest.patch, f"/v1/patients/{change['id']}", json=change)
    return partial(user.client("patient").update_patient, UpdatePatientRequest(patient=to_patient(change)))


def count_results(calls: list[Any]) -> Counter[tuple[Any, str]]:
    """Makes calls concurrently and counts their HTTP or gRPC statuses with the reasons."""
    responses, rejected = call_concurrently(calls)
    counted = Counter((rejection.code.name, rejection.reason) for rejection in rejected)
    return counted + Counter(find_status(response) for response in responses)


def find_status(response: object) -> tuple[Any, str]:
    if not isinstance(response, httpx.Response):
        return "OK", ""
    return response.status_code, response.json()["details"][0]["reason"] if response.is_error else ""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_of_sixteen_concurrent_creates_with_one_email_succeeds(user: Session, protocol: str) -> None:
    body = a_patient()
    failed = 409 if protocol == "rest" else "ALREADY_EXISTS"
    found = count_results([bind_create(user, protocol, body)] * 16)
    assert found == {(200 if protocol == "rest" else "OK", ""): 1, (failed, "EMAIL_ALREADY_EXISTS"): 15}
    assert len(list_all(user, "/v1/patients", "patients", query=body["email"])) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_of_twelve_concurrent_updates_with_one_etag_succeeds(user: Session, protocol: str) -> None:
    created = user.post("/v1/patients", a_patient())
    changes = [{"id": created["id"], "etag": created["etag"], "phone": f"+351 {number}"} for number in range(12)]
    failed = 409 if protocol == "rest" else "ABORTED"
    found = count_results([bind_update(user, protocol, change) for change in changes])
    assert found == {(200 if protocol == "rest" else "OK", ""): 1, (failed, "ETAG_MISMATCH"): 11}
    assert len(user.get(f"/v1/patients/{created['id']}/revisions")["revisions"]) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_eight_concurrent_creates_with_one_request_id_create_one_patient(user: Session, protocol: str) -> None:
    body = a_patient()
    responses, rejected = call_concurrently([bind_create(user, protocol, body, request_id=str(uuid4()))] * 8)
    assert rejected == []
    assert len({repr(response.json() if protocol == "rest" else response) for response in responses}) == 1
    assert len(responses) == 8
    assert len(list_all(user, "/v1/patients", "patients", query=body["email"])) == 1
