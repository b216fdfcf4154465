"""Exports of a running system."""

import stat
from pathlib import Path
from uuid import uuid4

import pytest
from pulsetrack import Client
from pulsetrack.cli import main
from pulsetrack.patient.v1.patient_pb2 import Patient, Sex
from pulsetrack.patients import PatientFields
from pulsetrack.records import Record, open_text, read_ndjson
from pulsetrack.tables import read_csv
from running_system import Run, System


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
            date_of_birth=born,
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
