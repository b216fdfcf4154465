"""UndeletePatient, through the gateway."""

from gen.pulsetrack.patient.v1 import UndeletePatientRequest
from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually


def test_admin_undeletes_a_patient_over_grpc_and_rest(user: Session, admin: Session) -> None:
    created = user.post("/v1/patients", a_patient())
    path = f"/v1/patients/{created['id']}"
    for _ in range(2):
        admin.rest.delete(path).raise_for_status()
        undeleted = admin.post(f"{path}:undelete", {})
        assert "deleteTime" not in undeleted
        assert user.get(path) == undeleted
    admin.rest.delete(path).raise_for_status()
    native = admin.client("patient").undelete_patient(UndeletePatientRequest(id=created["id"]))
    assert native.delete_time is None
    eventually(lambda: len(list_events(user, created["id"])) == 7)
    assert list_events(user, created["id"])[0]["type"] == "PATIENT_EVENT_TYPE_UNDELETED"


def test_user_cannot_undelete(user: Session) -> None:
    created = user.post("/v1/patients", a_patient())
    rejected = user.rest.post(f"/v1/patients/{created['id']}:undelete", json={})
    assert (rejected.status_code, rejected.json()["details"][0]["reason"]) == (403, "ROLE_REQUIRED")


def list_events(session: Session, patient_id: str) -> list[dict[str, str]]:
    """Returns the analytics events of a patient."""
    events: list[dict[str, str]] = session.get("/v1/analytics/events", patientId=patient_id).get("events", [])
    return events
