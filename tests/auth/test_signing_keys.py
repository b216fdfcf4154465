"""Signing keys: created once, stored encrypted, shared by all processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, GetJwksRequest
from services.common.settings import SettingsError
from tests.auth.factory import can_refresh, create_session
from tests.harness.background import Background
from tests.harness.client import Client, connect
from tests.harness.services import PASSPHRASE, serve_auth
from tests.harness.sql import Sql


def test_tokens_stay_valid_after_a_restart(background: Background, new_database: Callable[[str], str]) -> None:
    url = new_database("auth")
    with background.during(serve_auth(url)) as port, connect(port, "auth") as before:
        session, keys = create_session(before), list_key_ids(before)
    with background.during(serve_auth(url)) as port, connect(port, "auth", session.access_token) as after:
        assert list_key_ids(after) == keys
        assert after.get_current_user(GetCurrentUserRequest())
        assert can_refresh(after, session)


def test_processes_that_start_concurrently_share_one_key(
    background: Background, new_database: Callable[[str], str]
) -> None:
    with (
        background.during(serve_two_processes(new_database("auth"))) as ports,
        connect(ports[0], "auth") as one,
        connect(ports[1], "auth") as other,
    ):
        assert len(list_key_ids(one)) == 1
        assert list_key_ids(one) == list_key_ids(other)
        token = create_session(one).access_token
        assert other.with_token(token).get_current_user(GetCurrentUserRequest())


def test_key_is_stored_encrypted(auth: Client, sql: Sql) -> None:
    assert list_key_ids(auth) == [row["id"] for row in sql("SELECT id FROM signing_keys")]
    [row] = sql("SELECT encrypted_pem FROM signing_keys")
    assert row["encrypted_pem"].startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert load_pem_private_key(row["encrypted_pem"].encode(), PASSPHRASE.encode())


def test_wrong_passphrase_prevents_the_start(background: Background, auth: Client, database_url: str) -> None:
    assert list_key_ids(auth)
    with (
        pytest.raises(SettingsError, match=r"^PULSETRACK_KEY_PASSPHRASE does not decrypt the signing keys"),
        background.during(serve_auth(database_url, passphrase="another passphrase")),
    ):
        pytest.fail("auth serves with a wrong passphrase")


@asynccontextmanager
async def serve_two_processes(url: str) -> AsyncIterator[list[int]]:
    """Starts two auth servers with one database concurrently, each with its own connection pool. Yields their ports."""
    both = [serve_auth(url), serve_auth(url)]
    yield await asyncio.gather(*(one.__aenter__() for one in both))
    await asyncio.gather(*(one.__aexit__(None, None, None) for one in both))


def list_key_ids(auth: Client) -> list[str]:
    """Returns the ids of the keys that auth publishes."""
    return [key["kid"] for key in json.loads(auth.get_jwks(GetJwksRequest()).data)["keys"]]
