"""The keys with which a service verifies tokens: fetched from auth, and used while auth is unavailable."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from uuid import uuid4

import pytest
from grpc import StatusCode

from deploy.settings import HOST
from gen.pulsetrack.auth.v1 import Revocation, TrustBundle
from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from services.common.rpc import tokens
from services.common.rpc.client import create_trust_fetcher, open_channel
from services.common.rpc.tokens import TokenVerifier
from tests.auth.factory import create_session
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.services import serve_auth, serve_service
from tests.harness.tokens import USER_ID, Signer, build_jwks
from tests.harness.waiting import eventually
from tools.ports import free_port

ACCEPTED = "BILLING_ACCOUNT_NOT_FOUND"


class Keys:
    """A fake of auth's key set that counts its fetches."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = signers
        self.revocations: list[Revocation] = []
        self.fetches = 0
        self.response: bytes | Exception | None = None
        """Replaces the key set if set: bytes are returned, an exception is raised."""
        self.is_responding = threading.Event()
        self.is_responding.set()

    async def fetch(self) -> TrustBundle:
        """Returns the keys of all signers and the revocations."""
        self.fetches += 1
        await asyncio.to_thread(self.is_responding.wait)
        if isinstance(self.response, Exception):
            raise self.response
        return TrustBundle(jwks=self.response or build_jwks(*self.signers), revocations=self.revocations)

    def wait_until_fetched(self) -> None:
        """Waits until the service has used a key set that it fetched after this call."""
        fetches = self.fetches
        eventually(lambda: self.fetches > fetches + 1)


@pytest.fixture
def keys() -> Iterator[Keys]:
    """A key set with one signer."""
    keys = Keys(Signer("one"))
    yield keys
    keys.is_responding.set()


@pytest.fixture
def billing(background: Background, database_url: str, keys: Keys) -> Iterator[Client]:
    """A client without a token for a billing service that trusts the fake key set."""
    serving = serve_service("billing", database_url, TokenVerifier(keys.fetch))
    with background.during(serving) as port, connect(port, "billing") as client:
        yield client


def test_concurrent_callers_share_one_fetch_of_keys(billing: Client, keys: Keys) -> None:
    eventually(lambda: keys.fetches)
    before, start = keys.fetches, time.monotonic()
    tokens = [keys.signers[0].token("USER") for _ in range(16)]
    _, rejections = call_concurrently([partial(call, billing, token) for token in tokens])
    assert {rejection.reason for rejection in rejections} == {ACCEPTED}
    assert keys.fetches - before <= 1 + (time.monotonic() - start)


def test_new_key_is_fetched_on_first_use(billing: Client, keys: Keys) -> None:
    assert get_reason(billing, keys.signers[0].token("USER")) == ACCEPTED
    new = Signer("two")
    keys.signers = (new, *keys.signers)
    eventually(lambda: get_reason(billing, new.token("USER")) == ACCEPTED)
    assert get_reason(billing, keys.signers[1].token("USER")) == ACCEPTED


def test_unknown_keys_cause_at_most_one_fetch_per_second(billing: Client, keys: Keys) -> None:
    eventually(lambda: keys.fetches)
    before, start = keys.fetches, time.monotonic()
    for number in range(50):
        assert get_reason(billing, Signer(f"unknown-{number}").token("USER")) == "TOKEN_INVALID"
    assert keys.fetches - before <= 2 * (
        1 + time.monotonic() - start
    )  # one per second, and one per second for unknown keys


@pytest.mark.parametrize("response", [b" ", b"{}", b'{"keys": [{"kid": "one"}]}', RuntimeError("auth is broken")])
def test_known_keys_stay_in_use_when_auth_returns_invalid_keys(
    billing: Client, keys: Keys, response: bytes | Exception
) -> None:
    assert get_reason(billing, keys.signers[0].token("USER")) == ACCEPTED
    keys.response = response
    keys.wait_until_fetched()
    assert get_reason(billing, Signer("unknown").token("USER")) == "TOKEN_INVALID"
    assert get_reason(billing, keys.signers[0].token("USER")) == ACCEPTED


def test_known_keys_are_used_without_waiting_when_auth_hangs(billing: Client, keys: Keys) -> None:
    assert get_reason(billing, keys.signers[0].token("USER")) == ACCEPTED
    keys.is_responding.clear()
    fetches = keys.fetches
    eventually(lambda: keys.fetches > fetches)
    for _ in range(2):
        assert get_reason(billing, keys.signers[0].token("USER")) == ACCEPTED


def test_token_of_a_removed_key_is_rejected(billing: Client, keys: Keys) -> None:
    leaked, other = Signer("leaked"), keys.signers[0]
    keys.signers = (leaked, other)
    used, never_used = leaked.long_lived_token("ADMIN"), leaked.long_lived_token("ADMIN")
    eventually(lambda: get_reason(billing, used) == ACCEPTED)
    keys.signers = (other,)
    keys.wait_until_fetched()
    assert [get_reason(billing, token) for token in (used, never_used)] == ["TOKEN_INVALID"] * 2
    assert get_reason(billing, other.token("USER")) == ACCEPTED


