"""ListPatients with `order_by`: each patient is listed once, and ties are ordered by id."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from operator import attrgetter
from threading import Event
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import ListPatientsRequest, Patient
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request
from tests.patient.paging import ids_of, list_ids

FIELDS = ("name", "create_time", "update_time", "date_of_birth")
ORDERS = [f"{field}{direction}" for field in FIELDS for direction in ("", " desc")]
NAMES = ("Zoe", "ana", "Ana", "\u00c1lvaro", "\u738b\u5c0f\u660e", "\U0001f9ec", "z" * 100, "\U0001f9ec" * 100)


def sort_ids(listed: list[Patient], order_by: str) -> list[str]:
    """Returns the ids of patients in the expected order."""
    field, _, direction = order_by.partition(" ")
    by_rank = sorted(listed, key=lambda patient: (getattr(patient, field), patient.id), reverse=direction == "desc")
    return ids_of(by_rank)


def create_group(patients: Client, *births: str, **fields: str) -> tuple[str, list[Patient]]:
    """Creates patients with all names, three of them repeated. Returns a query that matches them, and the patients."""
    word = uuid4().hex
    new = [
        create_request(name=name, date_of_birth=birth, email=f"{uuid4().hex[:6]}@{word}.test", **fields)
        for name in (*NAMES, *NAMES[:3])
        for birth in births
    ]
    return f"@{word}.test", [patients.create_patient(request) for request in new]


@pytest.fixture(scope="module")
def tied_patients(patients: Client) -> tuple[str, list[Patient]]:
    """Patients, some with equal names and dates of birth, one of them updated."""
    query, new = create_group(patients, "1980-02-29", "1999-12-31")
    new[3] = patients.update_patient(update_request(new[3], phone="112"))
    return query, new


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_pages_contain_each_patient_once_in_order(
    patients: Client, tied_patients: tuple[str, list[Patient]], order_by: str, size: int
) -> None:
    query, new = tied_patients
    assert list_ids(patients, query=query, order_by=order_by, page_size=size) == sort_ids(new, order_by)


@pytest.mark.parametrize("order_by", ORDERS)
def test_patients_with_equal_sort_keys_are_listed_once(patients: Client, sql: Sql, order_by: str) -> None:
    query, new = create_group(patients, "1980-02-29", phone="555 1234")
    tied = "name = 'Same', create_time = '2026-01-31T10:00:00Z', update_time = '2026-01-31T10:00:00Z'"
    sql(f"UPDATE patients SET {tied} WHERE email LIKE '%' || $1", query)
    descending = order_by.endswith(" desc")
    assert list_ids(patients, query=query, order_by=order_by, page_size=2) == sorted(ids_of(new), reverse=descending)


@pytest.mark.parametrize("order_by", ORDERS)
def test_concurrent_creates_neither_hide_nor_reorder_patients(patients: Client, order_by: str) -> None:
    query, existing = create_group(patients, "1980-02-29", "1999-12-31")
    paged, numbers = Event(), count()

    def create() -> None:
        while not paged.is_set() and (number := next(numbers)) < 300:  # the reader catches up on any machine
            name = f"{'AZaz'[number % 4]} Newcomer"
            patients.create_patient(create_request(name=name, email=f"{uuid4().hex}{query}"))

    with ThreadPoolExecutor() as threads:
        creates = [threads.submit(create) for _ in range(2)]
        try:
            pages = (list_ids_until(patients, set(ids_of(existing)), query, order_by) for _ in range(3))
            seen = [*pages]
        finally:
            paged.set()
        for future in creates:
            future.result()
    expected = sort_ids(existing, order_by)
    for walk in seen:
        assert len(walk) == len(set(walk))
        assert [each for each in walk if each in expected] == expected


def list_ids_until(patients: Client, wanted: set[str], query: str, order_by: str) -> list[str]:
    """Reads pages of three patients until all wanted ids were returned, and returns the ids."""
    seen: list[str] = []
    token = ""
    while wanted - set(seen):
        page = patients.list_patients(
            ListPatientsRequest(query=query, order_by=order_by, page_size=3, page_token=token)
        )
        seen += ids_of(page.patients)
        if not (token := page.next_page_token):
            break
    return seen


def test_default_order_is_newest_first(patients: Client, tied_patients: tuple[str, list[Patient]]) -> None:
    query, new = tied_patients
    listed = patients.list_patients(ListPatientsRequest(query=query)).patients
    assert ids_of(listed) == sort_ids(new, "create_time desc")


def test_paging_continues_after_the_last_patient_was_renamed(patients: Client) -> None:
    query, new = create_group(patients, "1980-02-29")
    first = patients.list_patients(ListPatientsRequest(query=query, order_by="name", page_size=4))
    patients.update_patient(update_request(first.patients[-1], name="0"))
    rest = ListPatientsRequest(query=query, order_by="name", page_token=first.next_page_token)
    assert ids_of(first.patients + patients.list_patients(rest).patients) == sort_ids(new, "name")


def test_page_token_of_another_order_is_rejected(patients: Client, tied_patients: tuple[str, list[Patient]]) -> None:
    query, _ = tied_patients
    token = patients.list_patients(ListPatientsRequest(query=query, order_by="name", page_size=1)).next_page_token
    for order_by in ("", "name desc", "date_of_birth"):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            patients.list_patients(ListPatientsRequest(query=query, order_by=order_by, page_token=token))


@pytest.mark.parametrize(
    ("written", "order_by"),
    [
        ("name  desc", "name desc"),
        ("  dateOfBirth desc ", "date_of_birth desc"),
        ("createTime", "create_time"),
        ("updateTime   desc", "update_time desc"),
        ("name desc, name", "name desc"),
    ],
)
def test_order_accepts_spaces_and_camel_case(
    patients: Client, tied_patients: tuple[str, list[Patient]], written: str, order_by: str
) -> None:
    query, new = tied_patients
    assert list_ids(patients, query=query, order_by=written, page_size=5) == sort_ids(new, order_by)


@pytest.mark.parametrize("births", ["date_of_birth", "dateOfBirth desc"])
@pytest.mark.parametrize("names", ["name", "name desc"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_order_accepts_several_fields(
    patients: Client, tied_patients: tuple[str, list[Patient]], births: str, names: str, size: int
) -> None:
    query, new = tied_patients
    expected = sorted(new, key=attrgetter("name", "id"), reverse="desc" in names)
    expected.sort(key=attrgetter("date_of_birth"), reverse="desc" in births)
    listed = list_ids(patients, query=query, order_by=f"{births}, {names}", page_size=size)
    assert listed == ids_of(expected)


@pytest.mark.parametrize(
    "order_by",
    ["email", "id", "name asc", "Name", "name,", ",name", "name create_time", "namedesc", "name; DROP TABLE x"],
)
def test_unsupported_order_is_rejected(patients: Client, order_by: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.list_patients(ListPatientsRequest(order_by=order_by))
    assert list(rejected.value.violations) == ["order_by"]
