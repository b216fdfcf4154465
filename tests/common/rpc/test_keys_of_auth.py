"""The keys by which a service verifies tokens: fetched from auth, and kept while auth is away."""

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

ADMITTED = "BILLING_ACCOUNT_NOT_FOUND"


class Keys:
    """A key set in place of auth's, which counts how often it is fetched."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = signers
        self.revocations: list[Revocation] = []
        self.fetches = 0
        self.answers: bytes | Exception | None = None
        """In place of the key set."""
        self.awake = threading.Event()
        self.awake.set()

    async def fetch(self) -> TrustBundle:
        """Returns the keys of all signers, and the revocations."""
        self.fetches += 1
        await asyncio.to_thread(self.awake.wait)
        if isinstance(self.answers, Exception):
            raise self.answers
        return TrustBundle(jwks=self.answers or build_jwks(*self.signers), revocations=self.revocations)

    def until_fetched(self) -> None:
        """Waits until the service has taken a key set that it asked for after this call."""
        fetches = self.fetches
        eventually(lambda: self.fetches > fetches + 1)


@pytest.fixture
def keys() -> Iterator[Keys]:
    """The key set of one signer."""
    keys = Keys(Signer("one"))
    yield keys
    keys.awake.set()


@pytest.fixture
def billing(background: Background, database_url: str, keys: Keys) -> Iterator[Client]:
    """Somebody without a token who calls billing, which takes these keys for auth's."""
    serving = serve_service("billing", database_url, TokenVerifier(keys.fetch))
    with background.during(serving) as port, connect(port, "billing") as client:
        yield client


def test_keys_are_fetched_once_for_many_callers(billing: Client, keys: Keys) -> None:
    eventually(lambda: keys.fetches)
    before, start = keys.fetches, time.monotonic()
    tokens = [keys.signers[0].token("USER") for _ in range(16)]
    _, refusals = call_concurrently([partial(call, billing, token) for token in tokens])
    assert {refusal.reason for refusal in refusals} == {ADMITTED}
    assert keys.fetches - before <= 1 + (time.monotonic() - start)


def test_a_new_key_is_fetched_when_a_token_names_it(billing: Client, keys: Keys) -> None:
    assert reason(billing, keys.signers[0].token("USER")) == ADMITTED
    new = Signer("two")
    keys.signers = (new, *keys.signers)
    eventually(lambda: reason(billing, new.token("USER")) == ADMITTED)
    assert reason(billing, keys.signers[1].token("USER")) == ADMITTED


def test_unknown_keys_have_them_fetched_once_more_a_second_at_most(billing: Client, keys: Keys) -> None:
    eventually(lambda: keys.fetches)
    before, start = keys.fetches, time.monotonic()
    for number in range(50):
        assert reason(billing, Signer(f"unknown-{number}").token("USER")) == "TOKEN_INVALID"
    assert keys.fetches - before <= 2 * (1 + time.monotonic() - start)  # each second, and for unknown keys


@pytest.mark.parametrize("answer", [b" ", b"{}", b'{"keys": [{"kid": "one"}]}', RuntimeError("auth is broken")])
def test_known_keys_stay_in_use_when_auth_answers_nonsense(
    billing: Client, keys: Keys, answer: bytes | Exception
) -> None:
    assert reason(billing, keys.signers[0].token("USER")) == ADMITTED
    keys.answers = answer
    keys.until_fetched()
    assert reason(billing, Signer("unknown").token("USER")) == "TOKEN_INVALID"
    assert reason(billing, keys.signers[0].token("USER")) == ADMITTED


def test_nobody_waits_for_known_keys_when_auth_hangs(billing: Client, keys: Keys) -> None:
    assert reason(billing, keys.signers[0].token("USER")) == ADMITTED
    keys.awake.clear()
    fetches = keys.fetches
    eventually(lambda: keys.fetches > fetches)
    for _ in range(2):
        assert reason(billing, keys.signers[0].token("USER")) == ADMITTED


def test_a_token_is_refused_when_its_key_has_left_the_key_set(billing: Client, keys: Keys) -> None:
    leaked, other = Signer("leaked"), keys.signers[0]
    keys.signers = (leaked, other)
    used, never_used = leaked.long_lived_token("ADMIN"), leaked.long_lived_token("ADMIN")
    eventually(lambda: reason(billing, used) == ADMITTED)
    keys.signers = (other,)
    keys.until_fetched()
    assert [reason(billing, token) for token in (used, never_used)] == ["TOKEN_INVALID"] * 2
    assert reason(billing, other.token("USER")) == ADMITTED


