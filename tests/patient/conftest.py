"""The patient service and its clients."""

from functools import partial

import grpc
import pytest

from tests.conftest import Serve
from tests.harness.client import Client
from tests.harness.services import serve_service
from tests.harness.tokens import Signer


@pytest.fixture(scope="session")
def service_name() -> str:
    return "patient"


@pytest.fixture(scope="session")
def serve() -> Serve:
    return partial(serve_service, "patient")


@pytest.fixture(scope="module")
def patients(grpc_channel: grpc.Channel, signer: Signer) -> Client:
    """A client with the token of a user."""
    return Client(grpc_channel, "patient", signer.long_lived_token("USER"))


@pytest.fixture(scope="module")
def admin(patients: Client, signer: Signer) -> Client:
    """A client with the token of an admin."""
    return patients.with_token(signer.long_lived_token("ADMIN"))
