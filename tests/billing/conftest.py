"""The billing service, and its callers."""

from functools import partial

import grpc
import pytest

from tests.conftest import Serve
from tests.harness.client import Client
from tests.harness.services import serve_service
from tests.harness.tokens import Signer


@pytest.fixture(scope="session")
def service_name() -> str:
    return "billing"


@pytest.fixture(scope="session")
def serve() -> Serve:
    return partial(serve_service, "billing")


@pytest.fixture(scope="module")
def billing(grpc_channel: grpc.Channel, signer: Signer) -> Client:
    """A user who calls billing."""
    return Client(grpc_channel, "billing", signer.long_lived_token("USER"))


@pytest.fixture(scope="module")
def service(billing: Client, signer: Signer) -> Client:
    """A service that does."""
    return billing.with_token(signer.long_lived_token("SERVICE"))


@pytest.fixture(scope="module")
def admin(billing: Client, signer: Signer) -> Client:
    """An admin who does."""
    return billing.with_token(signer.long_lived_token("ADMIN"))
