"""Imports and exports of the command-line tool: killed in the middle, and from one instance to another."""

import csv
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import pytest

from tests.clients.environments import python_programs
from tests.e2e.sessions import ADMIN_EMAIL, Administered, Session
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

FORMATS = ("csv", "ndjson", "fhir.ndjson")
SET_BY_SERVER = {"id", "etag", "createTime", "updateTime"}
COUNT = 5_000
"""The records of a file whose import takes more than a second."""
EXPORTED = 20_000
"""Patients that do not fit into the buffers between the service and a tool that does not read."""

Patient = dict[str, Any]
System = TypeVar("System", bound=Administered)


@dataclass(frozen=True)
class Tool(Generic[System]):
    """The command-line tool, which calls a system as the first admin."""

    package: Path
    session: Path
    instance: System

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts a command."""
        variables = {
            "PULSETRACK_URL": self.instance.url,
            "PULSETRACK_EMAIL": ADMIN_EMAIL,
            "PULSETRACK_PASSWORD": self.instance.admin_password,
            "PYTHONPATH": str(self.package),
            "XDG_CONFIG_HOME": str(self.session),
        }
        program = "import sys; from pulsetrack.cli import main; sys.exit(main())"
        command = [str(python_programs() / "python"), "-c", program, *arguments]
        return subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> dict[str, int]:
        """Runs a command, and returns the counts that it prints."""
        return finish(self.start(*arguments))


def finish(process: "subprocess.Popen[str]") -> dict[str, int]:
    """Waits until a command has succeeded, and returns the counts that it prints."""
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    return {name: int(count) for name, count in (line.split() for line in printed.splitlines()[1:])}


@contextmanager
def start_instance(folder: Path, package: Path) -> Iterator[tuple[Tool[Instance], Session]]:
    """Starts an instance without patients, and yields the tool and a session of its first admin."""
    with run_instance(folder, PULSETRACK_RATE_LIMITS="off") as instance:
        tool = Tool(package, folder.parent / "session", instance)
        with tool.start("login") as login:
            assert login.wait() == 0
        with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as admin:
            yield tool, admin


@pytest.fixture(scope="module")
def source(new_folder: NewFolder, package: Path) -> Iterator[tuple[Tool[Instance], Session]]:
    """An instance that is shared by the tests of this file."""
    with start_instance(new_folder("source"), package) as started:
        yield started


def some_patients(count: int) -> list[Patient]:
    """Returns patients, of which every other one has a record number, with texts that are hard to keep in a file."""
    word = uuid4().hex
    patients = [
        {
            "name": f'Ana "{number}" Silva; Sousa, José',
            "email": f"{number}.{word}@clinic.test",
            "address": f"{number} High Street\n4000 Porto",
            "dateOfBirth": "1980-02-29",
            "registeredDate": "2020-01-31",
            "phone": "+351 21 000 000",
            "sex": "SEX_OTHER",
        }
        for number in range(count)
    ]
    for number, patient in enumerate(patients[::2]):
        patient["medicalRecordNumber"] = f"00{number}-{word}"
    return patients


def to_resource(patient: Patient) -> dict[str, Any]:
    """Returns a patient as a FHIR resource with an element that a record does not have."""
    number = patient.get("medicalRecordNumber")
    identifiers = [{"system": "urn:pulsetrack:medical-record-number", "value": number}]
    return {
        "resourceType": "Patient",
        **({"identifier": identifiers} if number else {}),
        "extension": [{"url": "urn:pulsetrack:registered-date", "valueDate": patient["registeredDate"]}],
        "name": [{"text": patient["name"]}],
        "telecom": [{"system": system, "value": patient[system]} for system in ("email", "phone")],
        "address": [{"text": patient["address"]}],
        "gender": "other",
        "birthDate": patient["dateOfBirth"],
        "maritalStatus": {"text": "married"},
    }


def write(file: Path, patients: Sequence[Patient]) -> Path:
    """Writes patients in the format that the name of a file stands for."""
    with file.open("w", encoding="utf-8", newline="") as text:
        if file.suffix == ".csv":
            writer = csv.DictWriter(text, [*patients[0]])
            writer.writeheader()
            writer.writerows(patients)
        else:
            convert = to_resource if ".fhir" in file.name else dict
            text.writelines(json.dumps(convert(each)) + "\n" for each in patients)
    return file


def read_file(file: Path) -> list[Patient]:
    """Returns the patients in an exported file without what the server sets, by email address."""
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text)) if file.suffix == ".csv" else [json.loads(line) for line in text]
    patients = [{name: value for name, value in row.items() if name not in SET_BY_SERVER} for row in rows]
    return sorted(patients, key=lambda patient: str(patient["email"]))


def check_exported(tool: Tool[System], patients: Sequence[Patient], folder: Path) -> None:
    """Fails if an export does not contain each of the patients once, with all values."""
    file = folder / "exported.ndjson"
    tool.run("export", str(file))
    emails = {patient["email"] for patient in patients}
    exported = [patient for patient in read_file(file) if patient["email"] in emails]
    assert exported == sorted(patients, key=lambda patient: str(patient["email"]))


def read_resources(admin: Session) -> list[dict[str, Any]]:
    """Returns all patients as FHIR resources, by email address."""
    found: list[dict[str, Any]] = []
    url = "/fhir/R4/Patient?_count=500"
    while url:
        bundle = admin.rest.get(url).raise_for_status().json()
        found += [entry["resource"] for entry in bundle["entry"]]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return sorted(found, key=lambda resource: str(resource["telecom"]))


@contextmanager
def begin_import(
    source: tuple[Tool[System], Session], file: Path, patients: Sequence[Patient]
) -> Iterator["subprocess.Popen[str]"]:
    """Starts the import of a file of patients, and yields its process once it has created the first one."""
    tool, admin = source
    with tool.start("import", str(write(file, patients))) as process:
        eventually(lambda: admin.get("/v1/patients", query=patients[0]["email"]).get("patients"))
        yield process


@pytest.mark.parametrize("ending", ["csv", "ndjson"])
def test_export_is_the_same_after_an_import_into_an_empty_instance(
    source: tuple[Tool[Instance], Session], new_folder: NewFolder, package: Path, tmp_path: Path, ending: str
) -> None:
    tool, admin = source
    for patient in [*some_patients(20), some_patients(1)[0] | {"restricted": True}]:
        admin.post("/v1/patients", patient)
    exported, again = tmp_path / f"exported.{ending}", tmp_path / f"again.{ending}"
    count = tool.run("export", str(exported))["exported"]
    with start_instance(new_folder("target"), package) as (target, _):
        assert target.run("import", str(exported)) == {"created": count}
        target.run("export", str(again))
    assert read_file(again) == read_file(exported)


def test_fhir_resources_are_the_same_after_an_import_into_an_empty_instance(
    source: tuple[Tool[Instance], Session], new_folder: NewFolder, package: Path, tmp_path: Path
) -> None:
    tool, admin = source
    tool.run("import", str(write(tmp_path / "first.fhir.ndjson", some_patients(600))))
    resources, file = read_resources(admin), tmp_path / "second.ndjson"
    file.write_text("\n".join(map(json.dumps, resources)), encoding="utf-8")
    with start_instance(new_folder("target"), package) as (target, other):
        assert target.run("import", str(file)) == {"created": len(resources)}
        again = read_resources(other)
    for resource in (*resources, *again):
        del resource["id"], resource["meta"]
    assert again == resources


@pytest.mark.parametrize("ending", FORMATS)
def test_import_whose_tool_was_killed_is_completed_by_the_next_one(
    source: tuple[Tool[Instance], Session], tmp_path: Path, ending: str
) -> None:
    tool, _ = source
    patients, file = some_patients(COUNT), tmp_path / f"patients.{ending}"
    with begin_import(source, file, patients) as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    counts = tool.run("import", str(file))
    assert counts.keys() == {"created", "same"}
    assert sum(counts.values()) == COUNT
    check_exported(tool, patients, tmp_path)


@pytest.mark.parametrize("ending", FORMATS)
def test_import_continues_after_the_service_was_killed(
    source: tuple[Tool[Instance], Session], tmp_path: Path, ending: str
) -> None:
    tool, _ = source
    patients, file = some_patients(COUNT), tmp_path / f"patients.{ending}"
    with begin_import(source, file, patients) as process:
        os.kill(tool.instance.state().processes["patient"].pid, signal.SIGKILL)
        assert process.poll() is None
        counts = finish(process)
    assert counts.keys() <= {"created", "same"}
    assert sum(counts.values()) == COUNT
    assert tool.run("import", str(file)) == {"same": COUNT}
    check_exported(tool, patients, tmp_path)


def test_export_during_which_the_service_was_killed_is_complete(
    source: tuple[Tool[Instance], Session], tmp_path: Path
) -> None:
    """The tool is stopped meanwhile, so it has read only a part of the export."""
    tool, _ = source
    tool.run("import", str(write(tmp_path / "patients.ndjson", some_patients(EXPORTED))))
    whole, file, part = (tmp_path / name for name in ("whole.ndjson", "file.ndjson", "file.ndjson.part"))
    tool.run("export", str(whole))
    with tool.start("export", str(file)) as process:
        eventually(lambda: part.exists() and part.stat().st_size)
        process.send_signal(signal.SIGSTOP)
        old = tool.instance.state().processes["patient"].pid
        os.kill(old, signal.SIGKILL)
        eventually(lambda: tool.instance.state().processes["patient"].pid != old)
        tool.instance.wait_until_ready()
        assert part.stat().st_size < whole.stat().st_size
        process.send_signal(signal.SIGCONT)
        finish(process)
    assert file.read_bytes() == whole.read_bytes()
