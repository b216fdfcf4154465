"""A backup on AWS and its restore, with a real Postgres and the S3 of LocalStack core."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from pyrage.x25519 import Identity

from deploy.databases import Passwords, owner_url
from deploy.topology import BACKUP, BACKUP_PASSWORD, MIGRATIONS, TOPOLOGY, database_name
from tests.harness.background import Background
from tests.harness.sql import Sql
from tools.local.part import RunningPart
from tools.local.postgres import Postgres, find_programs
from tools.ports import free_port

if TYPE_CHECKING:
    from tests.infrastructure.localstack_core import LocalStackCore

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

BUCKET = "backups"
KEY = Identity.generate()
PASSWORDS = Passwords("service", "owner")
ERASE = (
    "INSERT INTO erasures (patient_id, reason, actor_id, erase_time) VALUES ($1, 'Request 2026-117', 'admin', now())"
)
ERASURES = "SELECT FROM erasures WHERE patient_id = $1"


@dataclass
class Deployed:
    """The databases of a deployment, its bucket, and the programs of its tasks."""

    background: Background
    server: Postgres
    core: "LocalStackCore"
    variables: Mapping[str, str]

    def run(self, *arguments: str, code: int = 0, **variables: str) -> list[str]:
        """Runs a program of the backup image. Returns the lines that it prints."""
        command = [sys.executable, "-m", *arguments]
        environment = {**os.environ, **self.variables, **variables}
        process = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert process.returncode == code, process.stdout + process.stderr
        return process.stdout.splitlines()

    def back_up(self) -> Any:
        """Runs the task of the schedule. Returns what it logs."""
        reader = self.server.url("postgres").replace(self._credentials, f"{BACKUP}:backup@")
        [line] = self.run("tools.backup.cloud", "create", PULSETRACK_DATABASE_URL=reader)
        return json.loads(line)

    def list_backups(self) -> list[str]:
        """Returns the names of the backups."""
        return self.run("tools.backup.cloud", "list")

    def sql(self, service: str) -> Sql:
        """Returns the owner's access to the tables of a service."""
        return Sql(self.background, owner_url(self.server.url(), service, PASSWORDS))

    def client(self) -> Any:
        """Returns a client of the bucket."""
        return self.core.session().client("s3", endpoint_url=self.core.endpoint)

    @property
    def _credentials(self) -> str:
        return self.server.url().removeprefix("postgresql://").partition("@")[0] + "@"


