"""Changes by FHIR that the patient service rejects."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import CreateFhirPatientRequest, UpdateFhirPatientRequest
from tests.harness.client import Client, Rejected
from tests.patient.fhir_resources import Resource, a_resource, create, to_body


def _nest(depth: int) -> Resource:
    value: Resource = {"a": 1}
    for _ in range(depth):
        value = {"a": value}
    return {"resourceType": "Basic", **value}


@pytest.mark.parametrize(
    ("elements", "violations"),
    [
        ({"name": []}, {"resource.name": "name must be a list that is not empty"}),
        ({"name": {}}, {"resource.name": "name must be a list that is not empty"}),
        ({"gender": "f"}, {"resource.gender": "gender must be one of male, female, other, unknown"}),
        ({"colour": "red"}, {"resource.colour": "colour is not an element of Patient"}),
        ({"birthDate": None}, {"resource.birthDate": "birthDate must be a string"}),
        ({"birthDate": "1980-13"}, {"resource.birthDate": "birthDate must be a valid date"}),
        ({"telecom": [{"rank": 0}]}, None),
        ({"link": [{"type": "seealso"}]}, {"resource.link[0].other": "link[0].other must be set"}),
        ({"extension": [{}]}, {"resource.extension[0]": "extension[0] must not be empty"}),
        ({"contained": [_nest(900)]}, {"resource.contained[0]": "contained[0] is nested too deeply"}),
        ({"extension": [{"url": "x", "valueRatio": _nest(900)}]}, None),
        ({"_" * 60_000: 1}, {f"resource.{'_' * 64}": f"{'_' * 64} is not an element of Patient"}),
        ({"name": [{"text": "x" * 60_000 + "\0"}]}, {"resource.name[0].text": "name[0].text must be a valid string"}),
    ],
)
def test_malformed_element_is_rejected(patients: Client, elements: Resource, violations: dict[str, str] | None) -> None:
    with pytest.raises(Rejected, match="RESOURCE_MALFORMED") as rejected:
        create(patients, a_resource(**elements))
    assert violations in (None, rejected.value.violations)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b'"\\ud800"', b"\xff", b"[" * 5000])
def test_body_that_is_no_resource_is_rejected(patients: Client, data: bytes) -> None:
    body = to_body({})
    body.data = data
    with pytest.raises(Rejected, match="RESOURCE_MALFORMED"):
        patients.create_fhir_patient(CreateFhirPatientRequest(resource=body))


@pytest.mark.parametrize(
    ("elements", "violations"),
    [
        (
            {"birthDate": "1985-02-30"},
            {"resource.birthDate": "date of birth must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY"},
        ),
        ({"birthDate": "2999-01-01"}, {"resource.birthDate": "date of birth must not be in the future"}),
        ({"telecom": [{"system": "fax", "value": "1"}]}, {"resource.telecom": "email must be set"}),
        ({"name": [{"use": "old", "_text": {"id": "x"}}]}, {"resource.name": "name must be set"}),
        (
            {"name": [{"use": "old", "text": "x"}, {"given": ["x" * 101]}]},
            {"resource.name[1]": "name must be at most 100 characters"},
        ),
        ({"implicitRules": "urn:x"}, {"resource.implicitRules": "implicitRules is not supported"}),
        (
            {"modifierExtension": [{"url": "urn:x"}]},
            {"resource.modifierExtension": "modifierExtension is not supported"},
        ),
        ({"language": "x" * 70_000}, {"resource": "the resource must have at most 64 KiB"}),
    ],
)
def test_broken_rule_is_rejected(patients: Client, elements: Resource, violations: dict[str, str]) -> None:
    with pytest.raises(Rejected, match="RESOURCE_UNPROCESSABLE") as rejected:
        create(patients, a_resource(**elements))
    assert rejected.value.violations == violations


def test_all_broken_rules_are_reported(patients: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        create(patients, {"resourceType": "Patient", "telecom": [{"system": "email", "value": "x"}]})
    paths = ("name", "telecom[0]", "birthDate", "address")
    assert rejected.value.violations.keys() == {f"resource.{path}" for path in paths}


def test_resource_must_have_the_id_of_the_request(patients: Client) -> None:
    created = create(patients, a_resource())
    for resource in (a_resource(), a_resource(id=str(uuid4()))):
        request = UpdateFhirPatientRequest(id=created["id"], resource=to_body(resource))
        with pytest.raises(Rejected, match="RESOURCE_MALFORMED") as rejected:
            patients.update_fhir_patient(request)
        assert rejected.value.violations == {"resource.id": "id must be the ID in the URL"}
