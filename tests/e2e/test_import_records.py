"""Files of patients are imported over REST."""

import json

import pytest

from tests.e2e.sessions import Session, a_patient
from tests.patient.fhir_resources import a_resource

PATH = "/v1/patients:import"


def post(session: Session, content: str, kind: str, **query: str) -> list[dict[str, str]]:
    """Imports a file and returns the results."""
    response = session.rest.post(PATH, content=content.encode(), headers={"content-type": kind}, params=query)
    results: list[dict[str, str]] = response.raise_for_status().json()["results"]
    return results


def test_lines_of_json_create_and_update_patients(admin: Session) -> None:
    patients = [a_patient(), a_patient()]
    lines = "\n".join(map(json.dumps, [*patients, {"name": "Ana"}]))
    results = post(admin, lines, "application/x-ndjson")
    assert [each["outcome"].removeprefix("IMPORT_OUTCOME_") for each in results] == ["CREATED", "CREATED", "REFUSED"]
    assert admin.get(f"/v1/patients/{results[0]['patientId']}")["email"] == patients[0]["email"]
    [updated] = post(
        admin, json.dumps(patients[0] | {"phone": "112"}), "application/x-ndjson", mode="IMPORT_MODE_UPSERT"
    )
    assert (updated["outcome"], updated["patientId"]) == ("IMPORT_OUTCOME_UPDATED", results[0]["patientId"])


def test_lines_of_fhir_create_patients(admin: Session) -> None:
    resource = a_resource()
    [result] = post(admin, json.dumps(resource), "application/fhir+ndjson")
    assert admin.get(f"/v1/patients/{result['patientId']}")["email"] == resource["telecom"][0]["value"]


@pytest.mark.parametrize("kind", ["application/json", "text/csv", "application/x-www-form-urlencoded"])
def test_other_content_types_are_rejected(admin: Session, kind: str) -> None:
    response = admin.rest.post(PATH, content=b"{}", headers={"content-type": kind})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (415, "CONTENT_TYPE_UNSUPPORTED")
