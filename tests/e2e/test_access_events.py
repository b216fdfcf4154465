"""Access events, through the gateway."""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from uuid import uuid4

from gen.pulsetrack.patient.v1 import GetPatientRequest, ListAccessEventsRequest
from tests.e2e.sessions import Session, a_patient
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.local.process import ROOT

ADMIN = "admin@pulsetrack.local"

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


def test_kill_loses_no_events_of_changes_or_of_reads_older_than_a_second(new_folder: NewFolder) -> None:
    with (
        run_instance(new_folder("killed")) as instance,
        log_in(instance) as admin,
    ):
        read = [admin.post("/v1/patients", a_patient())["id"] for _ in range(10)]
        for patient_id in read:
            admin.get(f"/v1/patients/{patient_id}")
        time.sleep(1)
        written = [admin.post("/v1/patients", a_patient())["id"] for _ in range(10)]
        old = instance.state().processes["patient"].pid
        os.kill(old, signal.SIGKILL)
        eventually(lambda: instance.state().processes["patient"].pid != old)
        eventually(lambda: admin.rest.get(f"/v1/patients/{uuid4()}").status_code == 404)
        assert [list_methods(admin, patient_id) for patient_id in read] == [["CreatePatient", "GetPatient"]] * 10
        assert [list_methods(admin, patient_id) for patient_id in written] == [["CreatePatient"]] * 10


def test_stop_loses_no_access_events(new_folder: NewFolder) -> None:
    folder = new_folder("stopped")
    with run_instance(folder) as instance, log_in(instance) as admin:
        created = admin.post("/v1/patients", a_patient())["id"]
        for _ in range(20):
            admin.get(f"/v1/patients/{created}")
        assert instance.stop() == 0
    with run_instance(folder) as instance, log_in(instance) as admin:
        assert list_methods(admin, created) == ["CreatePatient", *["GetPatient"] * 20]
        eventually(lambda: ", 0 not sealed yet." in verify_audit(instance).stdout)


def log_in(instance: Instance) -> AbstractContextManager[Session]:
    """Logs in as the first admin."""
    return Session.log_in(instance, ADMIN, instance.admin_password)


def verify_audit(instance: Instance) -> subprocess.CompletedProcess[str]:
    """Verifies the audit log of a running instance, like `make audit-verify`."""
    environment = os.environ | {
        "PULSETRACK_DATABASE_URL_FILE": str(instance.folder / "secrets" / "patient-database-url")
    }
    command = [sys.executable, "-m", "services.common.audit.verify", "patient"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)


def list_methods(admin: Session, patient_id: str) -> list[str]:
    """Returns the methods of a patient's access events, oldest first."""
    events = admin.get(f"/v1/patients/{patient_id}/access-events")["accessEvents"]
    return [event["method"].rpartition("/")[2] for event in reversed(events)]
