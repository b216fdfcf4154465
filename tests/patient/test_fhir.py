"""The FHIR R4 API at the patient service: resources and searches."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    FindFhirPatientsRequest,
    GetFhirCapabilitiesRequest,
    GetFhirPatientRequest,
    ListPatientsRequest,
    Patient,
    Sex,
)
from tests.harness.client import Client, Rejected
from tests.harness.tokens import Signer
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import User, create_restricted
from tests.patient.factory import create_request
from tests.patient.merging import create_pair, merge

IDENTIFIER = "urn:pulsetrack:medical-record-number"


def search(client: Client, query: str = "", /, **parameters: str) -> dict[str, Any]:
    """Returns the Bundle of a search."""
    body = client.find_fhir_patients(FindFhirPatientsRequest(parameters=query or urlencode(parameters)))
    assert body.content_type == "application/fhir+json"
    bundle: dict[str, Any] = json.loads(body.data)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
    return bundle


def ids_of(bundle: dict[str, Any]) -> list[str]:
    """Returns the ids of the resources in a Bundle."""
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


def link_of(bundle: dict[str, Any], relation: str) -> str | None:
    """Returns the query of a link in a Bundle, or None if there is none."""
    return next((link["url"].partition("?")[2] for link in bundle["link"] if link["relation"] == relation), None)


@pytest.fixture
def surname() -> str:
    """A surname that no other patient has."""
    return f"Lima{uuid4().hex}"


def test_resource_has_the_data_of_the_patient(patients: Client) -> None:
    number = f"MRN-{uuid4()}"
    fields = {"phone": "+351 21 000 000", "sex": Sex.FEMALE, "medical_record_number": number}
    patient = patients.create_patient(create_request(name="José Pérez", registered_date="2026-01-31", **fields))
    body = patients.get_fhir_patient(GetFhirPatientRequest(id=patient.id))
    assert json.loads(body.data) == {
        "resourceType": "Patient",
        "id": patient.id,
        "meta": {"versionId": "1", "lastUpdated": f"{patient.update_time:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"},
        "extension": [{"url": "urn:pulsetrack:registered-date", "valueDate": "2026-01-31"}],
        "identifier": [
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": IDENTIFIER,
                "value": number,
            }
        ],
        "active": True,
        "name": [{"text": "José Pérez"}],
        "telecom": [{"system": "phone", "value": "+351 21 000 000"}, {"system": "email", "value": patient.email}],
        "gender": "female",
        "birthDate": "1980-02-29",
        "address": [{"text": "1 High Street"}],
    }


def test_resource_has_no_empty_elements(patients: Client) -> None:
    patient = patients.create_patient(create_request())
    resource = json.loads(patients.get_fhir_patient(GetFhirPatientRequest(id=patient.id)).data)
    assert not {"identifier", "gender"} & resource.keys()
    assert [each["system"] for each in resource["telecom"]] == ["email"]


def test_deleted_patient_is_not_found(patients: Client, admin: Client, surname: str) -> None:
    patient = patients.create_patient(create_request(name=surname))
    admin.delete_patient(DeletePatientRequest(id=patient.id))
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        patients.get_fhir_patient(GetFhirPatientRequest(id=patient.id))
    assert ids_of(search(patients, name=surname)) == ids_of(search(patients, _id=patient.id)) == []


def test_search_finds_the_rows_of_the_list(patients: Client, surname: str) -> None:
    for number in range(3):
        patients.create_patient(create_request(name=f"Ana{number} {surname}"))
    listed = patients.list_patients(ListPatientsRequest(query=surname)).patients
    assert ids_of(search(patients, name=surname)) == [patient.id for patient in listed]


@pytest.mark.parametrize(
    ("parameter", "value", "found"),
    [
        ("family", "{surname}", True),
        ("name", "jose {surname}", True),
        ("name", "osé {surname}", False),
        ("given", "JOSE", True),
        ("email", "{email}", True),
        ("email", "email|{email}", True),
        ("telecom", "{email}", True),
        ("telecom", "phone|{email}", False),
        ("phone", "35121{digits}", True),
        ("phone", "5121{digits}", False),
        ("identifier", "{number}", True),
        ("identifier", IDENTIFIER + "|{number}", True),
        ("identifier", "urn:other|{number}", False),
        ("identifier", "{surname}", False),
        ("gender", "male", True),
        ("gender", "female", False),
        ("birthdate", "1980", True),
        ("birthdate", "1980-02", True),
        ("birthdate", "1980-02-29", True),
        ("birthdate", "eq1980-02-28", False),
        ("birthdate", "ge1980-02-29", True),
        ("birthdate", "gt1980-02-29", False),
        ("birthdate", "gt1980", False),
        ("birthdate", "le1980", True),
        ("birthdate", "lt1980-02-29", False),
        ("birthdate", "lt1980-03", True),
    ],
)
def test_parameter_selects_patients(patients: Client, surname: str, parameter: str, value: str, *, found: bool) -> None:
    digits = str(uuid4().int)[:9]
    patient = patients.create_patient(
        create_request(
            name=f"José {surname}", phone=f"+351 21 {digits}", sex=Sex.MALE, medical_record_number=f"MRN-{surname}"
        )
    )
    value = value.format(surname=surname, email=patient.email, digits=digits, number=f"mrn-{surname}")
    query = urlencode({parameter: value, "family": surname} if parameter != "family" else {parameter: value})
    assert ids_of(search(patients, query)) == ([patient.id] if found else [])


@pytest.mark.parametrize("system", ["", f"{IDENTIFIER}|"])
def test_escaped_characters_are_part_of_an_identifier(patients: Client, surname: str, system: str) -> None:
    patient = patients.create_patient(create_request(medical_record_number=f"a|b,{surname}\\"))
    query = urlencode({"identifier": rf"{system}a\|b\,{surname}\\"})
    assert ids_of(search(patients, query)) == [patient.id]


def test_range_of_birth_dates_is_two_parameters(patients: Client, surname: str) -> None:
    born = ["1979-12-31", "1980-01-01", "1989-12-31", "1990-01-01"]
    ids = [patients.create_patient(create_request(name=surname, date_of_birth=each)).id for each in born]
    bundle = search(patients, f"name={surname}&birthdate=ge1980&birthdate=lt1990&_sort=birthdate")
    assert ids_of(bundle) == ids[1:3]


def test_id_selects_several_patients(patients: Client) -> None:
    ids = [patients.create_patient(create_request()).id for _ in range(2)]
    assert ids_of(search(patients, _id=",".join([*ids, str(uuid4()), "x"]))) == ids


def test_search_by_id_is_recorded_for_the_requested_patients(patients: Client, admin: Client, signer: Signer) -> None:
    member, outsider = User(patients, signer), User(patients, signer)
    restricted = create_restricted(member.client)
    assert ids_of(search(outsider.client, _id=restricted.id)) == []
    events = wait_for_events(admin, restricted.id, 2)
    assert summarize(events)[-1] == ("FindFhirPatients", "OK")


def test_count_may_have_leading_zeros(patients: Client, surname: str) -> None:
    for _ in range(3):
        patients.create_patient(create_request(name=surname))
    assert len(ids_of(search(patients, f"name={surname}&_count={'0' * 20}2"))) == 2


def test_id_of_a_merged_patient_selects_the_survivor_once(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    assert ids_of(search(patients, _id=f"{merged.id},{survivor.id}")) == [survivor.id]


def test_pages_are_linked(patients: Client, surname: str) -> None:
    ids = [patients.create_patient(create_request(name=f"{surname} {each}")).id for each in "abcde"]
    query: str | None = f"name={surname}&_sort=-name&_count=2"
    found = []
    while query:
        bundle = search(patients, query)
        assert link_of(bundle, "self") == query
        found.append(ids_of(bundle))
        query = link_of(bundle, "next")
    assert found == [ids[:2:-1], ids[2:0:-1], ids[:1]]


@pytest.mark.parametrize(
    ("query", "description"),
    [
        ("nam=x", "the parameter 'nam' is not supported"),
        ("name:exact=x", "the parameter 'name:exact' is not supported"),
        ("gender=woman", "gender must be one of female, male, other"),
        ("birthdate=1980-02-30", "birthdate must be a date"),
        ("birthdate=ne1980", "birthdate must be a date"),
        ("birthdate=0000", "birthdate must be a date"),
        ("_id=x&birthdate=ge1980-06-01", "_id cannot be combined"),
        ("_count=0", "_count must be from 1 to 1000"),
        ("_count=x", "_count must be from 1 to 1000"),
        ("_count=1001", "_count must be from 1 to 1000"),
        (f"_count={'0' * 20}12345", "_count must be from 1 to 1000"),
        ("_sort=gender", "_sort must be a list of birthdate, name, _lastUpdated"),
        ("_format=xml", "_format must be json"),
        ("name=a,b", r"name must have a single value: write \, for a comma"),
        (r"name=a\\,b", r"name must have a single value: write \, for a comma"),
        ("name=", "name must have a value"),
        ("name=-.-", "name must have a value"),
        ("email=", "email must have a value"),
        ("phone=|", "phone must have a value"),
        ("telecom=email|", "telecom must have a value"),
        (f"identifier={IDENTIFIER}|", "identifier must have a value"),
        ("_id=", "_id must have a value"),
        ("_page=+", "_page must have a value"),
        ("_id=x&name=a", "_id cannot be combined"),
        ("name", "the query is not valid"),
        ("name=%FF", "the query is not valid"),
        ("&".join(["name=a"] * 31), "the query is not valid"),
        (f"name={'+'.join('abcdefghijk')}", "the text to find must have at most 10 words"),
        (f"name={'a' * 60}&given={'b' * 60}", "the text to find must be at most 100 characters"),
        ("email=a%01b", "the text to find must not contain control characters"),
        (f"_sort={','.join(['name'] * 50)}", "_sort must be at most 200 characters"),
        (f"_page={'x' * 1025}", "_page must be at most 1024 characters"),
    ],
)
def test_unsupported_search_is_rejected(patients: Client, query: str, description: str) -> None:
    with pytest.raises(Rejected) as rejected:
        search(patients, query)
    assert rejected.value.reason == "FIELDS_INVALID"
    [(field, violation)] = rejected.value.violations.items()
    assert field == "parameters"
    assert description in violation


def test_forged_page_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected, match="PAGE_TOKEN_INVALID"):
        search(patients, "name=x&_page=y")


def test_restricted_patients_are_visible_to_their_care_team(patients: Client, signer: Signer, surname: str) -> None:
    member, outsider = User(patients, signer), User(patients, signer)
    patient: Patient = create_restricted(member.client, name=surname)
    [entry] = search(member.client, name=surname)["entry"]
    assert entry["resource"]["meta"]["security"][0]["code"] == "R"
    for query in (f"name={surname}", f"_id={patient.id}", f"email={patient.email}"):
        assert ids_of(search(outsider.client, query)) == []
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        outsider.client.get_fhir_patient(GetFhirPatientRequest(id=patient.id))


def test_access_events_name_the_patients(patients: Client, admin: Client, surname: str) -> None:
    patient = patients.create_patient(create_request(name=surname))
    patients.get_fhir_patient(GetFhirPatientRequest(id=patient.id))
    search(patients, name=surname)
    search(patients, _id=patient.id)
    events = wait_for_events(admin, patient.id, 4)
    names = ["FindFhirPatients", "FindFhirPatients", "GetFhirPatient"]
    assert sorted(summarize(events)[1:]) == [(name, "OK") for name in names]
    assert json.loads(events[-1].query or events[-2].query)["query"].endswith((surname, patient.id))


def test_capabilities_name_the_search_parameters(patients: Client) -> None:
    statement = json.loads(patients.with_token("").get_fhir_capabilities(GetFhirCapabilitiesRequest()).data)
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    [resource] = statement["rest"][0]["resource"]
    assert {"name", "birthdate", "identifier"} < {each["name"] for each in resource["searchParam"]}
