"""The client against a server that fails: retries, and watches that resume."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pulsetrack
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from pulsetrack import Client
from pulsetrack.auth.v1.auth_pb2 import LoginRequest, LogoutRequest, TokenPair
from pulsetrack.auth.v1.auth_pb2_grpc import AuthServiceServicer, add_AuthServiceServicer_to_server
from pulsetrack.patient.v1.patient_pb2 import (
    CreatePatientRequest,
    Patient,
    Revision,
    UpdatePatientRequest,
    WatchPatientsRequest,
    WatchPatientsResponse,
)
from pulsetrack.patient.v1.patient_pb2_grpc import PatientServiceServicer, add_PatientServiceServicer_to_server

Context = grpc.aio.ServicerContext[object, object]


class Auth(AuthServiceServicer):
    """Accepts every login."""

    async def Login(self, request: LoginRequest, context: Context) -> TokenPair:
        return TokenPair(access_token="access", refresh_token="refresh", expires_in=900)

    async def Logout(self, request: LogoutRequest, context: Context) -> Empty:
        return Empty()


class FailingPatients(PatientServiceServicer):
    """Fails a number of times, and then succeeds. Keeps the requests."""

    def __init__(self, code: grpc.StatusCode, failures: int, delay: float = 0) -> None:
        self.requests: list[CreatePatientRequest | UpdatePatientRequest | WatchPatientsRequest] = []
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

    async def fail(
        self, request: CreatePatientRequest | UpdatePatientRequest | WatchPatientsRequest, context: Context
    ) -> None:
        self.requests.append(request)
        if len(self.requests) > self.failures:
            return
        if self.delay:
            detail = Any()
            detail.Pack(RetryInfo(retry_delay=Duration(nanos=int(self.delay * 1e9))))
            status = Status(code=self.code.value[0], message="failed", details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(self.code, "failed")


def tell(patients: FailingPatients, story: Callable[[Client], Awaitable[None]]) -> None:
    """Runs a story with a client of a server that fails."""

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
        async with serve() as url, pulsetrack.connect(url, email="ana@clinic.test", password="x") as client:
            await asyncio.wait_for(story(client), 60)

    asyncio.run(connected())


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_create_is_repeated_with_the_same_request_id(code: grpc.StatusCode) -> None:
    patients = FailingPatients(code, failures=2)

    async def story(client: Client) -> None:
        assert (await client.patients.create(name="Ana")).name == "Ana"

    tell(patients, story)
    assert len(patients.requests) == 3
    assert patients.requests[0] == patients.requests[2]


def test_update_with_an_etag_is_not_repeated_after_unavailable() -> None:
    patients = FailingPatients(grpc.StatusCode.UNAVAILABLE, failures=1)

    async def story(client: Client) -> None:
        with pytest.raises(pulsetrack.Unavailable):
            await client.patients.update("1", etag="1", name="Ana")

    tell(patients, story)
    assert len(patients.requests) == 1


def test_call_is_not_repeated_if_the_server_asks_to_wait_past_the_timeout() -> None:
    patients = FailingPatients(grpc.StatusCode.RESOURCE_EXHAUSTED, failures=1, delay=0.9)

    async def story(client: Client) -> None:
        with pytest.raises(pulsetrack.ResourceExhausted) as caught:
            await client.patients.create(name="Ana", timeout=0.8)
        assert caught.value.retry_delay == 0.9

    tell(patients, story)


def test_other_errors_are_not_repeated() -> None:
    patients = FailingPatients(grpc.StatusCode.INTERNAL, failures=1)

    async def story(client: Client) -> None:
        with pytest.raises(pulsetrack.PulseTrackError, match="INTERNAL"):
            await client.patients.create(name="Ana")

    tell(patients, story)
    assert len(patients.requests) == 1


def test_watch_resumes_after_its_last_message() -> None:
    patients = FailingPatients(grpc.StatusCode.UNAVAILABLE, failures=2)

    async def story(client: Client) -> None:
        watch = client.patients.watch()
        assert [(await anext(watch)).revision.revision for _ in range(3)] == [0, 1, 2]
        await watch.aclose()

    tell(patients, story)
    tokens = [request.resume_token for request in patients.requests if isinstance(request, WatchPatientsRequest)]
    assert tokens[:2] == ["", "change 0"]


def test_watch_fails_with_an_error_that_will_not_pass() -> None:
    patients = FailingPatients(grpc.StatusCode.INVALID_ARGUMENT, failures=1)

    async def story(client: Client) -> None:
        with pytest.raises(pulsetrack.InvalidArgument):
            async for _ in client.patients.watch():
                pass

    tell(patients, story)


def test_unreachable_server_raises_unavailable() -> None:
    async def story() -> None:
        async with pulsetrack.connect("http://127.0.0.1:1", email="ana@clinic.test", password="x") as client:
            with pytest.raises(pulsetrack.Unavailable):
                await client.patients.get("1", timeout=0.3)
            with pytest.raises(pulsetrack.Unavailable):
                await anext(client.patients.watch())

    asyncio.run(story())
