"""The program behind `make compose`, without an engine."""

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from deploy.compose.secrets import SERVICES, Secrets
from deploy.databases import Passwords
from tools.local.data_folder import DataFolder
from tools.local.process import ROOT


def contents(secrets: Secrets) -> dict[str, str]:
    return {file.name: file.read_text() for file in secrets.folder.iterdir()}


def test_secrets_that_are_there_stay(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "data" / "compose")
    assert secrets.are_new()
    secrets.complete()
    made = contents(secrets)
    assert not secrets.are_new()
    secrets.complete("another password")
    assert contents(secrets) == made


def test_every_secret_is_another(tmp_path: Path) -> None:
    secrets, others = Secrets(tmp_path / "a"), Secrets(tmp_path / "b")
    secrets.complete()
    others.complete()
    assert len(set(contents(secrets).values())) == len(contents(secrets))
    assert not set(contents(secrets).values()) & set(contents(others).values())


def test_a_given_password_is_the_first_admins(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "compose")
    secrets.complete("correct horse")
    assert secrets.admin_password.read_text() == "correct horse"


def test_the_folder_keeps_others_out_and_containers_can_read_the_files(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "data" / "compose")
    secrets.complete()
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (secrets.folder, secrets.folder.parent)] == [0o700] * 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.folder.iterdir()} == {0o444}


def test_urls_hold_the_passwords_that_the_roles_get(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "compose")
    secrets.complete()
    kept = contents(secrets)
    for service in SERVICES:
        of = Passwords(kept[f"{service}-database-password"], kept[f"{service}-owner-database-password"])
        place, role = f"postgres:5432/pulsetrack_{service}", f"pulsetrack_{service}"
        assert kept[f"{service}-database-url"] == f"postgresql://{role}:{of.service}@{place}"
        assert kept[f"{service}-owner-database-url"] == f"postgresql://{role}_owner:{of.owner}@{place}"


def test_compose_and_make_up_may_share_a_data_folder(tmp_path: Path) -> None:
    Secrets(tmp_path / "data" / "compose").complete()
    with DataFolder.taken(tmp_path / "data") as folder:
        assert folder.path == tmp_path / "data"


def test_it_needs_no_packages() -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import deploy.compose.__main__"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)


def test_a_machine_without_docker_is_told_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.compose", "up"]
    told = {"PATH": str(tmp_path), "PULSETRACK_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(command, check=False, cwd=ROOT, env=told, capture_output=True, text=True)
    assert (done.returncode, done.stderr[:20]) == (1, "`docker` is missing:")
    assert not (tmp_path / "data").exists()


DOCKER = """#!/bin/sh
case "$*" in
  "compose config --format json")
    echo '{"services": {"db": {"image": "db:1"}, "auth": {"image": "pulsetrack/auth:dev"}}}' ;;
  "image inspect db:1" | "pull --quiet db:1") echo "offline" >&2; exit %d ;;
esac
"""


def check_machine(folder: Path, *, status: int) -> subprocess.CompletedProcess[str]:
    """Runs the check with a docker whose access to the image db:1 ends with a status."""
    (folder / "docker").write_text(DOCKER % status)
    (folder / "docker").chmod(0o755)
    command = [sys.executable, "-m", "deploy.compose", "check"]
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "PULSETRACK_DATA_DIR": str(folder / "data")}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_check_names_an_image_that_cannot_be_pulled(tmp_path: Path) -> None:
    done = check_machine(tmp_path, status=1)
    assert done.returncode == 1
    assert done.stderr == (
        "The image db:1 is not on this machine and cannot be pulled. `docker pull --quiet` failed: offline\n"
    )


def test_check_is_silent_when_every_image_is_present(tmp_path: Path) -> None:
    done = check_machine(tmp_path, status=0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_container_has_a_limited_log() -> None:
    limits = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert [name for name, container in containers().items() if container.get("logging") != limits] == []


def test_postgres_logs_no_row_and_no_statement() -> None:
    command = containers()["postgres"]["command"]
    assert {"log_error_verbosity=terse", "log_min_error_statement=panic"} <= set(command)


def containers() -> dict[str, Any]:
    """Returns what docker-compose.yml says of each container."""
    containers: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return containers
