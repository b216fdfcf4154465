"""The default rate limits."""

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
        assert {response.status_code for response in wrong} == {401}
        native = attempt(lambda: auth.login(right))
        rest = anonymous.rest.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert (native.code, native.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert 840 < native.retry_after <= 900
    assert native.retry_after_header == str(native.retry_after)
    details = {detail["@type"].split(".")[-1]: detail for detail in rest.json()["details"]}
    assert (rest.status_code, details["ErrorInfo"]["reason"]) == (429, "RATE_LIMITED")
    assert details["RetryInfo"]["retryDelay"] == f"{rest.headers['retry-after']}s"
    assert 840 < int(rest.headers["retry-after"]) <= 900


def test_login_rate_limit_covers_grpc_and_rest_but_not_reads(
    new_folder: NewFolder,
) -> None:
    with run_instance(new_folder("limited")) as instance, Session.sign_up(instance) as session:
        guess = {"email": EMAIL, "password": GUESS}
        rest = [session.rest.post("/v1/auth/login", json=guess) for _ in range(2 * Rates().credentials.calls)]
        auth, same = session.client("auth"), LoginRequest(email=EMAIL, password=GUESS)
        native = [attempt(lambda: auth.login(same)) for _ in range(5)]
        assert session.get("/v1/auth/me")
    assert rest[0].status_code == 401
    rejected = [response for response in rest if response.status_code == 429]
    assert len(rejected) > 10
    assert {response.json()["details"][0]["reason"] for response in rejected} == {"RATE_LIMITED"}
    assert "retry-after" in rejected[-1].headers
    assert (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED") in [(response.code, response.reason) for response in native]
