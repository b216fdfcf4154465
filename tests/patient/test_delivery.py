"""The relays deliver every event to Kafka and open one account for each patient, despite outages."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    PatientCreated,
    PatientEvent,
    UndeletePatientRequest,
)
from services.common.messaging import relay
from services.common.protobuf import codec
from services.patient.changes import TOPIC
from tests.harness.broker import Broker, read_headers
from tests.harness.client import Client
from tests.harness.concurrency import call_concurrently
from tests.harness.delivery import WAITING, Delivery, run_consumer
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import create_request, update_request
from tests.patient.merging import create_pair, merge, unmerge


@pytest.mark.usefixtures("relays")
def test_events_are_published_as_cloudevents(patients: Client, delivery: Delivery) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    created = patients.create_patient(create_request(), metadata=(("traceparent", trace),))
    with delivery.topic() as topic:
        [message] = topic.of(created.id)
    event = codec.codec_of(PatientEvent).loads(message.value() or b"")
    headers = read_headers(message)
    assert event.created == PatientCreated(patient=created)
    assert abs(datetime.fromisoformat(headers.pop("ce_time")) - created.create_time).total_seconds() < 5
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": event.event_id,
        "ce_type": "pulsetrack.patient.v1.PatientCreated",
        "ce_source": "/pulsetrack/patient",
        "content-type": "application/protobuf",
        "traceparent": trace,
    }


@pytest.mark.usefixtures("relays")
def test_events_of_a_patient_are_published_in_order(patients: Client, admin: Client, delivery: Delivery) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, name="Ana Costa"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with delivery.topic() as topic:
        messages = topic.of(created.id, 3)
    assert len({message.partition() for message in messages}) == 1
    kinds = [read_headers(message)["ce_type"].rpartition(".")[2] for message in messages]
    assert kinds == ["PatientCreated", "PatientUpdated", "PatientDeleted"]


@pytest.mark.usefixtures("relays", "billing")
def test_account_is_opened_for_a_new_patient(patients: Client, delivery: Delivery) -> None:
    created = patients.create_patient(create_request())
    [account] = eventually(partial(delivery.accounts, created.id))
    assert (account["name"], account["email"], account["status"]) == (created.name, created.email, "ACTIVE")


@pytest.mark.usefixtures("relays", "billing")
def test_deleting_a_patient_closes_the_account(patients: Client, admin: Client, delivery: Delivery) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    delivery.wait()
    assert [account["status"] for account in delivery.accounts(created.id)] == ["CLOSED"]


@pytest.mark.usefixtures("relays", "billing")
def test_account_receives_name_and_email_updates(patients: Client, delivery: Delivery) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, name="Ana Costa"))
    corrected = patients.update_patient(update_request(created, email=f"corrected-{created.email}"))
    delivery.wait()
    [account] = delivery.accounts(created.id)
    assert (account["name"], account["email"]) == ("Ana Costa", corrected.email)
    assert account["status"] == "ACTIVE"


@pytest.mark.usefixtures("relays", "billing")
def test_undeleting_a_patient_reopens_the_account(patients: Client, admin: Client, delivery: Delivery) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    admin.undelete_patient(UndeletePatientRequest(id=created.id))
    delivery.wait()
    [account] = delivery.accounts(created.id)
    assert (account["name"], account["status"]) == (created.name, "ACTIVE")


@pytest.mark.usefixtures("relays", "billing")
def test_merging_a_patient_closes_its_account_until_it_is_unmerged(
    patients: Client, admin: Client, delivery: Delivery
) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    delivery.wait()
    statuses = {each.id: [account["status"] for account in delivery.accounts(each.id)] for each in (survivor, merged)}
    assert statuses == {survivor.id: ["ACTIVE"], merged.id: ["CLOSED"]}
    unmerge(admin, merged)
    delivery.wait()
    assert [account["status"] for account in delivery.accounts(merged.id)] == ["ACTIVE"]


@pytest.mark.usefixtures("relays", "billing")
def test_redelivery_repeats_the_event_and_does_not_change_the_account(
    patients: Client, sql: Sql, delivery: Delivery
) -> None:
    created = patients.create_patient(create_request())
    delivery.wait()
    before = delivery.accounts(created.id)
    sql("UPDATE outbox SET delivered_time = NULL, due_time = now() WHERE key = $1", created.id)
    with delivery.topic() as topic:
        first, again = topic.of(created.id, 2)
    delivery.wait()
    assert (first.value(), first.headers()) == (again.value(), again.headers())
    assert delivery.accounts(created.id) == before


@pytest.mark.usefixtures("relays")
def test_accounts_are_opened_after_an_outage_of_billing(patients: Client, sql: Sql, delivery: Delivery) -> None:
    with delivery.billing():
        before = patients.create_patient(create_request())
        eventually(partial(delivery.accounts, before.id))
    created = [patients.create_patient(create_request()) for _ in range(3)]
    with delivery.topic() as topic:
        topic.of(created[-1].id)  # delivery to Kafka continues
    assert len(sql(f"{WAITING} AND destination = 'billing'")) == 3
    with delivery.billing():
        delivery.wait()
    assert [len(delivery.accounts(patient.id)) for patient in created] == [1, 1, 1]


def test_late_deliveries_are_logged(
    patients: Client, sql: Sql, delivery: Delivery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "_REPORT_SECONDS", 0)
    created = patients.create_patient(create_request())
    sql("UPDATE outbox SET create_time = now() - interval '1 hour' WHERE key = $1", created.id)
    with delivery.relays():
        eventually(lambda: not sql(f"{WAITING} AND destination = $1", TOPIC))
        caplog.clear()
        [late, *_] = eventually(lambda: [line for line in caplog.records if "late" in line.message])
        fields = {name: getattr(late, name) for name in ("destination", "outbox_waiting")}
    assert fields == {"destination": "billing", "outbox_waiting": len(sql(f"{WAITING} AND destination = 'billing'"))}
    assert 3600 <= late.outbox_age < 3700  # type: ignore[attr-defined]
    with delivery.billing(), delivery.relays():
        delivery.wait()


@pytest.mark.usefixtures("billing")
def test_two_relays_on_one_database_deliver_every_row(patients: Client, delivery: Delivery) -> None:
    with delivery.relays(), delivery.relays():
        created, _ = call_concurrently([partial(patients.create_patient, create_request()) for _ in range(40)])
        created += [patients.create_patient(create_request()) for _ in range(40)]
        delivery.wait()
    with delivery.topic() as topic:
        assert all(topic.of(patient.id) for patient in created)
    assert [len(delivery.accounts(patient.id)) for patient in created] == [1] * 80


@pytest.fixture
def analytics_url(new_database: Callable[[str], str]) -> str:
    return new_database("analytics")


@pytest.mark.usefixtures("relays")
def test_events_are_republished_after_data_loss_and_stored_once(
    patients: Client, sql: Sql, delivery: Delivery, own_broker: Broker, analytics_url: str
) -> None:
    def create() -> set[str]:
        return {patients.create_patient(create_request()).id for _ in range(5)}

    def list_stored() -> list[str]:
        found = Sql(delivery.background, analytics_url)("SELECT patient_id::text FROM events")
        return sorted(row["patient_id"] for row in found)

    with delivery.background.during(run_consumer(analytics_url, own_broker.address)):
        consumed = create()
        eventually(lambda: consumed <= {*list_stored()})
    unconsumed = create()
    delivery.wait(TOPIC)
    own_broker.kill()
    unpublished = create()
    own_broker.start()
    with delivery.background.during(run_consumer(analytics_url, own_broker.address)):
        create()
        published = sorted(row["key"] for row in sql("SELECT key FROM outbox WHERE destination = $1", TOPIC))
        eventually(lambda: list_stored() == published)
    with delivery.topic() as topic:
        assert all(topic.of(patient_id) for patient_id in consumed | unconsumed | unpublished)
