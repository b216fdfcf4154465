"""ListSecurityEvents, and the security events of each change of an account."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest

from gen.pulsetrack.auth.v1 import (
    GetCurrentUserRequest,
    ListSecurityEventsRequest,
    LoginRequest,
    LogoutRequest,
    SecurityEvent,
)
from services.auth.rotate import rotate, rotate_now
from services.common.audit.seals import AuditIntegrityError, Sealer, load_audit_tables
from services.common.audit.verify import verify
from services.common.postgres.database import Database
from tests.auth.second_factors import Person
from tests.auth.security_actions import EXPECTED, Action, Scene, Type, create_user, fail_to_log_in
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt
from tests.harness.services import PASSPHRASE
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

Events = Mapping[Action, list[SecurityEvent]]


def list_events(admin: Client, **query: Any) -> list[SecurityEvent]:
    """Returns events, newest first."""
    events: list[SecurityEvent] = admin.list_security_events(
        ListSecurityEventsRequest(page_size=1000, **query)
    ).security_events
    return events


def wait_until_written(auth: Client, sql: Sql) -> None:
    """Waits until the events of all earlier calls are written."""
    request_id = uuid4().hex
    attempt(lambda: auth.login(LoginRequest("x", "x"), metadata=(("x-request-id", request_id),)))
    eventually(lambda: sql("SELECT 1 FROM access_events WHERE request_id = $1", request_id))


@pytest.fixture(scope="module")
def events(auth: Client, admin: Client, sql: Sql) -> Events:
    """The events about the subject of each action, oldest first."""
    subjects = {action: action(Scene(auth, admin, sql)) for action in EXPECTED}
    wait_until_written(auth, sql)
    return {action: list_events(admin, subject_id=subject)[::-1] for action, subject in subjects.items()}


@pytest.mark.parametrize("action", EXPECTED, ids=lambda action: action.__name__)
def test_each_change_has_one_event_of_its_type(events: Events, action: Action) -> None:
    assert [event.type for event in events[action]] == list(EXPECTED[action])


def test_event_of_a_failure_has_no_actor(events: Events) -> None:
    created, succeeded, failed = events[fail_to_log_in]
    assert (failed.actor_id, failed.subject_id, failed.outcome) == ("", succeeded.subject_id, "UNAUTHENTICATED")
    assert (succeeded.actor_id, succeeded.outcome) == (created.actor_id, "OK")
    assert failed.method == "pulsetrack.auth.v1.AuthService/Login"
    assert failed.remote_address == "127.0.0.1"
    assert failed.user_agent.startswith("grpc-python/")


def test_event_of_an_admin_names_the_admin(admin: Client, events: Events) -> None:
    [created] = events[create_user]
    assert created.actor_id == admin.get_current_user(GetCurrentUserRequest()).id
    assert created.actor_id != created.subject_id


def test_events_are_also_access_events(sql: Sql, events: Events) -> None:
    [created] = events[create_user]
    [row] = sql("SELECT method, request_id FROM access_events WHERE id = $1", created.id)
    assert row["method"].startswith('pulsetrack.auth.v1.AuthService/CreateUser {"security_event":"USER_CREATED"')
    assert row["request_id"] == created.request_id


def test_failed_login_with_an_unknown_email_stores_no_input(auth: Client, admin: Client, sql: Sql) -> None:
    password = f"typed as email {uuid4()}"
    metadata = (("x-request-id", "unknown-email"),)
    attempt(lambda: auth.login(LoginRequest(email=password, password="x"), metadata=metadata))
    wait_until_written(auth, sql)
    [event] = [each for each in list_events(admin, type=Type.LOGIN_FAILED) if each.request_id == "unknown-email"]
    assert (event.subject_id, event.actor_id) == ("", "")
    assert password not in str(sql("SELECT access_events::text FROM access_events"))


def test_user_agent_cannot_forge_a_type(admin: Client, person: Person, grpc_addr: str) -> None:
    agent = '","security_event":"USER_CREATED'
    with grpc.insecure_channel(grpc_addr, [("grpc.primary_user_agent", agent)]) as channel:
        Client(channel, "auth").logout(LogoutRequest(refresh_token=person.tokens.refresh_token))
    event, *_ = list_events(admin, subject_id=person.id)
    assert event.type == Type.LOGGED_OUT
    assert event.user_agent.startswith(agent)


def test_calls_of_other_kinds_are_not_listed(admin: Client, person: Person) -> None:
    person.client.get_current_user(GetCurrentUserRequest())
    list_events(admin, type=Type.LOGIN_FAILED)
    methods = {event.method.rpartition("/")[2] for event in list_events(admin)}
    assert methods.isdisjoint({"GetCurrentUser", "ListSecurityEvents", "ListUsers"})


@pytest.mark.usefixtures("events")
def test_type_selects_events(admin: Client) -> None:
    everything, selected = list_events(admin), list_events(admin, type=Type.PASSWORD_CHANGED)
    assert selected == [event for event in everything if event.type == Type.PASSWORD_CHANGED]
    assert selected


def test_type_and_subject_select_events(admin: Client, person: Person) -> None:
    [event] = list_events(admin, type=Type.SECOND_FACTOR_ADDED, subject_id=person.id.upper())
    assert event.subject_id == person.id


def test_time_selects_events(admin: Client, person: Person) -> None:
    *_, created = list_events(admin, subject_id=person.id)
    assert created.occur_time is not None
    query = {"subject_id": person.id, "start_time": created.occur_time}
    after = created.occur_time + timedelta(microseconds=1)
    assert list_events(admin, end_time=after, **query) == [created]
    assert list_events(admin, end_time=created.occur_time, **query) == []
    assert list_events(admin, start_time=datetime.now(UTC) + timedelta(hours=1)) == []


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("query", [{}, {"type": Type.LOGIN_SUCCEEDED}], ids=["all", "type"])
def test_pages_contain_every_event_once(admin: Client, query: dict[str, Any]) -> None:
    expected = list_events(admin, **query)
    seen: list[SecurityEvent] = []
    token = ""
    while True:
        page = admin.list_security_events(ListSecurityEventsRequest(page_size=7, page_token=token, **query))
        seen += page.security_events
        if not (token := page.next_page_token):
            break
    assert seen == expected
    assert len(seen) > 7


def test_users_cannot_list_security_events(newcomer: Person) -> None:
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        newcomer.client.list_security_events(ListSecurityEventsRequest())


def test_invalid_request_is_rejected(admin: Client) -> None:
    request = ListSecurityEventsRequest(type=Type(99), subject_id="42", page_size=-1, page_token="x" * 513)
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.list_security_events(request)
    assert list(rejected.value.violations) == ["type", "subject_id", "page_size", "page_token"]


@pytest.fixture
def own_url(new_database: Callable[[str], str]) -> str:
    """A separate database for the test."""
    return new_database("auth")


def test_rotation_of_keys_is_recorded(background: Background, own_url: str) -> None:
    async def rotate_twice() -> None:
        async with Database(own_url) as db:
            await rotate(db, PASSPHRASE, activates_in=timedelta())
            await rotate_now(db, PASSPHRASE)

    background.run(rotate_twice())
    rows = Sql(background, own_url)("SELECT method FROM access_events ORDER BY occur_time")
    assert [row["method"] for row in rows] == [
        'services.auth.rotate {"security_event":"SIGNING_KEYS_ROTATED","user_agent":""}',
        'services.auth.rotate {"security_event":"SIGNING_KEYS_REVOKED","user_agent":""}',
    ]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE access_events SET method = replace(method, 'ROTATED', 'REVOKED')",
        "DELETE FROM access_events",
    ],
    ids=["changed", "deleted"],
)
def test_changed_or_deleted_event_is_detected(background: Background, own_url: str, change: str) -> None:
    tables = load_audit_tables("auth")

    async def rotate_and_seal() -> None:
        async with Database(own_url) as db:
            await rotate(db, PASSPHRASE, activates_in=timedelta())
            await Sealer(db, tables).seal()

    async def verify_chain() -> None:
        async with Database(own_url) as db:
            await verify(db, tables)

    background.run(rotate_and_seal())
    background.run(verify_chain())
    Sql(background, own_url)(change)
    with pytest.raises(AuditIntegrityError):
        background.run(verify_chain())
