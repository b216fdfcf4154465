"""Logins of the client."""

from dataclasses import replace

import grpc
import pulsetrack
import pytest
from pulsetrack import Client
from servers import ANA, FailingPatients, run

TOTP = replace(ANA, email="totp@clinic.test")


async def create(client: Client) -> None:
    assert (await client.patients.create(name="Ana")).name == "Ana"


@pytest.fixture
def patients() -> FailingPatients:
    return FailingPatients(grpc.StatusCode.UNAVAILABLE, failures=0)


def test_login_with_a_second_factor_asks_for_a_code(patients: FailingPatients) -> None:
    run(patients, create, replace(TOTP, code=lambda: "123456"))


def test_login_without_a_code_raises_second_factor_required(patients: FailingPatients) -> None:
    with pytest.raises(pulsetrack.SecondFactorRequired):
        run(patients, create, TOTP)


def test_wrong_code_raises_unauthenticated(patients: FailingPatients) -> None:
    with pytest.raises(pulsetrack.Unauthenticated, match="wrong code"):
        run(patients, create, replace(TOTP, code=lambda: "000000"))


def test_password_is_not_shown() -> None:
    assert "correct horse" not in repr(pulsetrack.Password("ana@clinic.test", "correct horse"))
    assert "secret" not in repr(pulsetrack.Tokens("secret", "secret", 0))
