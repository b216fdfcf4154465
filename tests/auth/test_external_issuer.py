"""The external issuer: auth reads its keys, publishes them, and has no rows of its users."""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from gen.pulsetrack.auth.v1 import (
    CreateClientRequest,
    GetCurrentUserRequest,
    GetExternalJwksRequest,
    GetTrustBundleRequest,
    ListSessionsRequest,
    ListUsersRequest,
)
from services.auth.external_keys import IssuerError, fetch_keys
from services.auth.external_settings import parse_external_issuer
from services.common.settings import SettingsError
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.issuer import ADMIN_VALUE, Issuer, Key, run_issuer
from tests.harness.services import serve_auth
from tests.harness.waiting import eventually

CONFIGURATION = "/.well-known/openid-configuration"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with run_issuer(Key("one")) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def auth(background: Background, database_url: str, issuer: Issuer) -> Iterator[Client]:
    """A client without a token, of a server that reads the keys of the issuer every 0.2 s."""
    serving = serve_auth(database_url, external=issuer.trust(), reload_seconds=0.2)
    with background.during(serving) as port, connect(port, "auth") as client:
        yield client


def read_kids(auth: Client) -> list[str]:
    jwks = auth.get_external_jwks(GetExternalJwksRequest()).data
    return [key["kid"] for key in json.loads(jwks)["keys"]]


def test_keys_are_published_and_follow_a_rotation(auth: Client, issuer: Issuer) -> None:
    eventually(lambda: read_kids(auth) == ["one"])
    issuer.keys.append(Key("two", algorithm="ES256"))
    eventually(lambda: read_kids(auth) == ["one", "two"])
    bundle = auth.get_trust_bundle(GetTrustBundleRequest())
    assert (bundle.external_issuer.issuer, bundle.external_issuer.jwks) == (issuer.url, issuer.jwks())


def test_keys_stay_in_use_while_the_issuer_is_unavailable(auth: Client, issuer: Issuer) -> None:
    eventually(lambda: "one" in read_kids(auth))
    issuer.responses["/keys"] = (500, b"", {})
    with pytest.raises(IssuerError):
        fetch_keys(issuer.url)
    assert "one" in read_kids(auth)
    del issuer.responses["/keys"]
    issuer.keys.append(Key("three", algorithm="ES256"))
    eventually(lambda: "three" in read_kids(auth))


@pytest.mark.parametrize(
    ("path", "response"),
    [
        (CONFIGURATION, (404, b"", {})),
        (CONFIGURATION, (200, b"<html>", {})),
        (CONFIGURATION, (200, b'{"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}', {})),
        (CONFIGURATION, (200, b'{"issuer": "\xff"}', {})),
        (CONFIGURATION, (302, b"", {"location": "/keys"})),
        ("/keys", (302, b"", {"location": "/keys"})),
        ("/keys", (200, b'{"keys": []}', {})),
        ("/keys", (200, b'{"keys": 7}', {})),
        ("/keys", (200, b'{"keys": [{"kty": "oct", "kid": "k", "k": "AAAA"}]}', {})),
        ("/keys", (200, b" " * 300_000, {})),
    ],
)
def test_invalid_response_of_the_issuer_is_rejected(path: str, response: tuple[int, bytes, dict[str, str]]) -> None:
    with run_issuer(Key("one", algorithm="ES256")) as issuer:
        assert fetch_keys(issuer.url) == issuer.jwks()
        issuer.responses[path] = response
        with pytest.raises(IssuerError):
            fetch_keys(issuer.url)


def test_keys_are_not_read_without_tls() -> None:
    with run_issuer(Key("one", algorithm="ES256")) as issuer:
        metadata = {"issuer": issuer.url, "jwks_uri": "http://keys.example/keys"}
        issuer.responses[CONFIGURATION] = (200, json.dumps(metadata).encode(), {})
        with pytest.raises(IssuerError, match="https://"):
            fetch_keys(issuer.url)


def test_external_user_cannot_call_methods_of_auth(auth: Client, issuer: Issuer) -> None:
    external = auth.with_token(issuer.token(realm={"roles": [ADMIN_VALUE]}))
    eventually(lambda: attempt(lambda: external.list_users(ListUsersRequest())).reason == "USER_EXTERNAL")
    calls = (
        partial(external.get_current_user, GetCurrentUserRequest()),
        partial(external.list_sessions, ListSessionsRequest()),
        partial(external.create_client, CreateClientRequest(display_name="x", scope="patients.read")),
    )
    for call in calls:
        with pytest.raises(Rejected) as rejected:
            call()
        assert rejected.value.reason == "USER_EXTERNAL"


@pytest.mark.parametrize(
    "settings",
    [
        ("http://login.example", "clinic", "roles", "admin", ""),
        ("login.example", "clinic", "roles", "admin", ""),
        ("https://login.example", "", "roles", "admin", ""),
        ("https://login.example", "clinic", "", "admin", ""),
        ("https://login.example", "clinic", "roles", "", " , "),
    ],
)
def test_incomplete_settings_are_rejected(settings: tuple[str, str, str, str, str]) -> None:
    with pytest.raises(SettingsError):
        parse_external_issuer(*settings)


def test_no_issuer_is_configured_by_default() -> None:
    assert parse_external_issuer("", "", "roles", "", "") is None
    issuer = parse_external_issuer("https://login.example", "clinic", "roles", "admin, owner", "staff")
    assert issuer is not None
    assert (issuer.admin_values, issuer.user_values) == (["admin", "owner"], ["staff"])
