"""Dates of birth of which only the year or the month is known, in every method that takes or returns them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import (
    ExportPatientsRequest,
    FindDuplicatesRequest,
    FindFhirPatientsRequest,
    GetPatientRequest,
    ImportMode,
    ImportOutcome,
    ImportPatientRecordsRequest,
    ImportPatientsRequest,
    ListPatientRevisionsRequest,
    Patient,
)
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.factory import a_patient, create_request, update_request
from tests.patient.fhir_resources import a_resource, create, read, update
from tests.patient.paging import list_ids

BORN = ["1984-12-31", "1985", "1985-01", "1985-01-01", "1985-06", "1985-06-15", "1985-12-31", "1986"]
"""Dates in the order of lists: by the first day."""
FORM = "must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY"


@pytest.fixture(scope="module")
def surname(patients: Client) -> str:
    """The surname of a patient for each date of BORN."""
    surname = f"Lima{uuid4().hex}"
    for born in BORN:
        patients.create_patient(create_request(name=surname, date_of_birth=born))
    return surname


def list_births(patients: Client, **request: Any) -> list[str]:
    """Returns the dates of birth of the patients on all pages."""
    return [get(patients, each).date_of_birth for each in list_ids(patients, page_size=3, **request)]


def get(patients: Client, patient_id: str) -> Patient:
    found: Patient = patients.get_patient(GetPatientRequest(id=patient_id))
    return found


def find_births(patients: Client, surname: str, *values: str) -> list[str]:
    """Returns the birth dates that a search of FHIR finds, in order."""
    query = urlencode([("name", surname), ("_sort", "birthdate"), *(("birthdate", value) for value in values)])
    bundle = json.loads(patients.find_fhir_patients(FindFhirPatientsRequest(parameters=query)).data)
    return [entry["resource"]["birthDate"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize("born", ["1985", "1985-04", "1000", "2000-02", "1985-12"])
def test_date_is_read_as_it_was_written(patients: Client, born: str) -> None:
    created = patients.create_patient(create_request(date_of_birth=born))
    assert created.date_of_birth == get(patients, created.id).date_of_birth == born
    assert created.registered_date == datetime.now(UTC).date().isoformat()


def test_every_month_and_year_is_read_as_it_was_written(admin: Client) -> None:
    dates = [f"{year}{month}" for year in range(1990, 2025) for month in ("", *(f"-{n:02}" for n in range(1, 13)))]
    records = [a_patient(date_of_birth=each) for each in dates]
    results = admin.import_patients(ImportPatientsRequest(patients=records)).results
    assert [get(admin, each.patient_id).date_of_birth for each in results] == dates


@pytest.mark.parametrize(
    "born", ["1985-13", "1985-00", "1985-4", "985", "0985", "0985-04", "01985", "1985-", "85", "1985-W01", "1985-04 x"]
)
def test_text_that_is_no_date_is_rejected(patients: Client, born: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_request(date_of_birth=born))
    assert rejected.value.violations == {"patient.date_of_birth": FORM}


def test_period_must_not_begin_in_the_future(patients: Client) -> None:
    latest = datetime.now(UTC) + timedelta(hours=14)
    for born in (f"{latest:%Y}", f"{latest:%Y-%m}"):
        assert patients.create_patient(create_request(date_of_birth=born)).date_of_birth == born
    for born in (f"{latest.year + 1}", f"{latest.year + 1}-01"):
        with pytest.raises(Rejected) as rejected:
            patients.create_patient(create_request(date_of_birth=born))
        assert rejected.value.violations == {"patient.date_of_birth": "must not be in the future"}


def test_patient_may_be_registered_in_the_period_of_birth(patients: Client) -> None:
    fields = {"date_of_birth": "1985", "registered_date": "1985-01-01"}
    assert patients.create_patient(create_request(**fields)).registered_date == "1985-01-01"
    with pytest.raises(Rejected) as rejected:
        patients.create_patient(create_request(**(fields | {"registered_date": "1984-12-31"})))
    assert rejected.value.violations == {"patient.registered_date": "must not be before the date of birth"}


@pytest.mark.parametrize(("before", "after"), [("1985", "1985-01-01"), ("1985-01-01", "1985"), ("1985", "1985-01")])
def test_update_can_change_the_precision_alone(patients: Client, before: str, after: str) -> None:
    patient = patients.create_patient(create_request(date_of_birth=before))
    updated = patients.update_patient(update_request(patient, "date_of_birth", date_of_birth=after))
    assert (updated.date_of_birth, updated.etag) == (after, "2")
    assert get(patients, patient.id) == updated
    revisions = patients.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions
    assert [each.patient.date_of_birth for each in revisions] == [after, before]


def test_update_of_another_field_keeps_the_date(patients: Client) -> None:
    patient = patients.create_patient(create_request(date_of_birth="1985"))
    updated = patients.update_patient(update_request(patient, "phone", phone="112", date_of_birth="1990"))
    assert (updated.date_of_birth, get(patients, patient.id).date_of_birth) == ("1985", "1985")


def test_date_that_the_previous_version_changed_is_that_date(patients: Client, sql: Sql) -> None:
    patient = patients.create_patient(create_request(date_of_birth="1985"))
    sql("UPDATE patients SET date_of_birth = '1990-05-05' WHERE id = $1", patient.id)
    updated = patients.update_patient(update_request(patient, "phone", phone="112"))
    assert updated.date_of_birth == "1990-05-05"


@pytest.mark.parametrize("descending", [False, True])
def test_list_is_sorted_by_the_first_day(patients: Client, surname: str, *, descending: bool) -> None:
    order = "date_of_birth desc" if descending else "date_of_birth"
    births = list_births(patients, query=surname, order_by=order)
    assert [f"{each}-01-01"[:10] for each in births] == sorted((f"{e}-01-01"[:10] for e in BORN), reverse=descending)
    assert sorted(births) == sorted(BORN)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"born_after": "1984-12-31", "born_before": "1985-01-02"}, ["1985", "1985-01", "1985-01-01"]),
        ({"born_after": "1985-01-01"}, BORN[4:]),
        ({"born_before": "1985-01-01"}, BORN[:1]),
        ({"born_after": "1985-12-31"}, ["1986"]),
    ],
)
def test_filters_compare_the_first_day(
    patients: Client, admin: Client, surname: str, filters: dict[str, str], expected: list[str]
) -> None:
    assert sorted(list_births(patients, query=surname, **filters)) == expected
    with admin.export_patients(ExportPatientsRequest(**filters)) as stream:  # type: ignore[arg-type]
        exported = [each.date_of_birth for page in stream for each in page.patients if each.name == surname]
    assert sorted(exported) == expected


def test_exported_patients_are_the_same_when_they_are_imported(admin: Client, surname: str) -> None:
    with admin.export_patients(ExportPatientsRequest()) as stream:
        exported = [each for page in stream for each in page.patients if each.name == surname]
    results = admin.import_patients(ImportPatientsRequest(patients=exported, mode=ImportMode.UPSERT)).results
    assert [each.outcome for each in results] == [ImportOutcome.SAME] * len(BORN)


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/fhir+ndjson"])
def test_line_of_a_file_has_a_partial_date(admin: Client, kind: str) -> None:
    record = {"name": "Ana", "email": f"{uuid4()}@clinic.test", "address": "1 High Street", "dateOfBirth": "1985-04"}
    lines = json.dumps(a_resource(birthDate="1985-04") if "fhir" in kind else record)
    request = ImportPatientRecordsRequest(records=HttpBody(content_type=kind, data=lines.encode()))
    [result] = admin.import_patient_records(request).results
    assert get(admin, result.patient_id).date_of_birth == "1985-04"
    [again] = admin.import_patient_records(request).results
    assert again.outcome is ImportOutcome.SAME


def test_import_refuses_what_create_patient_rejects(admin: Client) -> None:
    records = [a_patient(date_of_birth="1985-13"), a_patient(date_of_birth="1985")]
    refused, created = admin.import_patients(ImportPatientsRequest(patients=records)).results
    assert [(each.field, each.description) for each in refused.violations] == [("patient.date_of_birth", FORM)]
    assert created.outcome is ImportOutcome.CREATED


def test_fhir_resource_has_a_partial_date(patients: Client) -> None:
    extension = {"extension": [{"url": "urn:x", "valueCode": "estimated"}]}
    created = create(patients, a_resource(birthDate="1985", _birthDate=extension))
    assert (created["birthDate"], created["_birthDate"]) == ("1985", extension)
    assert get(patients, created["id"]).date_of_birth == "1985"
    updated = update(patients, created | {"birthDate": "1985-04"})
    assert updated["birthDate"] == read(patients, created["id"])["birthDate"] == "1985-04"
    patients.update_patient(update_request(get(patients, created["id"]), date_of_birth="1985-04-03"))
    changed = read(patients, created["id"])
    assert (changed["birthDate"], "_birthDate" in changed) == ("1985-04-03", False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1985"], BORN[1:7]),
        (["eq1985-01"], ["1985-01", "1985-01-01"]),
        (["1985-01-01"], ["1985-01-01"]),
        (["1985-06-15"], ["1985-06-15"]),
        (["ge1985"], BORN[1:]),
        (["ge1985-06-15"], ["1985", "1985-06", "1985-06-15", "1985-12-31", "1986"]),
        (["ge1985-06"], ["1985", "1985-06", "1985-06-15", "1985-12-31", "1986"]),
        (["ge1985-12-31"], ["1985-12-31", "1986"]),
        (["gt1985-06-15"], ["1985", "1985-06", "1985-12-31", "1986"]),
        (["gt1985-06"], ["1985", "1985-12-31", "1986"]),
        (["gt1985"], ["1986"]),
        (["le1985-06-15"], BORN[:6]),
        (["le1985-01-01"], ["1984-12-31", "1985-01-01"]),
        (["lt1985-06-15"], BORN[:5]),
        (["lt1985-01-01"], ["1984-12-31"]),
        (["sa1985-06-15"], ["1985-12-31", "1986"]),
        (["sa1984"], BORN[1:]),
        (["eb1985-06-15"], ["1984-12-31", "1985-01", "1985-01-01"]),
        (["eb1986"], BORN[:7]),
        (["ge1985-06-01", "le1985-06-20"], ["1985", "1985-06", "1985-06-15"]),
        (["gt1985-06-15", "lt1985-12"], ["1985", "1985-06"]),
    ],
)
def test_fhir_search_compares_the_days_of_the_period(
    patients: Client, surname: str, values: list[str], expected: list[str]
) -> None:
    assert sorted(find_births(patients, surname, *values)) == expected


def test_fhir_search_without_other_parameters_finds_partial_dates(patients: Client) -> None:
    created = patients.create_patient(create_request(date_of_birth="1899"))
    query = urlencode({"birthdate": "ge1899-06-15", "_sort": "birthdate", "_count": "1"})
    bundle = json.loads(patients.find_fhir_patients(FindFhirPatientsRequest(parameters=query)).data)
    assert [each["resource"]["id"] for each in bundle["entry"]] == [created.id]


@pytest.mark.parametrize(
    ("one", "other", "is_found"),
    [
        ("1985", "1985-04-03", True),
        ("1985-04-03", "1985", True),
        ("1985-04-03", "1985-04", True),
        ("1985-04", "1985", True),
        ("1985", "1985", True),
        ("1985-04", "1985-05-03", False),
        ("1985", "1986-01-01", False),
    ],
)
def test_duplicate_is_found_if_one_period_contains_the_other(
    patients: Client, one: str, other: str, *, is_found: bool
) -> None:
    name = f"{uuid4().hex} Silva"
    patient, duplicate = (
        patients.create_patient(create_request(name=each, date_of_birth=born))
        for each, born in ((name, one), (f"{name} Lima", other))
    )
    found = patients.find_duplicates(FindDuplicatesRequest(id=patient.id)).duplicates
    assert [each.patient.id for each in found if each.patient] == [duplicate.id] * is_found
    assert all("date_of_birth" in each.similar_fields for each in found)


def test_mistyped_name_with_a_partial_date_is_found_by_the_date(patients: Client) -> None:
    patient = patients.create_patient(create_request(name="Katarzyna Nowak", date_of_birth="1911-04-03"))
    duplicate = patients.create_patient(create_request(name="Katarzynaa Nowak", date_of_birth="1911"))
    for each, other in ((patient, duplicate), (duplicate, patient)):
        found = patients.find_duplicates(FindDuplicatesRequest(id=each.id)).duplicates
        assert [duplicate.patient.id for duplicate in found if duplicate.patient] == [other.id]
