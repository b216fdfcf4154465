"""The program behind `make compose`, without a Docker engine."""

import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.certificates import renew
from deploy.compose.__main__ import limit_connections
from deploy.compose.secrets import Secrets
from deploy.databases import Passwords
from deploy.topology import TOPOLOGY, tls_secrets
from tools.local.data_folder import DataFolder
from tools.local.process import ROOT


def read_all(secrets: Secrets) -> dict[str, str]:
    return {file.name: file.read_text() for file in secrets.folder.iterdir()}


def test_existing_secrets_do_not_change(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "data" / "compose")
    assert secrets.are_new()
    secrets.create_missing()
    created = read_all(secrets)
    assert not secrets.are_new()
    secrets.create_missing("another password")
    assert read_all(secrets) == created


def test_secrets_are_unique(tmp_path: Path) -> None:
    secrets, others = Secrets(tmp_path / "a"), Secrets(tmp_path / "b")
    secrets.create_missing()
    others.create_missing()
    assert len(set(read_all(secrets).values())) == len(read_all(secrets))
    assert set(read_all(secrets).values()) & set(read_all(others).values()) == {"off"}  # the mail server


def test_given_password_is_used_for_the_first_admin(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "compose")
    secrets.create_missing("correct horse")
    assert secrets.admin_password.read_text() == "correct horse"


def test_mail_server_is_kept_until_another_is_given(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "compose")
    states = []
    for given in (None, "smtp://mail.test", None, "off"):
        secrets.create_missing(smtp_url=given)
        states.append(secrets.sends_mail)
    assert states == [False, True, True, False]


def test_only_the_owner_can_enter_the_folder_and_containers_can_read_files(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "data" / "compose")
    secrets.create_missing()
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (secrets.folder, secrets.folder.parent)] == [0o700] * 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.folder.iterdir()} == {0o444}


def test_urls_contain_the_passwords_of_the_roles(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "compose")
    secrets.create_missing()
    stored = read_all(secrets)
    for service in TOPOLOGY:
        passwords = Passwords(stored[f"{service}-database-password"], stored[f"{service}-owner-database-password"])
        place, role = f"postgres:5432/pulsetrack_{service}", f"pulsetrack_{service}"
        assert stored[f"{service}-database-url"] == f"postgresql://{role}:{passwords.service}@{place}"
        assert stored[f"{service}-owner-database-url"] == f"postgresql://{role}_owner:{passwords.owner}@{place}"


def test_compose_and_make_up_can_share_a_data_folder(tmp_path: Path) -> None:
    Secrets(tmp_path / "data" / "compose").create_missing()
    with DataFolder.lock(tmp_path / "data") as folder:
        assert folder.path == tmp_path / "data"


def test_program_needs_no_packages() -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import deploy.compose.__main__"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)


def test_missing_docker_is_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.compose", "up"]
    environment = {"PATH": str(tmp_path), "PULSETRACK_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr[:20]) == (1, "`docker` is missing.")
    assert not (tmp_path / "data").exists()


DOCKER = """#!/bin/sh
case "$*" in
  "compose config --format json")
    echo '{"services": {"db": {"image": "db:1"}, "auth": {"image": "pulsetrack/auth:dev"}}}' ;;
  "image inspect db:1" | "pull --quiet db:1") echo "offline" >&2; exit %d ;;
esac
"""


def check_machine(folder: Path, *, status: int) -> subprocess.CompletedProcess[str]:
    """Runs the check with a docker whose access to the image db:1 exits with a status."""
    (folder / "docker").write_text(DOCKER % status)
    (folder / "docker").chmod(0o755)
    command = [sys.executable, "-m", "deploy.compose", "check"]
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "PULSETRACK_DATA_DIR": str(folder / "data")}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_check_names_an_image_that_cannot_be_pulled(tmp_path: Path) -> None:
    done = check_machine(tmp_path, status=1)
    assert done.returncode == 1
    assert done.stderr == ("The image db:1 is missing and cannot be pulled. `docker pull --quiet` failed: offline\n")


def test_check_is_silent_when_every_image_is_present(tmp_path: Path) -> None:
    done = check_machine(tmp_path, status=0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_container_has_a_limited_log() -> None:
    limits = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert [name for name, container in read_containers().items() if container.get("logging") != limits] == []


def test_postgres_logs_no_row_and_no_statement() -> None:
    command = read_containers()["postgres"]["command"]
    assert {"log_error_verbosity=terse", "log_min_error_statement=panic"} <= set(command)


def read_containers() -> dict[str, Any]:
    """Returns the containers of docker-compose.yml."""
    containers: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return containers


@pytest.mark.parametrize(("workers", "per_process", "connections"), [(1, "10", 300), (5, "10", 300), (8, "20", 850)])
def test_postgres_accepts_the_connections_of_an_upgrade(workers: int, per_process: str, connections: int) -> None:
    settings = {"PULSETRACK_DATABASE_CONNECTIONS": per_process}
    assert limit_connections(settings, workers) == {
        "PULSETRACK_POSTGRES_CONNECTIONS": str(connections),
        "PULSETRACK_POSTGRES_PROCESSES": str(connections + 50),
    }


def test_certificates_are_files_that_only_change_with_them(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "compose")
    secrets.create_missing()
    certificates = renew(None, datetime.now(UTC))
    assert secrets.read_certificates() == ""
    changed = secrets.store_certificates(certificates.dump())
    assert secrets.store_certificates(secrets.read_certificates()) == changed
    stored = read_all(secrets)
    for name, issued in certificates.issued.items():
        assert [stored[file] for file in tls_secrets(name)] == [
            issued.certificate,
            issued.key,
            certificates.trusted(),
        ]
