"""ImportPatientRecords: lines of JSON as records of ImportPatients."""

import json
from typing import Any
from uuid import uuid4

import pytest

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import (
    GetFhirPatientRequest,
    GetPatientRequest,
    ImportMode,
    ImportOutcome,
    ImportPatientRecordsRequest,
    ImportResult,
    Sex,
)
from tests.harness.client import Client, Rejected
from tests.patient.fhir_resources import a_resource

CREATED, UPDATED, SAME, REFUSED = (
    ImportOutcome.CREATED,
    ImportOutcome.UPDATED,
    ImportOutcome.SAME,
    ImportOutcome.REFUSED,
)

FHIR = "application/fhir+ndjson"


def run(client: Client, data: str, mode: ImportMode = ImportMode.UNSPECIFIED, kind: str = "") -> list[ImportResult]:
    """Imports lines and returns their results."""
    request = ImportPatientRecordsRequest(records=HttpBody(content_type=kind, data=data.encode()), mode=mode)
    results: list[ImportResult] = client.import_patient_records(request).results
    return results


def a_line(fields: str = "") -> str:
    """Returns the line of a new patient, with more fields."""
    email = f'"email": "{uuid4()}@clinic.test"'
    return f'{{"name": "Zoë", "address": "1 High Street", "dateOfBirth": "1980-02-29", {email}{fields}}}'


def test_lines_create_patients(admin: Client) -> None:
    lines = [
        a_line(', "sex": "SEX_FEMALE"'),
        a_line(', "date_of_birth": "1981-01-01"').replace('"dateOfBirth": "1980-02-29", ', ""),
    ]
    results = run(admin, "\r\n".join([*lines, "", ""]))
    assert [each.outcome for each in results] == [CREATED, CREATED]
    one, two = (admin.get_patient(GetPatientRequest(id=each.patient_id)) for each in results)
    assert (one.name, one.sex, one.date_of_birth, two.date_of_birth) == ("Zoë", Sex.FEMALE, "1980-02-29", "1981-01-01")
    assert [each.outcome for each in run(admin, "\n".join(lines))] == [SAME, SAME]


def test_record_is_updated_in_upsert_mode(admin: Client) -> None:
    line = a_line()
    run(admin, line)
    [result] = run(admin, line.replace("Zoë", "Zoe"), ImportMode.UPSERT)
    assert result.outcome is UPDATED
    assert admin.get_patient(GetPatientRequest(id=result.patient_id)).name == "Zoe"


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        "7",
        '"name"',
        "null",
        a_line(', "surname": "x"'),
        a_line(', "name": "x"'),
        a_line(', "phone": 112'),
        a_line(', "sex": "female"'),
        a_line(', "phone": "\\ud800"'),
    ],
)
def test_line_that_is_not_a_patient_is_refused_and_the_others_are_imported(admin: Client, line: str) -> None:
    before, refused, after = run(admin, "\n".join([a_line(), line, a_line()]))
    assert (before.outcome, after.outcome) == (CREATED, CREATED)
    assert (refused.outcome, refused.reason) == (REFUSED, "FIELDS_INVALID")
    assert [each.field for each in refused.violations] == ["record"]


def test_violations_are_those_of_create_patient(admin: Client) -> None:
    [refused] = run(admin, a_line(', "phone": "x"'))
    assert [each.field for each in refused.violations] == ["patient.phone"]


@pytest.mark.parametrize("count", [0, 501])
def test_number_of_lines_is_limited(admin: Client, count: int) -> None:
    with pytest.raises(Rejected, match="FIELDS_INVALID"):
        run(admin, "{}\n" * count)


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"name":' * 100_000])
def test_deeply_nested_line_is_refused(admin: Client, nested: str) -> None:
    for kind in ("", FHIR):
        assert [each.outcome for each in run(admin, nested, kind=kind)] == [REFUSED]


def test_unknown_content_type_is_rejected(admin: Client) -> None:
    with pytest.raises(Rejected, match="FIELDS_INVALID"):
        run(admin, a_line(), kind="text/csv")


def a_line_of_fhir(**elements: Any) -> str:
    """Returns the line of a new patient as a FHIR resource, with an element that the record has no field for."""
    return json.dumps(a_resource(maritalStatus={"text": "married"}, **elements))


def read_resource(client: Client, result: ImportResult) -> dict[str, Any]:
    """Returns the resource of an imported patient."""
    read: dict[str, Any] = json.loads(client.get_fhir_patient(GetFhirPatientRequest(id=result.patient_id)).data)
    return read


def test_fhir_resources_are_imported_with_all_elements(admin: Client) -> None:
    lines = [a_line_of_fhir(), a_line_of_fhir(gender="other")]
    results = run(admin, "\n".join(lines), kind=FHIR)
    assert [each.outcome for each in results] == [CREATED, CREATED]
    for line, result in zip(lines, results, strict=True):
        read = read_resource(admin, result)
        assert {name: read[name] for name in json.loads(line)} == json.loads(line)
    assert [each.outcome for each in run(admin, "\n".join(lines), kind=f"{FHIR}; charset=utf-8")] == [SAME, SAME]


def test_fhir_resource_updates_its_patient_in_upsert_mode(admin: Client) -> None:
    line = a_line_of_fhir()
    run(admin, line, kind=FHIR)
    changed = line.replace("married", "widowed")
    assert [each.reason for each in run(admin, changed, kind=FHIR)] == ["EMAIL_ALREADY_EXISTS"]
    [result] = run(admin, changed, ImportMode.UPSERT, FHIR)
    assert result.outcome is UPDATED
    assert read_resource(admin, result)["maritalStatus"] == {"text": "widowed"}


def test_line_that_is_not_a_resource_is_refused(admin: Client) -> None:
    lines = "\n".join([a_line(), a_line_of_fhir(birthDate="1980-02-30"), a_line_of_fhir(name=7), a_line_of_fhir()])
    reasons = [(each.outcome, each.reason) for each in run(admin, lines, kind=FHIR)]
    assert reasons == [
        (REFUSED, "RESOURCE_MALFORMED"),
        (REFUSED, "FIELDS_INVALID"),
        (REFUSED, "RESOURCE_MALFORMED"),
        (CREATED, ""),
    ]


def test_only_admins_import(patients: Client) -> None:
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        run(patients, a_line())
