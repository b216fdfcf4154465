"""The If-Match header of calls that change a patient. The gateway has checked its syntax."""

from collections.abc import Callable

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientRevisionsRequest,
    Patient,
    UndeletePatientRequest,
    UnmergePatientsRequest,
)
from services.common.rpc.conditions import Condition, parse_if_match
from tests.harness.client import Client, Rejected
from tests.patient.factory import create_request, update_request
from tests.patient.merging import merge

Change = Callable[..., Patient]


def change_by(name: str, patients: Client, admin: Client, patient: Patient) -> Change:
    """Returns a function that changes the patient with the method."""
    if name == "update":
        return lambda **fields: patients.update_patient(update_request(patient, phone="999"), **fields)
    if name == "delete":
        return lambda **fields: admin.delete_patient(DeletePatientRequest(id=patient.id), **fields)
    if name == "undelete":
        return lambda **fields: admin.undelete_patient(UndeletePatientRequest(id=patient.id), **fields)
    return lambda **fields: admin.unmerge_patients(UnmergePatientsRequest(id=patient.id), **fields)


@pytest.fixture(params=["update", "delete", "undelete", "unmerge"])
def change(request: pytest.FixtureRequest, patients: Client, admin: Client) -> tuple[Patient, Change]:
    """A patient and a function that changes it."""
    patient = patients.create_patient(create_request())
    if request.param == "undelete":
        patient = admin.delete_patient(DeletePatientRequest(id=patient.id))
    if request.param == "unmerge":
        merge(admin, patients.create_patient(create_request()), patient)
        patient = patients.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions[0].patient
    return patient, change_by(request.param, patients, admin, patient)


def test_current_etag_is_accepted(change: tuple[Patient, Change]) -> None:
    patient, apply = change
    changed = apply(metadata=(("if-match", f'"0", "{patient.etag}"'),))
    assert changed.etag != patient.etag


def test_any_version_is_accepted_by_a_star(change: tuple[Patient, Change]) -> None:
    patient, apply = change
    assert apply(metadata=(("if-match", "*"),)).etag != patient.etag


@pytest.mark.parametrize("value", ['"0"', '"0", "00"', 'W/"{etag}"', "{etag}"])
def test_other_etag_is_rejected_and_nothing_changes(change: tuple[Patient, Change], value: str) -> None:
    patient, apply = change
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        apply(metadata=(("if-match", value.format(etag=patient.etag)),))
    assert apply(metadata=(("if-match", f'"{patient.etag}"'),)).etag == str(int(patient.etag) + 1)


@pytest.mark.parametrize("header", ['"1"', '"0", "1"', "*"])
def test_header_that_accepts_the_etag_of_the_request_is_accepted(patients: Client, header: str) -> None:
    ana = patients.create_patient(create_request())
    request = update_request(ana, phone="999", etag=ana.etag)
    assert patients.update_patient(request, metadata=(("if-match", header),)).phone == "999"


@pytest.mark.parametrize("header", ['"2"', 'W/"1"'])
def test_header_and_etag_that_differ_are_rejected(patients: Client, admin: Client, header: str) -> None:
    ana = patients.create_patient(create_request())
    metadata = (("if-match", header),)
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.update_patient(update_request(ana, phone="999", etag=ana.etag), metadata=metadata)
    assert list(rejected.value.violations) == ["patient.etag"]
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.delete_patient(DeletePatientRequest(id=ana.id, etag=ana.etag), metadata=metadata)
    assert list(rejected.value.violations) == ["etag"]
    assert patients.get_patient(GetPatientRequest(id=ana.id)) == ana


def test_etag_of_the_request_narrows_a_star(patients: Client) -> None:
    ana = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        patients.update_patient(update_request(ana, phone="999", etag="0"), metadata=(("if-match", "*"),))


@pytest.mark.parametrize(
    ("values", "etags"),
    [
        ([], None),
        (["*"], None),
        (['"1"'], {"1"}),
        (['"1"', '"2", W/"3"'], {"1", "2"}),
        ([', "a,b" ,, ""'], {"a,b", ""}),
        (["1"], set()),
    ],
)
def test_condition_of_headers(values: list[str], etags: set[str] | None) -> None:
    assert parse_if_match(values) == Condition(None if etags is None else frozenset(etags))
