"""A server that fails as often as a test needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pulsetrack
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from pulsetrack.auth.v1.auth_pb2 import LoginRequest, LogoutRequest, TokenPair, VerifySecondFactorRequest
from pulsetrack.auth.v1.auth_pb2_grpc import AuthServiceServicer, add_AuthServiceServicer_to_server
from pulsetrack.patient.v1.patient_pb2 import (
    CreatePatientRequest,
    ExportPatientsRequest,
    ExportPatientsResponse,
    Patient,
    Revision,
    UpdatePatientRequest,
    WatchPatientsRequest,
    WatchPatientsResponse,
)
from pulsetrack.patient.v1.patient_pb2_grpc import PatientServiceServicer, add_PatientServiceServicer_to_server
from running_system import Calls

ANA = pulsetrack.Password("ana@clinic.test", "x")
TOKENS = TokenPair(access_token="access", refresh_token="refresh", expires_in=900)

Request = CreatePatientRequest | UpdatePatientRequest | WatchPatientsRequest | ExportPatientsRequest
Context = grpc.aio.ServicerContext[object, object]


class Auth(AuthServiceServicer):
    """Accepts every password. The user `totp@clinic.test` has a second factor."""

    async def Login(self, request: LoginRequest, context: Context) -> TokenPair:
        return TokenPair(challenge="challenge") if request.email == "totp@clinic.test" else TOKENS

    async def VerifySecondFactor(self, request: VerifySecondFactorRequest, context: Context) -> TokenPair:
        if (request.challenge, request.code) != ("challenge", "123456"):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong code")
        return TOKENS

    async def Logout(self, request: LogoutRequest, context: Context) -> Empty:
        return Empty()


class FailingPatients(PatientServiceServicer):
    """Fails a number of times, and then succeeds. Keeps the requests."""

    def __init__(self, code: grpc.StatusCode, failures: int, delay: int = 0) -> None:
        self.requests: list[Request] = []
        self.code, self.failures, self.delay = code, failures, delay

    async def CreatePatient(self, request: CreatePatientRequest, context: Context) -> Patient:
        await self.fail(request, context)
        return request.patient

    async def UpdatePatient(self, request: UpdatePatientRequest, context: Context) -> Patient:
        await self.fail(request, context)
        return request.patient

    async def WatchPatients(
        self, request: WatchPatientsRequest, context: Context
    ) -> AsyncIterator[WatchPatientsResponse]:
        number = len(self.requests)
        yield WatchPatientsResponse(resume_token=f"begun {number}")
        yield WatchPatientsResponse(resume_token=f"change {number}", revision=Revision(revision=number))
        await self.fail(request, context)

    async def ExportPatients(
        self, request: ExportPatientsRequest, context: Context
    ) -> AsyncIterator[ExportPatientsResponse]:
        number = len(self.requests)
        yield ExportPatientsResponse(resume_token=f"page {number}", patients=[Patient(name=f"Ana {number}")])
        await self.fail(request, context)
        yield ExportPatientsResponse(patients=[Patient(name="the last")])

    async def fail(self, request: Request, context: Context) -> None:
        self.requests.append(request)
        if len(self.requests) > self.failures:
            return
        if self.delay:
            detail = Any()
            detail.Pack(RetryInfo(retry_delay=Duration(seconds=self.delay)))
            status = Status(code=self.code.value[0], message="failed", details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(self.code, "failed")


def run(patients: FailingPatients, calls: Calls, login: pulsetrack.Password = ANA) -> None:
    """Makes calls with a client of the server."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[str]:
        server = grpc.aio.server()
        add_AuthServiceServicer_to_server(Auth(), server)
        add_PatientServiceServicer_to_server(patients, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield f"http://127.0.0.1:{port}"
        await server.stop(None)

    async def connected() -> None:
        async with serve() as url, pulsetrack.connect(url, credentials=login) as client:
            await asyncio.wait_for(calls(client), 60)

    asyncio.run(connected())
