"""Tests the limit on the number of patients that a user may list."""

from collections.abc import Callable, Iterator

import pytest

from gen.pulsetrack.patient.v1 import GetPatientRequest, ListPatientsRequest
from services.common.audit.events import ReadRate, ReadRateExceeded
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_service
from tests.harness.tokens import Signer
from tests.patient.factory import create_request


@pytest.fixture
def user(background: Background, new_database: Callable[[str], str], signer: Signer) -> Iterator[Client]:
    """A user who may list one patient per second."""
    url = new_database("patient")
    serving = serve_service("patient", url, TokenVerifier(signer.trust), people_per_second=1)
    with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as user:
        yield user


def test_rate_limit_applies_per_user(user: Client, signer: Signer) -> None:
    created = [user.create_patient(create_request()) for _ in range(40)]
    assert len(user.list_patients(ListPatientsRequest()).patients) == len(created)
    with pytest.raises(Rejected, match="RESOURCE_EXHAUSTED RATE_LIMITED") as error:
        user.list_patients(ListPatientsRequest())
    assert 0 < error.value.retry_after <= 20
    assert user.get_patient(GetPatientRequest(id=created[0].id)) == created[0]
    assert user.with_token(signer.token("ADMIN")).list_patients(ListPatientsRequest(page_size=1)).patients


def test_unused_allowance_accumulates_for_twenty_seconds() -> None:
    now = [0.0]
    rate = ReadRate(10, clock=lambda: now[0])
    now[0] = 1000.0
    for _ in range(3):
        rate.charge("user", 100)
    with pytest.raises(ReadRateExceeded) as error:
        rate.charge("user", 1)
    assert error.value.retry_after == 10
    now[0] += 10
    rate.charge("user", 1)


def test_rate_of_zero_is_unlimited() -> None:
    rate = ReadRate(0)
    for _ in range(3):
        rate.charge("user", 1_000_000)
