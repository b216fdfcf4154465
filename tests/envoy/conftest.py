"""Fixtures: one gateway for all tests that leave it intact."""

from collections.abc import Iterator

import pytest

from tests.envoy.gateway import Gateway, has_status, run_gateway
from tests.harness.waiting import eventually

ORIGIN = "http://localhost:5173"
"""The allowed CORS origin."""


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with run_gateway(tmp_path_factory.mktemp("envoy"), rate_limits=False, cors_origins=(ORIGIN,)) as gateway:
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    for stub in shared_gateway.stubs.values():
        stub.calls.clear()
        stub.responses.clear()
    return shared_gateway
