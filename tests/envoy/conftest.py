"""One gateway for all tests that do not break it."""

from collections.abc import Iterator

import pytest

from tests.envoy.gateway import Gateway, answers, running
from tests.harness.waiting import eventually

PAGE = "http://localhost:5173"
"""The origin of the page that may call."""


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("envoy"), rate_limits=False, cors_origins=(PAGE,)) as gateway:
        eventually(lambda: answers(gateway.http, "/readyz", 200))
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    for stub in shared_gateway.stubs.values():
        stub.calls.clear()
        stub.answers.clear()
    return shared_gateway
