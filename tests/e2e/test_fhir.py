"""The FHIR R4 API through the gateway: resources, ETags, and errors as OperationOutcomes."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.capabilitystatement import CapabilityStatement
from fhirclient.models.patient import Patient as FhirPatient

from tests.e2e.sessions import Session, a_patient
from tests.harness.rest_errors import read_issue
from tools.instance import Instance

FHIR = "/fhir/R4"


def get_issue(response: httpx.Response) -> tuple[int, str, str, str]:
    """Returns the status of an error, and the code, the reason and the text of its only issue."""
    reason, text = read_issue(response)
    return response.status_code, response.json()["issue"][0]["code"], reason, text


@pytest.fixture
def patient(user: Session) -> dict[str, Any]:
    """A patient with a name that no other patient has."""
    created: dict[str, Any] = user.post("/v1/patients", a_patient(name=f"José Ñandú+& {uuid4().hex}"))
    return created


def test_read_returns_a_resource_with_an_etag(user: Session, patient: dict[str, Any]) -> None:
    response = user.rest.get(f"{FHIR}/Patient/{patient['id']}")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/fhir+json")
    assert response.headers["etag"] == 'W/"1"'
    resource = response.json()
    assert (resource["resourceType"], resource["name"]) == ("Patient", [{"text": patient["name"]}])


def test_head_returns_the_etag_without_a_body(user: Session, patient: dict[str, Any]) -> None:
    response = user.rest.head(f"{FHIR}/Patient/{patient['id']}")
    assert (response.status_code, response.headers["etag"], response.content) == (200, 'W/"1"', b"")


def test_search_parameters_are_those_of_the_url(user: Session, patient: dict[str, Any]) -> None:
    for parameters in ({"name": patient["name"]}, {"email": patient["email"], "birthdate": "ge1980", "_count": "5"}):
        bundle = user.rest.get(f"{FHIR}/Patient", params=parameters).raise_for_status().json()
        assert [entry["resource"]["id"] for entry in bundle["entry"]] == [patient["id"]]


def test_links_are_absolute(system: Instance, user: Session, patient: dict[str, Any]) -> None:
    user.post("/v1/patients", a_patient(name=patient["name"]))
    url: str | None = f"{system.url}{FHIR}/Patient?name={patient['name'].split()[2]}&_count=1"
    found = []
    while url:
        response = user.rest.get(url).raise_for_status()
        found += [entry["fullUrl"] for entry in response.json().get("entry", [])]
        links = {link["relation"]: link["url"] for link in response.json()["link"]}
        assert links["self"] == url
        url = links.get("next")
    assert len(found) == 2
    assert user.rest.get(found[1]).json()["id"] == patient["id"]


def test_search_without_parameters_lists_patients(user: Session, patient: dict[str, Any]) -> None:
    for path in ("Patient", "Patient?", "Patient?_format=json"):
        bundle = user.rest.get(f"{FHIR}/{path}").raise_for_status().json()
        assert bundle["entry"][0]["resource"]["id"] == patient["id"]


def test_capabilities_require_no_token(system: Instance) -> None:
    response = httpx.get(f"{system.url}{FHIR}/metadata")
    assert (response.status_code, response.json()["resourceType"]) == (200, "CapabilityStatement")


def test_errors_are_operation_outcomes(system: Instance, user: Session, admin: Session) -> None:
    unknown = f"{FHIR}/Patient/{uuid4()}"
    missing = "The patient does not exist or is deleted."
    assert get_issue(user.rest.get(unknown)) == (404, "not-found", "PATIENT_NOT_FOUND", missing)
    assert get_issue(user.rest.get(f"{FHIR}/Patient/x"))[:3] == (400, "invalid", "FIELDS_INVALID")
    assert get_issue(user.rest.get(f"{unknown}?x=1"))[:3] == (400, "invalid", "QUERY_PARAMETER_UNKNOWN")
    assert get_issue(user.rest.get(f"{FHIR}/Observation"))[:3] == (404, "not-found", "ROUTE_NOT_FOUND")
    assert get_issue(user.rest.patch(unknown, json={}))[:3] == (405, "not-supported", "METHOD_NOT_ALLOWED")
    assert get_issue(httpx.get(f"{system.url}{unknown}"))[:3] == (401, "login", "TOKEN_MISSING")
    wrong = {"authorization": "Bearer x.y.z"}
    assert get_issue(httpx.get(f"{system.url}{FHIR}/Patient", headers=wrong))[:3] == (401, "login", "TOKEN_INVALID")


def test_error_of_a_search_names_the_parameter(user: Session) -> None:
    response = user.rest.get(f"{FHIR}/Patient", params={"gender": '"x\\'})
    text = "gender must be one of female, male, other"
    assert get_issue(response) == (400, "invalid", "FIELDS_INVALID", text)
    response = user.rest.get(f"{FHIR}/Patient", params={'"\\': "x"})
    assert get_issue(response)[3] == "the parameter '\"\\\\' is not supported"


def test_error_of_the_whole_search_is_an_outcome(user: Session) -> None:
    response = user.rest.get(f"{FHIR}/Patient", params={"name": "+".join("abcdefghijk")})
    assert get_issue(response) == (400, "invalid", "FIELDS_INVALID", "the text to find must have at most 10 words")


@pytest.mark.parametrize("host", ['"', 'a"b', "a/b", "a b", "a?b", "[x]", "a:b", ""])
def test_malformed_host_is_rejected(user: Session, host: str) -> None:
    response = user.rest.get(f"{FHIR}/Patient", headers={"host": host})
    assert response.status_code == 400


@pytest.mark.parametrize("host", ["clinic.test", "my_gateway:8080", "[::1]:8080", "LOCALHOST"])
def test_links_have_the_host_of_the_request(user: Session, host: str) -> None:
    bundle = user.rest.get(f"{FHIR}/Patient?_count=1", headers={"host": host}).raise_for_status().json()
    assert bundle["link"][0]["url"] == f"http://{host}{FHIR}/Patient?_count=1"


def test_parameter_named_query_is_a_search_parameter(user: Session) -> None:
    response = user.rest.get(f"{FHIR}/Patient", params={"query": "name=x"})
    assert get_issue(response)[3] == "the parameter 'query' is not supported"


def test_errors_outside_of_the_fhir_api_are_unchanged(user: Session) -> None:
    assert user.rest.get("/fhir").json()["code"] == user.rest.get("/v1/x").json()["code"] == 5


@pytest.fixture
def library(system: Instance, user: Session) -> FHIRClient:
    """A client of the library fhirclient, which validates the elements and the types of resources."""
    client = FHIRClient(settings={"app_id": "tests", "api_base": f"{system.url}{FHIR}"})
    client.server.session.headers["authorization"] = f"Bearer {user.token}"
    return client


def test_client_library_reads_and_searches(library: FHIRClient, user: Session) -> None:
    surname = uuid4().hex
    names = [f"Zoë {surname} {each}" for each in "abc"]
    created = [user.post("/v1/patients", a_patient(name=name, sex="SEX_FEMALE")) for name in names]
    read = FhirPatient.read(created[0]["id"], library.server)
    assert (read.gender, read.birthDate.isostring) == ("female", created[0]["dateOfBirth"])
    found = FhirPatient.where({"family": surname, "_count": "2", "_sort": "name"}).perform_resources_iter(
        library.server
    )
    assert [patient.id for patient in found] == [each["id"] for each in created]


def test_client_library_reads_the_capabilities(library: FHIRClient) -> None:
    statement = CapabilityStatement.read_from("metadata", library.server)
    assert statement.fhirVersion == "4.0.1"
