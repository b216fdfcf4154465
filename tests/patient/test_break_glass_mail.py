"""Mail to the care team of a patient when a user breaks glass, through the outbox and auth."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import partial
from uuid import uuid4

import pytest

from gen.pulsetrack.auth.v1 import NotifyUsersRequest, User
from gen.pulsetrack.patient.v1 import AddCareTeamMemberRequest, Patient
from services.common.messaging.outbox import Outbox
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from services.common.rpc.client import ServiceCredentials, open_channel
from services.patient.delivery import CareTeamMail
from services.patient.models import known_topics, outbox_rows
from services.patient.notifications import NOTIFICATION_CODEC
from tests.auth.factory import build_sign_up
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.mail import Mailbox, serve_mail
from tests.harness.services import CLIENT_ID, CLIENT_SECRET, serve_auth
from tests.harness.sql import Sql
from tests.harness.tokens import USER_ID, Signer
from tests.harness.waiting import eventually
from tests.patient.care import User as Outsider
from tests.patient.care import create_restricted
from tests.patient.factory import create_request

AN_HOUR_LATER = "UPDATE patient_grants SET create_time = create_time - interval '1 h' WHERE user_id = $1"
ROWS = "SELECT id, payload, delivered_time FROM outbox WHERE key = $1 AND destination = 'notifications' ORDER BY id"


@asynccontextmanager
async def run_relay(url: str, auth: str) -> AsyncIterator[None]:
    """Delivers the notifications in a patient database to auth."""
    channel, outbox = open_channel(auth), Outbox(outbox_rows)
    credentials = ServiceCredentials(channel, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    async with (
        Database(url) as db,
        outbox.relay(db, KnownTopics(known_topics), CareTeamMail(channel, credentials)),
    ):
        yield


@pytest.fixture(scope="module")
def mailbox(background: Background) -> Iterator[Mailbox]:
    """A mail server."""
    with background.during(serve_mail()) as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def auth(
    background: Background, new_database: Callable[[str], str], database_url: str, mailbox: Mailbox
) -> Iterator[Client]:
    """A client of auth, which sends mail. The relay is running."""
    with (
        background.during(serve_auth(new_database("auth"), mail=mailbox.config())) as port,
        background.during(run_relay(database_url, f"127.0.0.1:{port}")),
        connect(port, "auth") as client,
    ):
        yield client


@pytest.fixture
def outsider(patients: Client, signer: Signer) -> Outsider:
    return Outsider(patients, signer)


@pytest.fixture
def patient(patients: Client) -> Patient:
    return create_restricted(patients, name=f"Zoe {uuid4().hex}")


@pytest.fixture
def add_member(auth: Client, admin: Client, patient: Patient) -> Callable[[], User]:
    """Signs up a user and adds it to the care team of the patient."""

    def add() -> User:
        user: User = auth.sign_up(build_sign_up())
        admin.add_care_team_member(AddCareTeamMemberRequest(id=patient.id, user_id=user.id))
        return user

    return add


def find_notices(mailbox: Mailbox, user: User) -> list[EmailMessage]:
    """Returns the messages to a user about emergency access. Users also receive others, such as after sign-up."""
    return [message for message in mailbox.find(user.email) if message["Subject"].startswith("Emergency access")]


def test_members_are_informed_once(
    add_member: Callable[[], User], mailbox: Mailbox, outsider: Outsider, patient: Patient, sql: Sql
) -> None:
    members = [add_member() for _ in range(2)]
    outsider.break_glass(patient)
    for member in members:
        [message] = eventually(partial(find_notices, mailbox, member))
        text = message.get_content()
        assert (patient.id in text, outsider.id in text) == (True, True)
        assert (patient.name in text, patient.email in text) == (False, False)
    [row] = eventually(lambda: [row for row in sql(ROWS, patient.id) if row["delivered_time"]])
    sql("UPDATE outbox SET delivered_time = NULL, due_time = now() WHERE id = $1", row["id"])  # as after a crash
    eventually(lambda: all(row["delivered_time"] for row in sql(ROWS, patient.id)))
    last = add_member()
    sql(AN_HOUR_LATER, outsider.id)
    outsider.break_glass(patient)
    eventually(lambda: find_notices(mailbox, last) and all(len(find_notices(mailbox, each)) > 1 for each in members))
    assert [len(find_notices(mailbox, member)) for member in members] == [2, 2]


def test_notification_commits_with_the_access(outsider: Outsider, patient: Patient, sql: Sql) -> None:
    outsider.break_glass(patient)
    [row] = sql(ROWS, patient.id)
    request: NotifyUsersRequest = NOTIFICATION_CODEC.loads(row["payload"])
    access = request.break_glass_access
    assert access
    assert access.occur_time
    assert (request.user_ids, access.patient_id, access.actor_id) == ([USER_ID], patient.id, outsider.id)
    assert abs((access.occur_time - datetime.now(UTC)).total_seconds()) < 60


def test_extended_access_is_notified_once_an_hour(outsider: Outsider, patient: Patient, sql: Sql) -> None:
    for _ in range(3):
        outsider.break_glass(patient)
    assert len(sql(ROWS, patient.id)) == 1
    sql(AN_HOUR_LATER, outsider.id)
    outsider.break_glass(patient)
    assert len(sql(ROWS, patient.id)) == 2


def test_rejected_call_notifies_nobody(outsider: Outsider, patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="BREAK_GLASS_NOT_NEEDED"):
        outsider.break_glass(created)
    assert sql(ROWS, created.id) == []


def test_large_team_is_notified_in_parts(outsider: Outsider, patient: Patient, sql: Sql) -> None:
    sql(
        "INSERT INTO patient_grants (user_id, patient_id) SELECT gen_random_uuid()::text, $1::uuid"
        " FROM generate_series(1, 500)",
        patient.id,
    )
    outsider.break_glass(patient)
    requests = [NOTIFICATION_CODEC.loads(row["payload"]) for row in sql(ROWS, patient.id)]
    assert sorted(len(request.user_ids) for request in requests) == [1, 500]
    assert len({request.request_id for request in requests}) == 2
