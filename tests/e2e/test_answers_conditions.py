"""Conditional requests: by header over REST, and by the etag of the message at every surface."""

from typing import Any

import httpx
import pytest

from tests.e2e.sessions import Session, a_patient
from tests.e2e.surfaces import Surface

CHANGES: list[tuple[str, str, Any]] = [
    ("PATCH", "", {"phone": "112"}),
    ("DELETE", "", None),
    ("POST", ":undelete", {}),
]


@pytest.fixture
def stale(user: Session) -> tuple[str, str, str]:
    """The path of a changed patient, its former ETag and its current ETag."""
    created = user.rest.post("/v1/patients", json=a_patient()).raise_for_status()
    path = f"/v1/patients/{created.json()['id']}"
    changed = user.rest.patch(path, json={"phone": "111"}).raise_for_status()
    return path, created.headers["etag"], changed.headers["etag"]


def get_error(response: httpx.Response) -> tuple[int, str]:
    """Returns the HTTP status and the reason of an error."""
    return response.status_code, response.json()["details"][0]["reason"]


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_current_etag_in_if_none_match_returns_304(user: Session, stale: tuple[str, str, str], verb: str) -> None:
    path, former, current = stale
    assert current == f'"{user.get(path)["etag"]}"'
    for value in (current, f"W/{current}", f"{former}, {current}", "*"):
        response = user.rest.request(verb, path, headers={"if-none-match": value})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", current)
    assert user.rest.request(verb, path, headers={"if-none-match": former}).status_code == 200


@pytest.mark.parametrize("change", CHANGES, ids=["PATCH", "DELETE", "undelete"])
def test_stale_if_match_changes_nothing(
    admin: Session, stale: tuple[str, str, str], change: tuple[str, str, Any]
) -> None:
    path, former, current = stale
    verb, suffix, body = change
    before = admin.get(path)
    for value in (former, '"0"', '"x"', f"W/{current}"):
        response = admin.rest.request(verb, path + suffix, json=body, headers={"if-match": value})
        assert get_error(response) == (412, "ETAG_MISMATCH")
    assert admin.get(path) == before


@pytest.mark.parametrize("change", CHANGES[:2], ids=["PATCH", "DELETE"])
@pytest.mark.parametrize("value", ["*", "current", "several"])
def test_current_if_match_is_accepted(
    admin: Session, stale: tuple[str, str, str], change: tuple[str, str, Any], value: str
) -> None:
    path, former, current = stale
    verb, suffix, body = change
    header = {"*": "*", "current": current, "several": f"{former}, {current}"}[value]
    response = admin.rest.request(verb, path + suffix, json=body, headers={"if-match": header}).raise_for_status()
    assert response.headers["etag"] not in {former, current}


def test_stale_etag_of_the_message_changes_nothing(api: Surface, admin_api: Surface) -> None:
    created = api("CreatePatient", patient=a_patient()).body
    changed = api("UpdatePatient", patient={"id": created["id"], "phone": "111"}).body
    for rejected in (
        api("UpdatePatient", patient={"id": created["id"], "phone": "112", "etag": created["etag"]}),
        admin_api("DeletePatient", id=created["id"], etag=created["etag"]),
    ):
        assert (rejected.code, rejected.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert api("GetPatient", id=created["id"]).body == changed
    assert admin_api("DeletePatient", id=created["id"], etag=changed["etag"]).reason == ""
