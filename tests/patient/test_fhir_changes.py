"""Changes of patients by FHIR at the patient service: what is kept."""

from typing import Any

import pytest

from gen.google.protobuf import FieldMask
from gen.pulsetrack.patient.v1 import (
    CreateFhirPatientRequest,
    DeleteFhirPatientRequest,
    DeletePatientRequest,
    FindFhirPatientsRequest,
    GetFhirPatientHistoryRequest,
    GetFhirPatientVersionRequest,
    GetPatientRequest,
    MergePatientsRequest,
    Patient,
    Sex,
    UndeletePatientRequest,
    UpdatePatientRequest,
)
from tests.harness.client import Client, Rejected
from tests.harness.tokens import Signer
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import User
from tests.patient.factory import create_request
from tests.patient.fhir_resources import (
    Resource,
    a_resource,
    a_rich_resource,
    create,
    parse,
    read,
    to_body,
    update,
    without_meta,
)

RESTRICTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}


def get(client: Client, resource: Resource) -> Patient:
    """Returns the record of a resource."""
    patient: Patient = client.get_patient(GetPatientRequest(id=resource["id"]))
    return patient


def change(client: Client, resource: Resource, *mask: str, **fields: Any) -> None:
    """Changes the record of a resource by UpdatePatient."""
    patient = Patient(id=resource["id"], **fields)
    client.update_patient(UpdatePatientRequest(patient=patient, update_mask=FieldMask(paths=[*mask])))


def test_record_has_the_preferred_elements(patients: Client) -> None:
    sent = a_rich_resource()
    patient = get(patients, create(patients, sent))
    assert (patient.name, patient.phone, patient.sex) == ("Dr. Ana Rita Silva PhD", "555-4321", Sex.FEMALE)
    assert patient.address == "1 High Street, Flat 2, Porto, 4000, PT"
    assert patient.medical_record_number == sent["identifier"][1]["value"]
    assert (patient.email, patient.date_of_birth) == (sent["telecom"][3]["value"], "1980-02-29")


def test_created_resource_is_returned_as_it_was_written(patients: Client) -> None:
    sent = a_rich_resource()
    created = create(patients, sent)
    assert without_meta(created) == sent
    assert read(patients, created["id"]) == created
    [entry] = parse(patients.find_fhir_patients(FindFhirPatientsRequest(parameters=f"_id={created['id']}")))["entry"]
    assert entry["resource"] == created


def test_decimals_keep_their_precision(patients: Client) -> None:
    body = to_body(a_resource(extension=[{"url": "urn:x", "valueDecimal": "1.50"}]))
    body.data = body.data.replace(b'"1.50"', b"1.50")
    created = patients.create_fhir_patient(CreateFhirPatientRequest(resource=body))
    assert b'"valueDecimal":1.50' in created.data


def test_update_replaces_the_record_and_the_resource(patients: Client) -> None:
    created = create(patients, a_rich_resource())
    replaced = a_resource(id=created["id"])
    updated = update(patients, replaced)
    assert updated["meta"]["versionId"] == "2"
    assert without_meta(updated) == without_meta(replaced)
    patient = get(patients, created)
    assert (patient.phone, patient.medical_record_number, patient.sex) == ("", "", Sex.UNSPECIFIED)


def test_update_without_effect_adds_no_version(patients: Client) -> None:
    created = create(patients, a_rich_resource())
    again = dict(reversed(read(patients, created["id"]).items()))
    assert update(patients, again) == created
    assert update(patients, again | {"deceasedBoolean": True})["meta"]["versionId"] == "2"


def test_native_update_replaces_the_elements_that_it_contradicts(patients: Client) -> None:
    sent = a_rich_resource()
    created = create(patients, sent)
    change(patients, created, "name", "sex", "phone", name="Ana Lima", sex=Sex.OTHER, phone="112")
    change(patients, created, "date_of_birth", date_of_birth="1981-01-01")
    resource = read(patients, created["id"])
    assert resource["name"] == [sent["name"][0], {"use": "official", "text": "Ana Lima"}]
    assert (resource["gender"], resource["birthDate"]) == ("other", "1981-01-01")
    assert not {"text", "_birthDate"} & resource.keys()
    replaced = {"system": "phone", "value": "112", "use": "mobile", "rank": 1}
    assert resource["telecom"] == [*sent["telecom"][:2], replaced, *sent["telecom"][3:]]
    for name in ("address", "identifier", "contact", "maritalStatus"):
        assert resource[name] == sent[name]


