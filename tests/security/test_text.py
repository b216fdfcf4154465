"""Text that a terminal, a query or a reader may misinterpret, through the gateway."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import CreatePatientRequest, GetPatientRequest, ListPatientsRequest, Patient
from tests.e2e.sessions import Session, a_patient
from tests.harness.client import Rejected

AS_SENT = {
    "homographs": "\u0410n\u0430 Silv\u0430",
    "zero width": "Ana\u200d\u200cSilva",
    "markup": '<script>alert(1)</script> "; DROP TABLE patients; -- ${x} %s',
}
CONTROLS = ["\x00", "\x07", "\t", "\n", "\r", "\x1b[2J", "\x7f", "\x85"]


@pytest.mark.parametrize("name", AS_SENT.values(), ids=AS_SENT)
def test_name_is_returned_unchanged_over_grpc_and_rest(user: Session, name: str) -> None:
    created = user.post("/v1/patients", a_patient(name=name))
    assert user.get(f"/v1/patients/{created['id']}")["name"] == name
    assert user.client("patient").get_patient(GetPatientRequest(id=created["id"])).name == name


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
def test_control_characters_are_rejected_over_grpc_and_rest(user: Session, control: str) -> None:
    body = a_patient(name=f"Ana{control}Silva")
    rest = user.rest.post("/v1/patients", json=body)
    assert (rest.status_code, rest.json()["details"][0]["reason"]) == (400, "FIELDS_INVALID")
    patient = Patient(name=body["name"], email=body["email"], address="1 High Street", date_of_birth="1980-02-29")
    with pytest.raises(Rejected, match="FIELDS_INVALID") as rejected:
        user.client("patient").create_patient(CreatePatientRequest(patient=patient))
    assert list(rejected.value.violations) == ["patient.name"]


@pytest.mark.parametrize("name", ["Ana\u202eavliS", "\u200fAna", "\u200b", "\u3164"], ids=ascii)
def test_name_with_misleading_characters_is_rejected(user: Session, name: str) -> None:
    rejected = user.rest.post("/v1/patients", json=a_patient(name=name))
    assert (rejected.status_code, rejected.json()["details"][0]["reason"]) == (400, "FIELDS_INVALID")


@pytest.mark.parametrize("text", ["%", "_", "\\", "100%", "a_b", "' OR true --", "%00"])
def test_wildcards_and_quotes_in_a_query_match_no_text_over_grpc_and_rest(user: Session, text: str) -> None:
    mark = uuid4().hex
    query = f"{mark}{text}zq"  # a word of two letters is not searched inside words
    decoy = user.post("/v1/patients", a_patient(name=f"{mark}xzq"))
    named = user.post("/v1/patients", a_patient(name=query))
    found = user.get("/v1/patients", query=query, pageSize=1000)["patients"]
    native = user.client("patient").list_patients(ListPatientsRequest(query=query, page_size=1000)).patients
    for ids in ({patient["id"] for patient in found}, {patient.id for patient in native}):
        assert named["id"] in ids
        assert decoy["id"] not in ids


@pytest.mark.parametrize("query", ["%", "_", "\\", "%_%", "'", "--"])
def test_query_of_wildcards_or_quotes_finds_nothing_over_grpc_and_rest(user: Session, query: str) -> None:
    user.post("/v1/patients", a_patient(name=f"100{query}"))
    assert user.get("/v1/patients", query=query) == {"patients": [], "nextPageToken": ""}
    assert user.client("patient").list_patients(ListPatientsRequest(query=query)).patients == []
