"""Bulk exports of FHIR through the gateway: the flow of the specification, and its errors."""

import json
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.e2e.sessions import Session, a_patient
from tests.e2e.test_fhir import get_issue
from tools.instance import Instance

START = "/fhir/R4/Patient/$export"
HEADERS = {"accept": "application/fhir+json", "prefer": "respond-async"}


def start(session: Session, **query: str) -> str:
    """Starts an export and returns the URL of its manifest."""
    response = session.rest.get(START, params=query, headers=HEADERS)
    assert (response.status_code, response.json()["resourceType"]) == (202, "OperationOutcome")
    return response.headers["content-location"]


def read_lines(session: Session, url: str) -> list[dict[str, Any]]:
    """Downloads a file and returns its lines."""
    response = session.rest.get(url, headers={"accept": "application/fhir+ndjson"})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/fhir+ndjson")
    assert not response.content or response.content.endswith(b"}\n")
    return [json.loads(line) for line in response.text.splitlines()]


def test_export_contains_the_patients_as_they_were_at_the_start(system: Instance, admin: Session) -> None:
    created = admin.post("/v1/patients", a_patient())
    before = admin.rest.get(f"/fhir/R4/Patient/{created['id']}").json()
    status = start(admin)
    admin.rest.patch(f"/v1/patients/{created['id']}", json={"phone": "112"}).raise_for_status()
    assert status.startswith(f"{system.url}/fhir/R4/exports/")
    response = admin.rest.get(status)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    manifest = response.json()
    assert manifest["request"] == f"{system.url}{START}"
    assert parsedate_to_datetime(response.headers["expires"]).isoformat() > manifest["transactionTime"]
    [file] = manifest["output"]
    assert file == {"type": "Patient", "url": f"{status}/Patient.ndjson"}
    assert before in read_lines(admin, file["url"])


def test_export_since_a_time_lists_the_deleted_patients(system: Instance, admin: Session) -> None:
    created = admin.post("/v1/patients", a_patient())
    admin.rest.delete(f"/v1/patients/{created['id']}").raise_for_status()
    status = start(admin, _since=created["updateTime"], _type="Patient", _outputFormat="application/fhir+ndjson")
    manifest = admin.rest.get(status).json()
    assert manifest["request"].startswith(f"{system.url}{START}?_since=")
    [file] = manifest["deleted"]
    request = {"method": "DELETE", "url": f"Patient/{created['id']}"}
    assert {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": request}]} in read_lines(
        admin, file["url"]
    )


def test_deleted_export_and_its_files_are_not_found(admin: Session) -> None:
    status = start(admin)
    response = admin.rest.delete(status)
    assert (response.status_code, response.content) == (202, b"")
    for url in (status, f"{status}/Patient.ndjson", f"/fhir/R4/exports/{uuid4()}"):
        assert get_issue(admin.rest.get(url))[:3] == (404, "not-found", "FHIR_EXPORT_NOT_FOUND")
    assert get_issue(admin.rest.delete(status))[:3] == (404, "not-found", "FHIR_EXPORT_NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["exports/forged", f"exports/{UUID(int=1)}/other.ndjson", "Patient/$export?_type=Group"]
)
def test_invalid_request_has_an_operation_outcome(admin: Session, path: str) -> None:
    assert get_issue(admin.rest.get(f"/fhir/R4/{path}"))[:3] == (400, "invalid", "FIELDS_INVALID")


@pytest.mark.parametrize("prefer", [["respond-async, handling=lenient"], ["respond-async", "handling=lenient"]])
def test_lenient_export_ignores_unsupported_parameters(admin: Session, prefer: list[str]) -> None:
    response = admin.rest.get(f"{START}?_elements=id", headers=[("prefer", each) for each in prefer])
    assert response.status_code == 202
    assert admin.rest.get(f"{START}?_elements=id", headers=HEADERS).status_code == 400


def test_other_methods_of_the_operation_are_not_allowed(admin: Session) -> None:
    response = admin.rest.put(START, json={})
    assert get_issue(response)[:3] == (405, "not-supported", "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, HEAD"


def test_users_cannot_export(system: Instance, admin: Session, user: Session) -> None:
    status = start(admin)
    for url in (START, status, f"{status}/Patient.ndjson"):
        assert get_issue(user.rest.get(url))[:3] == (403, "forbidden", "ROLE_REQUIRED")
        assert httpx.get(httpx.URL(system.url).join(url)).status_code == 401


def test_capabilities_name_the_operation(system: Instance) -> None:
    [resource] = httpx.get(f"{system.url}/fhir/R4/metadata").json()["rest"][0]["resource"]
    assert [each["name"] for each in resource["operation"]] == ["export"]
