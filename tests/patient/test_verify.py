"""The chain of seals over the access events: it is proved, and what was done to it is found and named."""

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

Broken = Callable[..., str]
Ended = subprocess.CompletedProcess[str]


@pytest.fixture
def url(background: Background, new_database: Callable[[str], str], signer: Signer) -> str:
    """The database of a patient service with sealed events, by its URL."""
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
def broken(background: Background, url: str) -> Broken:
    """Proves the chain in this process, which is faster, and returns what is broken."""

    async def verified(head: str) -> None:
        async with Database(url) as db:
            await verify(db, AUDIT, bytes.fromhex(head))

    def broken(head: str = "") -> str:
        with pytest.raises(AuditIntegrityError) as error:
            background.run(verified(head))
        return str(error.value)

    return broken


async def seal(url: str) -> None:
    """Seals all that there is."""
    async with Database(url) as db:
        sealer = Sealer(db, AUDIT)
        while await sealer.seal():
            pass


def verified(url: str, *arguments: str) -> Ended:
    """Runs the command that verifies, and returns how it ended."""
    command = [sys.executable, "-m", "services.common.audit.verify", "patient", *arguments]
    environment = os.environ | {"PULSETRACK_DATABASE_URL": url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def event_of(sql: Sql, number: int) -> str:
    """Returns the id of the event that a seal is of."""
    return str(sql("SELECT event_id FROM access_seals WHERE number = $1", number)[0]["event_id"])


def head(sql: Sql) -> str:
    """Returns the hash of the last seal."""
    return str(sql("SELECT encode(hash, 'hex') AS hash FROM access_seals ORDER BY number DESC LIMIT 1")[0]["hash"])


def test_a_whole_chain_is_proved_and_its_head_told(url: str, sql: Sql) -> None:
    ended = verified(url, "--head", head(sql))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (
        ended.stdout
        == f"The audit of patient is whole: {SEALED} events are sealed, 0 not yet. Its head is {head(sql)}\n"
    )


def test_events_that_are_not_sealed_yet_are_counted(background: Background, url: str, sql: Sql) -> None:
    sql("DELETE FROM access_seals WHERE number > 10")
    assert "10 events are sealed, 2 not yet." in verified(url).stdout
    background.run(seal(url))
    assert f"{SEALED} events are sealed, 0 not yet." in verified(url).stdout


def test_a_broken_chain_ends_the_command_with_one_sentence(url: str, sql: Sql) -> None:
    sql("DELETE FROM access_events WHERE id = $1", event_of(sql, 7))
    ended = verified(url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"The audit of patient is broken: seal 7, event {event_of(sql, 7)}: the event is missing.\n"


def test_a_chain_that_grew_since_its_head_was_noted_is_whole(url: str, sql: Sql) -> None:
    [noted] = sql("SELECT encode(hash, 'hex') AS hash FROM access_seals WHERE number = 5")
    assert verified(url, "--head", noted["hash"]).returncode == 0


def test_a_chain_of_nothing_is_whole(new_database: Callable[[str], str]) -> None:
    assert "0 events are sealed, 0 not yet." in verified(new_database("patient")).stdout


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
def test_a_changed_event_is_named(sql: Sql, change: str, broken: Broken) -> None:
    sql(f"UPDATE access_events SET {change} WHERE id = $1", event_of(sql, 7))
    assert broken() == f"seal 7, event {event_of(sql, 7)}: the event or the seal was changed"


def test_a_changed_seal_is_named(sql: Sql, broken: Broken) -> None:
    sql("UPDATE access_seals SET hash = sha256('x') WHERE number = 3")
    assert broken() == f"seal 3, event {event_of(sql, 3)}: the event or the seal was changed"


def test_a_deleted_event_is_named(sql: Sql, broken: Broken) -> None:
    sql("DELETE FROM access_events WHERE id = $1", event_of(sql, 7))
    assert broken() == f"seal 7, event {event_of(sql, 7)}: the event is missing"


def test_a_deleted_seal_is_named(sql: Sql, broken: Broken) -> None:
    sql("DELETE FROM access_seals WHERE number = 7")
    assert broken() == f"seal 7 is missing: the one that follows is seal 8, event {event_of(sql, 8)}"


def test_an_event_that_was_deleted_with_its_seal_is_noticed(sql: Sql, broken: Broken) -> None:
    sql("DELETE FROM access_events WHERE id = $1", event_of(sql, 7))
    sql("DELETE FROM access_seals WHERE number = 7")
    for number in range(8, SEALED + 1):
        sql("UPDATE access_seals SET number = number - 1 WHERE number = $1", number)
    assert broken() == f"seal 7, event {event_of(sql, 7)}: the event or the seal was changed"


def test_seals_that_changed_places_are_named(sql: Sql, broken: Broken) -> None:
    for old, new in ((4, -1), (5, 4), (-1, 5)):
        sql("UPDATE access_seals SET number = $2 WHERE number = $1", old, new)
    assert broken() == f"seal 4, event {event_of(sql, 4)}: the event or the seal was changed"


def test_events_that_changed_places_are_named(sql: Sql, broken: Broken) -> None:
    sql("ALTER TABLE access_events ALTER position SET GENERATED BY DEFAULT")
    one, other = event_of(sql, 8), event_of(sql, 9)
    swap = "UPDATE access_events a SET transaction = b.transaction, position = b.position FROM access_events b"
    sql(f"{swap} WHERE (a.id, b.id) IN (($1, $2), ($2, $1))", one, other)
    assert broken() == f"seal 8, event {one}: the event is out of place"


def test_a_chain_that_was_cut_short_is_noticed_by_its_head(url: str, sql: Sql, broken: Broken) -> None:
    noted, last = head(sql), event_of(sql, SEALED)
    sql("DELETE FROM access_events WHERE id = $1", last)
    sql("DELETE FROM access_seals WHERE number = $1", SEALED)
    assert verified(url).returncode == 0
    assert broken(noted) == f"the chain ends with seal {SEALED - 1}, without the one that is {noted}"


def test_an_event_that_was_put_in_is_named(sql: Sql, broken: Broken) -> None:
    columns = "patient_ids, actor_id, method, outcome, occur_time, request_id, remote_address, transaction"
    copy = f"INSERT INTO access_events (id, {columns}) SELECT uuidv7(), {columns} FROM access_events WHERE id = $1"
    [added] = sql(f"{copy} RETURNING id", event_of(sql, 2))
    assert broken() == f"event {added['id']} was added among those that are sealed, and has no seal"


@pytest.mark.parametrize("nonsense", ["xyz", "abc"])
def test_a_head_that_is_no_hash_is_refused(url: str, nonsense: str) -> None:
    ended = verified(url, "--head", nonsense)
    assert ended.returncode == 2
    assert "--head" in ended.stderr


def test_two_sealers_make_one_chain(background: Background, url: str, sql: Sql) -> None:
    before = head(sql)
    sql("DELETE FROM access_seals")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: background.run(seal(url)), range(4)))
    background.run(seal(url))
    assert verified(url, "--head", before).returncode == 0


def test_the_head_is_logged_while_the_chain_grows(
    background: Background, url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=seals.__name__)
    monkeypatch.setattr(seals, "_WITNESS_SECONDS", 0)
    sql("DELETE FROM access_seals WHERE number > 3")

    async def sealer() -> AsyncIterator[None]:
        async with Database(url) as db, Sealer(db, AUDIT):
            yield

    with background.during(asynccontextmanager(sealer)()):
        eventually(lambda: caplog.messages)
    assert caplog.messages == [f"the head of the audit's chain is seal {SEALED}: {head(sql)}"]
