"""What a caller learns when something goes wrong, and what the log does."""

import logging
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.billing.v1 import BillingAccount, GetBillingAccountRequest
from services.billing.service import BillingService
from services.common.observability.logging import add_ids
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.tokens import TokenVerifier
from tests.common.conftest import Frail
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_service, serve_servicer
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

PATH = f"/{SERVICES['billing']}/GetBillingAccount"
UNKNOWN = GetBillingAccountRequest(id=str(uuid4()))
REQUEST_ID = (("x-request-id", "req-4711"),)


class Broken(BillingService):
    """A service with a mistake in it."""

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        raise ZeroDivisionError("the patient's diagnosis is a secret")


@pytest.fixture(scope="module")
def broken(background: Background, signer: Signer) -> Iterator[Client]:
    """A user who calls it."""
    serving = serve_servicer("billing", Broken(Database("")), TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "billing", signer.token("USER")) as client:
        yield client


def test_a_refusal_says_why_in_the_words_of_google_rpc(billing: Client) -> None:
    with pytest.raises(Rejected) as refused:
        billing.get_billing_account(UNKNOWN, metadata=REQUEST_ID)
    assert (refused.value.code, refused.value.reason) == (StatusCode.NOT_FOUND, "BILLING_ACCOUNT_NOT_FOUND")
    assert (refused.value.domain, refused.value.request_id) == ("pulsetrack", "req-4711")
    assert refused.value.status.code == StatusCode.NOT_FOUND.value[0]
    assert refused.value.status.message == refused.value.message == "The billing account does not exist."


def test_a_call_without_a_request_id_gets_one_of_its_own(billing: Client) -> None:
    ids = set()
    for _ in range(3):
        with pytest.raises(Rejected) as refused:
            billing.get_billing_account(UNKNOWN)
        ids.add(UUID(refused.value.request_id))
    assert len(ids) == 3


def test_an_endless_request_id_is_cut(billing: Client) -> None:
    with pytest.raises(Rejected) as refused:
        billing.get_billing_account(UNKNOWN, metadata=(("x-request-id", "x" * 1000),))
    assert refused.value.request_id == "x" * 64


def test_a_mistake_of_ours_is_answered_without_a_word_of_it(broken: Client) -> None:
    with pytest.raises(Rejected) as refused:
        broken.get_billing_account(UNKNOWN, metadata=REQUEST_ID)
    assert (refused.value.code, refused.value.reason) == (StatusCode.INTERNAL, "INTERNAL")
    assert refused.value.request_id == "req-4711"
    told = f"{refused.value.message} {refused.value.status}"
    for inner in ("diagnosis", "ZeroDivisionError", "Traceback", ".py", "Broken", "Unexpected"):
        assert inner not in told


def test_a_mistake_of_ours_is_logged_whole_with_the_request_id(
    broken: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "filters", [add_ids])
    with pytest.raises(Rejected):
        broken.get_billing_account(UNKNOWN, metadata=REQUEST_ID)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"{PATH} failed"
    assert record.exc_info
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert record.__dict__["request_id"] == "req-4711"


def test_slow_call_that_fails_unexpectedly_is_logged_as_internal(
    background: Background, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    serving = serve_servicer("billing", Broken(Database("")), TokenVerifier(signer.trust), slow_call_ms=0)
    with (
        background.during(serving) as port,
        connect(port, "billing", signer.token("USER")) as client,
        pytest.raises(Rejected),
    ):
        client.get_billing_account(UNKNOWN)
    [record] = [record for record in caplog.records if record.getMessage() == f"{PATH} was slow"]
    assert record.__dict__["code"] == "INTERNAL"


@pytest.mark.parametrize(
    "request_bytes",
    [b"\xff", b"\x0a", b"\x0a\x24cut off", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\x02\xc3\x28"],
    ids=["no tag", "no length", "truncated", "absurd length", "invalid UTF-8"],
)
def test_bytes_that_are_no_message_are_refused(billing: Client, request_bytes: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        billing.call(PATH, request_bytes)
    assert (refused.value.code, refused.value.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    assert refused.value.message == "The request is not a valid protobuf message."


def test_a_stranger_has_nothing_parsed(nobody: Client) -> None:
    with pytest.raises(Rejected) as refused:
        nobody.call(PATH, b"\xff")
    assert refused.value.reason == "TOKEN_MISSING"


def test_a_message_of_4_mib_is_read_and_a_longer_one_is_not(billing: Client) -> None:
    for size, code in ((4 * 2**20, StatusCode.INVALID_ARGUMENT), (4 * 2**20 + 1, StatusCode.RESOURCE_EXHAUSTED)):
        with pytest.raises(Rejected) as refused:
            billing.call(PATH, b"\xff" * size)
        assert refused.value.code is code


@pytest.mark.parametrize("path", [f"/{SERVICES['billing']}/Nothing", "/pulsetrack.Nothing/Get", "/", "/x"])
def test_an_unknown_method_is_unimplemented(billing: Client, path: str) -> None:
    with pytest.raises(Rejected) as refused:
        billing.call(path, b"")
    assert refused.value.code is StatusCode.UNIMPLEMENTED


def test_while_the_database_is_away_a_call_may_be_tried_again(
    background: Background, signer: Signer, frail: Frail
) -> None:
    serving = serve_service("billing", frail.url, TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "billing", signer.token("USER")) as billing:
        assert reason(billing) == "BILLING_ACCOUNT_NOT_FOUND"
        frail.kill()
        with pytest.raises(Rejected) as refused:
            billing.get_billing_account(UNKNOWN)
        assert (refused.value.code, refused.value.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        frail.start()
        eventually(lambda: reason(billing) == "BILLING_ACCOUNT_NOT_FOUND")


def reason(billing: Client) -> str:
    """Returns why a call for an account that does not exist is refused."""
    with pytest.raises(Rejected) as refused:
        billing.get_billing_account(UNKNOWN)
    reason: str = refused.value.reason
    return reason
