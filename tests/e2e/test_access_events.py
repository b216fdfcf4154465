"""Access events, through the gateway."""

from gen.pulsetrack.patient.v1 import GetPatientRequest, ListAccessEventsRequest
from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually

SPOOFED_HEADERS = {
    "x-forwarded-for": "203.0.113.7",
    "x-envoy-external-address": "203.0.113.7",
    "x-remote-address": "203.0.113.7",
}


def test_access_event_records_the_real_address_despite_spoofed_headers(user: Session, admin: Session) -> None:
    path = f"/v1/patients/{user.post('/v1/patients', a_patient())['id']}"
    response = user.rest.get(path, headers=SPOOFED_HEADERS)
    request = GetPatientRequest(id=path.rpartition("/")[2])
    user.client("patient").get_patient(request, metadata=tuple(SPOOFED_HEADERS.items()))
    rejected = user.rest.delete(path)

    def events() -> list[dict[str, str]]:
        found = admin.get(f"{path}/access-events")["accessEvents"]
        relevant = [event for event in found if not event["method"].endswith("/ListAccessEvents")]
        return relevant if len(relevant) >= 4 else []

    denied, native, rest, created = eventually(events)
    assert {event["actorId"] for event in (denied, native, rest, created)} == {user.get("/v1/auth/me")["id"]}
    assert {event["remoteAddress"] for event in (denied, native, rest, created)} == {"127.0.0.1"}
    assert rest["requestId"] == response.headers["x-request-id"]
    assert (denied["requestId"], denied["outcome"]) == (rejected.headers["x-request-id"], "PERMISSION_DENIED")
    assert native["method"] == rest["method"] == "pulsetrack.patient.v1.PatientService/GetPatient"
    listed = admin.client("patient").list_access_events(ListAccessEventsRequest(id=request.id))
    assert {event["id"] for event in (denied, native, rest, created)} <= {event.id for event in listed.access_events}
