"""FHIR resources for tests, and calls that create and read them."""

import json
from typing import Any
from uuid import uuid4

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import CreateFhirPatientRequest, GetFhirPatientRequest, UpdateFhirPatientRequest
from tests.harness.client import Client

Resource = dict[str, Any]


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
    period = {"start": "2001-05", "end": "2011-05-06T07:08:09.5+01:00"}
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"}
    reference = {"reference": "Organization/1", "display": "Clinic", "identifier": {"value": "7"}}
    contacts = [
        {"system": "phone", "value": "+351 21 000 000", "use": "old", "period": period},
        {"system": "phone", "value": "555-1234", "use": "home", "rank": 2},
        {"system": "phone", "value": "555-4321", "use": "mobile", "rank": 1},
        {"system": "email", "value": f"{uuid4()}@Clinic.test", "_value": {"extension": [_extension(valueCode="x")]}},
        {"system": "fax", "value": "1"},
    ]
    return {
        "resourceType": "Patient",
        "meta": {"source": "urn:x", "profile": ["http://x.test/p"], "tag": [coding]},
        "language": "en",
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Ana</div>'},
        "contained": [{"resourceType": "Organization", "id": "o", "name": "Clinic"}],
        "extension": [_extension(valueDecimal=1.5), _extension(extension=[_extension(valueQuantity={"value": 1})])],
        "identifier": [
            {"use": "official", "system": "urn:oid:1.2.3", "value": "12345", "period": period, "assigner": reference},
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": "http://hospital.test",
                "value": uuid4().hex,
            },
        ],
        "active": False,
        "name": [
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
        ],
        "telecom": contacts,
        "gender": "female",
        "birthDate": "1980-02-29",
        "_birthDate": {"extension": [_extension(valueDateTime="1980-02-29T14:35:45-05:00")]},
        "deceasedBoolean": False,
        "address": [
            {"use": "billing", "text": "2 Low Street"},
            {
                "use": "home",
                "line": ["1 High Street", "Flat 2"],
                "city": "Porto",
                "postalCode": "4000",
                "country": "PT",
            },
        ],
        "maritalStatus": {"coding": [coding], "text": "Married"},
        "multipleBirthInteger": 2,
        "photo": [{"contentType": "image/gif", "data": "R0lGODlhEwARAA=="}],
        "contact": [{"relationship": [{"text": "spouse"}], "name": {"text": "Rui"}, "gender": "male"}],
        "communication": [{"language": {"coding": [{"code": "pt"}]}, "preferred": True}],
        "generalPractitioner": [reference],
        "managingOrganization": reference,
        "link": [{"other": {"reference": "Patient/2"}, "type": "seealso"}],
    }


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


def _extension(**fields: Any) -> Resource:
    return {"url": "http://x.test/extension", **fields}
