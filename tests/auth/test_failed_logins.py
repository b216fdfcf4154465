"""Log-ins that failed: how many may, and what happens then."""

from concurrent.futures import ThreadPoolExecutor

import pytest
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
EARLIER = "times = ARRAY(SELECT time - $1::interval FROM unnest(times) time), expire_time = expire_time - $1"
LATER = f"UPDATE failed_logins SET {EARLIER}"


def fail(auth: Client, new: SignUpRequest, times: int = MAX_FAILURES) -> list[str]:
    """Logs in with a wrong password, and returns the reasons of the refusals."""
    wrong = build_login(new, password="something else")
    return [attempt(lambda: auth.login(wrong)).reason for _ in range(times)]


def refusal(auth: Client, request: LoginRequest) -> Rejected:
    """Returns how a log-in is refused, to calls with the same request id."""
    with pytest.raises(Rejected) as refused:
        auth.login(request, metadata=(("x-request-id", "the same"),))
    return refused.value


def test_after_ten_failures_the_right_password_is_refused_too(auth: Client) -> None:
    new = create_user(auth)
    assert fail(auth, new) == ["INVALID_CREDENTIALS"] * 10
    right = refusal(auth, build_login(new))
    assert (right.code, right.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert right.message == "Too many logins with this email address have failed. Try again later."
    assert fail(auth, new, 2) == ["RATE_LIMITED"] * 2


def test_a_refusal_says_in_how_many_seconds_to_come_back(auth: Client) -> None:
    new = create_user(auth)
    fail(auth, new)
    refused = refusal(auth, build_login(new))
    assert SECONDS - 60 < refused.retry_after <= SECONDS
    assert refused.retry_after_header == str(refused.retry_after)


def test_nine_failures_and_a_success_begin_anew(auth: Client) -> None:
    new = create_user(auth)
    for _ in range(2):
        assert fail(auth, new, MAX_FAILURES - 1) == ["INVALID_CREDENTIALS"] * (MAX_FAILURES - 1)
        assert auth.login(build_login(new)).access_token


def test_the_window_moves_on(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new, 4)
    sql(LATER, WINDOW / 2)
    fail(auth, new, 6)
    sql(LATER, WINDOW / 2)
    assert fail(auth, new, 5) == ["INVALID_CREDENTIALS"] * 4 + ["RATE_LIMITED"]  # six and four are within it
    sql(LATER, WINDOW / 2)
    assert auth.login(build_login(new)).access_token


def test_who_is_refused_does_not_wait_longer_for_having_tried(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new)
    sql(LATER, WINDOW / 2)
    fail(auth, new, 3)
    assert refusal(auth, build_login(new)).retry_after <= SECONDS / 2


def test_an_unknown_email_is_refused_after_as_many_failures_in_the_same_words(auth: Client, sql: Sql) -> None:
    known, unknown = create_user(auth), build_sign_up()
    assert fail(auth, known, MAX_FAILURES + 1) == fail(auth, unknown, MAX_FAILURES + 1)
    sql("UPDATE failed_logins SET times = array_fill(now(), ARRAY[10])")
    refusals = [refusal(auth, build_login(new)) for new in (known, unknown)]
    assert len({each.message for each in refusals}) == 1
    assert len({each.retry_after // 60 for each in refusals}) == 1


def test_an_email_is_counted_without_case(auth: Client) -> None:
    new = create_user(auth)
    for email in (new.email.upper(), f" {new.email} ") * (MAX_FAILURES // 2):
        assert refusal(auth, LoginRequest(email=email, password="something else")).reason == "INVALID_CREDENTIALS"
    assert refusal(auth, build_login(new)).reason == "RATE_LIMITED"


def test_other_users_and_sessions_go_on(auth: Client) -> None:
    new, other = create_user(auth), create_user(auth)
    session: TokenPair = auth.login(build_login(new))
    fail(auth, new)
    assert auth.login(build_login(other)).access_token
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()).email == new.email
    assert can_refresh(auth, session)


def test_of_many_who_guess_at_once_ten_get_a_verdict(auth: Client) -> None:
    new = create_user(auth)
    wrong = build_login(new, password="something else")
    _, refused = call_concurrently([lambda: auth.login(wrong)] * 30)
    assert sorted(refusal.reason for refusal in refused) == ["INVALID_CREDENTIALS"] * 10 + ["RATE_LIMITED"] * 20


def test_many_who_log_in_rightly_at_once_are_let_in(auth: Client) -> None:
    new = create_user(auth)
    sessions, refused = call_concurrently([lambda: auth.login(build_login(new))] * 20)
    assert (len(sessions), refused) == (20, [])


def test_a_right_password_that_overlaps_with_ten_failures_is_refused_and_they_stay(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new, 1)
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks("LOCK TABLE users"):
            overlaps = threads.submit(refusal, auth, build_login(new))
            eventually(lambda: sql.count_waiting() == 1)
            sql("UPDATE failed_logins SET times = array_fill(now(), ARRAY[10])")
        assert overlaps.result().reason == "RATE_LIMITED"
    assert fail(auth, new, 1) == ["RATE_LIMITED"]


def test_a_refused_log_in_looks_at_no_password(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    fail(auth, new)
    with sql.hold_locks("LOCK TABLE users"):  # where the passwords are
        assert refusal(auth, build_login(new)).reason == "RATE_LIMITED"


def test_every_process_knows_the_failures(auth: Client, background: Background, database_url: str) -> None:
    new = create_user(auth)
    fail(auth, new)
    with background.during(serve_auth(database_url)) as port, connect(port, "auth") as other:
        assert refusal(other, build_login(new)).reason == "RATE_LIMITED"


def test_failures_that_count_no_more_are_pruned(auth: Client, sql: Sql) -> None:
    sql("DELETE FROM failed_logins")
    for _ in range(3):
        fail(auth, build_sign_up(), 1)
    sql(LATER, WINDOW)
    fail(auth, build_sign_up(), 2)
    assert [len(row["times"]) for row in sql("SELECT times FROM failed_logins")] == [2]


def test_no_more_times_are_kept_than_count(auth: Client, sql: Sql) -> None:
    sql("DELETE FROM failed_logins")
    new = create_user(auth)
    fail(auth, new)
    sql("UPDATE failed_logins SET times[10] = times[10] - $1::interval", WINDOW)
    fail(auth, new, 1)
    assert [len(row["times"]) for row in sql("SELECT times FROM failed_logins")] == [MAX_FAILURES]
