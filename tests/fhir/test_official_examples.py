"""The Patient resources among the official examples of FHIR R4, through the gateway."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.clients.environments import npm_packages
from tests.e2e.sessions import Session
from tools.local.process import ROOT

Resource = dict[str, Any]

URL = "/fhir/R4/Patient"


@pytest.fixture(scope="module")
def examples() -> dict[str, Resource]:
    """The examples by the names of their files."""
    folder = npm_packages(ROOT / "tests" / "fhir") / "hl7.fhir.r4.examples"
    found = {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("Patient-*.json"))}
    assert len(found) == 22
    return found


def complete(example: Resource) -> Resource:
    """Adds the elements that a patient record requires and an example lacks, and a record number of its own."""
    email = {"system": "email", "value": f"{uuid4()}@clinic.test"}
    required = {"name": [{"text": "Ana Silva"}], "address": [{"text": "1 High Street"}], "birthDate": "1980-02-29"}
    contacts = [each for each in example.get("telecom", []) if each.get("system") != "email"]
    identifiers = [
        each | {"value": str(uuid4())} if "type" in each and "value" in each else each
        for each in example.get("identifier", [])
    ]
    completed = required | example | {"telecom": [*contacts, email], "identifier": identifiers}
    return {name: value for name, value in completed.items() if value}


def without_server_elements(resource: Resource) -> Resource:
    """Returns a resource without its ID, its version and its registered date."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in {"versionId", "lastUpdated"}}
    extensions = [each for each in resource.get("extension", []) if each["url"] != "urn:pulsetrack:registered-date"]
    resource = {name: value for name, value in resource.items() if name != "id"}
    return {name: value for name, value in (resource | {"meta": meta, "extension": extensions}).items() if value}


def get_expressions(response: httpx.Response) -> list[str]:
    """Returns the elements that an OperationOutcome names."""
    assert response.headers["content-type"] == "application/fhir+json"
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    return [expression for issue in outcome["issue"] for expression in issue.get("expression", [])]


def test_complete_examples_are_read_back_equal(user: Session, examples: dict[str, Resource]) -> None:
    different = {}
    for name, example in examples.items():
        sent = complete(example)
        response = user.rest.post(URL, json=sent)
        assert response.status_code == 201, (name, response.text)
        read = user.rest.get(f"{URL}/{response.json()['id']}").json()
        if without_server_elements(read) != without_server_elements(sent):
            different[name] = read
    assert different == {}


def test_error_names_the_elements_that_a_record_requires(user: Session, examples: dict[str, Resource]) -> None:
    accepted = []
    for name, example in examples.items():
        response = user.rest.post(URL, json=example)
        if response.status_code == 201:
            accepted.append(name)
            continue
        has_email = any(each.get("system") == "email" for each in example.get("telecom", []))
        missing = {element for element in ("name", "address", "birthDate") if element not in example}
        missing |= set() if has_email else {"telecom"}
        assert (name, response.status_code) == (name, 422)
        assert {each.removeprefix("Patient.") for each in get_expressions(response)} == missing, name
    assert accepted == ["Patient-f001"]


def _set(element: str, value: object) -> Callable[[Resource], Resource]:
    return lambda example: example | {element: value}


@pytest.mark.parametrize(
    ("break_example", "element"),
    [
        (_set("gender", "F"), "Patient.gender"),
        (_set("birthDate", "25/12/1974"), "Patient.birthDate"),
        (_set("active", "yes"), "Patient.active"),
        (_set("name", {"text": "Ana Silva"}), "Patient.name"),
        (_set("telecom", [{"system": "letter"}]), "Patient.telecom[0].system"),
        (_set("species", "dog"), "Patient.species"),
        (_set("contact", [{"name": {"given": "Ana"}}]), "Patient.contact[0].name.given"),
    ],
)
def test_error_names_the_broken_element(
    user: Session, examples: dict[str, Resource], break_example: Callable[[Resource], Resource], element: str
) -> None:
    for name, example in examples.items():
        response = user.rest.post(URL, json=break_example(complete(example)))
        assert (name, response.status_code, get_expressions(response)) == (name, 400, [element])
