"""ListErasures: the erasures that are pending, and those that were executed."""

from collections.abc import Iterator

import pytest

from gen.pulsetrack.patient.v1 import (
    Erasure,
    ErasureState,
    ListErasuresRequest,
    Patient,
    UndeletePatientRequest,
)
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.erasing import REASON, erase, request_erasure, run_eraser
from tests.patient.factory import create_request

STATES = (ErasureState.PENDING, ErasureState.EXECUTED)


@pytest.fixture
def eraser(background: Background, database_url: str) -> Iterator[None]:
    """Executes erasures."""
    with background.during(run_eraser(database_url)):
        yield


def list_erasures(admin: Client, state: ErasureState = ErasureState.UNSPECIFIED) -> list[Erasure]:
    """Returns all erasures in a state."""
    return list(admin.list_erasures(ListErasuresRequest(state=state)).erasures)


def test_pending_erasure_is_listed(admin: Client, patients: Client) -> None:
    created = patients.create_patient(create_request())
    scheduled = request_erasure(admin, created)
    first = list_erasures(admin, ErasureState.PENDING)[0]
    assert first == Erasure(
        patient_id=created.id,
        reason=REASON,
        actor_id=ADMIN_ID,
        create_time=first.create_time,
        erase_time=scheduled.erase_time,
    )
    assert first.create_time
    assert created.id not in {each.patient_id for each in list_erasures(admin, ErasureState.EXECUTED)}


@pytest.mark.usefixtures("eraser")
def test_executed_erasure_is_listed(admin: Client, patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    erase(admin, sql, created)
    first = list_erasures(admin, ErasureState.EXECUTED)[0]
    assert first.patient_id == created.id
    assert first.execute_time
    assert first.erase_time
    assert first.execute_time >= first.erase_time
    assert created.id not in {each.patient_id for each in list_erasures(admin, ErasureState.PENDING)}


def test_cancelled_erasure_is_not_listed(admin: Client, patients: Client) -> None:
    created = patients.create_patient(create_request())
    request_erasure(admin, created)
    admin.undelete_patient(UndeletePatientRequest(id=created.id))
    assert created.id not in {each.patient_id for each in list_erasures(admin)}


def test_pages_contain_each_erasure_once_newest_first(admin: Client, patients: Client) -> None:
    created = [patients.create_patient(create_request()) for _ in range(3)]
    for each in created:
        request_erasure(admin, each)
    listed: list[str] = []
    token = ""
    while len(listed) < len(created):
        page = admin.list_erasures(ListErasuresRequest(page_size=2, page_token=token))
        listed += [each.patient_id for each in page.erasures]
        token = page.next_page_token
    assert listed[: len(created)] == [each.id for each in reversed(created)]
    assert len(set(listed)) == len(listed)


def test_listed_patients_have_an_access_event(admin: Client, patients: Client) -> None:
    created: Patient = patients.create_patient(create_request())
    request_erasure(admin, created)
    list_erasures(admin)
    events = wait_for_events(admin, created.id, 3)
    assert summarize(events)[-1] == ("ListErasures", "OK")


def test_users_cannot_list_erasures(patients: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        patients.list_erasures(ListErasuresRequest())


def test_page_token_of_another_state_is_rejected(admin: Client, patients: Client) -> None:
    for _ in range(2):
        request_erasure(admin, patients.create_patient(create_request()))
    page = admin.list_erasures(ListErasuresRequest(state=ErasureState.PENDING, page_size=1))
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        admin.list_erasures(ListErasuresRequest(page_size=1, page_token=page.next_page_token))
