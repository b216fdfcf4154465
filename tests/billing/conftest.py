"""The billing service and its clients."""

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
    """A client with the token of a user."""
    return Client(grpc_channel, "billing", signer.long_lived_token("USER"))


@pytest.fixture(scope="module")
def service(billing: Client, signer: Signer) -> Client:
    """A client with the token of a service."""
    return billing.with_token(signer.long_lived_token("SERVICE"))


@pytest.fixture(scope="module")
def admin(billing: Client, signer: Signer) -> Client:
    """A client with the token of an admin."""
    return billing.with_token(signer.long_lived_token("ADMIN"))
