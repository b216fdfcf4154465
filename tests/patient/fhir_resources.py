"""FHIR resources for tests, and calls that create and read them."""

import json
from typing import Any
from uuid import uuid4

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import CreateFhirPatientRequest, GetFhirPatientRequest, UpdateFhirPatientRequest
from tests.harness.client import Client

Resource = dict[str, Any]

_PERIOD = {"start": "2001-05", "end": "2011-05-06T07:08:09.5+01:00"}
_CODING = {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"}
_REFERENCE = {"reference": "Organization/1", "display": "Clinic", "identifier": {"value": "7"}}


def a_resource(**elements: Any) -> Resource:
    """Returns a Patient resource with a unique email address and the given elements."""
    usual = {
        "resourceType": "Patient",
        "name": [{"text": "Ana Silva"}],
        "telecom": [{"system": "email", "value": f"{uuid4()}@clinic.test"}],
        "birthDate": "1980-02-29",
        "address": [{"text": "1 High Street"}],
    }
    return usual | elements


def a_rich_resource() -> Resource:
    """Returns a Patient resource with all elements of FHIR R4 that are not modifiers of the whole resource."""
    return {"resourceType": "Patient", **_build_content(), **_build_person(), **_build_links()}


def create(client: Client, resource: Resource) -> Resource:
    """Creates a patient and returns the resource in the response."""
    return parse(client.create_fhir_patient(CreateFhirPatientRequest(resource=to_body(resource))))


def update(client: Client, resource: Resource, **fields: Any) -> Resource:
    """Replaces a patient and returns the resource in the response."""
    request = UpdateFhirPatientRequest(id=resource["id"], resource=to_body(resource), **fields)
    return parse(client.update_fhir_patient(request))


def read(client: Client, patient_id: str) -> Resource:
    """Returns a patient as a resource."""
    return parse(client.get_fhir_patient(GetFhirPatientRequest(id=patient_id)))


def to_body(resource: object) -> HttpBody:
    """Returns a resource as the body of a request."""
    return HttpBody(content_type="application/fhir+json", data=json.dumps(resource).encode())


def parse(body: HttpBody) -> Resource:
    """Returns the resource in the body of a response."""
    resource: Resource = json.loads(body.data)
    return resource


def without_meta(resource: Resource) -> Resource:
    """Returns a resource without the elements that the server sets: its id, its version, and the registered date."""
    meta = {name: each for name, each in resource.get("meta", {}).items() if name not in {"versionId", "lastUpdated"}}
    extensions = [each for each in resource.get("extension", []) if each["url"] != "urn:pulsetrack:registered-date"]
    resource = {name: each for name, each in resource.items() if name != "id"}
    resource |= {"meta": meta, "extension": extensions}
    return {name: each for name, each in resource.items() if each not in ({}, [])}


def _build_content() -> Resource:
    """Returns the elements that all resources can have."""
    return {
        "meta": {"source": "urn:x", "profile": ["http://x.test/p"], "tag": [_CODING]},
        "language": "en",
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Ana</div>'},
        "contained": [{"resourceType": "Organization", "id": "o", "name": "Clinic"}],
        "extension": [_extension(valueDecimal=1.5), _extension(extension=[_extension(valueQuantity={"value": 1})])],
    }


def _build_person() -> Resource:
    """Returns the elements that describe a person. Those of the record are the preferred ones of several."""
    names = [
        {"use": "maiden", "family": "Lima"},
        {
            "use": "official",
            "family": "Silva",
            "_family": {"extension": [_extension(valueString="da")]},
            "given": ["Ana", "Rita"],
            "_given": [None, {"id": "g"}],
            "prefix": ["Dr."],
            "suffix": ["PhD"],
        },
    ]
    home = {"line": ["1 High Street", "Flat 2"], "city": "Porto", "postalCode": "4000", "country": "PT"}
    return {
        "active": False,
        "name": names,
        "telecom": [
            {"system": "phone", "value": "+351 21 000 000", "use": "old", "period": _PERIOD},
            {"system": "phone", "value": "555-1234", "use": "home", "rank": 2},
            {"system": "phone", "value": "555-4321", "use": "mobile", "rank": 1},
            {
                "system": "email",
                "value": f"{uuid4()}@Clinic.test",
                "_value": {"extension": [_extension(valueCode="x")]},
            },
            {"system": "fax", "value": "1"},
        ],
        "gender": "female",
        "birthDate": "1980-02-29",
        "_birthDate": {"extension": [_extension(valueDateTime="1980-02-29T14:35:45-05:00")]},
        "deceasedBoolean": False,
        "address": [{"use": "billing", "text": "2 Low Street"}, {"use": "home", **home}],
        "maritalStatus": {"coding": [_CODING], "text": "Married"},
        "multipleBirthInteger": 2,
        "photo": [{"contentType": "image/gif", "data": "R0lGODlhEwARAA=="}],
    }


def _build_links() -> Resource:
    """Returns the identifiers, and the elements that refer to others."""
    return {
        "identifier": [
            {"use": "official", "system": "urn:oid:1.2.3", "value": "12345", "period": _PERIOD, "assigner": _REFERENCE},
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": "http://hospital.test",
                "value": uuid4().hex,
            },
        ],
        "contact": [{"relationship": [{"text": "spouse"}], "name": {"text": "Rui"}, "gender": "male"}],
        "communication": [{"language": {"coding": [{"code": "pt"}]}, "preferred": True}],
        "generalPractitioner": [_REFERENCE],
        "managingOrganization": _REFERENCE,
        "link": [{"other": {"reference": "Patient/2"}, "type": "seealso"}],
    }


def _extension(**fields: Any) -> Resource:
    return {"url": "http://x.test/extension", **fields}
