"""Changes of patients by FHIR through the gateway: statuses, headers and OperationOutcomes, and a client library."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle
from fhirclient.models.patient import Patient as FhirPatient

from tests.e2e.sessions import Session
from tools.instance import Instance

FHIR = "/fhir/R4/Patient"
CONTENT = {"content-type": "application/fhir+json"}


def a_resource(**elements: Any) -> dict[str, Any]:
    """Returns a Patient resource with a unique email address, and an element without a field in the record."""
    usual = {
        "resourceType": "Patient",
        "name": [{"use": "official", "family": "Silva", "given": ["Ana", "Rita"]}],
        "telecom": [{"system": "email", "value": f"{uuid4()}@clinic.test"}],
        "gender": "female",
        "birthDate": "1980-02-29",
        "address": [{"line": ["1 High Street"], "city": "Porto"}],
        "maritalStatus": {"coding": [{"code": "M"}]},
    }
    return usual | elements


def create(user: Session, **elements: Any) -> dict[str, Any]:
    """Creates a patient and returns the resource."""
    created: dict[str, Any] = user.rest.post(FHIR, json=a_resource(**elements)).raise_for_status().json()
    return created


def issues_of(response: httpx.Response) -> list[tuple[str, str, str]]:
    """Returns the code, reason and expression of each issue of an OperationOutcome."""
    assert response.headers["content-type"] == "application/fhir+json"
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    return [
        (each["code"], each["details"]["coding"][0]["code"], each.get("expression", [""])[0])
        for each in outcome["issue"]
    ]


def test_create_returns_the_location_of_the_version(system: Instance, user: Session) -> None:
    response = user.rest.post(FHIR, json=a_resource(), headers=CONTENT)
    created = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, 'W/"1"')
    assert response.headers["content-type"] == "application/fhir+json"
    assert response.headers["location"] == f"{system.url}{FHIR}/{created['id']}/_history/1"
    assert user.rest.get(response.headers["location"]).json() == created


@pytest.mark.parametrize(
    ("preference", "kind"), [("minimal", None), ("representation", "Patient"), ("OperationOutcome", "OperationOutcome")]
)
def test_client_prefers_a_response(user: Session, preference: str, kind: str | None) -> None:
    response = user.rest.post(FHIR, json=a_resource(), headers={"prefer": f"return={preference}"})
    assert (response.status_code, response.headers["etag"]) == (201, 'W/"1"')
    assert (response.json()["resourceType"] if response.content else None) == kind


def test_update_replaces_the_patient(user: Session) -> None:
    created = create(user)
    changed = created | {"gender": "male", "maritalStatus": {"text": "widowed"}}
    response = user.rest.put(f"{FHIR}/{created['id']}", json=changed, headers={"if-match": 'W/"1"'})
    assert (response.status_code, response.headers["etag"]) == (200, 'W/"2"')
    assert response.json() | {"meta": {}} == changed | {"meta": {}}
    assert user.get(f"/v1/patients/{created['id']}")["sex"] == "SEX_MALE"


def test_stale_version_is_rejected(user: Session, admin: Session) -> None:
    created = create(user)
    path = f"{FHIR}/{created['id']}"
    user.rest.put(path, json=created | {"gender": "other"}).raise_for_status()
    stale = {"if-match": 'W/"1"'}
    for response in (user.rest.put(path, json=created, headers=stale), admin.rest.delete(path, headers=stale)):
        assert (response.status_code, issues_of(response)) == (412, [("conflict", "ETAG_MISMATCH", "")])
    response = user.rest.put(path, json=created, headers={"if-match": "2"})
    assert (response.status_code, issues_of(response)) == (400, [("invalid", "REQUEST_INVALID", "")])


def test_update_creates_no_patient(user: Session) -> None:
    unknown = str(uuid4())
    response = user.rest.put(f"{FHIR}/{unknown}", json=a_resource(id=unknown))
    assert (response.status_code, issues_of(response)) == (404, [("not-found", "PATIENT_NOT_FOUND", "")])


def test_deleted_patient_is_not_found(user: Session, admin: Session) -> None:
    path = f"{FHIR}/{create(user)['id']}"
    assert issues_of(user.rest.delete(path)) == [("forbidden", "ROLE_REQUIRED", "")]
    response = admin.rest.delete(path, headers={"if-match": 'W/"1"'})
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    assert user.rest.get(path).status_code == admin.rest.delete(path).status_code == 404


def test_history_has_each_version(system: Instance, user: Session, admin: Session) -> None:
    created = create(user)
    path = f"{FHIR}/{created['id']}"
    user.rest.put(path, json=created | {"gender": "other"}).raise_for_status()
    admin.rest.delete(path).raise_for_status()
    bundle = user.rest.get(f"{path}/_history", params={"_count": "2"}).json()
    assert [entry["request"]["method"] for entry in bundle["entry"]] == ["DELETE", "PUT"]
    assert bundle["entry"][1]["fullUrl"] == f"{system.url}{path}"
    assert bundle["entry"][1]["request"]["url"] == path.removeprefix("/fhir/R4/")
    [following] = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
    [first] = user.rest.get(following).json()["entry"]
    assert (first["resource"], first["request"]) == (created, {"method": "POST", "url": "Patient"})
    assert user.rest.get(f"{path}/_history/2").json()["gender"] == "other"
    for version in ("3", "4"):
        assert user.rest.get(f"{path}/_history/{version}").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "issue"),
    [
        ("{", 400, ("invalid", "RESOURCE_MALFORMED", "Patient")),
        ("", 400, ("invalid", "RESOURCE_MALFORMED", "Patient")),
        ('{"resourceType":"Group"}', 400, ("invalid", "RESOURCE_MALFORMED", "Patient")),
        ('{"resourceType":"Patient","gender":1}', 400, ("invalid", "RESOURCE_MALFORMED", "Patient.gender")),
        (
            '{"resourceType":"Patient","name":[{"given":["A",2]}]}',
            400,
            ("invalid", "RESOURCE_MALFORMED", "Patient.name[0].given[1]"),
        ),
        (r'{"resourceType":"Patient","a\"b\\":1}', 400, ("invalid", "RESOURCE_MALFORMED", 'Patient.a"b\\')),
    ],
)
def test_malformed_resource_is_rejected(user: Session, body: str, status: int, issue: tuple[str, ...]) -> None:
    response = user.rest.post(FHIR, content=body, headers=CONTENT)
    assert (response.status_code, issues_of(response)) == (status, [issue])


def test_broken_rules_name_the_elements(user: Session) -> None:
    resource = a_resource(
        birthDate="1985-02-30", telecom=[{"system": "url", "value": "x"}, {"system": "phone", "value": "none"}]
    )
    response = user.rest.post(FHIR, json=resource)
    assert response.status_code == 422
    paths = ("Patient.birthDate", "Patient.telecom", "Patient.telecom[1]")
    assert sorted(issues_of(response)) == [("business-rule", "RESOURCE_UNPROCESSABLE", path) for path in paths]


def test_other_errors_are_outcomes(system: Instance, user: Session) -> None:
    created = create(user)
    response = user.rest.post(FHIR, json=a_resource(telecom=created["telecom"]))
    assert (response.status_code, issues_of(response)) == (409, [("conflict", "EMAIL_ALREADY_EXISTS", "")])
    response = user.rest.post(FHIR, content="<Patient/>", headers={"content-type": "application/fhir+xml"})
    assert (response.status_code, issues_of(response)) == (415, [("not-supported", "CONTENT_TYPE_UNSUPPORTED", "")])
    response = httpx.post(f"{system.url}{FHIR}", json=a_resource())
    assert (response.status_code, issues_of(response)) == (401, [("login", "TOKEN_MISSING", "")])


def test_repeated_create_returns_the_first_response(user: Session) -> None:
    resource, key = a_resource(), {"idempotency-key": uuid4().hex}
    first, again = (user.rest.post(FHIR, json=resource, headers=key).raise_for_status() for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = user.rest.post(FHIR, json=resource | {"maritalStatus": {"text": "other"}}, headers=key)
    assert issues_of(other) == [("invalid", "REQUEST_ID_REUSED", "")]


def test_page_may_be_large_but_not_too_large_for_a_message(user: Session) -> None:
    surname = uuid4().hex
    for _ in range(75):
        create(user, name=[{"family": surname}], maritalStatus={"text": "x" * 60_000})
    page = user.rest.get(FHIR, params={"name": surname, "_count": "65"}).raise_for_status()
    assert (len(page.json()["entry"]), len(page.content) > 3_900_000) == (65, True)
    response = user.rest.get(FHIR, params={"name": surname, "_count": "75"})
    assert (response.status_code, issues_of(response)) == (400, [("invalid", "FIELDS_INVALID", "")])
    assert "request a smaller _count" in response.json()["issue"][0]["details"]["text"]


@pytest.fixture
def library(system: Instance, user: Session) -> FHIRClient:
    """A client of the library fhirclient, which validates the elements and the types of resources."""
    client = FHIRClient(settings={"app_id": "tests", "api_base": f"{system.url}/fhir/R4"})
    client.server.session.headers["authorization"] = f"Bearer {user.token}"
    return client


def test_client_library_creates_updates_and_reads_the_history(library: FHIRClient) -> None:
    patient = FhirPatient(a_resource())
    created = FhirPatient(patient.create(library.server))
    assert created.maritalStatus.coding[0].code == "M"
    created.gender = "other"
    assert created.update(library.server)["meta"]["versionId"] == "2"
    history = Bundle.read_from(f"Patient/{created.id}/_history", library.server)
    assert [entry.resource.gender for entry in history.entry] == ["other", "female"]
