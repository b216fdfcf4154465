"""A database server that becomes read-only, as a primary that was demoted, and is promoted again."""

from collections.abc import Iterator

import pytest
from grpc import StatusCode

from services.common.errors import DependencyUnavailable
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import create_request
from tools.local.postgres import Postgres


@pytest.fixture
def server(background: Background, postgres: Postgres) -> Iterator[Sql]:
    """The database server, which accepts writes again after the test."""
    server = Sql(background, postgres.url())
    yield server
    set_read_only(server, "off")


def set_read_only(server: Sql, value: str) -> None:
    """Makes the server reject or accept writes, in existing sessions too."""
    server(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    server("SELECT pg_reload_conf()")
    eventually(lambda: server("SHOW default_transaction_read_only") == [(value,)])


def test_write_to_a_demoted_primary_is_unavailable(patients: Client, server: Sql) -> None:
    patients.create_patient(create_request())
    set_read_only(server, "on")
    with pytest.raises(Rejected) as rejected:
        patients.create_patient(create_request())
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAVAILABLE, DependencyUnavailable.reason)


def test_writes_succeed_after_the_promotion(patients: Client, server: Sql) -> None:
    set_read_only(server, "on")
    with pytest.raises(Rejected):
        patients.create_patient(create_request())
    set_read_only(server, "off")
    assert eventually(lambda: create(patients))


def create(patients: Client) -> bool:
    """Creates a patient, and returns whether the service was available."""
    try:
        patients.create_patient(create_request())
    except Rejected as rejected:
        if rejected.reason == DependencyUnavailable.reason:
            return False
        raise
    return True
