"""Revisions, through the gateway."""

from gen.pulsetrack.patient.v1 import ListPatientRevisionsRequest, RevisionType
from tests.e2e.sessions import Session, a_patient


def test_revisions_over_grpc_and_rest(user: Session, admin: Session) -> None:
    created = user.post("/v1/patients", a_patient())
    path = f"/v1/patients/{created['id']}"
    deleted = admin.rest.delete(path).raise_for_status().json()
    me = user.get("/v1/auth/me")
    second, first = user.get(f"{path}/revisions")["revisions"]
    assert first == {
        "revision": "1",
        "patient": created,
        "actorId": me["id"],
        "occurTime": created["createTime"],
        "type": "REVISION_TYPE_CREATED",
    }
    assert (second["patient"], second["type"]) == (deleted, "REVISION_TYPE_DELETED")
    native = user.client("patient").list_patient_revisions(ListPatientRevisionsRequest(id=created["id"]))
    assert [revision.type for revision in native.revisions] == [RevisionType.DELETED, RevisionType.CREATED]
