"""ExportPatientData through the gateway, which joins the messages of the stream to a Bundle."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fhirclient.models.bundle import Bundle

from gen.pulsetrack.patient.v1 import ExportPatientDataRequest
from services.common.protobuf.contract import MAX_MESSAGE_BYTES
from tests.e2e.sessions import Session, a_patient
from tests.e2e.test_erasure import build_values
from tests.harness.waiting import eventually
from tests.patient.fhir_resources import a_resource

FIELDS = build_values().keys()


def export(session: Session, patient_id: str) -> httpx.Response:
    """Exports the data of a patient."""
    return session.rest.get(f"/v1/patients/{patient_id}:exportData")


@pytest.fixture
def patient(admin: Session) -> dict[str, Any]:
    """A patient with a billing account."""
    created: dict[str, Any] = admin.post("/v1/patients", a_patient(**build_values()))
    eventually(lambda: admin.get("/v1/billing/accounts", patientId=created["id"])["billingAccounts"])
    return created


def test_bundle_has_all_values(admin: Session, patient: dict[str, Any]) -> None:
    changed = admin.rest.patch(f"/v1/patients/{patient['id']}", json=build_values()).raise_for_status().json()
    accounts = {"patientId": patient["id"]}
    eventually(lambda: admin.get("/v1/billing/accounts", **accounts)["billingAccounts"][0]["name"] == changed["name"])
    response = export(admin, patient["id"])
    assert (response.status_code, response.headers["content-type"]) == (200, "application/fhir+json")
    bundle = Bundle(response.json())
    kinds = [entry.resource.resource_type for entry in bundle.entry]
    assert [kinds.count(kind) for kind in ("Account", "Patient", "Provenance")] == [1, 2, 2]
    assert kinds.count("AuditEvent") >= 2
    for values in (patient, changed):
        assert [values[name] for name in FIELDS if values[name] not in response.text] == []
    account = next(entry["resource"] for entry in response.json()["entry"] if "Account" in str(entry["resource"]))
    assert (account["name"], changed["email"] in str(account)) == (changed["name"], True)


def test_grpc_and_rest_export_the_same_entries(admin: Session, patient: dict[str, Any]) -> None:
    with admin.client("patient").export_patient_data(ExportPatientDataRequest(id=patient["id"])) as stream:
        native = json.loads(b"".join(message.data for message in stream))
    rest = export(admin, patient["id"]).json()
    assert [rest[name] for name in ("resourceType", "type")] == ["Bundle", "collection"]
    for kind in ("Account", "Patient", "Provenance"):
        both = [
            [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]
            for bundle in (native, rest)
        ]
        assert both[0] == both[1]


def test_bundle_can_be_larger_than_a_message(admin: Session) -> None:
    note, count = "x" * 60_000, 1 + MAX_MESSAGE_BYTES // 60_000
    created = (
        admin.rest.post("/fhir/R4/Patient", json=a_resource(maritalStatus={"text": note})).raise_for_status().json()
    )
    for number in range(1, count):
        change = created | {"maritalStatus": {"text": f"{number}{note}"}}
        admin.rest.put(f"/fhir/R4/Patient/{created['id']}", json=change).raise_for_status()
    response = export(admin, created["id"])
    assert len(response.content) > MAX_MESSAGE_BYTES
    versions = [entry["resource"] for entry in response.json()["entry"] if "maritalStatus" in entry["resource"]]
    assert [each["meta"]["versionId"] for each in versions] == [str(number) for number in range(count, 0, -1)]


def test_rejected_export_has_an_error_status_and_a_reason(
    admin: Session, user: Session, patient: dict[str, Any]
) -> None:
    for session, patient_id, expected in (
        (user, patient["id"], (403, "ROLE_REQUIRED")),
        (admin, str(uuid4()), (404, "PATIENT_NOT_FOUND")),
        (admin, "x", (400, "FIELDS_INVALID")),
    ):
        response = export(session, patient_id)
        assert (response.status_code, response.json()["details"][0]["reason"]) == expected
