"""The rate limits, which hold unless somebody says otherwise."""

from uuid import uuid4

from grpc import StatusCode

from envoy.target import Rates
from gen.pulsetrack.auth.v1 import LoginRequest
from tests.e2e.sessions import PASSWORD, Session
from tests.harness.client import attempt
from tests.harness.system import NewFolder
from tools.instance import Instance, run_instance

EMAIL, GUESS = "admin@pulsetrack.local", "a wrong password"


def test_ten_failed_logins_lock_the_account_and_return_the_retry_delay(system: Instance) -> None:
    with Session.open(system) as anonymous:
        email = f"{uuid4().hex}@clinic.test"
        anonymous.post("/v1/auth/signup", {"email": email, "username": email[:32], "password": PASSWORD})
        auth, right = anonymous.client("auth"), LoginRequest(email=email, password=PASSWORD)
        wrong = [anonymous.rest.post("/v1/auth/login", json={"email": email, "password": GUESS}) for _ in range(10)]
        assert {answer.status_code for answer in wrong} == {401}
        at_native = attempt(lambda: auth.login(right))
        at_rest = anonymous.rest.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert (at_native.code, at_native.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert 840 < at_native.retry_after <= 900
    assert at_native.retry_after_header == str(at_native.retry_after)
    details = {detail["@type"].split(".")[-1]: detail for detail in at_rest.json()["details"]}
    assert (at_rest.status_code, details["ErrorInfo"]["reason"]) == (429, "RATE_LIMITED")
    assert details["RetryInfo"]["retryDelay"] == f"{at_rest.headers['retry-after']}s"
    assert 840 < int(at_rest.headers["retry-after"]) <= 900


def test_login_rate_limit_covers_grpc_and_rest_but_not_reads(
    new_folder: NewFolder,
) -> None:
    with run_instance(new_folder("limited")) as copy, Session.sign_up(copy) as session:
        guess = {"email": EMAIL, "password": GUESS}
        at_rest = [session.rest.post("/v1/auth/login", json=guess) for _ in range(2 * Rates().credentials.calls)]
        auth, same = session.client("auth"), LoginRequest(email=EMAIL, password=GUESS)
        at_native = [attempt(lambda: auth.login(same)) for _ in range(5)]
        assert session.get("/v1/auth/me")
    assert at_rest[0].status_code == 401
    refused = [answer for answer in at_rest if answer.status_code == 429]
    assert len(refused) > 10
    assert {answer.json()["details"][0]["reason"] for answer in refused} == {"RATE_LIMITED"}
    assert "retry-after" in refused[-1].headers
    assert (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED") in [(answer.code, answer.reason) for answer in at_native]