def test_value_that_the_record_gets_back_has_its_element_again(patients: Client) -> None:
    created = create(patients, a_rich_resource())
    before = get(patients, created)
    change(patients, created, "name", name="Ana Lima")
    change(patients, created, "name", name=before.name)
    assert without_meta(read(patients, created["id"])) == without_meta(created)


def test_cleared_field_removes_its_elements(patients: Client) -> None:
    created = create(patients, a_rich_resource())
    change(patients, created, "phone", "medical_record_number")
    resource = read(patients, created["id"])
    assert [each["system"] for each in resource["telecom"]] == ["email", "fax"]
    assert [each["value"] for each in resource["identifier"]] == ["12345"]


def test_history_has_the_resource_of_each_version(patients: Client, admin: Client) -> None:
    created = create(patients, a_rich_resource())
    change(patients, created, "name", name="Ana Lima")
    update(patients, a_resource(id=created["id"]))
    admin.delete_patient(DeletePatientRequest(id=created["id"]))
    admin.undelete_patient(UndeletePatientRequest(id=created["id"]))
    bundle = parse(patients.get_fhir_patient_history(GetFhirPatientHistoryRequest(id=created["id"])))
    entries = bundle["entry"]
    assert [entry["request"]["method"] for entry in entries] == ["PUT", "DELETE", "PUT", "PUT", "POST"]
    assert [entry["response"]["status"] for entry in entries] == ["200", "204", "200", "200", "201"]
    assert [entry["response"]["etag"] for entry in entries] == [f'W/"{version}"' for version in (5, 4, 3, 2, 1)]
    assert (entries[4]["resource"], entries[0]["resource"]) == (created, read(patients, created["id"]))
    assert "resource" not in entries[1]
    assert entries[3]["resource"]["name"][1]["text"] == "Ana Lima"
    assert entries[3]["resource"]["maritalStatus"] == created["maritalStatus"]


def test_history_is_paged(patients: Client) -> None:
    created = create(patients, a_resource())
    for name in ("other", "male"):
        created = update(patients, created | {"gender": name})
    parameters, genders = "_count=2&_format=json", []
    while parameters:
        request = GetFhirPatientHistoryRequest(id=created["id"], parameters=parameters)
        bundle = parse(patients.get_fhir_patient_history(request))
        genders += [entry["resource"].get("gender") for entry in bundle["entry"]]
        urls = {link["relation"]: link["url"] for link in bundle["link"]}
        assert urls["self"] == f"Patient/{created['id']}/_history?{parameters}"
        parameters = urls.get("next", "?").partition("?")[2]
    assert genders == ["male", "other", None]


def test_version_is_returned_while_the_patient_had_it(patients: Client, admin: Client) -> None:
    created = create(patients, a_rich_resource())
    admin.delete_fhir_patient(DeleteFhirPatientRequest(id=created["id"]))
    first = GetFhirPatientVersionRequest(id=created["id"], version="1")
    assert parse(patients.get_fhir_patient_version(first)) == created
    for version in ("0", "2", "3"):
        with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
            patients.get_fhir_patient_version(GetFhirPatientVersionRequest(id=created["id"], version=version))


def test_merged_patient_answers_with_the_survivor(patients: Client, admin: Client) -> None:
    survivor, merged = create(patients, a_rich_resource()), create(patients, a_resource())
    admin.merge_patients(MergePatientsRequest(id=survivor["id"], merged_id=merged["id"]))
    assert read(patients, merged["id"]) == survivor
    with pytest.raises(Rejected, match="PATIENT_MERGED"):
        update(patients, merged)
    bundle = parse(patients.get_fhir_patient_history(GetFhirPatientHistoryRequest(id=merged["id"])))
    assert [(entry["request"]["method"], "resource" in entry) for entry in bundle["entry"]] == [
        ("DELETE", False),
        ("POST", True),
    ]
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        patients.get_fhir_patient_version(GetFhirPatientVersionRequest(id=merged["id"], version="2"))


