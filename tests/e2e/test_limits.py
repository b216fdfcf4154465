"""The rate limits, which hold unless somebody says otherwise."""

import pytest
from grpc import StatusCode

from envoy.target import Rates
from gen.pulsetrack.auth.v1 import LoginRequest
from tests.e2e.people import Person
from tests.harness.client import outcome
from tools.copy import running

EMAIL, GUESS = "admin@pulsetrack.local", "a wrong password"


def test_who_guesses_passwords_is_held_up_at_both_doors_and_reads_go_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("limited") / "data") as copy, Person.signed_up(copy) as person:
        guess = {"email": EMAIL, "password": GUESS}
        at_rest = [person.rest.post("/v1/auth/login", json=guess) for _ in range(2 * Rates().credentials.calls)]
        auth, same = person.client("auth"), LoginRequest(email=EMAIL, password=GUESS)
        at_native = [outcome(lambda: auth.login(same)) for _ in range(5)]
        assert person.get("/v1/auth/me")
    assert at_rest[0].status_code == 401
    refused = [answer for answer in at_rest if answer.status_code == 429]
    assert len(refused) > 10
    assert {answer.json()["details"][0]["reason"] for answer in refused} == {"RATE_LIMITED"}
    assert "retry-after" in refused[-1].headers
    assert (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED") in [(answer.code, answer.reason) for answer in at_native]
