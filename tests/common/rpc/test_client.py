"""Channels to other services reach processes that are added, and replace connections that do not respond."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import grpc
import pytest

from gen.pulsetrack.billing.v1 import BatchFollowPatientsRequest, BatchFollowPatientsResponse, FollowPatientRequest
from services.billing.service import BillingService
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.rpc import client
from services.common.rpc.client import RemoteMethod, ServiceCredentials, open_channel
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.names import serve_names
from tests.harness.proxy import run_proxy
from tests.harness.services import find_no_access, serve_servicer
from tests.harness.tokens import Signer
from tools.ports import free_port

Deliver = Callable[[], Awaitable[BatchFollowPatientsResponse]]


class Billing(BillingService):
    """Counts the batches that it receives."""

    def __init__(self) -> None:
        super().__init__(Database(""), find_no_access)
        self.batches = 0

    async def batch_follow_patients(self, request: BatchFollowPatientsRequest) -> BatchFollowPatientsResponse:
        self.batches += 1
        return BatchFollowPatientsResponse()


class Credentials(ServiceCredentials):
    """Credentials with a token that auth has not issued."""

    def __init__(self, channel: grpc.aio.Channel, signer: Signer) -> None:
        super().__init__(channel, client_id="", client_secret="")
        self._signer = signer

    async def get_token(self) -> str:
        return self._signer.token("SERVICE")


async def open_delivery(stack: AsyncExitStack, target: str, signer: Signer) -> Deliver:
    """Returns a function that delivers a batch over a channel."""
    channel = await stack.enter_async_context(open_channel(target))
    method = RemoteMethod(
        channel,
        "billing",
        "BatchFollowPatients",
        BatchFollowPatientsRequest,
        BatchFollowPatientsResponse,
        credentials=Credentials(channel, signer),
        timeout_seconds=1,
    )
    event = FollowPatientRequest(patient_id=str(uuid4()), name="Ana Silva", email="ana@clinic.test", sequence=1)
    return lambda: method(BatchFollowPatientsRequest(requests=[event]))


async def serve(stack: AsyncExitStack, address: str, signer: Signer) -> Billing:
    billing = Billing()
    serving = serve_servicer("billing", billing, TokenVerifier(signer.trust), listen=address, connection_age_seconds=1)
    await stack.enter_async_context(serving)
    return billing


def test_deliveries_reach_added_processes(background: Background, signer: Signer) -> None:
    port = free_port()

    async def run() -> None:
        async with AsyncExitStack() as stack, asyncio.timeout(50):
            processes = [await serve(stack, f"127.0.0.1:{port}", signer)]
            names = await stack.enter_async_context(serve_names("127.0.0.1"))
            deliver = await open_delivery(stack, f"dns://127.0.0.1:{names.port}/billing.test:{port}", signer)
            await deliver()
            added = ["127.0.0.2", "127.0.0.3"]
            processes += [await serve(stack, f"{address}:{port}", signer) for address in added]
            names.addresses = ["127.0.0.1", *added]
            while not all(process.batches for process in processes):
                await deliver()  # without an error
                await asyncio.sleep(0.01)

    background.run(run())


def test_connection_that_does_not_respond_is_replaced(
    background: Background, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_KEEPALIVE_MS", 500)
    monkeypatch.setattr(client, "_PING_TIMEOUT_MS", 300)

    async def run() -> None:
        async with AsyncExitStack() as stack, asyncio.timeout(50):
            billing = Billing()
            port = await stack.enter_async_context(serve_servicer("billing", billing, TokenVerifier(signer.trust)))
            proxy = await stack.enter_async_context(run_proxy(port))
            deliver = await open_delivery(stack, f"127.0.0.1:{proxy.port}", signer)
            await deliver()
            proxy.freeze()
            while billing.batches == 1:
                try:
                    await deliver()
                except DependencyUnavailable:
                    await asyncio.sleep(0.01)
            assert proxy.accepted > 1

    background.run(run())
