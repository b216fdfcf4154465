"""ListPatients: paging and queries."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, ListPatientsRequest, ListPatientsResponse
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.patient.factory import OLD_PATIENTS, OLD_REVISIONS, create_request, update_request
from tests.patient.paging import create_patients, find_names, ids_of, list_ids, read_pages


def test_newest_patient_is_first(patients: Client) -> None:
    new = create_patients(patients, 3)
    assert patients.list_patients(ListPatientsRequest(page_size=3)).patients == new[::-1]


def test_default_page_size_is_fifty(patients: Client) -> None:
    call_concurrently([lambda: patients.create_patient(create_request())] * 51)
    page = patients.list_patients(ListPatientsRequest())
    assert len(page.patients) == 50
    assert page.next_page_token


def test_negative_page_size_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.list_patients(ListPatientsRequest(page_size=-1))
    assert list(rejected.value.violations) == ["page_size"]


@pytest.mark.parametrize("size", [1000, 1001, 5000, 2**31 - 1])
def test_page_size_is_at_most_one_thousand(patients: Client, sql: Sql, size: int) -> None:
    ids = [str(uuid4()) for _ in range(1002)]  # the third one is deleted
    sql(OLD_PATIENTS, ids)
    sql(OLD_REVISIONS, ids)
    try:
        page = patients.list_patients(ListPatientsRequest(page_size=size))
        assert (len(page.patients), bool(page.next_page_token)) == (1000, True)
    finally:
        sql("DELETE FROM patients WHERE id = ANY ($1::uuid[])", ids)


@pytest.mark.parametrize(
    "explicit", [{"page_size": 50}, {"order_by": "create_time desc"}, {"order_by": "createTime  desc"}]
)
@pytest.mark.parametrize("comes_first", [True, False])
def test_page_token_is_valid_with_an_explicit_default(
    patients: Client, explicit: dict[str, Any], *, comes_first: bool
) -> None:
    new = [patients.create_patient(create_request()) for _ in range(51)]
    first, second = (explicit, {}) if comes_first else ({}, explicit)
    token = patients.list_patients(ListPatientsRequest(**first)).next_page_token
    following = patients.list_patients(ListPatientsRequest(**second, page_token=token))
    assert following.patients[0] == new[0]


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_pages_contain_each_patient_once(patients: Client, size: int) -> None:
    new = create_patients(patients, 5, name=f"Paged By Size{size}")
    sizes = [len(page.patients) for page in read_pages(patients, query=f"paged by size{size}", page_size=size)]
    assert all(sizes), "no page is empty"
    assert list_ids(patients, query=f"paged by size{size}", page_size=size) == ids_of(new)[::-1]


def test_patients_with_equal_create_times_are_listed_once(patients: Client, sql: Sql) -> None:
    new = ids_of(create_patients(patients, 7, name="Septuplet"))
    sql("UPDATE patients SET create_time = now() WHERE name = 'Septuplet'")
    assert list_ids(patients, query="septuplet", page_size=2) == sorted(new, reverse=True)


def test_concurrent_creates_and_deletes_neither_hide_nor_repeat_patients(patients: Client, admin: Client) -> None:
    existing = ids_of(create_patients(patients, 40))
    deleted, remaining = existing[::2], existing[1::2]
    paged = Event()

    def create_and_delete() -> None:
        for patient_id in deleted:
            create_patients(patients, 1)
            admin.delete_patient(DeletePatientRequest(id=patient_id))
            if paged.is_set():
                return

    with ThreadPoolExecutor() as threads:
        writer = threads.submit(create_and_delete)
        seen = list_ids(patients, page_size=3)
        paged.set()
        writer.result()
    assert len(seen) == len(set(seen))
    assert set(remaining) <= set(seen)


def test_new_patients_do_not_shift_the_next_page(patients: Client) -> None:
    old = create_patients(patients, 4)
    first = patients.list_patients(ListPatientsRequest(page_size=2))
    create_patients(patients, 3)
    second = patients.list_patients(ListPatientsRequest(page_size=2, page_token=first.next_page_token))
    assert first.patients + second.patients == old[::-1]


def test_paging_continues_after_the_last_patient_was_deleted(patients: Client, admin: Client) -> None:
    old = create_patients(patients, 4)
    first = patients.list_patients(ListPatientsRequest(page_size=2))
    admin.delete_patient(DeletePatientRequest(id=old[2].id))  # the last patient of the first page
    second = patients.list_patients(ListPatientsRequest(page_size=2, page_token=first.next_page_token))
    assert second.patients == old[1::-1]


def test_page_token_is_reusable_with_another_page_size(patients: Client) -> None:
    new = create_patients(patients, 6)
    token = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    for size in (2, 5, 2):
        page = patients.list_patients(ListPatientsRequest(page_size=size, page_token=token))
        assert page.patients == new[-2 : -2 - size : -1]


def test_altered_page_token_is_rejected(patients: Client) -> None:
    create_patients(patients, 2)
    token = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    swapped = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
    for changed in (*swapped, token[:-1], token + "A", token + "=", token + " ", "A", "%", "\u00e9", "[]"):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            patients.list_patients(ListPatientsRequest(page_size=1, page_token=changed))


def test_page_token_of_another_query_is_rejected(patients: Client) -> None:
    create_patients(patients, 3)
    unfiltered = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    of_ana = patients.list_patients(ListPatientsRequest(page_size=1, query="ana")).next_page_token
    for token, query in ((unfiltered, "ana"), (of_ana, ""), (of_ana, "silva")):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            patients.list_patients(ListPatientsRequest(page_token=token, query=query))


def test_query_omits_deleted_patients(patients: Client, admin: Client) -> None:
    for patient in create_patients(patients, 2, name="Once Known"):
        admin.delete_patient(DeletePatientRequest(id=patient.id))
    assert find_names(patients, "once known") == []


def test_query_matches_the_current_name_only(patients: Client) -> None:
    [patient] = create_patients(patients, 1, name="Maiden Name")
    patients.update_patient(update_request(patient, name="Married Name"))
    assert find_names(patients, "maiden name") == []
    assert find_names(patients, "married name") == ["Married Name"]


def test_query_without_matches_returns_an_empty_page(patients: Client) -> None:
    assert patients.list_patients(ListPatientsRequest(query=str(uuid4()))) == ListPatientsResponse()


@pytest.mark.parametrize("query", ["x" * 101, "a\x00b", "a\nb"])
def test_invalid_query_is_rejected(patients: Client, query: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.list_patients(ListPatientsRequest(query=query))
    assert list(rejected.value.violations) == ["query"]