def test_token_of_a_key_replaced_under_the_same_id_is_rejected(billing: Client, keys: Keys) -> None:
    token = keys.signers[0].token("USER")
    assert get_reason(billing, token) == ACCEPTED
    keys.signers = (Signer(keys.signers[0].kid),)
    keys.wait_until_fetched()
    assert get_reason(billing, token) == "TOKEN_INVALID"


@pytest.mark.parametrize(("disabled", "why"), [(True, "USER_DISABLED"), (False, "TOKEN_INVALID")])
def test_token_of_a_revoked_version_is_rejected(billing: Client, keys: Keys, *, disabled: bool, why: str) -> None:
    [signer] = keys.signers
    revoked, newer = signer.token("USER", token_version=1), signer.token("USER", token_version=2)
    assert get_reason(billing, revoked) == ACCEPTED
    keys.revocations = [Revocation(USER_ID, token_version=2, disabled=disabled)]
    keys.wait_until_fetched()
    assert [get_reason(billing, token) for token in (revoked, signer.token("USER"))] == [why] * 2
    assert [get_reason(billing, token) for token in (newer, signer.token("ADMIN"))] == [ACCEPTED] * 2


def test_revocations_stay_in_use_while_auth_is_unavailable(billing: Client, keys: Keys) -> None:
    token = keys.signers[0].token("USER")
    keys.revocations = [Revocation(USER_ID, token_version=1)]
    keys.wait_until_fetched()
    keys.response = RuntimeError("auth is broken")
    keys.wait_until_fetched()
    assert get_reason(billing, token) == "TOKEN_INVALID"


def test_keys_expire_while_auth_is_unavailable(billing: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    token = keys.signers[0].token("USER")
    assert get_reason(billing, token) == ACCEPTED
    monkeypatch.setattr(tokens, "_KEYS_VALID_SECONDS", 0)
    keys.response = RuntimeError("auth is broken")
    keys.wait_until_fetched()
    assert get_rejection(billing, token).code is StatusCode.UNAVAILABLE
    keys.response = None
    keys.wait_until_fetched()
    assert get_reason(billing, token) == ACCEPTED


def test_known_keys_stay_in_use_while_auth_is_unavailable(
    background: Background, database_url: str, new_database: Callable[[str], str]
) -> None:
    auth_url, auth_port = new_database("auth"), free_port()
    with serve_billing_with_auth(background, auth_port, database_url) as billing:
        with (
            background.during(serve_auth(auth_url, settings={"listen": f"{HOST}:{auth_port}"})),
            connect(auth_port, "auth") as auth,
        ):
            tokens = [create_session(auth).access_token for _ in range(2)]
            eventually(lambda: get_reason(billing, tokens[0]) == ACCEPTED)
        assert get_reason(billing, Signer("unknown").token("USER")) == "TOKEN_INVALID"
        assert get_reason(billing, tokens[1]) == ACCEPTED


def test_call_without_any_keys_returns_unavailable(
    background: Background, database_url: str, new_database: Callable[[str], str]
) -> None:
    auth_url, auth_port = new_database("auth"), free_port()
    with serve_billing_with_auth(background, auth_port, database_url) as billing:
        rejected = get_rejection(billing, Signer().token("USER"))
        assert (rejected.code, rejected.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        with (
            background.during(serve_auth(auth_url, settings={"listen": f"{HOST}:{auth_port}"})),
            connect(auth_port, "auth") as auth,
        ):
            token = create_session(auth).access_token
            eventually(lambda: get_reason(billing, token) == ACCEPTED)


@contextmanager
def serve_billing_with_auth(background: Background, auth_port: int, url: str) -> Iterator[Client]:
    """Yields a client without a token for a billing service that fetches keys from auth, running or not."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[int]:
        async with (
            open_channel(f"{HOST}:{auth_port}") as auth,
            serve_service("billing", url, TokenVerifier(create_trust_fetcher(auth))) as port,
        ):
            yield port

    with background.during(serving()) as port, connect(port, "billing") as client:
        yield client


def call(billing: Client, token: str) -> None:
    """Requests an account that does not exist."""
    billing.with_token(token).get_billing_account(GetBillingAccountRequest(id=str(uuid4())))


def get_rejection(billing: Client, token: str) -> Rejected:
    """Returns the error of the call."""
    with pytest.raises(Rejected) as rejected:
        call(billing, token)
    return rejected.value


def get_reason(billing: Client, token: str) -> str:
    """Returns the reason of the error."""
    reason: str = get_rejection(billing, token).reason
    return reason
