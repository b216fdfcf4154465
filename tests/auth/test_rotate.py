"""Key rotation: the new key is known before it signs, the old one as long as it is needed, and no call fails."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import jwt
import pytest

from deploy.settings import HOST
from gen.pulsetrack.auth.v1 import RefreshTokenRequest, TokenPair
from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from services.auth.rotate import rotate, rotate_now
from services.common.postgres.database import Database
from services.common.protobuf import codec
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import create_trust_fetcher, open_channel
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import SettingsError
from tests.auth.factory import can_refresh, create_session
from tests.auth.test_keys import key_ids
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import PASSPHRASE, serve_auth, serve_service
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
ACTIVATION_SECONDS = 2
THREADS = 8
CALLS = {
    "auth": (f"/{SERVICES['auth']}/GetCurrentUser", b""),
    "billing": (
        f"/{SERVICES['billing']}/GetBillingAccount",
        codec.codec_of(GetBillingAccountRequest).dumps(GetBillingAccountRequest(id=str(uuid4()))),
    ),
}
Rotate = Callable[..., None]


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    """A database of the test's own."""
    return new_database("auth")


@pytest.fixture
def own_sql(background: Background, url: str) -> Sql:
    """Looks into it."""
    return Sql(background, url)


@pytest.fixture
def both(background: Background, url: str) -> Iterator[list[Client]]:
    """Callers of two auth processes that share it, and read their keys five times a second."""
    with ExitStack() as stack:
        ports = [stack.enter_context(background.during(serve_auth(url, reload_seconds=0.2))) for _ in range(2)]
        yield [stack.enter_context(connect(port, "auth")) for port in ports]


@pytest.fixture
def rotated(background: Background, url: str) -> Rotate:
    """Rotates the key of that database: by default to one that signs at once."""

    async def once(passphrase: str, seconds: float) -> None:
        async with Database(url) as db:
            await rotate(db, passphrase, activates_in=timedelta(seconds=seconds))

    return lambda passphrase=PASSPHRASE, seconds=0.0: background.run(once(passphrase, seconds))


@pytest.fixture
def revoked(background: Background, url: str) -> Callable[[], None]:
    """Replaces the keys of that database at once."""

    async def once() -> None:
        async with Database(url) as db:
            await rotate_now(db, PASSPHRASE)

    return lambda: background.run(once())


def kid(token: str) -> str:
    """Returns the id of the key that signed a token."""
    return str(jwt.get_unverified_header(token)["kid"])


def admits(service: Client, token: str) -> bool:
    """Tells whether auth, or billing, takes a token."""
    path, request = CALLS[service._service]
    answer = attempt(lambda: service.with_token(token).call(path, request))
    return not isinstance(answer, Rejected) or answer.reason == "BILLING_ACCOUNT_NOT_FOUND"


def test_a_new_key_is_shown_by_every_process_and_does_not_sign_yet(both: list[Client], rotated: Rotate) -> None:
    [old] = key_ids(both[0])
    rotated(seconds=3600)
    for auth in both:
        eventually(lambda auth=auth: len(key_ids(auth)) == 2)  # type: ignore[misc]
        assert kid(create_session(auth).access_token) == old
    assert key_ids(both[0]) == key_ids(both[1])


def test_from_its_time_on_the_new_key_signs_in_every_process(both: list[Client], rotated: Rotate) -> None:
    [old] = key_ids(both[0])
    rotated(seconds=ACTIVATION_SECONDS)
    for auth in both:
        eventually(lambda auth=auth: kid(create_session(auth).access_token) != old)  # type: ignore[misc]


def test_tokens_of_before_during_and_after_are_good_everywhere(both: list[Client], rotated: Rotate) -> None:
    one, other = both
    [old] = key_ids(one)
    before = create_session(one).access_token
    rotated(seconds=ACTIVATION_SECONDS)
    during = create_session(one).access_token
    after = eventually(lambda: token if kid(token := create_session(one).access_token) != old else "")
    assert kid(before) == kid(during) == old
    for token in (before, during, after):
        assert [admits(auth, token) for auth in (one, other)] == [True, True]


def test_an_old_key_is_shown_until_the_last_token_that_it_may_have_signed_has_expired(
    both: list[Client], rotated: Rotate, own_sql: Sql
) -> None:
    rotated(seconds=ACTIVATION_SECONDS)
    [old, new] = own_sql("SELECT * FROM signing_keys ORDER BY activate_time")
    assert old["retire_time"] - new["activate_time"] >= timedelta(seconds=900 + 30)
    assert new["retire_time"] is None
    own_sql("UPDATE signing_keys SET retire_time = now() WHERE id = $1", old["id"])
    eventually(lambda: key_ids(both[0]) == key_ids(both[1]) == [new["id"]])


def test_a_second_rotation_leaves_when_a_key_retires(rotated: Rotate, both: list[Client], own_sql: Sql) -> None:
    [first] = key_ids(both[0])
    retires = "SELECT retire_time FROM signing_keys WHERE id = $1"
    rotated()
    before = own_sql(retires, first)
    rotated(seconds=3600)
    assert own_sql(retires, first) == before
    eventually(lambda: len(key_ids(both[1])) == 3)


def test_the_next_rotation_deletes_what_has_retired(rotated: Rotate, both: list[Client], own_sql: Sql) -> None:
    [first] = key_ids(both[0])
    rotated()
    own_sql("UPDATE signing_keys SET retire_time = now() WHERE id = $1", first)
    rotated()
    assert first not in {row["id"] for row in own_sql("SELECT id FROM signing_keys")}


