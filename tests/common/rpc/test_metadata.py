"""The metadata of the current call."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import BillingAccount, GetBillingAccountRequest
from services.billing.service import BillingService
from services.common.postgres.database import Database
from services.common.rpc.metadata import read_metadata
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, connect
from tests.harness.services import find_no_access, serve_servicer
from tests.harness.tokens import Signer

CALLS = 8


class Reading(BillingService):
    """A service that responds with its metadata once a number of calls have arrived."""

    def __init__(self) -> None:
        super().__init__(Database(""), find_no_access)
        self.all_arrived = asyncio.Barrier(1)

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        await self.all_arrived.wait()
        return BillingAccount(name=",".join(read_metadata("x-name")), email=",".join(read_metadata("x-bytes-bin")))


@pytest.fixture
def service() -> Reading:
    return Reading()


@pytest.fixture
def client(background: Background, signer: Signer, service: Reading) -> Iterator[Client]:
    serving = serve_servicer("billing", service, TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "billing", signer.token("USER")) as client:
        yield client


def read(client: Client, *metadata: tuple[str, str | bytes]) -> BillingAccount:
    account: BillingAccount = client.get_billing_account(GetBillingAccountRequest(id=str(uuid4())), metadata=metadata)
    return account


def test_concurrent_calls_have_their_own_metadata(client: Client, service: Reading) -> None:
    service.all_arrived = asyncio.Barrier(CALLS)
    names = [f"call-{number}" for number in range(CALLS)]
    with ThreadPoolExecutor(CALLS) as threads:
        assert [account.name for account in threads.map(lambda name: read(client, ("x-name", name)), names)] == names


def test_repeated_key_has_all_values_in_order(client: Client) -> None:
    assert read(client, ("x-name", "first"), ("x-other", "-"), ("x-name", "second")).name == "first,second"


def test_absent_key_has_no_values(client: Client) -> None:
    assert read(client, ("x-other", "-")).name == ""


def test_bytes_are_read_as_ascii(client: Client) -> None:
    assert read(client, ("x-bytes-bin", b"a\xff")).email == "a\N{REPLACEMENT CHARACTER}"