def test_a_token_is_refused_when_its_key_was_replaced_by_one_of_the_same_id(billing: Client, keys: Keys) -> None:
    token = keys.signers[0].token("USER")
    assert reason(billing, token) == ADMITTED
    keys.signers = (Signer(keys.signers[0].kid),)
    keys.until_fetched()
    assert reason(billing, token) == "TOKEN_INVALID"


@pytest.mark.parametrize(("disabled", "why"), [(True, "USER_DISABLED"), (False, "TOKEN_INVALID")])
def test_a_token_of_a_revoked_version_is_refused(billing: Client, keys: Keys, *, disabled: bool, why: str) -> None:
    [signer] = keys.signers
    revoked, newer = signer.token("USER", token_version=1), signer.token("USER", token_version=2)
    assert reason(billing, revoked) == ADMITTED
    keys.revocations = [Revocation(USER_ID, token_version=2, disabled=disabled)]
    keys.until_fetched()
    assert [reason(billing, token) for token in (revoked, signer.token("USER"))] == [why] * 2
    assert [reason(billing, token) for token in (newer, signer.token("ADMIN"))] == [ADMITTED] * 2


def test_revocations_stay_in_use_while_auth_is_away(billing: Client, keys: Keys) -> None:
    token = keys.signers[0].token("USER")
    keys.revocations = [Revocation(USER_ID, token_version=1)]
    keys.until_fetched()
    keys.answers = RuntimeError("auth is broken")
    keys.until_fetched()
    assert reason(billing, token) == "TOKEN_INVALID"


def test_keys_are_not_used_for_longer_than_their_time_while_auth_is_away(
    billing: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = keys.signers[0].token("USER")
    assert reason(billing, token) == ADMITTED
    monkeypatch.setattr(tokens, "_KEYS_VALID_SECONDS", 0)
    keys.answers = RuntimeError("auth is broken")
    keys.until_fetched()
    assert refusal(billing, token).code is StatusCode.UNAVAILABLE
    keys.answers = None
    keys.until_fetched()
    assert reason(billing, token) == ADMITTED


def test_known_keys_stay_in_use_while_auth_is_away(
    background: Background, database_url: str, new_database: Callable[[str], str]
) -> None:
    auth_url, auth_port = new_database("auth"), free_port()
    with billing_with_keys_of(background, auth_port, database_url) as billing:
        with (
            background.during(serve_auth(auth_url, listen=f"{HOST}:{auth_port}")),
            connect(auth_port, "auth") as auth,
        ):
            tokens = [create_session(auth).access_token for _ in range(2)]
            eventually(lambda: reason(billing, tokens[0]) == ADMITTED)
        assert reason(billing, Signer("unknown").token("USER")) == "TOKEN_INVALID"
        assert reason(billing, tokens[1]) == ADMITTED


def test_without_any_keys_a_call_may_be_tried_again(
    background: Background, database_url: str, new_database: Callable[[str], str]
) -> None:
    auth_url, auth_port = new_database("auth"), free_port()
    with billing_with_keys_of(background, auth_port, database_url) as billing:
        refused = refusal(billing, Signer().token("USER"))
        assert (refused.code, refused.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        with (
            background.during(serve_auth(auth_url, listen=f"{HOST}:{auth_port}")),
            connect(auth_port, "auth") as auth,
        ):
            token = create_session(auth).access_token
            eventually(lambda: reason(billing, token) == ADMITTED)


@contextmanager
def billing_with_keys_of(background: Background, auth_port: int, url: str) -> Iterator[Client]:
    """Calls billing without a token, which fetches its keys from auth, whether that runs or not."""

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
    """Asks for an account that does not exist."""
    billing.with_token(token).get_billing_account(GetBillingAccountRequest(id=str(uuid4())))


def refusal(billing: Client, token: str) -> Rejected:
    """Returns how it is refused."""
    with pytest.raises(Rejected) as refused:
        call(billing, token)
    return refused.value


def reason(billing: Client, token: str) -> str:
    """Returns why it is refused."""
    reason: str = refusal(billing, token).reason
    return reason