def test_a_passphrase_that_does_not_open_the_keys_adds_none(rotated: Rotate, both: list[Client], own_sql: Sql) -> None:
    with pytest.raises(SettingsError, match="PULSETRACK_KEY_PASSPHRASE does not decrypt"):
        rotated(passphrase="another passphrase")
    assert [row["id"] for row in own_sql("SELECT id FROM signing_keys")] == key_ids(both[0])


def test_keys_stay_in_use_while_they_cannot_be_read(both: list[Client], rotated: Rotate, own_sql: Sql) -> None:
    auth, [old] = both[0], key_ids(both[0])
    rotated()
    own_sql("ALTER TABLE signing_keys RENAME TO gone")
    known = key_ids(auth)
    time.sleep(0.5)  # two attempts to read them
    assert key_ids(auth) == known
    assert admits(auth, create_session(auth).access_token)
    own_sql("ALTER TABLE gone RENAME TO signing_keys")
    eventually(lambda: kid(create_session(auth).access_token) != old)


def test_processes_make_one_new_key_when_all_were_deleted(both: list[Client], own_sql: Sql) -> None:
    [stolen] = key_ids(both[0])
    own_sql("DELETE FROM signing_keys")
    eventually(lambda: stolen not in key_ids(both[0]) + key_ids(both[1]))
    assert key_ids(both[0]) == key_ids(both[1]) == [row["id"] for row in own_sql("SELECT id FROM signing_keys")]


def test_no_call_fails_while_the_key_is_rotated(
    background: Background, both: list[Client], url: str, new_database: Callable[[str], str], rotated: Rotate
) -> None:
    sessions = [create_session(both[0]) for _ in range(THREADS)]
    serving = serving_both(url, new_database("billing"))
    with (
        background.during(serving) as port,
        connect(port, "billing") as billing,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        stop = time.monotonic() + ACTIVATION_SECONDS + 2
        callings = [
            threads.submit(kids_of_calls, both[number % 2], session, [*both, billing], stop)
            for number, session in enumerate(sessions)
        ]
        rotated(seconds=ACTIVATION_SECONDS)
        assert [len(each.result()) for each in callings] == [2] * THREADS


def test_a_rotation_at_once_refuses_every_token_of_before(
    background: Background,
    both: list[Client],
    url: str,
    new_database: Callable[[str], str],
    revoked: Callable[[], None],
) -> None:
    tokens = [create_session(auth).access_token for auth in (*both, *both)]
    with (
        background.during(serving_both(url, new_database("billing"))) as port,
        connect(port, "billing") as billing,
    ):
        services = [*both, billing]
        assert [admits(service, token) for service in services for token in tokens[:2]] == [True] * 6
        revoked()
        for service in services:
            eventually(lambda service=service: not admits(service, tokens[0]))  # type: ignore[misc]
            assert not any(admits(service, token) for token in tokens)


def test_a_rotation_at_once_ends_all_sessions(both: list[Client], revoked: Callable[[], None]) -> None:
    session = create_session(both[0])
    revoked()
    assert not can_refresh(both[1], session)


def test_after_a_rotation_at_once_users_log_in_again(both: list[Client], revoked: Callable[[], None]) -> None:
    [old] = key_ids(both[0])
    revoked()
    for auth in both:
        session = eventually(lambda auth=auth: new if kid((new := create_session(auth)).access_token) != old else None)  # type: ignore[misc]
        assert session
        for other in both:
            eventually(lambda other=other, token=session.access_token: admits(other, token))  # type: ignore[misc]
        assert can_refresh(auth, session)


def test_the_command_replaces_the_keys_at_once(both: list[Client], url: str) -> None:
    [old] = key_ids(both[0])
    ended = commanded(url, PASSPHRASE, "--now")
    assert (ended.returncode, "Users must log in again" in ended.stderr) == (0, True)
    eventually(lambda: old not in key_ids(both[0]))
    assert len(key_ids(both[0])) == 1


def test_the_command_rotates_once(both: list[Client], url: str) -> None:
    ended = commanded(url, PASSPHRASE)
    assert (ended.returncode, "A new key is published" in ended.stderr) == (0, True)
    eventually(lambda: len(key_ids(both[0])) == 2)
    assert kid(create_session(both[0]).access_token) == key_ids(both[0])[1]


def test_the_command_says_what_is_wrong_in_one_sentence(both: list[Client], url: str) -> None:
    assert key_ids(both[0])
    ended = commanded(url, "another passphrase")
    assert ended.returncode == 1
    [sentence] = ended.stderr.splitlines()
    assert sentence.startswith("PULSETRACK_KEY_PASSPHRASE does not decrypt")


def kids_of_calls(auth: Client, session: TokenPair, services: list[Client], stop: float) -> set[str]:
    """Shows a fresh token to all services, again and again, and returns the ids of the keys that signed them."""
    kids = set()
    while time.monotonic() < stop:
        session = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
        kids.add(kid(session.access_token))
        assert [admits(service, session.access_token) for service in services] == [True] * len(services)
    return kids


@asynccontextmanager
async def serving_both(auth_url: str, billing_url: str) -> AsyncIterator[int]:
    """Serves billing, which takes its keys from an auth process of its own, and yields billing's port."""
    async with (
        serve_auth(auth_url, reload_seconds=0.2) as auth_port,
        open_channel(f"{HOST}:{auth_port}") as auth,
        serve_service("billing", billing_url, TokenVerifier(create_trust_fetcher(auth))) as port,
    ):
        yield port


def commanded(url: str, passphrase: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command with settings from its environment, and returns how it ended."""
    told = {"PULSETRACK_DATABASE_URL": url, "PULSETRACK_KEY_PASSPHRASE": passphrase}
    command = [sys.executable, "-m", "services.auth.rotate", *options]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | told, capture_output=True, text=True, timeout=60, check=False
    )
