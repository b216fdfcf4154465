"""ListPatients with filters and deleted patients."""

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, ListPatientsRequest, Sex
from tests.harness.client import Client, Rejected
from tests.patient.factory import create_request
from tests.patient.paging import ids_of, read_pages

PATIENTS: dict[str, dict[str, object]] = {
    "Eva": {"sex": Sex.FEMALE, "date_of_birth": "1980-02-28", "registered_date": "2020-01-01"},
    "Max": {"sex": Sex.MALE, "date_of_birth": "1980-02-29", "registered_date": "2020-01-02"},
    "Kim": {"sex": Sex.OTHER, "date_of_birth": "1980-03-01", "registered_date": "2020-01-03"},
    "Ola": {"date_of_birth": "2000-01-01", "registered_date": "2020-01-02"},
}


@pytest.fixture(scope="module", autouse=True)
def differing_patients(patients: Client) -> None:
    """Creates patients that differ in the filtered fields."""
    for name, fields in PATIENTS.items():
        patients.create_patient(create_request(name=name, phone="112", **fields))


def names(patients: Client, **request: object) -> list[str]:
    """Returns the names on all pages, sorted."""
    listed = read_pages(patients, order_by="name", page_size=1, **request)
    return [patient.name for page in listed for patient in page.patients if patient.name in PATIENTS]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["Eva", "Kim", "Max", "Ola"]),
        ({"sex": Sex.FEMALE}, ["Eva"]),
        ({"sex": Sex.OTHER}, ["Kim"]),
        ({"born_after": "1980-02-29"}, ["Kim", "Ola"]),
        ({"born_before": "1980-02-29"}, ["Eva"]),
        ({"born_after": "1980-02-28", "born_before": "1980-03-01"}, ["Max"]),
        ({"registered_after": "2020-01-02"}, ["Kim"]),
        ({"registered_before": "2020-01-02"}, ["Eva"]),
        ({"registered_after": "2020-01-01", "registered_before": "2020-01-03"}, ["Max", "Ola"]),
        ({"registered_after": "2020-01-01", "registered_before": "2020-01-03", "sex": Sex.MALE}, ["Max"]),
        ({"born_before": "1980-03-02", "query": "MAX"}, ["Max"]),
        ({"born_after": "1980-03-02", "query": "MAX"}, []),
        ({"born_after": "2999-01-01"}, []),
    ],
)
def test_filters_are_combined_with_and(patients: Client, filters: dict[str, object], expected: list[str]) -> None:
    assert names(patients, **filters) == expected


def test_show_deleted_includes_deleted_patients(patients: Client, admin: Client) -> None:
    active, removed = (patients.create_patient(create_request(name="Shown Or Not")) for _ in range(2))
    deleted = admin.delete_patient(DeletePatientRequest(id=removed.id))
    query = "shown or not"
    assert patients.list_patients(ListPatientsRequest(query=query)).patients == [active]
    assert patients.list_patients(ListPatientsRequest(query=query, show_deleted=True)).patients == [deleted, active]
    assert removed.id in ids_of(patients.list_patients(ListPatientsRequest(show_deleted=True)).patients)


@pytest.mark.parametrize("filters", [{"sex": Sex.MALE}, {"show_deleted": True}, {"born_after": "1970-01-01"}])
def test_page_token_of_other_filters_is_rejected(patients: Client, filters: dict[str, object]) -> None:
    token = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        patients.list_patients(ListPatientsRequest(page_token=token, **filters))  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["born_after", "born_before", "registered_after", "registered_before"])
@pytest.mark.parametrize("day", ["1980-02-30", "29.02.1980", "1980", "0000-01-01", "1980-02-29T00:00:00Z"])
def test_invalid_date_is_rejected(patients: Client, field: str, day: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.list_patients(ListPatientsRequest(**{field: day}))  # type: ignore[arg-type]
    assert list(rejected.value.violations) == [field]


def test_unknown_sex_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.list_patients(ListPatientsRequest(sex=9))  # type: ignore[arg-type]
    assert list(rejected.value.violations) == ["sex"]
