"""Patients as resources of FHIR R4 (https://hl7.org/fhir/R4/patient.html). docs/fhir.md has the mapping as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import Patient, Sex
from services.common.protobuf.contract import FHIR_CONTENT

Resource = dict[str, Any]

GENDERS = {Sex.FEMALE: "female", Sex.MALE: "male", Sex.OTHER: "other"}
RECORD_NUMBER = "urn:pulsetrack:medical-record-number"
"""The system of the identifier that is the medical record number."""

_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_REGISTERED_DATE = "urn:pulsetrack:registered-date"


def to_resource(patient: Patient) -> Resource:
    """Returns a patient as a Patient resource, without empty elements."""
    resource = {
        "resourceType": "Patient",
        "id": patient.id,
        "meta": _without_empty(
            {
                "versionId": patient.etag,
                "lastUpdated": _format_time(patient.update_time),
                "security": [{"system": _CONFIDENTIALITY, "code": "R", "display": "restricted"}] * patient.restricted,
            }
        ),
        "extension": [{"url": _REGISTERED_DATE, "valueDate": patient.registered_date}],
        "identifier": [_to_identifier(patient.medical_record_number)] if patient.medical_record_number else [],
        "active": patient.delete_time is None,
        "name": [{"text": patient.name}],
        "telecom": [
            {"system": system, "value": value}
            for system, value in (("phone", patient.phone), ("email", patient.email))
            if value
        ],
        "gender": GENDERS.get(patient.sex),
        "birthDate": patient.date_of_birth,
        "address": [{"text": patient.address}],
    }
    return _without_empty(resource)


def build_bundle(patients: Sequence[Patient], *, query: str, next_query: str | None) -> Resource:
    """Returns a page of a search as a Bundle. Its links are relative: the gateway makes them absolute."""
    links = [{"relation": "self", "url": _to_url(query)}]
    if next_query is not None:
        links.append({"relation": "next", "url": _to_url(next_query)})
    entries = [
        {"fullUrl": f"Patient/{patient.id}", "resource": to_resource(patient), "search": {"mode": "match"}}
        for patient in patients
    ]
    return _without_empty({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})


def to_body(resource: Resource) -> HttpBody:
    """Returns a resource as the body of a response."""
    return HttpBody(content_type=FHIR_CONTENT, data=msgspec.json.encode(resource))


def _to_identifier(record_number: str) -> Resource:
    kind = {"coding": [{"system": _IDENTIFIER_TYPES, "code": "MR"}]}
    return {"type": kind, "system": RECORD_NUMBER, "value": record_number}


def _format_time(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_url(query: str) -> str:
    return f"Patient?{query}" if query else "Patient"


def _without_empty(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if value not in (None, "", [])}
