"""The patient service, its clients, and the delivery of its events."""

from collections.abc import Callable, Iterator
from functools import partial

import grpc
import pytest

from deploy.settings import HOST
from tests.conftest import Serve
from tests.harness.background import Background
from tests.harness.broker import Broker
from tests.harness.client import Client
from tests.harness.delivery import Addresses, Delivery
from tests.harness.services import serve_auth, serve_service
from tests.harness.tokens import Signer
from tools.ports import free_port


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


@pytest.fixture(scope="module")
def delivery(
    background: Background, own_broker: Broker, new_database: Callable[[str], str], database_url: str
) -> Iterator[Delivery]:
    """The delivery, with a broker and auth running."""
    with background.during(serve_auth(new_database("auth"))) as auth:
        to = Addresses(own_broker.address, auth=f"{HOST}:{auth}", billing=f"{HOST}:{free_port()}")
        yield Delivery(background, database_url, new_database("billing"), to)


@pytest.fixture
def billing(delivery: Delivery) -> Iterator[None]:
    """Runs billing."""
    with delivery.billing():
        yield


@pytest.fixture
def relays(delivery: Delivery) -> Iterator[None]:
    """Runs the relays."""
    with delivery.relays():
        yield
