"""Deadlines: propagation to outgoing calls, and cancellation of the handler."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import StatusCode

from gen.pulsetrack.billing.v1 import BillingAccount, GetBillingAccountRequest
from services.billing.service import BillingService
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import RemoteMethod, open_channel
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Metadata, Rejected
from tests.harness.services import find_no_access, serve_service, serve_servicer
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

ACCOUNT = GetBillingAccountRequest(id=str(uuid4()))


class Forwarding(BillingService):
    """A service that calls another service."""

    def __init__(self, called_port: int) -> None:
        super().__init__(Database(""), find_no_access)
        to = open_channel(f"127.0.0.1:{called_port}")
        self._forward = RemoteMethod(to, "billing", "GetBillingAccount", GetBillingAccountRequest, BillingAccount)

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        return await self._forward(request)


@contextmanager
def called_service(seconds_left: list[float]) -> Iterator[int]:
    """Runs the called service, which records the time left of each call, and yields its port."""

    def respond(_: bytes, context: grpc.ServicerContext) -> bytes:
        seconds_left.append(context.time_remaining())
        return b""

    handler: Any = grpc.unary_unary_rpc_method_handler(respond)
    server = grpc.server(ThreadPoolExecutor(1))
    name = SERVICES["billing"]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"GetBillingAccount": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait(5)


@pytest.mark.parametrize(("deadline", "propagated"), [(2, 2), (60, 5), (None, 5)])
def test_outgoing_call_has_the_deadline_and_at_most_five_seconds(
    background: Background, signer: Signer, deadline: float | None, propagated: float
) -> None:
    seconds_left: list[float] = []
    with (
        called_service(seconds_left) as called_port,
        background.during(serve_forwarding(called_port, signer)) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as to,
    ):
        call(to, signer, "GetBillingAccount", bytes(ACCOUNT), deadline)
    [left] = seconds_left
    assert propagated - 1 < left <= propagated * 1.01  # grpc rounds timeouts up to three digits


def test_call_past_its_deadline_returns_call_too_slow(
    background: Background, signer: Signer, database_url: str, sql: Sql
) -> None:
    serving = serve_with_one_connection(database_url, signer)
    server_deadline = (("grpc-timeout", "5S"),)  # the client itself has no deadline
    with (
        background.during(serving) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as to,
        sql.hold_locks("LOCK TABLE accounts"),
        pytest.raises(grpc.RpcError) as rejected,
    ):
        call(to, signer, "ListBillingAccounts", b"", None, metadata=server_deadline)
    assert rejected.value.code() is StatusCode.DEADLINE_EXCEEDED
    assert Rejected(rejected.value).reason == "CALL_TOO_SLOW"


def test_deadline_cancels_the_statement_and_keeps_the_connection(
    background: Background, signer: Signer, database_url: str, sql: Sql
) -> None:
    serving = serve_with_one_connection(database_url, signer)
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as to:
        with sql.hold_locks("LOCK TABLE accounts"):
            with pytest.raises(grpc.RpcError) as rejected:
                call(to, signer, "ListBillingAccounts", b"", 1)
            assert rejected.value.code() is StatusCode.DEADLINE_EXCEEDED
            eventually(lambda: sql.count_waiting() == 0)
        call(to, signer, "ListBillingAccounts", b"", 5)


def call(
    to: grpc.Channel, signer: Signer, method: str, request: bytes, deadline: float | None, *, metadata: Metadata = ()
) -> None:
    """Calls billing as a user, with a deadline in seconds. Raises grpc.RpcError."""
    callable_: Any = to.unary_unary(f"/{SERVICES['billing']}/{method}")
    token = ("authorization", f"Bearer {signer.token('USER')}")
    callable_(request, metadata=(token, *metadata), timeout=deadline)


@asynccontextmanager
async def serve_forwarding(called_port: int, signer: Signer) -> AsyncIterator[int]:
    """Serves the calling service."""
    async with serve_servicer("billing", Forwarding(called_port), TokenVerifier(signer.trust)) as port:
        yield port


@asynccontextmanager
async def serve_with_one_connection(url: str, signer: Signer) -> AsyncIterator[int]:
    """Serves billing with a single database connection."""
    async with serve_service("billing", url, TokenVerifier(signer.trust), database_connections=1) as port:
        yield port
