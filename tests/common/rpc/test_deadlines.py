"""A caller's deadline: passed on, and the end of the work for him."""

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
from tests.harness.services import serve_service, serve_servicer
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

ACCOUNT = GetBillingAccountRequest(id=str(uuid4()))


class Asking(BillingService):
    """A service that asks another for its answers."""

    def __init__(self, other: int) -> None:
        super().__init__(Database(""))
        to = open_channel(f"127.0.0.1:{other}")
        self._ask = RemoteMethod(to, "billing", "GetBillingAccount", GetBillingAccountRequest, BillingAccount)

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        return await self._ask(request)


@contextmanager
def other(seconds_left: list[float]) -> Iterator[int]:
    """Runs the other, which writes down how long its callers wait, and yields its port."""

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        seconds_left.append(context.time_remaining())
        return b""

    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(ThreadPoolExecutor(1))
    name = SERVICES["billing"]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"GetBillingAccount": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait(5)


@pytest.mark.parametrize(("deadline", "passed_on"), [(2, 2), (60, 5), (None, 5)])
def test_a_deadline_is_passed_on_and_is_five_seconds_at_most(
    background: Background, signer: Signer, deadline: float | None, passed_on: float
) -> None:
    seconds_left: list[float] = []
    with (
        other(seconds_left) as others_port,
        background.during(asking(others_port, signer)) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as to,
    ):
        call(to, signer, "GetBillingAccount", bytes(ACCOUNT), deadline)
    [left] = seconds_left
    assert passed_on - 1 < left <= passed_on * 1.01  # grpc rounds a timeout up on the wire, to three digits


def test_whoever_still_listens_at_the_deadline_hears_that_it_was_too_slow(
    background: Background, signer: Signer, database_url: str, sql: Sql
) -> None:
    serving = with_one_connection(database_url, signer)
    at_the_server = (("grpc-timeout", "1S"),)  # the caller himself goes on waiting
    with (
        background.during(serving) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as to,
        sql.hold_locks("LOCK TABLE accounts"),
        pytest.raises(grpc.RpcError) as refused,
    ):
        call(to, signer, "ListBillingAccounts", b"", None, metadata=at_the_server)
    assert refused.value.code() is StatusCode.DEADLINE_EXCEEDED
    assert Rejected(refused.value).reason == "CALL_TOO_SLOW"


def test_the_end_of_a_deadline_ends_the_statement_and_leaves_the_connection_good(
    background: Background, signer: Signer, database_url: str, sql: Sql
) -> None:
    serving = with_one_connection(database_url, signer)
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as to:
        with sql.hold_locks("LOCK TABLE accounts"):
            with pytest.raises(grpc.RpcError) as refused:
                call(to, signer, "ListBillingAccounts", b"", 1)
            assert refused.value.code() is StatusCode.DEADLINE_EXCEEDED
            eventually(lambda: sql.count_waiting() == 0)
        call(to, signer, "ListBillingAccounts", b"", 5)


def call(
    to: grpc.Channel, signer: Signer, method: str, request: bytes, deadline: float | None, *, metadata: Metadata = ()
) -> None:
    """Calls billing as a user who waits so many seconds. Raises grpc.RpcError."""
    callable_: Any = to.unary_unary(f"/{SERVICES['billing']}/{method}")
    token = ("authorization", f"Bearer {signer.token('USER')}")
    callable_(request, metadata=(token, *metadata), timeout=deadline)


@asynccontextmanager
async def asking(other: int, signer: Signer) -> AsyncIterator[int]:
    """Serves the one that asks the other."""
    async with serve_servicer("billing", Asking(other), TokenVerifier(signer.trust)) as port:
        yield port


@asynccontextmanager
async def with_one_connection(url: str, signer: Signer) -> AsyncIterator[int]:
    """Serves billing, whose calls wait for each other's connection."""
    async with serve_service("billing", url, TokenVerifier(signer.trust), database_connections=1) as port:
        yield port
