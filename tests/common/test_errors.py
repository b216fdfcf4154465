"""Errors: the status that the client receives, and the log record."""

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
from tests.common.conftest import StoppableDatabase
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import find_no_access, serve_service, serve_servicer
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

PATH = f"/{SERVICES['billing']}/GetBillingAccount"
UNKNOWN = GetBillingAccountRequest(id=str(uuid4()))
REQUEST_ID = (("x-request-id", "req-4711"),)


class Broken(BillingService):
    """A service with a bug."""

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        raise ZeroDivisionError("the patient's diagnosis is a secret")


@pytest.fixture(scope="module")
def broken(background: Background, signer: Signer) -> Iterator[Client]:
    """A user's client of the broken service."""
    serving = serve_servicer("billing", Broken(Database(""), find_no_access), TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "billing", signer.token("USER")) as client:
        yield client


def test_failure_is_returned_as_a_google_rpc_status(billing: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        billing.get_billing_account(UNKNOWN, metadata=REQUEST_ID)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.NOT_FOUND, "BILLING_ACCOUNT_NOT_FOUND")
    assert (rejected.value.domain, rejected.value.request_id) == ("pulsetrack", "req-4711")
    assert rejected.value.status.code == StatusCode.NOT_FOUND.value[0]
    assert rejected.value.status.message == rejected.value.message == "The billing account does not exist."


def test_call_without_a_request_id_gets_a_new_one(billing: Client) -> None:
    ids = set()
    for _ in range(3):
        with pytest.raises(Rejected) as rejected:
            billing.get_billing_account(UNKNOWN)
        ids.add(UUID(rejected.value.request_id))
    assert len(ids) == 3


def test_long_request_id_is_truncated(billing: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        billing.get_billing_account(UNKNOWN, metadata=(("x-request-id", "x" * 1000),))
    assert rejected.value.request_id == "x" * 64


def test_unexpected_exception_returns_internal_without_details(broken: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        broken.get_billing_account(UNKNOWN, metadata=REQUEST_ID)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.INTERNAL, "INTERNAL")
    assert rejected.value.request_id == "req-4711"
    text = f"{rejected.value.message} {rejected.value.status}"
    for detail in ("diagnosis", "ZeroDivisionError", "Traceback", ".py", "Broken", "Unexpected"):
        assert detail not in text


def test_unexpected_exception_is_logged_with_the_request_id(
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
    serving = serve_servicer(
        "billing", Broken(Database(""), find_no_access), TokenVerifier(signer.trust), slow_call_ms=0
    )
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
def test_malformed_request_bytes_are_rejected(billing: Client, request_bytes: bytes) -> None:
    with pytest.raises(Rejected) as rejected:
        billing.call(PATH, request_bytes)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    assert rejected.value.message == "The request is not a valid protobuf message."


def test_unauthorized_request_is_not_parsed(anonymous: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        anonymous.call(PATH, b"\xff")
    assert rejected.value.reason == "TOKEN_MISSING"


def test_message_above_4_mib_is_rejected(billing: Client) -> None:
    for size, code in ((4 * 2**20, StatusCode.INVALID_ARGUMENT), (4 * 2**20 + 1, StatusCode.RESOURCE_EXHAUSTED)):
        with pytest.raises(Rejected) as rejected:
            billing.call(PATH, b"\xff" * size)
        assert rejected.value.code is code


@pytest.mark.parametrize("path", [f"/{SERVICES['billing']}/Nothing", "/pulsetrack.Nothing/Get", "/", "/x"])
def test_unknown_method_is_unimplemented(billing: Client, path: str) -> None:
    with pytest.raises(Rejected) as rejected:
        billing.call(path, b"")
    assert rejected.value.code is StatusCode.UNIMPLEMENTED


def test_call_without_the_database_returns_unavailable(
    background: Background, signer: Signer, stoppable_database: StoppableDatabase
) -> None:
    serving = serve_service("billing", stoppable_database.url, TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "billing", signer.token("USER")) as billing:
        assert get_reason(billing) == "BILLING_ACCOUNT_NOT_FOUND"
        stoppable_database.kill()
        with pytest.raises(Rejected) as rejected:
            billing.get_billing_account(UNKNOWN)
        assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        stoppable_database.start()
        eventually(lambda: get_reason(billing) == "BILLING_ACCOUNT_NOT_FOUND")


def get_reason(billing: Client) -> str:
    """Returns the reason of the error for an account that does not exist."""
    with pytest.raises(Rejected) as rejected:
        billing.get_billing_account(UNKNOWN)
    reason: str = rejected.value.reason
    return reason
