"""Imports and exports of a running system."""

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.json_format import MessageToDict
from pulsetrack import Client
from pulsetrack.cli import main
from pulsetrack.patient.v1.patient_pb2 import Patient, Sex
from pulsetrack.patients import PatientFields
from pulsetrack.records import Record, open_text, read_ndjson
from pulsetrack.tables import read_csv
from running_system import Run, System

KILLED_AFTER_A_BATCH = """
import os, signal, sys
from pulsetrack.cli import main
from pulsetrack.patients import Patients

import_batch = Patients.import_batch

async def import_and_die(*arguments, **options):
    await import_batch(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

Patients.import_batch = import_and_die
main(sys.argv[1:])
"""


def some_patients() -> list[PatientFields]:
    """Returns patients whose texts are hard to keep in a file."""
    word = uuid4().hex
    born = "1980-02-29"
    return [
        PatientFields(
            name='Ana "Nana" Silva; Sousa, José',
            email=f"ana.{word}@clinic.test",
            address="1 High Street\nPorto",
            date_of_birth=born,
            medical_record_number=f"007{word}",
        ),
        PatientFields(
            name="محمد علي",
            email=f"ali.{word}@clinic.test",
            address="=1+1",
            date_of_birth="1985",
            phone="+351 21 000 000",
            sex=Sex.SEX_OTHER,
        ),
    ]


def read(file: Path) -> list[Record]:
    with open_text(file, "utf-8") as text:
        return list(read_csv(text, {}) if file.suffix == ".csv" else read_ndjson(text))


@pytest.mark.parametrize("name", ["patients.csv", "patients.ndjson"])
def test_exported_file_contains_the_patients(name: str, system: System, run: Run, tmp_path: Path) -> None:
    created = some_patients()

    async def create(client: Client) -> None:
        for fields in created:
            await client.patients.create(**fields)

    system.run(create)
    file = tmp_path / name
    run("export", str(file))
    exported = {record.patient.email: record.patient for record in read(file) if record.patient}
    for fields in created:
        patient = exported[fields["email"]]
        patient.ClearField("registered_date")
        assert patient == Patient(**fields)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def write(file: Path, patients: list[PatientFields]) -> Path:
    content = [json.dumps(MessageToDict(Patient(**fields)), ensure_ascii=False) for fields in patients]
    file.write_text("\n".join(content), encoding="utf-8")
    return file


def counts(printed: str) -> dict[str, int]:
    """Returns the numbers of a printed table."""
    return {name: int(count) for name, count in (line.split() for line in printed.splitlines()[1:])}


@pytest.mark.parametrize("name", ["patients.csv", "patients.ndjson"])
def test_imported_file_is_exported_and_imported_again(name: str, run: Run, tmp_path: Path) -> None:
    """The second import finds the same patients, and so does that of the exported file."""
    patients = some_patients()
    file = write(tmp_path / "patients.ndjson", patients)
    assert counts(run("import", str(file))) == {"created": 2}
    assert counts(run("import", str(file))) == {"same": 2}
    exported = tmp_path / f"exported-{name}"
    run("export", str(exported))
    again = counts(run("import", str(exported)))
    assert again.keys() == {"same"}
    assert again["same"] >= 2
    assert not list(tmp_path.glob("*.refused.ndjson"))


def test_import_updates_the_patient_with_the_same_key(run: Run, tmp_path: Path) -> None:
    ana, ali = some_patients()
    run("import", str(write(tmp_path / "first.ndjson", [ana, ali])))
    ana["phone"] = ali["phone"] = "112"
    assert counts(run("import", "--mode", "upsert", str(write(tmp_path / "second.ndjson", [ana, ali])))) == {
        "updated": 2
    }
    listed = run("patients", "list", "--query", ana["email"], "--output", "json")
    assert json.loads(listed.splitlines()[0])["phone"] == "112"


