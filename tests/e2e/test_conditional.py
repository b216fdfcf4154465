"""ETag, If-Match and If-None-Match, through the gateway."""

from typing import Any

import httpx
import pytest

from gen.pulsetrack.patient.v1 import GetPatientRequest
from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually


def create(session: Session) -> tuple[str, str]:
    """Creates a patient and returns its path and ETag."""
    response = session.rest.post("/v1/patients", json=a_patient()).raise_for_status()
    return f"/v1/patients/{response.json()['id']}", response.headers["etag"]


def error(response: httpx.Response) -> tuple[int, str]:
    """Returns the status and the reason of an error."""
    return response.status_code, response.json()["details"][0]["reason"]


def test_every_response_with_a_patient_has_its_etag(user: Session, admin: Session) -> None:
    path, _ = create(user)
    responses = [
        user.rest.get(path),
        user.rest.patch(path, json={"phone": "112"}),
        admin.rest.delete(path),
        admin.rest.post(f"{path}:undelete", json={}),
    ]
    for response in responses:
        assert response.headers["etag"] == f'"{response.raise_for_status().json()["etag"]}"'
    assert user.rest.head(path).headers["etag"] == responses[-1].headers["etag"]


def test_list_and_error_have_no_etag(user: Session) -> None:
    for path in ("/v1/patients", "/v1/patients/0193a1b2-0000-7000-8000-000000000000", "/v1/patients/42"):
        assert "etag" not in user.rest.get(path).headers


def test_current_etag_in_if_none_match_returns_304_until_the_patient_changes(user: Session) -> None:
    path, etag = create(user)
    for verb in ("GET", "HEAD"):
        response = user.rest.request(verb, path, headers={"if-none-match": etag})
        assert (response.status_code, response.headers["etag"], response.content) == (304, etag, b"")
    user.rest.patch(path, json={"phone": "112"}).raise_for_status()
    response = user.rest.get(path, headers={"if-none-match": etag})
    assert (response.status_code, response.json()["phone"]) == (200, "112")


def test_access_that_returns_304_is_audited(user: Session, admin: Session) -> None:
    path, etag = create(user)
    assert user.rest.get(path, headers={"if-none-match": etag}).status_code == 304
    method = "pulsetrack.patient.v1.PatientService/GetPatient"
    eventually(lambda: method in [e["method"] for e in admin.get(f"{path}/access-events")["accessEvents"]])


def test_if_none_match_requires_access_to_the_patient(user: Session, admin: Session) -> None:
    path, etag = create(user)
    assert httpx.get(f"{user.rest.base_url}{path}", headers={"if-none-match": etag}).status_code == 401
    admin.rest.delete(path).raise_for_status()
    assert error(user.rest.get(path, headers={"if-none-match": "*"})) == (404, "PATIENT_NOT_FOUND")


def change(admin: Session, verb: str, path: str, headers: dict[str, str], **query: str) -> httpx.Response:
    """Updates, deletes or undeletes a patient."""
    if verb == "UNDELETE":
        return admin.rest.post(f"{path}:undelete", json={}, headers=headers)
    body: dict[str, Any] = {"json": {"phone": "112", **query}} if verb == "PATCH" else {"params": query}
    return admin.rest.request(verb, path, headers=headers, **body)


@pytest.mark.parametrize("verb", ["PATCH", "DELETE", "UNDELETE"])
def test_change_with_if_match_requires_the_current_etag(admin: Session, verb: str) -> None:
    path, stale = create(admin)
    prepare = admin.rest.delete(path) if verb == "UNDELETE" else admin.rest.patch(path, json={"phone": "111"})
    current = prepare.raise_for_status().headers["etag"]
    for value in (stale, f"W/{current}", '"x", "y"'):
        assert error(change(admin, verb, path, {"if-match": value})) == (412, "ETAG_MISMATCH")
    changed = change(admin, verb, path, {"if-match": f"{stale}, {current}"}).raise_for_status()
    assert int(changed.json()["etag"]) == int(current.strip('"')) + 1


@pytest.mark.parametrize("verb", ["PATCH", "DELETE", "UNDELETE"])
def test_star_requires_that_the_patient_exists(admin: Session, verb: str) -> None:
    path, _ = create(admin)
    if verb == "UNDELETE":
        admin.rest.delete(path).raise_for_status()
    missing = "/v1/patients/0193a1b2-0000-7000-8000-000000000000"
    assert error(change(admin, verb, missing, {"if-match": "*"})) == (404, "PATIENT_NOT_FOUND")
    assert change(admin, verb, path, {"if-match": "*"}).status_code == 200


@pytest.mark.parametrize("verb", ["PATCH", "DELETE"])
def test_etag_without_if_match_keeps_its_status(admin: Session, verb: str) -> None:
    path, _ = create(admin)
    assert error(change(admin, verb, path, {}, etag="0")) == (409, "ETAG_MISMATCH")
    assert error(change(admin, verb, path, {"if-match": '"0"'}, etag="0")) == (412, "ETAG_MISMATCH")


@pytest.mark.parametrize("verb", ["PATCH", "DELETE"])
def test_if_match_and_etag_that_differ_are_rejected(admin: Session, verb: str) -> None:
    path, etag = create(admin)
    assert error(change(admin, verb, path, {"if-match": etag}, etag="0")) == (400, "FIELDS_INVALID")
    assert admin.rest.get(path).headers["etag"] == etag


@pytest.mark.parametrize("value", ["1", '"1', '*, "1"', ""])
def test_malformed_if_match_is_rejected(admin: Session, value: str) -> None:
    path, etag = create(admin)
    assert error(admin.rest.delete(path, headers={"if-match": value})) == (400, "REQUEST_INVALID")
    assert admin.client("patient").get_patient(GetPatientRequest(id=path.rpartition("/")[2])).etag == etag.strip('"')
