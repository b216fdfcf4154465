"""The mapping of patients to FHIR resources and back, and the check of the structure of resources."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from fhirclient.models.fhirabstractbase import FHIRValidationError
from fhirclient.models.patient import Patient as FhirPatient
from hypothesis import given
from hypothesis import strategies as st

from gen.pulsetrack.patient.v1 import Patient, Sex
from services.patient.fhir.mapping import locate, merge, read_patient, strip
from services.patient.fhir.structure import find_violations
from tests.patient.fhir_resources import a_rich_resource

TEXT = st.text("abc", min_size=1, max_size=3)
USES = st.sampled_from(["", "old", "home", "work", "official", "usual"])
NUMBERED = st.fixed_dictionaries({"value": TEXT, "system": st.sampled_from(["phone", "email", "fax"])})
RESOURCES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.lists(st.fixed_dictionaries({"use": USES}, optional={"text": TEXT, "family": TEXT}), max_size=3),
        "telecom": st.lists(
            st.builds(
                lambda contact, more: contact | more,
                NUMBERED,
                st.fixed_dictionaries({"use": USES}, optional={"rank": st.integers(1, 3)}),
            ),
            max_size=4,
        ),
        "address": st.lists(st.fixed_dictionaries({"use": USES}, optional={"text": TEXT, "city": TEXT}), max_size=3),
        "gender": st.sampled_from(["male", "female", "other", "unknown"]),
        "birthDate": st.sampled_from(["1980-02-29", "1981-01-01"]),
        "identifier": st.lists(
            st.fixed_dictionaries(
                {"system": st.sampled_from(["urn:x", "urn:pulsetrack:medical-record-number"])}, optional={"value": TEXT}
            ),
            max_size=3,
        ),
    },
)
PATIENTS = st.builds(
    Patient,
    name=TEXT,
    email=TEXT,
    address=TEXT,
    phone=st.just("") | TEXT,
    medical_record_number=st.just("") | TEXT,
    sex=st.sampled_from(Sex),
    date_of_birth=st.sampled_from(["1980-02-29", "1981-01-01"]),
    registered_date=st.just("2020-01-31"),
)


@given(RESOURCES, PATIENTS)
def test_merged_resource_has_the_values_of_the_patient(stored: dict[str, Any], patient: Patient) -> None:
    before = deepcopy(stored)
    assert read_patient(merge(stored, patient)) == patient
    assert stored == before


@given(RESOURCES)
def test_resource_with_the_values_of_the_patient_is_unchanged(stored: dict[str, Any]) -> None:
    patient = replace(read_patient(stored), registered_date="")
    assert merge(stored, patient) == {name: value for name, value in stored.items() if value != []}


def test_stored_resource_has_no_elements_of_the_server() -> None:
    restricted = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    registered = {"url": "urn:pulsetrack:registered-date", "valueDate": "2020-01-31"}
    meta = {"versionId": "1", "lastUpdated": "x", "security": [restricted | {"display": "restricted"}]}
    resource = {"resourceType": "Patient", "id": "1", "meta": meta, "extension": [registered], "active": True}
    assert strip(resource) == {"active": True}
    others = {"meta": {"security": [restricted]}, "extension": [registered | {"id": "x"}]}
    assert strip(resource | others) == {"active": True, **others}


def test_element_of_a_field_is_located() -> None:
    resource = a_rich_resource()
    fields = ("name", "email", "phone", "medical_record_number", "sex", "registered_date")
    paths = ["name[1]", "telecom[3]", "telecom[2]", "identifier[1]", "gender", "extension"]
    assert [locate(resource, field) for field in fields] == paths


def test_valid_resource_has_no_violations() -> None:
    resource = a_rich_resource()
    assert FhirPatient(resource).as_json()
    assert find_violations(resource) == {}


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ({"active": "true"}, "active"),
        ({"name": [{"given": "A"}]}, "name[0].given"),
        ({"name": {"text": "A"}}, "name"),
        ({"address": [{"period": {"start": 1}}]}, "address[0].period.start"),
        ({"contact": [{"name": {"first": "A"}}]}, "contact[0].name.first"),
        ({"photo": [{"size": "1"}]}, "photo[0].size"),
        ({"communication": [{"preferred": True}]}, "communication[0].language"),
        ({"generalPractitioner": [{"reference": 1}]}, "generalPractitioner[0].reference"),
    ],
)
def test_type_of_each_element_is_checked(elements: dict[str, Any], path: str) -> None:
    resource = {"resourceType": "Patient", **elements}
    with pytest.raises(FHIRValidationError):
        FhirPatient(resource)
    assert [*find_violations(resource)] == [path]


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ({"name": [None]}, "name[0]"),
        ({"_active": {"valueString": "x"}}, "_active.valueString"),
        ({"_name": [{"id": "x"}]}, "_name"),
        ({"extension": [{"url": "x", "valueString": 1}]}, "extension[0].valueString"),
        ({"extension": [{"url": "x", "valuePeriod": {"x": 1}}]}, "extension[0].valuePeriod.x"),
        ({"telecom": [{"value": "a\x00b"}]}, "telecom[0].value"),
        ({"contained": [{"id": "x"}]}, "contained[0]"),
        ({"deceasedBoolean": 1}, "deceasedBoolean"),
        ({"multipleBirthInteger": 1.5}, "multipleBirthInteger"),
        ({"multipleBirthInteger": True}, "multipleBirthInteger"),
        ({"deceasedDateTime": "\u0661\u0669\u0668\u0665"}, "deceasedDateTime"),
    ],
)
def test_violation_is_found(elements: dict[str, Any], path: str) -> None:
    assert [*find_violations({"resourceType": "Patient", **elements})] == [path]


def test_depth_is_limited() -> None:
    extension: dict[str, Any] = {"url": "x", "valueString": "x"}
    for _ in range(30):
        extension = {"url": "x", "extension": [extension]}
    found = find_violations({"resourceType": "Patient", "extension": [extension]})
    assert {*found.values()} == {"is nested too deeply"}


def test_violation_of_long_list_is_located() -> None:
    names = [{"use": "old", "text": "x"}] * 10_000 + [{"text": "x"}]
    assert locate({"name": names}, "name") == "name[10000]"


def test_number_of_violations_is_limited() -> None:
    resource = {"resourceType": "Patient", **{f"x{number}": 1 for number in range(100)}}
    assert len(find_violations(resource)) == 20
