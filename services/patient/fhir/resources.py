"""Resources of FHIR R4 (https://hl7.org/fhir/R4/patient.html): what the FHIR API returns, and what it takes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import Patient, Revision, RevisionType
from services.common.protobuf.contract import FHIR_CONTENT
from services.patient.errors import ResourceMalformed, ResourceUnprocessable
from services.patient.fhir.mapping import Resource, merge, merge_security, strip, without_empty
from services.patient.fhir.structure import find_violations

MAX_RESOURCE_BYTES = 64 * 1024
"""The maximum size of a resource that a client writes. It is stored with each later version of the patient."""

_UNSUPPORTED = ("implicitRules", "modifierExtension")
"""Elements that change the meaning of others. FHIR forbids to accept a resource without understanding them."""
_encoder = msgspec.json.Encoder(decimal_format="number")
_sorting_encoder = msgspec.json.Encoder(decimal_format="number", order="sorted")
_decoder = msgspec.json.Decoder(float_hook=Decimal)  # FHIR requires that decimals keep their precision


def to_resource(patient: Patient, stored: Resource | None = None) -> Resource:
    """Returns a patient as a Patient resource, with the elements of the stored resource that are still true."""
    elements: Resource = {"active": True} if stored is None else stored
    meta: Resource = elements.get("meta", {})
    return {
        "resourceType": "Patient",
        "id": patient.id,
        "meta": without_empty(
            {
                "versionId": patient.etag,
                "lastUpdated": format_time(patient.update_time),
                **meta,
                "security": merge_security(meta.get("security", []), patient),
            }
        ),
        **{name: value for name, value in merge(elements, patient).items() if name != "meta"},
    }


def build_bundle(resources: Sequence[Resource], *, query: str, next_query: str | None) -> Resource:
    """Returns a page of a search as a Bundle. Its links are relative: the gateway makes them absolute."""
    entries = [
        {"fullUrl": f"Patient/{each['id']}", "resource": each, "search": {"mode": "match"}} for each in resources
    ]
    return _build_page("searchset", entries, "Patient", query, next_query)


def build_history(
    revisions: Sequence[tuple[Revision, Resource]], patient_id: str, *, query: str, next_query: str | None
) -> Resource:
    """Returns a page of the versions of a patient as a Bundle. A deletion or a merge has no resource."""
    entries = [_to_entry(revision, resource) for revision, resource in revisions]
    return _build_page("history", entries, f"Patient/{patient_id}/_history", query, next_query)


def to_json(resource: Resource) -> bytes:
    """Returns a resource as JSON."""
    return _encoder.encode(resource)


def to_body(resource: Resource, content_type: str = FHIR_CONTENT) -> HttpBody:
    """Returns a resource as the body of a response."""
    return HttpBody(content_type=content_type, data=to_json(resource))


def parse_resource(body: HttpBody | None) -> Resource:
    """Returns the Patient resource in a request. Raises ResourceMalformed, ResourceUnprocessable."""
    data = b"" if body is None else body.data
    if len(data) > MAX_RESOURCE_BYTES:
        raise ResourceUnprocessable({"resource": f"the resource must have at most {MAX_RESOURCE_BYTES // 1024} KiB"})
    try:
        resource = _decoder.decode(data)
    except (ValueError, ArithmeticError, RecursionError):
        raise ResourceMalformed({"resource": "the body must be JSON (RFC 8259)"}) from None
    if not isinstance(resource, dict) or resource.get("resourceType") != "Patient":
        raise ResourceMalformed({"resource": "the body must be an object with the resourceType Patient"})
    if found := find_violations(resource):
        raise ResourceMalformed({f"resource.{path}": f"{path} {text}" for path, text in found.items()})
    if found := {f"resource.{name}": f"{name} is not supported" for name in _UNSUPPORTED if name in resource}:
        raise ResourceUnprocessable(found)
    return resource


def to_stored(resource: Resource) -> bytes:
    """Returns the form in which a resource is stored. Resources that differ in the order of elements have the same."""
    return _sorting_encoder.encode(strip(resource))


def from_stored(data: bytes | None) -> Resource | None:
    """Returns a stored resource, or None if there is none."""
    return None if data is None else _decoder.decode(data)


def format_time(time: datetime | None) -> str:
    """Returns a time as an instant, in UTC, empty if there is none."""
    return "" if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _build_page(kind: str, entries: list[Resource], path: str, query: str, next_query: str | None) -> Resource:
    links = [{"relation": "self", "url": _to_url(path, query)}]
    if next_query is not None:
        links.append({"relation": "next", "url": _to_url(path, next_query)})
    return without_empty({"resourceType": "Bundle", "type": kind, "link": links, "entry": entries})


def _to_entry(revision: Revision, resource: Resource) -> Resource:
    is_deleted = revision.patient is not None and revision.patient.delete_time is not None  # or merged
    is_created = revision.type is RevisionType.CREATED
    method, status = ("DELETE", "204") if is_deleted else ("POST", "201") if is_created else ("PUT", "200")
    url = f"Patient/{resource['id']}"
    return without_empty(
        {
            "fullUrl": url,
            "resource": {} if is_deleted else resource,
            "request": {"method": method, "url": "Patient" if is_created else url},
            "response": {
                "status": status,
                "etag": f'W/"{revision.revision}"',
                "lastModified": resource["meta"]["lastUpdated"],
            },
        }
    )


def _to_url(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path
