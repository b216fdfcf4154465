"""RequestPasswordReset, and ResetPassword with a mailed token."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from grpc import StatusCode

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    ChangePasswordRequest,
    ListSecurityEventsRequest,
    RequestPasswordResetRequest,
    ResetPasswordRequest,
    SecurityEventType,
)
from services.auth.mail_requests import MAX_MAILS
from services.auth.mail_settings import MailConfig
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement
from tests.auth.factory import PASSWORD, build_login, build_sign_up
from tests.auth.mail import RESET, Correspondent, set_disabled
from tests.auth.second_factors import Person
from tests.harness.background import Background
from tests.harness.client import Client, attempt, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.mail import Mailbox
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

NEW = "another staple of horses"


@pytest.fixture(scope="module")
def mail_config(mailbox: Mailbox) -> MailConfig:
    return mailbox.config()


@pytest.fixture
def ana(auth: Client, mailbox: Mailbox, sql: Sql) -> Correspondent:
    return Correspondent(auth, mailbox, sql)


def reset(auth: Client, token: str, new: str = NEW) -> Any:
    return auth.reset_password(ResetPasswordRequest(token=token, new_password=new))


def test_mailed_token_sets_a_new_password(auth: Client, ana: Correspondent) -> None:
    assert reset(auth, ana.receive_reset()) == Empty()
    assert (ana.log_in(), ana.log_in(NEW)) == ("INVALID_CREDENTIALS", "OK")


def use(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    token = ana.receive_reset()
    reset(auth, token, f"{NEW} first")
    return token


def replace(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    token = ana.receive_reset()
    assert ana.receive_reset() != token
    return token


def expire(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    token = ana.receive_reset()
    sql("UPDATE password_resets SET expire_time = now() WHERE user_id = $1", ana.id)
    return token


def change_password(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    token = ana.receive_reset()
    client = auth.with_token(auth.login(build_login(ana.new)).access_token)
    client.change_password(ChangePasswordRequest(current_password=PASSWORD, new_password=f"{NEW} first"))
    return token


def disable(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    token = ana.receive_reset()
    set_disabled(admin, ana.id)
    set_disabled(admin, ana.id, disabled=False)
    return token


@pytest.mark.parametrize("invalidate", [use, replace, expire, change_password, disable])
def test_invalid_mailed_token_is_rejected(
    auth: Client, admin: Client, ana: Correspondent, sql: Sql, invalidate: Callable[..., str]
) -> None:
    token = invalidate(auth, admin, ana, sql)
    rejected = attempt(lambda: reset(auth, token))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "RESET_TOKEN_INVALID")
    assert ana.log_in(NEW) == "INVALID_CREDENTIALS"


def test_one_of_two_concurrent_uses_of_a_token_succeeds(auth: Client, ana: Correspondent) -> None:
    token, passwords = ana.receive_reset(), [f"{NEW} {number}" for number in range(2)]
    done, rejected = call_concurrently(partial(reset, auth, token, new) for new in passwords)
    assert (len(done), [each.reason for each in rejected]) == (1, ["RESET_TOKEN_INVALID"])


def test_reset_by_mail_does_not_remove_the_second_factor(auth: Client, person: Person, mailbox: Mailbox) -> None:
    auth.request_password_reset(RequestPasswordResetRequest(email=person.new.email))

    def find() -> str:
        texts = [each.get_content() for each in mailbox.find(person.new.email) if each["Subject"] == RESET]
        return texts[0].split("\n\n")[1] if texts else ""

    reset(auth, eventually(find))
    assert person.verify(person.login(NEW).challenge).access_token


def test_user_gets_three_mails_per_hour(auth: Client, ana: Correspondent, sql: Sql) -> None:
    for _ in range(MAX_MAILS + 2):
        ana.request_reset()
    assert ana.count(RESET) == MAX_MAILS
    sql("UPDATE mails SET create_time = create_time - interval '1 h' WHERE user_id = $1", ana.id)
    assert ana.receive_reset()


def test_disabled_user_gets_no_mail(admin: Client, ana: Correspondent) -> None:
    set_disabled(admin, ana.id)
    ana.request_reset()
    assert ana.count(RESET) == 0


def test_outdated_request_is_ignored(auth: Client, ana: Correspondent, sql: Sql) -> None:
    insert = "INSERT INTO mail_requests VALUES (gen_random_uuid(), 'PASSWORD_RESET', $1, now() - interval '2 h')"
    sql(insert, ana.new.email)
    assert ana.count(RESET) == 0


def test_known_and_unknown_addresses_get_the_same_response(auth: Client, ana: Correspondent) -> None:
    for email in (ana.new.email, ana.new.email.upper(), build_sign_up().email):
        assert auth.request_password_reset(RequestPasswordResetRequest(email=email)) == Empty()


def test_known_and_unknown_addresses_cost_the_same_statements(
    auth: Client, ana: Correspondent, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    run = Database.row

    async def record(db: Database, statement: Statement, /, **values: Any) -> Any:
        statements.append(statement.summary)
        return await run(db, statement, **values)

    counts = []
    for email in (ana.new.email, build_sign_up().email):
        monkeypatch.setattr(Database, "row", record)
        auth.request_password_reset(RequestPasswordResetRequest(email=email))
        monkeypatch.undo()
        counts.append(sorted(each for each in statements if each in {"SELECT users", "INSERT mail_requests"}))
        statements.clear()
    assert counts == [["INSERT mail_requests", "SELECT users"]] * 2


def test_request_is_a_security_event(admin: Client, ana: Correspondent) -> None:
    ana.request_reset()
    request = ListSecurityEventsRequest(subject_id=ana.id, type=SecurityEventType.PASSWORD_RESET_REQUESTED)
    [event] = eventually(lambda: admin.list_security_events(request).security_events)
    assert event.actor_id == ""


def test_request_does_not_wait_for_the_user(auth: Client, ana: Correspondent, sql: Sql) -> None:
    with sql.hold_locks("SELECT FROM users WHERE id = $1 FOR UPDATE", ana.id):
        ana.request_reset()
        eventually(lambda: sql.count_waiting() == 1)  # the background task
    ana.receive(RESET)


def test_requests_without_a_mail_server_get_the_same_response(
    background: Background, database_url: str, ana: Correspondent
) -> None:
    with background.during(serve_auth(database_url)) as port, connect(port, "auth") as auth:
        for email in (ana.new.email, build_sign_up().email):
            assert auth.request_password_reset(RequestPasswordResetRequest(email=email)) == Empty()
    assert ana.count(RESET) == 0


@pytest.mark.parametrize("email", ["", "ana", "ana@clinic.test\r\nBcc: b@evil.test", "x" * 255])
def test_invalid_address_is_rejected(auth: Client, email: str) -> None:
    rejected = attempt(lambda: auth.request_password_reset(RequestPasswordResetRequest(email=email)))
    assert (rejected.code, [*rejected.violations]) == (StatusCode.INVALID_ARGUMENT, ["email"])


def test_database_contains_no_mailed_token(ana: Correspondent, sql: Sql) -> None:
    token = ana.receive_reset()
    stored = sql("SELECT mails::text AS row FROM mails UNION ALL SELECT password_resets::text FROM password_resets")
    for row in stored:
        assert token not in row["row"]
        assert token.encode().hex() not in row["row"]
