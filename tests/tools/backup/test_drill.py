"""A drill: a backup during load, more load, and a restore into an empty data folder."""

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from tests.e2e.sessions import ADMIN_EMAIL, PASSWORD, Session, a_patient, list_all
from tests.e2e.steady_load import Load
from tests.harness.client import Rejected
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.backup.folder import Manifest
from tools.instance import Instance, run_instance

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

PER_SECOND = 25
BEFORE, DURING = 150, 60

_log = logging.getLogger(__name__)


def run(data: Path, module: str, *arguments: str | Path) -> str:
    """Runs a command on a data folder, and returns its output."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(data)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def watch_one(session: Session, token: str = "") -> str:
    """Creates a patient, and returns the resume token of the first change after a token."""
    with session.client("patient").watch_patients(WatchPatientsRequest(resume_token=token)) as watch:
        next(watch)
        session.post("/v1/patients", a_patient())
        return str(next(watch).resume_token)


class Clinic:
    """An instance under load, with everything that its clients remember."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.user = uuid4().hex
        self.before: set[str] = set()
        self.acknowledged: set[str] = set()
        self.first: Any = None
        self.old_token = self.lost_token = ""

    def work(self, backup: Path, recipient: str) -> None:
        """Loads the instance, backs it up during the load, and loads it further."""
        new = {"email": f"{self.user}@clinic.test", "username": self.user, "password": PASSWORD}
        with Session.log_in(self.instance, ADMIN_EMAIL, self.instance.admin_password) as admin:
            admin.post("/v1/users", new)
            self.old_token = watch_one(admin)
            self.first = self.create_first(admin)
            with Load(admin, per_second=PER_SECOND) as load:
                eventually(lambda: len(load.created) >= BEFORE, seconds=120)
                self.before = {*load.created, self.first["id"]}
                run(self.instance.folder, "tools.backup", "create", "--to", backup, "--recipient", recipient)
                reached = len(load.created)
                eventually(lambda: len(load.created) >= reached + DURING, seconds=60)
            assert not load.failed
            self.lost_token = watch_one(admin)
            self.acknowledged = {patient["id"] for patient in list_all(admin, "/v1/patients", "patients")}
            assert set(load.created) <= self.acknowledged

    def create_first(self, session: Session) -> Any:
        """Creates a patient with a request id, always the same."""
        patient = a_patient(email=f"first-of-{self.user}@clinic.test")
        return session.post(f"/v1/patients?requestId={self.user}", patient)

    @contextmanager
    def restored(self, data: Path) -> Iterator[tuple[Instance, Session]]:
        """Starts the restored instance, and logs in as the user who was created before the backup."""
        with (
            run_instance(data, PULSETRACK_RATE_LIMITS="off") as instance,
            Session.log_in(instance, f"{self.user}@clinic.test", PASSWORD) as session,
        ):
            yield instance, session


def count_by_patient(session: Session, path: str, field: str) -> Counter[str]:
    """Counts the resources of a list by patient."""
    return Counter(row["patientId"] for row in list_all(session, path, field))


def read_rows(backup: Path, service: str, table: str) -> int:
    """Returns the number of rows of a table in a backup."""
    manifest = msgspec.json.decode((backup / "manifest.json").read_bytes(), type=Manifest)
    return next(dump for dump in manifest.databases if dump.service == service).rows[table]


def check_patients(clinic: Clinic, session: Session) -> set[str]:
    """Verifies that nothing acknowledged before the backup is missing, and returns the restored patients."""
    restored = {patient["id"] for patient in list_all(session, "/v1/patients", "patients")}
    assert clinic.before <= restored <= clinic.acknowledged
    return restored


def check_receivers(session: Session, patients: set[str]) -> None:
    """Waits until each patient has exactly one account and one event, and no other patient has any."""

    def has_healed() -> bool:
        accounts = count_by_patient(session, "/v1/billing/accounts", "billingAccounts")
        events = count_by_patient(session, "/v1/analytics/events", "events")
        assert set(accounts) | set(events) <= patients
        assert set(accounts.values()) | set(events.values()) <= {1}
        return set(accounts) == set(events) == patients

    eventually(has_healed, seconds=60)
    assert session.get("/v1/analytics/statistics")["totalPatients"] == str(len(patients))


def check_watches(clinic: Clinic, session: Session) -> None:
    """Verifies that a token of a restored change resumes, and that the token of a lost change is rejected."""
    created = session.post("/v1/patients", a_patient(name="The Last"))
    seen: list[str] = []
    with session.client("patient").watch_patients(WatchPatientsRequest(resume_token=clinic.old_token)) as watch:
        next(watch)
        while not seen or seen[-1] != created["id"]:
            seen.append(next(watch).revision.patient.id)
    assert clinic.before <= set(seen)
    assert len(seen) == len(set(seen))
    with (
        pytest.raises(Rejected) as rejected,
        session.client("patient").watch_patients(WatchPatientsRequest(resume_token=clinic.lost_token)) as watch,
    ):
        next(watch)
    assert rejected.value.reason == "RESUME_TOKEN_INVALID"


def check_request_id(clinic: Clinic, instance: Instance) -> None:
    """Verifies that a request that is repeated after the restore returns the first response."""
    with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as admin:
        assert clinic.create_first(admin) == clinic.first


def archive_audit_log(instance: Instance) -> None:
    """Moves the access events so far to archives, without which the rest cannot be verified."""
    with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password):
        archive = ("audit-archive", "auth", "--before", "2999-01-01")
        eventually(lambda: "up to seal" in run(instance.folder, "tools.operate", *archive))
    run(instance.folder, "tools.operate", "audit-prune", "auth")


def test_drill(new_folder: NewFolder, tmp_path: Path) -> None:
    backup, data = tmp_path / "backup", tmp_path / "restored"
    recipient = run(tmp_path, "tools.backup", "keygen", tmp_path / "key").strip()
    with run_instance(new_folder("drilled"), PULSETRACK_RATE_LIMITS="off") as instance:
        archive_audit_log(instance)
        clinic = Clinic(instance)
        clinic.work(backup, recipient)
    run(data, "tools.backup", "restore", "--from", backup, "--key", tmp_path / "key")
    with clinic.restored(data) as (instance, session):
        patients = check_patients(clinic, session)
        check_receivers(session, patients)
        check_request_id(clinic, instance)
        check_watches(clinic, session)
        eventually(lambda: "intact" in run(data, "tools.operate", "audit-verify"))
    behind = read_rows(backup, "patient", "patients") - read_rows(backup, "billing", "accounts")
    _log.info(
        "acknowledged before the backup: %d, in total: %d, restored: %d, lost: %d; billing was %d accounts behind",
        len(clinic.before),
        len(clinic.acknowledged),
        len(patients),
        len(clinic.acknowledged - patients),
        behind,
    )
