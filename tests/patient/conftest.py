"""The patient service, and its callers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from services.common.contract import SERVICES
from services.common.db import Database
from services.common.identity import TokenVerifier
from services.common.outbox import Outbox
from services.common.server import serving
from services.common.settings import Settings
from services.patient.models import outbox_rows
from services.patient.service import PatientService
from tests.conftest import Serve
from tests.harness.client import Client
from tests.harness.tokens import Signer


@pytest.fixture(scope="session")
def service_name() -> str:
    return "patient"


@pytest.fixture(scope="session")
def serve() -> Serve:
    @asynccontextmanager
    async def serve(url: str, verifier: TokenVerifier) -> AsyncIterator[int]:
        settings = Settings(listen="127.0.0.1:0", database_url=url)
        async with Database(url) as db:
            patients = PatientService(db, Outbox(outbox_rows))
            async with serving(settings, SERVICES["patient"], patients, verifier=verifier, parts=[db]) as port:
                yield port

    return serve


@pytest.fixture(scope="module")
def patients(grpc_channel: grpc.Channel, signer: Signer) -> Client:
    """A user who calls the patient service."""
    return Client(grpc_channel, "patient", signer.token("USER", exp=2**31))


@pytest.fixture(scope="module")
def admin(patients: Client, signer: Signer) -> Client:
    """An admin who does."""
    return patients.having(signer.token("ADMIN", exp=2**31))
