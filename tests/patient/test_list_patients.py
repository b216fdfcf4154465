"""ListPatients: pages, and what a query finds."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, ListPatientsRequest, ListPatientsResponse
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request
from tests.patient.paging import created, ids, pages, walked


def found(patients: Client, query: str) -> list[str]:
    """Returns the names of the patients that a query finds."""
    listed = patients.list_patients(ListPatientsRequest(query=query)).patients
    return [patient.name for patient in listed]


def test_the_newest_comes_first(patients: Client) -> None:
    new = created(patients, 3)
    assert patients.list_patients(ListPatientsRequest(page_size=3)).patients == new[::-1]


def test_a_page_has_fifty_patients_unless_told_otherwise(patients: Client) -> None:
    call_concurrently([lambda: patients.create_patient(create_request())] * 51)
    page = patients.list_patients(ListPatientsRequest())
    assert len(page.patients) == 50
    assert page.next_page_token


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_its_limits_is_refused(patients: Client, size: int) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.list_patients(ListPatientsRequest(page_size=size))
    assert list(refused.value.violations) == ["page_size"]


def test_a_page_may_have_a_thousand(patients: Client) -> None:
    created(patients, 1)
    assert patients.list_patients(ListPatientsRequest(page_size=1000)).patients


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_the_pages_hold_every_patient_once(patients: Client, size: int) -> None:
    new = created(patients, 5, name=f"Paged By {size}")
    sizes = [len(page.patients) for page in pages(patients, query=f"paged by {size}", page_size=size)]
    assert all(sizes), "no page is empty"
    assert walked(patients, query=f"paged by {size}", page_size=size) == ids(new)[::-1]


def test_patients_of_the_same_instant_are_each_listed_once(patients: Client, sql: Sql) -> None:
    new = ids(created(patients, 7, name="Septuplet"))
    sql("UPDATE patients SET create_time = now() WHERE name = 'Septuplet'")
    assert walked(patients, query="septuplet", page_size=2) == sorted(new, reverse=True)


def test_paging_sees_all_that_stays_once_while_others_come_and_go(patients: Client, admin: Client) -> None:
    there = ids(created(patients, 40))
    leaving, staying = there[::2], there[1::2]
    paged = Event()

    def come_and_go() -> None:
        for patient_id in leaving:
            created(patients, 1)
            admin.delete_patient(DeletePatientRequest(id=patient_id))
            if paged.is_set():
                return

    with ThreadPoolExecutor() as threads:
        writer = threads.submit(come_and_go)
        seen = walked(patients, page_size=3)
        paged.set()
        writer.result()
    assert len(seen) == len(set(seen))
    assert set(staying) <= set(seen)


def test_a_page_does_not_shift_when_a_patient_comes(patients: Client) -> None:
    old = created(patients, 4)
    first = patients.list_patients(ListPatientsRequest(page_size=2))
    created(patients, 3)
    second = patients.list_patients(ListPatientsRequest(page_size=2, page_token=first.next_page_token))
    assert first.patients + second.patients == old[::-1]


def test_a_page_goes_on_behind_a_patient_that_went(patients: Client, admin: Client) -> None:
    old = created(patients, 4)
    first = patients.list_patients(ListPatientsRequest(page_size=2))
    admin.delete_patient(DeletePatientRequest(id=old[2].id))  # the one that the token stands at
    second = patients.list_patients(ListPatientsRequest(page_size=2, page_token=first.next_page_token))
    assert second.patients == old[1::-1]


def test_a_token_may_be_used_with_another_page_size_and_again(patients: Client) -> None:
    new = created(patients, 6)
    token = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    for size in (2, 5, 2):
        page = patients.list_patients(ListPatientsRequest(page_size=size, page_token=token))
        assert page.patients == new[-2 : -2 - size : -1]


def test_a_token_that_was_changed_is_refused(patients: Client) -> None:
    created(patients, 2)
    token = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    swapped = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
    for changed in (*swapped, token[:-1], token + "A", token + "=", token + " ", "A", "%", "\u00e9", "[]"):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            patients.list_patients(ListPatientsRequest(page_size=1, page_token=changed))


def test_a_token_is_refused_with_another_query(patients: Client) -> None:
    created(patients, 3)
    unfiltered = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    of_ana = patients.list_patients(ListPatientsRequest(page_size=1, query="ana")).next_page_token
    for token, query in ((unfiltered, "ana"), (of_ana, ""), (of_ana, "silva")):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            patients.list_patients(ListPatientsRequest(page_token=token, query=query))


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Mariana Quintela", "quint"),
        ("Mariana Quinta", "IANA QUINTA"),
        ("José Leão", "JOSÉ LEÃO"),
        ("Zoë Ek", "zoe\u0308 ek"),
        ("Gerda Weißhaupt", "WEISSHAUPT"),
        ("Ольга", "ОЛЬГ"),
        ("مريم", "ري"),
        ("王小明", "小"),
        ("हिन्दी देवी", "देव"),
        ("Trimmed Query", "  trimmed query "),
    ],
)
def test_a_query_finds_a_part_of_a_name_without_case(patients: Client, name: str, query: str) -> None:
    patients.create_patient(create_request(name=name))
    assert found(patients, query) == [name]


def test_a_query_finds_a_part_of_an_email_or_of_a_record_number(patients: Client) -> None:
    patients.create_patient(create_request(name="By Email", email="Rare.Address@Clinic.test"))
    patients.create_patient(create_request(name="By Number", medical_record_number="XY/2024-77"))
    assert found(patients, "e.address@cl") == ["By Email"]
    assert found(patients, "xy/2024") == ["By Number"]


def test_a_query_does_not_find_across_fields(patients: Client) -> None:
    patients.create_patient(create_request(name="Edgy", email="edge@clinic.test", medical_record_number="edge"))
    assert found(patients, "Edgyedge") == []
    assert found(patients, "testedge") == []


@pytest.mark.parametrize(
    ("name", "decoy"),
    [("90% sure", "90 and sure"), ("under_score", "underXscore"), ("back\\slash", "backslash"), ("q\\%q", "q\\xq")],
)
def test_wildcards_in_a_query_mean_themselves(patients: Client, name: str, decoy: str) -> None:
    for each in (name, decoy):
        patients.create_patient(create_request(name=each))
    assert found(patients, name) == [name]


def test_a_query_finds_no_deleted_patient(patients: Client, admin: Client) -> None:
    for patient in created(patients, 2, name="Once Known"):
        admin.delete_patient(DeletePatientRequest(id=patient.id))
    assert found(patients, "once known") == []


def test_a_query_finds_a_patient_by_its_present_name(patients: Client) -> None:
    [patient] = created(patients, 1, name="Maiden Name")
    patients.update_patient(update_request(patient, name="Married Name"))
    assert found(patients, "maiden name") == []
    assert found(patients, "married name") == ["Married Name"]


def test_a_query_that_fits_nobody_finds_nobody(patients: Client) -> None:
    assert patients.list_patients(ListPatientsRequest(query=str(uuid4()))) == ListPatientsResponse()


@pytest.mark.parametrize("query", ["x" * 101, "a\x00b", "a\nb"])
def test_a_query_that_breaks_its_rule_is_refused(patients: Client, query: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.list_patients(ListPatientsRequest(query=query))
    assert list(refused.value.violations) == ["query"]
