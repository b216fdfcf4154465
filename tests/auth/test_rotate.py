"""Key rotation: a new key is published before it signs, and an old one until its tokens expire, so no call fails."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from deploy.settings import HOST
from gen.pulsetrack.auth.v1 import RefreshTokenRequest, TokenPair
from services.auth.opaque_tokens import hash_token
from services.auth.rotate import rotate, rotate_now
from services.common.postgres.database import Database
from services.common.rpc.client import create_trust_fetcher, open_channel
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import SettingsError
from tests.auth.factory import can_refresh, create_session
from tests.auth.signing_keys import accepts, find_signing_key, get_key_id
from tests.auth.test_signing_keys import list_key_ids
from tests.harness.background import Background
from tests.harness.client import Client, connect
from tests.harness.services import PASSPHRASE, serve_auth, serve_service
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tools.local.process import ROOT

ACTIVATION_SECONDS = 2
THREADS = 8
Rotate = Callable[..., None]


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    """A separate database for the test."""
    return new_database("auth")


@pytest.fixture
def own_sql(background: Background, url: str) -> Sql:
    """Queries that database."""
    return Sql(background, url)


@pytest.fixture
def both(background: Background, url: str) -> Iterator[list[Client]]:
    """Clients of two auth servers that share the database and reload their keys every 0.2 s."""
    with ExitStack() as stack:
        ports = [stack.enter_context(background.during(serve_auth(url, reload_seconds=0.2))) for _ in range(2)]
        yield [stack.enter_context(connect(port, "auth")) for port in ports]


@pytest.fixture
def rotate_key(background: Background, url: str) -> Rotate:
    """Rotates the key of that database. By default, the new key is active immediately."""

    async def once(passphrase: str, seconds: float) -> None:
        async with Database(url) as db:
            await rotate(db, passphrase, activates_in=timedelta(seconds=seconds))

    return lambda passphrase=PASSPHRASE, seconds=0.0: background.run(once(passphrase, seconds))


@pytest.fixture
def replace_keys(background: Background, url: str) -> Callable[[], None]:
    """Replaces the keys of that database immediately."""

    async def once() -> None:
        async with Database(url) as db:
            await rotate_now(db, PASSPHRASE)

    return lambda: background.run(once())


def test_every_process_publishes_a_new_key_before_it_signs(both: list[Client], rotate_key: Rotate) -> None:
    [old] = list_key_ids(both[0])
    rotate_key(seconds=3600)
    for auth in both:
        eventually(lambda auth=auth: len(list_key_ids(auth)) == 2)  # type: ignore[misc]
        assert get_key_id(create_session(auth).access_token) == old
    assert list_key_ids(both[0]) == list_key_ids(both[1])


def test_new_key_signs_in_every_process_after_its_activation(both: list[Client], rotate_key: Rotate) -> None:
    [old] = list_key_ids(both[0])
    rotate_key(seconds=ACTIVATION_SECONDS)
    for auth in both:
        eventually(lambda auth=auth: find_signing_key(auth) != old)  # type: ignore[misc]


def test_tokens_from_any_stage_of_a_rotation_are_accepted_by_every_process(
    both: list[Client], rotate_key: Rotate
) -> None:
    [old] = list_key_ids(both[0])
    before = create_session(both[0])
    rotate_key(seconds=ACTIVATION_SECONDS)
    during = both[0].refresh_token(RefreshTokenRequest(refresh_token=before.refresh_token))  # faster than a login
    eventually(lambda: find_signing_key(both[0]) != old)
    after = create_session(both[0])
    assert get_key_id(before.access_token) == get_key_id(during.access_token) == old != get_key_id(after.access_token)
    for session in (before, during, after):
        assert [accepts(auth, session.access_token) for auth in both] == [True, True]


def test_old_key_is_published_until_its_last_token_has_expired(
    both: list[Client], rotate_key: Rotate, own_sql: Sql
) -> None:
    rotate_key(seconds=ACTIVATION_SECONDS)
    [old, new] = own_sql("SELECT * FROM signing_keys ORDER BY activate_time")
    assert old["retire_time"] - new["activate_time"] >= timedelta(seconds=900 + 30)
    assert new["retire_time"] is None
    own_sql("UPDATE signing_keys SET retire_time = now() WHERE id = $1", old["id"])
    eventually(lambda: list_key_ids(both[0]) == list_key_ids(both[1]) == [new["id"]])


def test_second_rotation_does_not_change_the_retirement_of_a_key(
    rotate_key: Rotate, both: list[Client], own_sql: Sql
) -> None:
    [first] = list_key_ids(both[0])
    retires = "SELECT retire_time FROM signing_keys WHERE id = $1"
    rotate_key()
    before = own_sql(retires, first)
    rotate_key(seconds=3600)
    assert own_sql(retires, first) == before
    eventually(lambda: len(list_key_ids(both[1])) == 3)


def test_next_rotation_deletes_retired_keys(rotate_key: Rotate, both: list[Client], own_sql: Sql) -> None:
    [first] = list_key_ids(both[0])
    rotate_key()
    own_sql("UPDATE signing_keys SET retire_time = now() WHERE id = $1", first)
    rotate_key()
    assert first not in {row["id"] for row in own_sql("SELECT id FROM signing_keys")}


def test_rotation_with_a_wrong_passphrase_adds_no_key(rotate_key: Rotate, both: list[Client], own_sql: Sql) -> None:
    with pytest.raises(SettingsError, match="PULSETRACK_KEY_PASSPHRASE does not decrypt"):
        rotate_key(passphrase="another passphrase")
    assert [row["id"] for row in own_sql("SELECT id FROM signing_keys")] == list_key_ids(both[0])


def test_known_keys_stay_in_use_while_the_database_fails(
    both: list[Client], rotate_key: Rotate, own_sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    auth, [old] = both[0], list_key_ids(both[0])
    own_sql("ALTER TABLE signing_keys RENAME TO gone")
    eventually(lambda: caplog.text.count("the signing keys cannot be read") == len(both))
    assert list_key_ids(auth) == [old]
    assert accepts(auth, create_session(auth).access_token)
    own_sql("ALTER TABLE gone RENAME TO signing_keys")
    rotate_key()
    eventually(lambda: find_signing_key(auth) != old)


def test_processes_create_one_key_after_all_are_deleted(both: list[Client], own_sql: Sql) -> None:
    [stolen] = list_key_ids(both[0])
    own_sql("DELETE FROM signing_keys")
    eventually(lambda: stolen not in list_key_ids(both[0]) + list_key_ids(both[1]))
    stored = [row["id"] for row in own_sql("SELECT id FROM signing_keys")]
    assert list_key_ids(both[0]) == list_key_ids(both[1]) == stored


def test_no_call_fails_during_a_rotation(
    background: Background, both: list[Client], url: str, new_database: Callable[[str], str], rotate_key: Rotate
) -> None:
    sessions = [create_session(both[0]) for _ in range(THREADS)]
    with (
        background.during(serve_auth_and_billing(url, new_database("billing"))) as port,
        connect(port, "billing") as billing,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        stop = time.monotonic() + ACTIVATION_SECONDS + 2
        callings = [
            threads.submit(call_until, both[number % 2], session, [*both, billing], stop)
            for number, session in enumerate(sessions)
        ]
        rotate_key(seconds=ACTIVATION_SECONDS)
        assert [len(each.result()) for each in callings] == [2] * THREADS


def test_immediate_rotation_invalidates_every_earlier_token(
    background: Background,
    both: list[Client],
    url: str,
    new_database: Callable[[str], str],
    replace_keys: Callable[[], None],
) -> None:
    tokens = [create_session(auth).access_token for auth in (*both, *both)]
    with (
        background.during(serve_auth_and_billing(url, new_database("billing"))) as port,
        connect(port, "billing") as billing,
    ):
        services = [*both, billing]
        assert [accepts(service, token) for service in services for token in tokens[:2]] == [True] * 6
        replace_keys()
        for service in services:
            eventually(lambda service=service: not accepts(service, tokens[0]))  # type: ignore[misc]
            assert not any(accepts(service, token) for token in tokens)


def test_immediate_rotation_ends_all_sessions(both: list[Client], replace_keys: Callable[[], None]) -> None:
    session = create_session(both[0])
    replace_keys()
    assert not can_refresh(both[1], session)


def test_immediate_rotation_ends_a_session_during_a_refresh(
    both: list[Client], replace_keys: Callable[[], None], own_sql: Sql
) -> None:
    session, following = create_session(both[0]), "a refresh token that was just issued"
    refresh = """
        WITH extended AS (
            UPDATE sessions SET last_use_time = now() FROM refresh_tokens WHERE digest = $1 AND id = family_id
            RETURNING id
        )
        INSERT INTO refresh_tokens (digest, family_id, user_id, expire_time)
        SELECT $2, family_id, user_id, expire_time FROM refresh_tokens JOIN extended ON id = family_id
    """
    with ThreadPoolExecutor() as threads:
        with own_sql.hold_locks(refresh, hash_token(session.refresh_token), hash_token(following), commit=True):
            replacing = threads.submit(replace_keys)
            eventually(lambda: own_sql.count_waiting() == 1)
        replacing.result()
    assert not can_refresh(both[0], TokenPair(refresh_token=following))


def test_users_can_log_in_after_an_immediate_rotation(both: list[Client], replace_keys: Callable[[], None]) -> None:
    [old] = list_key_ids(both[0])
    replace_keys()
    for auth in both:
        eventually(lambda auth=auth: find_signing_key(auth) != old)  # type: ignore[misc]
        session = create_session(auth)
        for other in both:
            eventually(lambda other=other, token=session.access_token: accepts(other, token))  # type: ignore[misc]
        assert can_refresh(auth, session)


def test_command_replaces_the_keys_immediately(both: list[Client], url: str) -> None:
    [old] = list_key_ids(both[0])
    ended = run_command(url, PASSPHRASE, "--now")
    assert (ended.returncode, "Users must log in again" in ended.stderr) == (0, True)
    eventually(lambda: old not in list_key_ids(both[0]))
    assert len(list_key_ids(both[0])) == 1


def test_command_rotates_the_key(both: list[Client], url: str) -> None:
    ended = run_command(url, PASSPHRASE)
    assert (ended.returncode, "A new key is published" in ended.stderr) == (0, True)
    eventually(lambda: len(list_key_ids(both[0])) == 2)
    assert get_key_id(create_session(both[0]).access_token) == list_key_ids(both[0])[1]


def test_command_reports_a_wrong_passphrase_in_one_line(both: list[Client], url: str) -> None:
    assert list_key_ids(both[0])
    ended = run_command(url, "another passphrase")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("PULSETRACK_KEY_PASSPHRASE does not decrypt")


def call_until(auth: Client, session: TokenPair, services: list[Client], stop: float) -> set[str]:
    """Calls all services with fresh tokens until a time. Returns the ids of the keys that signed the tokens."""
    kids = set()
    while time.monotonic() < stop:
        session = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
        kids.add(get_key_id(session.access_token))
        assert [accepts(service, session.access_token) for service in services] == [True] * len(services)
    return kids


@asynccontextmanager
async def serve_auth_and_billing(auth_url: str, billing_url: str) -> AsyncIterator[int]:
    """Serves billing and an auth server from which it fetches keys. Yields the port of billing."""
    async with (
        serve_auth(auth_url, reload_seconds=0.2) as auth_port,
        open_channel(f"{HOST}:{auth_port}") as auth,
        serve_service("billing", billing_url, TokenVerifier(create_trust_fetcher(auth))) as port,
    ):
        yield port


def run_command(url: str, passphrase: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command with its settings in the environment."""
    settings = {"PULSETRACK_DATABASE_URL": url, "PULSETRACK_KEY_PASSPHRASE": passphrase}
    command = [sys.executable, "-m", "services.auth.rotate", *options]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )
