"""The limit of failed logins per email address."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LoginRequest, SignUpRequest, TokenPair
from services.auth.login_limits import MAX_FAILURES, WINDOW
from tests.auth.factory import build_login, build_sign_up, can_refresh, create_user
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

SECONDS = int(WINDOW.total_seconds())
SHIFT_TIMES = "times = ARRAY(SELECT time - $1::interval FROM unnest(times) time), expire_time = expire_time - $1"
LET_TIME_PASS = f"UPDATE failed_logins SET {SHIFT_TIMES}"


def fail(auth: Client, new: SignUpRequest, times: int = MAX_FAILURES) -> list[str]:
    """Logs in with a wrong password, and returns the reasons of the errors."""
    wrong = build_login(new, password="something else")
    return [attempt(lambda: auth.login(wrong)).reason for _ in range(times)]


def reject_login(auth: Client, request: LoginRequest) -> Rejected:
    """Returns the error of a login. All calls use the same request id, which makes errors comparable."""
    with pytest.raises(Rejected) as rejected:
        auth.login(request, metadata=(("x-request-id", "the same"),))
    return rejected.value


def test_right_password_is_rejected_after_ten_failures(auth: Client) -> None:
    new = create_user(auth)
    assert fail(auth, new) == ["INVALID_CREDENTIALS"] * 10
    right = reject_login(auth, build_login(new))
    assert (right.code, right.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert right.message == "Too many logins with this email address have failed. Try again later."
    assert fail(auth, new, 2) == ["RATE_LIMITED"] * 2


def test_rejection_contains_the_retry_delay_in_seconds(auth: Client) -> None:
    new = create_user(auth)
    fail(auth, new)
    rejected = reject_login(auth, build_login(new))
    assert SECONDS - 60 < rejected.retry_after <= SECONDS
    assert rejected.retry_after_header == str(rejected.retry_after)


def test_successful_login_resets_the_failures(auth: Client) -> None:
    new = create_user(auth)
    for _ in range(2):
        assert fail(auth, new, MAX_FAILURES - 1) == ["INVALID_CREDENTIALS"] * (MAX_FAILURES - 1)
        assert auth.login(build_login(new)).access_token


def test_failures_leave_the_sliding_window_after_15_minutes(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new, 4)
    sql(LET_TIME_PASS, WINDOW / 2)
    fail(auth, new, 6)
    sql(LET_TIME_PASS, WINDOW / 2)
    # Six failures are still within the window.
    assert fail(auth, new, 5) == ["INVALID_CREDENTIALS"] * 4 + ["RATE_LIMITED"]
    sql(LET_TIME_PASS, WINDOW / 2)
    assert auth.login(build_login(new)).access_token


def test_rejected_logins_do_not_extend_the_delay(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new)
    sql(LET_TIME_PASS, WINDOW / 2)
    fail(auth, new, 3)
    assert reject_login(auth, build_login(new)).retry_after <= SECONDS / 2


def test_unknown_email_is_limited_with_the_same_responses(auth: Client, sql: Sql) -> None:
    known, unknown = create_user(auth), build_sign_up()
    assert fail(auth, known, MAX_FAILURES + 1) == fail(auth, unknown, MAX_FAILURES + 1)
    sql("UPDATE failed_logins SET times = array_fill(now(), ARRAY[10])")
    rejections = [reject_login(auth, build_login(new)) for new in (known, unknown)]
    assert len({each.message for each in rejections}) == 1
    assert len({each.retry_after // 60 for each in rejections}) == 1


def test_email_limit_ignores_case_and_surrounding_spaces(auth: Client) -> None:
    new = create_user(auth)
    for email in (new.email.upper(), f" {new.email} ") * (MAX_FAILURES // 2):
        assert reject_login(auth, LoginRequest(email=email, password="something else")).reason == "INVALID_CREDENTIALS"
    assert reject_login(auth, build_login(new)).reason == "RATE_LIMITED"


def test_other_users_and_existing_sessions_are_unaffected(auth: Client) -> None:
    new, other = create_user(auth), create_user(auth)
    session: TokenPair = auth.login(build_login(new))
    fail(auth, new)
    assert auth.login(build_login(other)).access_token
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()).email == new.email
    assert can_refresh(auth, session)


def test_only_ten_of_many_concurrent_guesses_are_checked(auth: Client) -> None:
    new = create_user(auth)
    wrong = build_login(new, password="something else")
    _, rejected = call_concurrently([lambda: auth.login(wrong)] * 30)
    assert sorted(rejection.reason for rejection in rejected) == ["INVALID_CREDENTIALS"] * 10 + ["RATE_LIMITED"] * 20


def test_concurrent_logins_with_the_right_password_succeed(auth: Client) -> None:
    new = create_user(auth)
    sessions, rejected = call_concurrently([lambda: auth.login(build_login(new))] * 20)
    assert (len(sessions), rejected) == (20, [])


def test_login_concurrent_with_ten_failures_is_rejected_without_a_reset(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new, 1)
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks("LOCK TABLE users"):
            overlaps = threads.submit(reject_login, auth, build_login(new))
            eventually(lambda: sql.count_waiting() == 1)
            sql("UPDATE failed_logins SET times = array_fill(now(), ARRAY[10])")
        assert overlaps.result().reason == "RATE_LIMITED"
    assert fail(auth, new, 1) == ["RATE_LIMITED"]


def test_rejected_login_does_not_verify_the_password(auth: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    new = create_user(auth)
    fail(auth, new)
    monkeypatch.setattr(PasswordHasher, "verify", lambda _, stored_hash, password: verified.append(password))
    assert reject_login(auth, build_login(new)).reason == "RATE_LIMITED"
    assert verified == []


def test_failures_are_shared_by_all_processes(auth: Client, background: Background, database_url: str) -> None:
    new = create_user(auth)
    fail(auth, new)
    with background.during(serve_auth(database_url)) as port, connect(port, "auth") as other:
        assert reject_login(other, build_login(new)).reason == "RATE_LIMITED"


def test_expired_failures_are_pruned(auth: Client, sql: Sql) -> None:
    sql("DELETE FROM failed_logins")
    for _ in range(3):
        fail(auth, build_sign_up(), 1)
    sql(LET_TIME_PASS, WINDOW)
    fail(auth, build_sign_up(), 2)
    assert [len(row["times"]) for row in sql("SELECT times FROM failed_logins")] == [2]


def test_at_most_ten_failure_times_are_stored(auth: Client, sql: Sql) -> None:
    sql("DELETE FROM failed_logins")
    new = create_user(auth)
    fail(auth, new)
    sql("UPDATE failed_logins SET times[10] = times[10] - $1::interval", WINDOW)
    fail(auth, new, 1)
    assert [len(row["times"]) for row in sql("SELECT times FROM failed_logins")] == [MAX_FAILURES]
