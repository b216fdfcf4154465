"""The journey of a user, with grpcio stubs."""

import os
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from pulsetrack.auth.v1.auth_pb2 import LoginRequest
from pulsetrack.auth.v1.auth_pb2_grpc import AuthServiceStub
from pulsetrack.patient.v1.patient_pb2 import (
    CreatePatientRequest,
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientsRequest,
    Patient,
    RevisionType,
    UpdatePatientRequest,
    WatchPatientsRequest,
)
from pulsetrack.patient.v1.patient_pb2_grpc import PatientServiceStub

WORD = uuid4().hex


def new_patient(name: str) -> Patient:
    address, born = "1 High Street, Porto", "1980-02-29"
    return Patient(name=name, email=f"{uuid4()}@clinic.test", address=address, date_of_birth=born)


def describe(error: grpc.RpcError) -> str:
    """Returns the reason and the invalid fields of an error."""
    assert isinstance(error, grpc.Call)
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, fields = ErrorInfo(), BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(fields)
    return " ".join([info.reason, *sorted(violation.field for violation in fields.field_violations)])


with grpc.insecure_channel(os.environ["URL"].removeprefix("http://")) as channel:
    auth, patients = AuthServiceStub(channel), PatientServiceStub(channel)
    tokens = auth.Login(LoginRequest(email="admin@pulsetrack.local", password=os.environ["PASSWORD"]))
    token = (("authorization", f"Bearer {tokens.access_token}"),)
    print("logged in")

    request = CreatePatientRequest(patient=new_patient(f"Ana {WORD}"), request_id=str(uuid4()))
    created = patients.CreatePatient(request, metadata=token)
    assert patients.CreatePatient(request, metadata=token) == created
    patients.CreatePatient(
        CreatePatientRequest(patient=new_patient(f"Rui {WORD}"), request_id=str(uuid4())), metadata=token
    )
    print("created once per request ID")

    try:
        patients.CreatePatient(CreatePatientRequest(patient=Patient(name="Ana", email="x")), metadata=token)
    except grpc.RpcError as error:
        print("rejected:", describe(error))

    assert patients.GetPatient(GetPatientRequest(id=created.id), metadata=token) == created
    found, page = 0, ListPatientsRequest(query=WORD, page_size=1)
    while True:
        listed = patients.ListPatients(page, metadata=token)
        found += len(listed.patients)
        if not listed.next_page_token:
            break
        page.page_token = listed.next_page_token
    print("listed:", found)

    watch = patients.WatchPatients(WatchPatientsRequest(), metadata=token)
    next(watch)
    change = UpdatePatientRequest(
        patient=Patient(id=created.id, etag=created.etag, phone="+351 21 000 000"),
        update_mask=FieldMask(paths=["phone"]),
    )
    patients.UpdatePatient(change, metadata=token)
    for message in watch:
        if message.revision.patient.id == created.id:
            print("watched:", RevisionType.Name(message.revision.type), message.revision.patient.phone)
            break
    watch.cancel()

    try:
        patients.UpdatePatient(change, metadata=token)
    except grpc.RpcError as error:
        print("rejected:", describe(error))

    assert patients.DeletePatient(DeletePatientRequest(id=created.id), metadata=token).HasField("delete_time")
    print("deleted")