def test_import_does_not_change_a_patient_by_default(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ana, ali = some_patients()
    run("import", str(write(tmp_path / "first.ndjson", [ana, ali])))
    ana["phone"] = "112"
    with pytest.raises(SystemExit):
        main(["import", str(write(tmp_path / "second.ndjson", [ana, ali]))])
    assert counts(capsys.readouterr().out) == {"refused": 1, "same": 1}
    refused = json.loads((tmp_path / "second.ndjson.refused.ndjson").read_text(encoding="utf-8"))
    assert refused["line"] == 1
    assert refused["reason"] in {"RECORD_NUMBER_ALREADY_EXISTS", "EMAIL_ALREADY_EXISTS"}  # both exist


def test_refused_record_has_the_reason_and_the_invalid_fields(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ana, ali = some_patients()
    ali["date_of_birth"] = "1980-02-30"
    with pytest.raises(SystemExit, match="refused"):
        main(["import", str(write(tmp_path / "patients.ndjson", [ana, ali]))])
    assert counts(capsys.readouterr().out) == {"created": 1, "refused": 1}
    refused = json.loads((tmp_path / "patients.ndjson.refused.ndjson").read_text(encoding="utf-8"))
    assert (refused["line"], refused["key"], refused["reason"]) == (2, ali["email"], "FIELDS_INVALID")
    assert [each["field"] for each in refused["violations"]] == ["patient.date_of_birth"]
    assert refused["record"]["email"] == ali["email"]


def write_fhir(file: Path, patients: list[PatientFields]) -> list[object]:
    """Writes patients as FHIR resources with an element that a record does not have, and returns them."""
    resources: list[object] = [
        {
            "resourceType": "Patient",
            "id": fields["email"],
            "name": [{"text": fields["name"]}],
            "telecom": [{"system": "email", "value": fields["email"]}],
            "address": [{"text": fields["address"]}],
            "birthDate": fields["date_of_birth"],
            "maritalStatus": {"text": "married"},
        }
        for fields in patients
    ]
    file.write_text("\n".join(map(json.dumps, resources)), encoding="utf-8")
    return resources


def test_file_of_fhir_resources_is_recognized_and_imported(run: Run, tmp_path: Path) -> None:
    patients, file = some_patients(), tmp_path / "patients.ndjson"
    write_fhir(file, patients)
    assert counts(run("import", str(file))) == {"created": 2}
    assert counts(run("import", "--format", "fhir", str(file))) == {"same": 2}
    [line] = run("patients", "list", "--query", patients[0]["email"], "--output", "json").splitlines()
    assert json.loads(line)["address"] == patients[0]["address"]


def test_refused_fhir_resource_is_reported_as_it_was(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ana, ali = some_patients()
    ali["name"] = "\ud800"
    file = tmp_path / "patients.ndjson"
    [_, sent] = write_fhir(file, [ana, ali])
    with pytest.raises(SystemExit, match="refused"):
        main(["import", str(file)])
    assert counts(capsys.readouterr().out) == {"created": 1, "refused": 1}
    refused = json.loads((tmp_path / "patients.ndjson.refused.ndjson").read_text(encoding="utf-8"))
    assert (refused["line"], refused["key"], refused["reason"]) == (2, ali["email"], "RESOURCE_MALFORMED")
    assert refused["record"] == sent


def test_killed_import_is_run_again_without_doubles(run: Run, tmp_path: Path) -> None:
    word = uuid4().hex
    born = "1980-02-29"
    patients = [
        PatientFields(name=f"Ana {word}", email=f"{n}.{word}@clinic.test", address="1 High Street", date_of_birth=born)
        for n in range(1100)
    ]
    file = write(tmp_path / "patients.ndjson", patients)

    def count() -> int:
        return len(run("patients", "list", "--query", word, "--limit", "9999", "--output", "json").splitlines())

    killed = subprocess.run([sys.executable, "-c", KILLED_AFTER_A_BATCH, "import", str(file)], check=False)
    assert killed.returncode == -signal.SIGKILL
    created = count()
    assert 0 < created <= len(patients)
    again = counts(run("import", str(file)))
    assert sum(again.values()) == len(patients)
    assert again["same"] >= created
    assert count() == len(patients)


def test_dry_run_reports_what_is_not_a_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "patients.csv"
    file.write_text("name,sex\nAna,female\nRui,robot\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="refused"):
        main(["import", "--dry-run", str(file)])
    assert "readable" in capsys.readouterr().out
    [record] = (tmp_path / "patients.csv.refused.ndjson").read_text(encoding="utf-8").splitlines()
    assert '"line": 3' in record
    assert '"RECORD_UNREADABLE"' in record


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "patients.csv"
    file.write_bytes(b"name\nJos\xe9\n")
    assert main(["import", "--dry-run", str(file)]) == 1
    assert "--encoding windows-1252" in capsys.readouterr().err
