"""Tests that the seal chain of the access events verifies, and that every kind of tampering is reported."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gen.pulsetrack.patient.v1 import GetPatientRequest
from services.common.audit import seals
from services.common.audit.seals import AuditIntegrityError, Sealer
from services.common.audit.verify import verify
from services.common.postgres.database import Database
from services.common.rpc.tokens import TokenVerifier
from services.patient.models import AUDIT
from tests.harness.background import Background
from tests.harness.client import connect
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tests.patient.factory import create_request

ROOT = Path(__file__).resolve().parents[2]
SEALED = 12

FindViolation = Callable[..., str]
Result = subprocess.CompletedProcess[str]


@pytest.fixture
def url(background: Background, new_database: Callable[[str], str], signer: Signer) -> str:
    """The URL of a patient database with sealed events."""
    url = new_database("patient")
    serving = serve_service("patient", url, TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as patients:
        created = [patients.create_patient(create_request()) for _ in range(SEALED // 2)]
        for patient in created:
            patients.get_patient(GetPatientRequest(id=patient.id))
    background.run(seal(url))
    return url


@pytest.fixture
def sql(background: Background, url: str) -> Sql:
    return Sql(background, url)


@pytest.fixture
def find_violation(background: Background, url: str) -> FindViolation:
    """Verifies the chain in this process, which is faster, and returns the violation."""

    async def verify_chain(head: str) -> None:
        async with Database(url) as db:
            await verify(db, AUDIT, bytes.fromhex(head))

    def find_violation(head: str = "") -> str:
        with pytest.raises(AuditIntegrityError) as error:
            background.run(verify_chain(head))
        return str(error.value)

    return find_violation


async def seal(url: str) -> None:
    """Seals all events."""
    async with Database(url) as db:
        sealer = Sealer(db, AUDIT)
        while await sealer.seal():
            pass


def run_verify(url: str, *arguments: str) -> Result:
    """Runs the verify command and returns its result."""
    command = [sys.executable, "-m", "services.common.audit.verify", "patient", *arguments]
    environment = os.environ | {"PULSETRACK_DATABASE_URL": url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def event_of(sql: Sql, number: int) -> str:
    """Returns the id of the event that a seal covers."""
    return str(sql("SELECT event_id FROM access_seals WHERE number = $1", number)[0]["event_id"])


def head(sql: Sql) -> str:
    """Returns the hash of the last seal."""
    return str(sql("SELECT encode(hash, 'hex') AS hash FROM access_seals ORDER BY number DESC LIMIT 1")[0]["hash"])


def test_intact_chain_verifies_and_reports_its_head(url: str, sql: Sql) -> None:
    result = run_verify(url, "--head", head(sql))
    assert (result.returncode, result.stderr) == (0, "")
    assert (
        result.stdout
        == f"The audit log of patient is intact: {SEALED} events sealed, 0 not sealed yet. Head: {head(sql)}\n"
    )


def test_unsealed_events_are_counted(background: Background, url: str, sql: Sql) -> None:
    sql("DELETE FROM access_seals WHERE number > 10")
    assert "10 events sealed, 2 not sealed yet." in run_verify(url).stdout
    background.run(seal(url))
    assert f"{SEALED} events sealed, 0 not sealed yet." in run_verify(url).stdout


def test_violation_ends_the_command_with_a_one_line_error(url: str, sql: Sql) -> None:
    sql("DELETE FROM access_events WHERE id = $1", event_of(sql, 7))
    result = run_verify(url)
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == f"The audit log of patient was changed: seal 7, event {event_of(sql, 7)}: the event is missing.\n"
    )


def test_chain_verifies_with_an_earlier_head(url: str, sql: Sql) -> None:
    [earlier_head] = sql("SELECT encode(hash, 'hex') AS hash FROM access_seals WHERE number = 5")
    assert run_verify(url, "--head", earlier_head["hash"]).returncode == 0


def test_empty_chain_verifies(new_database: Callable[[str], str]) -> None:
    assert "0 events sealed, 0 not sealed yet." in run_verify(new_database("patient")).stdout


@pytest.mark.parametrize(
    "change",
    [
        "patient_ids = '{}'",
        "actor_id = 'another'",
        "method = 'another'",
        "outcome = 'NOT_FOUND'",
        "occur_time = occur_time - interval '1 microsecond'",
        "request_id = request_id || 'x'",
        "remote_address = '203.0.113.7'",
    ],
)
def test_changed_event_is_reported(sql: Sql, change: str, find_violation: FindViolation) -> None:
    sql(f"UPDATE access_events SET {change} WHERE id = $1", event_of(sql, 7))
    assert find_violation() == f"seal 7, event {event_of(sql, 7)}: the event or the seal was changed"


def test_changed_seal_is_reported(sql: Sql, find_violation: FindViolation) -> None:
    sql("UPDATE access_seals SET hash = sha256('x') WHERE number = 3")
    assert find_violation() == f"seal 3, event {event_of(sql, 3)}: the event or the seal was changed"


def test_deleted_event_is_reported(sql: Sql, find_violation: FindViolation) -> None:
    sql("DELETE FROM access_events WHERE id = $1", event_of(sql, 7))
    assert find_violation() == f"seal 7, event {event_of(sql, 7)}: the event is missing"


def test_deleted_seal_is_reported(sql: Sql, find_violation: FindViolation) -> None:
    sql("DELETE FROM access_seals WHERE number = 7")
    assert find_violation() == f"seal 7 is missing; the next is seal 8, event {event_of(sql, 8)}"


def test_event_deleted_with_its_seal_is_detected(sql: Sql, find_violation: FindViolation) -> None:
    sql("DELETE FROM access_events WHERE id = $1", event_of(sql, 7))
    sql("DELETE FROM access_seals WHERE number = 7")
    for number in range(8, SEALED + 1):
        sql("UPDATE access_seals SET number = number - 1 WHERE number = $1", number)
    assert find_violation() == f"seal 7, event {event_of(sql, 7)}: the event or the seal was changed"


def test_swapped_seals_are_reported(sql: Sql, find_violation: FindViolation) -> None:
    for old, new in ((4, -1), (5, 4), (-1, 5)):
        sql("UPDATE access_seals SET number = $2 WHERE number = $1", old, new)
    assert find_violation() == f"seal 4, event {event_of(sql, 4)}: the event or the seal was changed"


def test_swapped_events_are_reported(sql: Sql, find_violation: FindViolation) -> None:
    sql("ALTER TABLE access_events ALTER position SET GENERATED BY DEFAULT")
    one, other = event_of(sql, 8), event_of(sql, 9)
    swap = "UPDATE access_events a SET transaction = b.transaction, position = b.position FROM access_events b"
    sql(f"{swap} WHERE (a.id, b.id) IN (($1, $2), ($2, $1))", one, other)
    assert find_violation() == f"seal 8, event {one}: the event is out of place"


def test_truncated_chain_is_detected_with_an_earlier_head(url: str, sql: Sql, find_violation: FindViolation) -> None:
    earlier_head, last = head(sql), event_of(sql, SEALED)
    sql("DELETE FROM access_events WHERE id = $1", last)
    sql("DELETE FROM access_seals WHERE number = $1", SEALED)
    assert run_verify(url).returncode == 0
    assert (
        find_violation(earlier_head)
        == f"the chain ends at seal {SEALED - 1} and does not contain the seal {earlier_head}"
    )


def test_inserted_event_is_reported(sql: Sql, find_violation: FindViolation) -> None:
    columns = "patient_ids, actor_id, method, outcome, occur_time, request_id, remote_address, transaction"
    copy = f"INSERT INTO access_events (id, {columns}) SELECT uuidv7(), {columns} FROM access_events WHERE id = $1"
    [added] = sql(f"{copy} RETURNING id", event_of(sql, 2))
    assert find_violation() == f"event {added['id']} was inserted among sealed events and has no seal"


@pytest.mark.parametrize("head", ["xyz", "abc", "abcd"])
def test_invalid_head_is_rejected_with_a_one_line_error(url: str, head: str) -> None:
    result = run_verify(url, "--head", head)
    assert result.returncode == 2
    prog = "python -m services.common.audit.verify"
    assert result.stderr == f"{prog}: argument --head: {head!r} is not a hash of 64 hexadecimal digits.\n"


def test_concurrent_sealers_build_one_chain(background: Background, url: str, sql: Sql) -> None:
    before = head(sql)
    sql("DELETE FROM access_seals")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: background.run(seal(url)), range(4)))
    background.run(seal(url))
    assert run_verify(url, "--head", before).returncode == 0


def test_head_is_logged_while_the_chain_grows(
    background: Background, url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=seals.__name__)
    monkeypatch.setattr(seals, "_LOG_HEAD_SECONDS", 0)
    sql("DELETE FROM access_seals WHERE number > 3")

    async def sealer() -> AsyncIterator[None]:
        async with Database(url) as db, Sealer(db, AUDIT):
            yield

    with background.during(asynccontextmanager(sealer)()):
        eventually(lambda: caplog.messages)
    assert caplog.messages == [f"the head of the audit chain is seal {SEALED}: {head(sql)}"]
