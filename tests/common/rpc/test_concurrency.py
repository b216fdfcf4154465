"""The limit of concurrent calls."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest, ListBillingAccountsRequest
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

LIMIT = 3
LOCKED = "LOCK TABLE accounts"


@pytest.fixture
def channel(background: Background, signer: Signer, database_url: str) -> Iterator[grpc.Channel]:
    """A channel to billing, limited to three concurrent calls."""
    serving = serve_service("billing", database_url, TokenVerifier(signer.trust), concurrent_calls=LIMIT)
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def test_call_above_the_limit_is_rejected_at_once(channel: grpc.Channel, signer: Signer, sql: Sql) -> None:
    client = Client(channel, "billing", signer.token("USER"))
    with ThreadPoolExecutor(LIMIT) as threads:
        with sql.hold_locks(LOCKED):
            slow = [threads.submit(client.list_billing_accounts, ListBillingAccountsRequest()) for _ in range(LIMIT)]
            eventually(lambda: sql.count_waiting() == LIMIT)
            start = monotonic()
            with pytest.raises(Rejected) as rejected:
                client.get_billing_account(GetBillingAccountRequest(id=str(uuid4())))
            assert monotonic() - start < 1
            assert HealthStub(channel).Check(HealthCheckRequest()).status == HealthCheckResponse.SERVING
        assert (rejected.value.code, rejected.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert (rejected.value.retry_after, rejected.value.retry_after_header) == (1, "1")
        assert [call.result().billing_accounts for call in slow] == [[]] * LIMIT
    assert client.list_billing_accounts(ListBillingAccountsRequest()).billing_accounts == []


def test_failed_call_releases_its_slot(channel: grpc.Channel, signer: Signer) -> None:
    unknown = GetBillingAccountRequest(id=str(uuid4()))
    for client in (Client(channel, "billing"), Client(channel, "billing", signer.token("USER"))):
        reasons = {attempt(partial(client.get_billing_account, unknown)).reason for _ in range(2 * LIMIT)}
        assert "RATE_LIMITED" not in reasons


def test_cancelled_call_releases_its_slot(channel: grpc.Channel, signer: Signer, sql: Sql) -> None:
    client = Client(channel, "billing", signer.token("USER"))
    token = (("authorization", f"Bearer {signer.token('USER')}"),)
    method: Any = channel.unary_unary("/pulsetrack.billing.v1.BillingService/ListBillingAccounts")
    with sql.hold_locks(LOCKED):
        calls = [method.future(b"", metadata=token) for _ in range(LIMIT)]
        eventually(lambda: sql.count_waiting() == LIMIT)
        for call in calls:
            call.cancel()
        eventually(lambda: sql.count_waiting() == 0)
    assert client.list_billing_accounts(ListBillingAccountsRequest()).billing_accounts == []
