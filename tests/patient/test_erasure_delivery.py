"""Erasures reach billing and analytics, also if these are unavailable meanwhile."""

from collections.abc import Callable, Iterator

import pytest

from gen.pulsetrack.patient.v1 import Patient
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.delivery import Delivery, run_consumer
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.erasing import EXECUTED, MAKE_DUE, request_erasure, run_eraser
from tests.patient.factory import create_request


@pytest.fixture
def eraser(background: Background, database_url: str) -> Iterator[None]:
    """Executes erasures."""
    with background.during(run_eraser(database_url)):
        yield


@pytest.fixture
def deleted(patients: Client, admin: Client, delivery: Delivery, relays: None) -> Patient:
    """A patient with a billing account, whose erasure is requested. All events were delivered."""
    created: Patient = patients.create_patient(create_request())
    request_erasure(admin, created)
    with delivery.billing():
        delivery.wait()
    [account] = delivery.accounts(created.id)
    assert (account["name"], account["email"]) == (created.name, created.email)
    return created


@pytest.mark.usefixtures("eraser")
def test_billing_erases_the_account_when_it_is_available_again(deleted: Patient, delivery: Delivery, sql: Sql) -> None:
    sql(MAKE_DUE, deleted.id)
    eventually(lambda: sql(EXECUTED, deleted.id))
    [account] = delivery.accounts(deleted.id)
    assert account["name"] == deleted.name
    with delivery.billing():
        delivery.wait()
    [erased] = delivery.accounts(deleted.id)
    assert (erased["name"], erased["email"], erased["status"]) == ("erased", "erased", "CLOSED")
    assert erased["id"] == account["id"]


@pytest.mark.usefixtures("eraser")
def test_analytics_erases_the_events_when_it_is_available_again(
    background: Background, deleted: Patient, delivery: Delivery, sql: Sql, new_database: Callable[[str], str]
) -> None:
    sql(MAKE_DUE, deleted.id)
    eventually(lambda: sql(EXECUTED, deleted.id))
    delivery.wait("patient.%")
    url = new_database("analytics")
    analytics = Sql(background, url)
    with background.during(run_consumer(url, delivery.to.kafka)):
        eventually(lambda: analytics("SELECT FROM patients WHERE patient_id = $1 AND erased", deleted.id))
    rows = analytics("SELECT payload FROM events WHERE patient_id = $1", deleted.id)
    assert [bytes(row["payload"]) for row in rows] == [b""] * 3


@pytest.mark.usefixtures("eraser", "relays")
def test_event_that_billing_has_not_received_postpones_the_erasure(
    patients: Client, admin: Client, delivery: Delivery, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    request_erasure(admin, created)
    sql(MAKE_DUE, created.id)
    delivery.wait("patient.%")
    assert not sql(EXECUTED, created.id)
    with delivery.billing():
        eventually(lambda: sql(EXECUTED, created.id))