def test_stale_etag_is_rejected(patients: Client, admin: Client) -> None:
    created = create(patients, a_resource())
    updated = update(patients, created | {"gender": "other"}, etag="1")
    with pytest.raises(Rejected, match="ETAG_MISMATCH"):
        update(patients, updated, etag="1")
    with pytest.raises(Rejected, match="ETAG_MISMATCH"):
        admin.delete_fhir_patient(DeleteFhirPatientRequest(id=created["id"], etag="1"))


def test_label_makes_a_patient_restricted(patients: Client, admin: Client, signer: Signer) -> None:
    member, outsider = User(patients, signer), User(patients, signer)
    restricted = create(member.client, a_resource(meta={"security": [RESTRICTED]}))
    assert get(member.client, restricted).restricted
    request = GetFhirPatientVersionRequest(id=restricted["id"], version="1")
    for call in (
        lambda: read(outsider.client, restricted["id"]),
        lambda: outsider.client.get_fhir_patient_version(request),
        lambda: update(outsider.client, restricted),
    ):
        with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
            call()
    without_label = {name: each for name, each in restricted.items() if name != "meta"}
    assert update(member.client, without_label)["meta"]["security"]
    change(admin, restricted, "restricted", restricted=False)
    assert "security" not in read(outsider.client, restricted["id"])["meta"]
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        update(member.client, restricted)


def test_registered_date_is_an_extension(patients: Client) -> None:
    dated = {"url": "urn:pulsetrack:registered-date", "valueDate": "2020-01-31"}
    created = create(patients, a_resource(extension=[dated]))
    assert (get(patients, created).registered_date, created["extension"]) == ("2020-01-31", [dated])
    assert update(patients, without_meta(created) | {"id": created["id"]})["extension"] == [dated]


def test_number_is_found_by_its_system(patients: Client) -> None:
    sent = a_rich_resource()
    created, number = create(patients, sent), sent["identifier"][1]["value"]
    for value, found in ((f"http://hospital.test|{number}", True), (number, True), (f"urn:other|{number}", False)):
        bundle = parse(patients.find_fhir_patients(FindFhirPatientsRequest(parameters=f"identifier={value}")))
        assert [entry["resource"]["id"] for entry in bundle.get("entry", [])] == ([created["id"]] if found else [])


def test_resource_of_a_patient_created_otherwise_can_be_updated(patients: Client) -> None:
    patient = patients.create_patient(create_request(sex=Sex.MALE, phone="112"))
    resource = read(patients, patient.id)
    assert update(patients, resource | {"maritalStatus": {"text": "widowed"}})["maritalStatus"]
    assert get(patients, resource).phone == "112"


def test_each_call_is_recorded(patients: Client, admin: Client) -> None:
    created = create(patients, a_resource())
    update(patients, created | {"gender": "other"})
    patients.get_fhir_patient_version(GetFhirPatientVersionRequest(id=created["id"], version="1"))
    patients.get_fhir_patient_history(GetFhirPatientHistoryRequest(id=created["id"]))
    admin.delete_fhir_patient(DeleteFhirPatientRequest(id=created["id"]))
    names = ["CreateFhirPatient", "UpdateFhirPatient", "GetFhirPatientVersion", "GetFhirPatientHistory"]
    events = wait_for_events(admin, created["id"], 5)
    assert sorted(summarize(events)) == sorted((name, "OK") for name in [*names, "DeleteFhirPatient"])


def test_parameter_of_a_history_is_checked(patients: Client) -> None:
    created = create(patients, a_resource())
    with pytest.raises(Rejected, match="FIELDS_INVALID"):
        patients.get_fhir_patient_history(GetFhirPatientHistoryRequest(id=created["id"], parameters="_since=2020"))
