"""The command-line tool against a running system."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from pulsetrack import Client
from pulsetrack.cli import main
from running_system import Run, System


def create(run: Run, name: str) -> str:
    fields = ("--name", name, "--email", f"{uuid4()}@clinic.test", "--address", "1 High Street", "--sex", "female")
    patient_id: str = json.loads(run("patients", "create", *fields, "--date-of-birth", "1980-02-29", "-o", "json"))[
        "id"
    ]
    return patient_id


def test_credentials_are_readable_only_by_their_owner(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pulsetrack" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_patient_is_created_found_and_updated(run: Run) -> None:
    word = uuid4().hex
    patient_id = create(run, f"[red]Ana {word}")
    assert f"[red]Ana {word}" in run("patients", "list", "--query", word)
    updated = json.loads(
        run("patients", "update", patient_id, "--phone", "+351 21 000 000", "--sex", "other", "-o", "json")
    )
    assert (updated["phone"], updated["sex"]) == ("+351 21 000 000", "SEX_OTHER")
    assert "+351 21 000 000" in run("patients", "get", patient_id)


def test_list_is_limited(run: Run) -> None:
    word = uuid4().hex
    for _ in range(3):
        create(run, f"Ana {word}")
    lines = run("patients", "list", "--query", word, "--limit", "2", "--output", "json").splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"Ana {word}"] * 2


def test_statistics_are_a_table(run: Run) -> None:
    assert "Registrations" in run("stats", "--bucket", "month", "--start", "2026-01-01")


def test_error_names_the_invalid_fields(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["patients", "create", "--name", "Ana"]) == 1
    assert "patient.email: " in capsys.readouterr().err


def test_watch_prints_changes_until_interrupted(system: System, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    tokens: list[str] = []

    async def begin_watch(client: Client) -> None:
        tokens.append((await anext(client.patients.watch(heartbeats=True))).resume_token)

    def stop(message: object) -> None:
        seen.append(str(message))
        raise KeyboardInterrupt

    system.run(begin_watch)
    created = create(run, "Ana Silva")
    monkeypatch.setattr("pulsetrack.output.print_change", stop)
    assert main(["watch", "--resume-token", tokens[0]]) == 130
    assert created in seen[0]


def test_processes_at_once_refresh_an_expired_token_once(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pulsetrack" / "credentials.json"
    stored = json.loads(file.read_text())
    stored["tokens"]["refresh_time"] = 0
    file.write_text(json.dumps(stored))
    program = [sys.executable, "-c", "from pulsetrack.cli import main; main(['stats'])"]
    processes = [subprocess.Popen(program, stdout=subprocess.PIPE) for _ in range(3)]
    assert all(b"Registrations" in each.communicate(timeout=60)[0] for each in processes)
    run("stats")  # the session has not ended, as it would after a second use of a refresh token


def test_log_out_ends_the_session(run: Run) -> None:
    run("logout")
    with pytest.raises(SystemExit, match="login"):
        main(["stats"])


def test_completion_script_is_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--print-completion", "bash"])
    assert "patients" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["login", "--url", "localhost:8080"], ["stats", "--start", "31.1.2026"]])
def test_invalid_argument_is_rejected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert arguments[-1] in capsys.readouterr().err
