"""Request ids in the query, in the header and in the message."""

from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient
from tests.e2e.sessions import Session, a_patient

KEY = "Idempotency-Key"


def test_request_id_is_the_same_in_query_header_and_message(user: Session) -> None:
    body = a_patient()
    first = user.rest.post("/v1/patients", json=body, params={"requestId": "e2e-1"}).raise_for_status().json()
    assert user.rest.post("/v1/patients", json=body, headers={KEY: "e2e-1"}).raise_for_status().json() == first
    of_body = {"name": "name", "email": "email", "address": "address", "dateOfBirth": "date_of_birth"}
    patient = Patient(**{of_body[name]: value for name, value in body.items()})
    patients = user.client("patient")
    assert patients.create_patient(CreatePatientRequest(patient=patient, request_id="e2e-1")).id == first["id"]
    in_header = patients.create_patient(CreatePatientRequest(patient=patient), metadata=((KEY.lower(), "e2e-1"),))
    assert in_header.id == first["id"]


def test_request_id_with_different_content_is_rejected(user: Session) -> None:
    for status in (200, 400):
        response = user.rest.post("/v1/patients", json=a_patient(), headers={KEY: "e2e-2"})
        assert response.status_code == status
    assert response.json()["details"][0]["reason"] == "REQUEST_ID_REUSED"


def test_two_request_ids_are_rejected(user: Session) -> None:
    for headers in ([(KEY, "a")], [(KEY, "b"), (KEY, "c")]):
        response = user.rest.post("/v1/patients", json=a_patient(), params={"requestId": "b"}, headers=headers)
        assert (response.status_code, response.json()["details"][0]["reason"]) == (400, "FIELDS_INVALID")
