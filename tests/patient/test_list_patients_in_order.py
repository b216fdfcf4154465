"""ListPatients with an order: every patient once, ties by id, whatever comes meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import ListPatientsRequest, Patient
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request
from tests.patient.paging import ids, walked

FIELDS = ("name", "create_time", "update_time", "date_of_birth")
ORDERS = [f"{field}{direction}" for field in FIELDS for direction in ("", " desc")]
NAMES = ("Zoe", "ana", "Ana", "\u00c1lvaro", "\u738b\u5c0f\u660e", "\U0001f9ec", "z" * 100, "\U0001f9ec" * 100)


def in_order(listed: list[Patient], order_by: str) -> list[str]:
    """Returns the ids of patients as they are to be sorted."""
    field, _, direction = order_by.partition(" ")
    by_rank = sorted(listed, key=lambda patient: (getattr(patient, field), patient.id), reverse=direction == "desc")
    return ids(by_rank)


def group(patients: Client, *births: str, **fields: str) -> tuple[str, list[Patient]]:
    """Creates a patient of each name, some of them twice, and returns the query that finds them, and them."""
    word = uuid4().hex
    new = [
        create_request(name=name, date_of_birth=birth, email=f"{uuid4().hex[:6]}@{word}.test", **fields)
        for name in (*NAMES, *NAMES[:3])
        for birth in births
    ]
    return f"@{word}.test", [patients.create_patient(request) for request in new]


@pytest.fixture(scope="module")
def everybody(patients: Client) -> tuple[str, list[Patient]]:
    """Patients of whom two have one name and half one day of birth, one of them changed since."""
    query, new = group(patients, "1980-02-29", "1999-12-31")
    new[3] = patients.update_patient(update_request(new[3], phone="112"))
    return query, new


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_pages_hold_every_patient_once_in_order(
    patients: Client, everybody: tuple[str, list[Patient]], order_by: str, size: int
) -> None:
    query, new = everybody
    assert walked(patients, query=query, order_by=order_by, page_size=size) == in_order(new, order_by)


@pytest.mark.parametrize("order_by", ORDERS)
def test_patients_of_equal_rank_are_each_listed_once(patients: Client, sql: Sql, order_by: str) -> None:
    query, new = group(patients, "1980-02-29", phone="555 1234")
    tied = "name = 'Same', create_time = '2026-01-31T10:00:00Z', update_time = '2026-01-31T10:00:00Z'"
    sql(f"UPDATE patients SET {tied} WHERE email LIKE '%' || $1", query)
    descending = order_by.endswith(" desc")
    assert walked(patients, query=query, order_by=order_by, page_size=2) == sorted(ids(new), reverse=descending)


@pytest.mark.parametrize("order_by", ORDERS)
def test_paging_sees_all_that_stays_once_and_in_order_while_others_come(patients: Client, order_by: str) -> None:
    query, there = group(patients, "1980-02-29", "1999-12-31")
    paged, numbers = Event(), count()

    def come() -> None:
        while not paged.is_set():
            name = f"{'AZaz'[next(numbers) % 4]} Newcomer"
            patients.create_patient(create_request(name=name, email=f"{uuid4().hex[:6]}{query}"))

    with ThreadPoolExecutor() as threads:
        newcomers = [threads.submit(come) for _ in range(2)]
        try:
            pages = (walked_until(patients, set(ids(there)), query, order_by) for _ in range(3))
            seen = [*pages]
        finally:
            paged.set()
        for newcomer in newcomers:
            newcomer.result()
    staying = in_order(there, order_by)
    for walk in seen:
        assert len(walk) == len(set(walk))
        assert [each for each in walk if each in staying] == staying


def walked_until(patients: Client, wanted: set[str], query: str, order_by: str) -> list[str]:
    """Returns the ids on pages of three, as far as needed to have seen those that are wanted."""
    seen: list[str] = []
    token = ""
    while wanted - set(seen):
        page = patients.list_patients(
            ListPatientsRequest(query=query, order_by=order_by, page_size=3, page_token=token)
        )
        seen += ids(page.patients)
        if not (token := page.next_page_token):
            break
    return seen


def test_the_usual_order_is_the_newest_first(patients: Client, everybody: tuple[str, list[Patient]]) -> None:
    query, new = everybody
    listed = patients.list_patients(ListPatientsRequest(query=query)).patients
    assert ids(listed) == in_order(new, "create_time desc")


def test_a_page_goes_on_behind_a_patient_that_was_renamed(patients: Client) -> None:
    query, new = group(patients, "1980-02-29")
    first = patients.list_patients(ListPatientsRequest(query=query, order_by="name", page_size=4))
    patients.update_patient(update_request(first.patients[-1], name="0"))
    rest = ListPatientsRequest(query=query, order_by="name", page_token=first.next_page_token)
    assert ids(first.patients + patients.list_patients(rest).patients) == in_order(new, "name")


def test_a_token_is_refused_with_another_order(patients: Client, everybody: tuple[str, list[Patient]]) -> None:
    query, _ = everybody
    token = patients.list_patients(ListPatientsRequest(query=query, order_by="name", page_size=1)).next_page_token
    for order_by in ("", "name desc", "date_of_birth"):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            patients.list_patients(ListPatientsRequest(query=query, order_by=order_by, page_token=token))


@pytest.mark.parametrize(
    "order_by", ["email", "id", "name asc", "name  desc", " name", "Name", "name,create_time", "name; DROP TABLE x"]
)
def test_another_order_is_refused(patients: Client, order_by: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.list_patients(ListPatientsRequest(order_by=order_by))
    assert list(refused.value.violations) == ["order_by"]
