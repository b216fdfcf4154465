"""ExportPatients through the gateway, over gRPC and as NDJSON."""

import json
from typing import Any

from gen.pulsetrack.patient.v1 import ExportPatientsRequest
from tests.e2e.sessions import Session, a_patient

PATH = "/v1/patients:export"


def export_lines(session: Session, **query: str) -> list[dict[str, Any]]:
    """Exports over REST, and returns the lines."""
    response = session.rest.get(PATH, params=query)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


def test_rest_export_has_a_page_per_line(admin: Session) -> None:
    created = [admin.post("/v1/patients", a_patient()) for _ in range(3)]
    lines = export_lines(admin)
    patients = [patient for line in lines for patient in line.get("patients", [])]
    assert [patient for patient in patients if patient in created] == created
    assert not lines[-1]["resumeToken"]


def test_rest_and_grpc_export_the_same_patients(admin: Session) -> None:
    created = admin.post("/v1/patients", a_patient(sex="SEX_OTHER", dateOfBirth="1931-05-07"))
    filters = {"bornAfter": "1931-05-06", "bornBefore": "1931-05-08"}
    request = ExportPatientsRequest(born_after="1931-05-06", born_before="1931-05-08")
    with admin.client("patient").export_patients(request) as stream:
        native = [patient.id for message in stream for patient in message.patients]
    assert created["id"] in native
    assert [each["id"] for line in export_lines(admin, **filters) for each in line["patients"]] == native


def test_rejected_export_has_an_error_status_and_a_reason(admin: Session, user: Session) -> None:
    response = admin.rest.get(PATH, params={"resumeToken": "garbage"})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (400, "RESUME_TOKEN_INVALID")
    response = user.rest.get(PATH)
    assert (response.status_code, response.json()["details"][0]["reason"]) == (403, "ROLE_REQUIRED")
