"""What the system knows of a person, as resources of FHIR R4. docs/fhir.md has the mapping as a table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from gen.pulsetrack.audit.v1 import ServiceAccessEvent
from gen.pulsetrack.billing.v1 import AccountStatus, BillingAccount
from gen.pulsetrack.patient.v1 import RevisionType
from services.patient.domain import PATIENT_CODEC
from services.patient.fhir.mapping import Resource, without_empty
from services.patient.fhir.resources import format_time, from_stored, to_resource

Row = Mapping[str, Any]

_EVENT_TYPE = {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"}
_IP_ADDRESS = "2"
_SUCCESS, _MINOR_FAILURE = "0", "4"


def build_entry(resource: Resource) -> Resource:
    """Returns an entry of a Bundle. The versions of a patient have the same URL."""
    return {"fullUrl": _to_url(resource.get("id") or uuid4()), "resource": resource}


def build_version(row: Row) -> Sequence[Resource]:
    """Returns a version of a patient, and its Provenance: who made the change, and when."""
    patient = PATIENT_CODEC.loads(row["patient"])
    resource = to_resource(patient, from_stored(row["resource"]))
    times = {"create-time": patient.create_time, "delete-time": patient.delete_time}
    added = [
        {"url": f"urn:pulsetrack:{name}", "valueInstant": format_time(time)} for name, time in times.items() if time
    ]
    resource["extension"] = [*resource.get("extension", []), *added]
    if patient.merged_into:
        survivor = {"other": _refer(patient.merged_into), "type": "replaced-by"}
        resource["link"] = [*resource.get("link", []), survivor]
    change = {"system": "urn:pulsetrack:revision-type", "code": RevisionType(row["type"]).name}
    provenance = {
        "resourceType": "Provenance",
        "target": [{"reference": f"Patient/{patient.id}/_history/{row['revision']}"}],
        "recorded": format_time(row["occur_time"]),
        "activity": {"coding": [change]},
        "agent": [{"who": _identify(row["actor_id"])}],
    }
    return without_empty(resource), provenance


def build_account(account: BillingAccount) -> Resource:
    """Returns the Account resource of a billing account."""
    return {
        "resourceType": "Account",
        "id": account.id,
        "extension": [{"url": "urn:pulsetrack:email", "valueString": account.email}],
        "status": "active" if account.status is AccountStatus.ACTIVE else "inactive",
        "name": account.name,
        "subject": [_refer(account.patient_id)],
        "servicePeriod": {"start": format_time(account.create_time)},
    }


def build_care_team(patient_id: str, grants: Sequence[Row]) -> Resource:
    """Returns a CareTeam of the users with access to a restricted patient. That of a user who broke glass ends."""
    return {
        "resourceType": "CareTeam",
        "subject": _refer(patient_id),
        "participant": [
            {
                "role": [{"text": "care team member" if row["expire_time"] is None else "broke glass"}],
                "member": _identify(row["user_id"]),
                "period": _build_period(row["create_time"], row["expire_time"]),
            }
            for row in grants
        ],
    }


def build_erasure(row: Row) -> Resource:
    """Returns the Task of a scheduled erasure. It starts at the time from which on the patient is erased."""
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "code": {"text": "erasure"},
        "for": _refer(str(row["patient_id"])),
        "executionPeriod": _build_period(row["erase_time"]),
        "authoredOn": format_time(row["request_time"]),
        "requester": _identify(row["actor_id"]),
        "reasonCode": {"text": row["reason"]},
    }


def build_audit_event(event: ServiceAccessEvent, service: str, patient_id: str) -> Resource:
    """Returns the AuditEvent of an access event of a service for one of its patients.

    It has no id, because there is one for each patient of the person whom the event concerns.
    """
    details = {"id": event.id, "request": event.request_id, "query": event.query}
    agent = {
        "who": _identify(event.actor_id),
        "requestor": True,
        "network": {"address": event.remote_address, "type": _IP_ADDRESS} if event.remote_address else {},
    }
    return {
        "resourceType": "AuditEvent",
        "type": _EVENT_TYPE,
        "subtype": [{"system": "urn:pulsetrack:method", "code": event.method}],
        "recorded": format_time(event.occur_time),
        "outcome": _SUCCESS if event.outcome == "OK" else _MINOR_FAILURE,
        "outcomeDesc": event.outcome,
        "agent": [without_empty(agent)],
        "source": {"observer": {"display": service}},
        "entity": [
            {
                "what": _refer(patient_id),
                "detail": [{"type": name, "valueString": text} for name, text in details.items() if text],
            }
        ],
    }


def _identify(actor_id: str) -> Resource:
    """Returns a reference to a user, a machine client or a service, which is not part of the Bundle."""
    return {"identifier": {"system": "urn:pulsetrack:actor", "value": actor_id}} if actor_id else {"display": "unknown"}


def _refer(resource_id: str) -> Resource:
    return {"reference": _to_url(resource_id)}


def _to_url(resource_id: object) -> str:
    return f"urn:uuid:{resource_id}"


def _build_period(start: datetime | None, end: datetime | None = None) -> Resource:
    return without_empty({"start": format_time(start), "end": format_time(end)})