@pytest.fixture(scope="module")
def deployed(installed: None, background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Migrated databases and an empty bucket."""
    from tests.infrastructure.localstack_core import LocalStackCore, NotAvailableError, install

    try:
        install()
    except NotAvailableError as error:
        pytest.skip(f"LocalStack core is not available: {error}")
    folder = tmp_path_factory.mktemp("cloud")
    server = Postgres(folder / "postgres", free_port(), "s3cret")
    background.enter(RunningPart(server.part(), folder))
    passwords = {
        variable: password
        for service in TOPOLOGY.values()
        for variable, password in zip(service.job_passwords, PASSWORDS, strict=True)
    }
    with LocalStackCore() as core:
        variables = {
            **core.variables(),
            **passwords,
            BACKUP_PASSWORD: "backup",
            "PATH": f"{find_programs(None)}{os.pathsep}{os.environ['PATH']}",
            "PULSETRACK_DATABASE_URL": server.url("postgres"),
            "PULSETRACK_BACKUP_BUCKET": BUCKET,
            "PULSETRACK_BACKUP_RECIPIENT": str(KEY.to_public()),
            "PULSETRACK_BACKUP_KEY": str(KEY),
        }
        deployed = Deployed(background, server, core, variables)
        deployed.client().create_bucket(Bucket=BUCKET)
        deployed.run("deploy.databases")
        for service in TOPOLOGY:
            url = owner_url(server.url(), service, PASSWORDS)
            role = database_name(service)
            deployed.run(MIGRATIONS, service, PULSETRACK_DATABASE_URL=url, PULSETRACK_DATABASE_ROLE=role)
        yield deployed


def _count(deployed: Deployed, service: str = "billing") -> int:
    return int(deployed.sql(service)("SELECT count(*) FROM marks")[0]["count"])


@pytest.fixture(scope="module")
def backup(deployed: Deployed) -> str:
    """A backup of databases with one row in a table of each."""
    for service in TOPOLOGY:
        deployed.sql(service)("CREATE TABLE marks AS SELECT 1 AS number")
    logged = deployed.back_up()
    assert (logged["level"], logged["backup"]) == ("INFO", "succeeded")
    [name] = deployed.list_backups()
    return name


def test_backup_in_the_bucket_is_encrypted_and_complete(deployed: Deployed, backup: str) -> None:
    keys = [item["Key"] for item in deployed.client().list_objects_v2(Bucket=BUCKET)["Contents"]]
    files = {*(f"{service}.dump.age" for service in TOPOLOGY), "erasures.json.age", "manifest.json"}
    assert {key.removeprefix(f"backups/{backup}/") for key in keys} == files
    body = deployed.client().get_object(Bucket=BUCKET, Key=f"backups/{backup}/auth.dump.age")["Body"].read()
    assert body.startswith(b"age-encryption.org/v1\n")


def test_running_services_prevent_a_restore(deployed: Deployed, backup: str) -> None:
    with deployed.sql("patient").hold_locks("SELECT 1"):
        [line] = deployed.run("tools.backup.cloud", "restore", backup, code=1)
    assert json.loads(line) == {"level": "ERROR", "message": "The databases are in use. Stop the services first."}
    assert _count(deployed) == 1


def test_failed_restore_keeps_the_databases(deployed: Deployed, backup: str) -> None:
    deployed.sql("billing")("INSERT INTO marks VALUES (2)")
    lines = deployed.run("tools.backup.cloud", "restore", backup, code=1, PATH="/nowhere")  # has no pg_restore
    assert json.loads(lines[-1])["level"] == "ERROR"
    assert _count(deployed) == 2


def test_restore_replaces_the_databases_and_keeps_the_previous(deployed: Deployed, backup: str) -> None:
    before = _count(deployed)
    assert before > 1
    logged = json.loads(deployed.run("tools.backup.cloud", "restore", backup)[-1])
    assert [_count(deployed, service) for service in TOPOLOGY] == [1, 1, 1, 1]
    [previous] = [name for name in logged["replaced"] if name.startswith("pulsetrack_billing")]
    kept = Sql(deployed.background, deployed.server.url(previous))
    assert kept("SELECT count(*) FROM marks")[0]["count"] == before
    incarnations = deployed.sql("patient")("SELECT count(*) FROM incarnations")
    assert incarnations[0]["count"] == 2
    deleted = json.loads(deployed.run("tools.backup.cloud", "discard")[-1])
    assert deleted["deleted"] == sorted(logged["replaced"])


def test_restore_repeats_the_erasures_of_the_newest_backup(deployed: Deployed, backup: str) -> None:
    erased = str(uuid4())
    deployed.sql("patient")(ERASE, erased)
    deployed.back_up()
    logged = json.loads(deployed.run("tools.backup.cloud", "restore", backup)[-1])
    assert "repeats the erasures" in logged["message"]
    assert deployed.sql("patient")(ERASURES, erased)
    deployed.sql("patient")("DELETE FROM erasures")
    deployed.run("tools.backup.cloud", "erasures")
    assert deployed.sql("patient")(ERASURES, erased)


def test_unknown_backup_is_rejected(deployed: Deployed) -> None:
    [line] = deployed.run("tools.backup.cloud", "restore", "20200101T000000Z", code=1)
    assert json.loads(line)["message"] == "The bucket has no such backup. The command `list` lists them."


def test_missing_bucket_is_an_error(deployed: Deployed) -> None:
    reader = {"PULSETRACK_BACKUP_BUCKET": "missing"}
    [line] = deployed.run("tools.backup.cloud", "create", code=1, **reader)
    logged = json.loads(line)
    assert logged["level"] == "ERROR"
    assert "NoSuchBucket" in logged["message"]


def test_audit_log_is_archived_in_the_bucket(deployed: Deployed) -> None:
    assert deployed.run("tools.backup.cloud", "audit", "verify", "patient")
    assert deployed.run("tools.backup.cloud", "audit", "archive", "patient", "--before", "2026-01-31")
    [line] = deployed.run("tools.backup.cloud", "audit", "prune", "patient")
    assert line == "Deleted 0 archived events from the audit log of patient."
