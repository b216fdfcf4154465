"""Old access events of the containers are moved to signed archives, as docs/operations.md describes it."""

import os
from pathlib import Path

from services.common.audit.signatures import generate_private_key, parse_private_key, verify_signatures
from tests.deploy.compose.stack import Stack
from tests.e2e.sessions import Session
from tests.harness.waiting import eventually

AGE_EVENTS = "UPDATE access_events SET occur_time = '2020-01-01'; TRUNCATE access_seals"
"""The events are sealed again with the next one, which is recent."""
COUNT_SEALS = "SELECT count(*) FROM access_seals"


def run_sql(system: Stack, statement: str) -> str:
    """Runs SQL in the database of billing, and returns its output."""
    command = ("psql", "-U", "postgres", "-d", "pulsetrack_billing", "-Atc", statement)
    result = system.execute("postgres", *command)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_one_off_container_moves_old_events(system: Stack, user: Session, tmp_path: Path) -> None:
    (folder := tmp_path / "audit").mkdir()
    (key := tmp_path / "archive.key").write_text(generate_private_key(), encoding="utf-8")
    user.get("/v1/billing/accounts")
    eventually(lambda: run_sql(system, COUNT_SEALS) != "0")
    run_sql(system, AGE_EVENTS)
    user.get("/v1/billing/accounts")
    eventually(lambda: int(run_sql(system, COUNT_SEALS)) > 1)
    settings = {
        "PULSETRACK_ARCHIVE_FOLDER": "/audit",
        "PULSETRACK_ARCHIVE_KEY_FILE": "/key",
        "PULSETRACK_ACCESS_EVENT_RETENTION_DAYS": "400",
    }
    options = [f"--env={name}={value}" for name, value in settings.items()]
    options += [f"--volume={folder}:/audit", f"--volume={key}:/key:ro", f"--user={os.getuid()}"]
    module = "services.common.audit.retain"
    system.compose("run", "--rm", "--no-deps", *options, "billing-migrations", module, "billing", "--once")
    assert run_sql(system, "SELECT count(*) FROM access_events WHERE occur_time < '2021-01-01'") == "0"
    assert len(list(folder.iterdir())) == 2
    verify_signatures("billing", folder, parse_private_key(key.read_text(encoding="utf-8")).public_key())
