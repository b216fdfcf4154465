"""The client against a server that fails: retries, and streams that resume."""

import asyncio

import grpc
import pulsetrack
import pytest
from pulsetrack import Client
from pulsetrack.patient.v1.patient_pb2 import ExportPatientsRequest, WatchPatientsRequest
from servers import FailingPatients, run


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_create_is_repeated_with_the_same_request_id(code: grpc.StatusCode) -> None:
    patients = FailingPatients(code, failures=2)

    async def calls(client: Client) -> None:
        assert (await client.patients.create(name="Ana")).name == "Ana"

    run(patients, calls)
    assert len(patients.requests) == 3
    assert patients.requests[0] == patients.requests[2]


def test_update_with_an_etag_is_not_repeated_after_unavailable() -> None:
    patients = FailingPatients(grpc.StatusCode.UNAVAILABLE, failures=1)

    async def calls(client: Client) -> None:
        with pytest.raises(pulsetrack.Unavailable):
            await client.patients.update("1", etag="1", name="Ana")

    run(patients, calls)
    assert len(patients.requests) == 1


def test_call_is_not_repeated_if_the_server_asks_to_wait_past_the_timeout() -> None:
    patients = FailingPatients(grpc.StatusCode.RESOURCE_EXHAUSTED, failures=1, delay=30)

    async def calls(client: Client) -> None:
        with pytest.raises(pulsetrack.ResourceExhausted) as caught:
            await client.patients.create(name="Ana", timeout=20)
        assert caught.value.retry_delay == 30

    run(patients, calls)


def test_other_errors_are_not_repeated() -> None:
    patients = FailingPatients(grpc.StatusCode.FAILED_PRECONDITION, failures=1)

    async def calls(client: Client) -> None:
        with pytest.raises(pulsetrack.FailedPrecondition):
            await client.patients.create(name="Ana")

    run(patients, calls)
    assert len(patients.requests) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])  # a reset stream is INTERNAL
def test_watch_resumes_after_its_last_message(code: grpc.StatusCode) -> None:
    patients = FailingPatients(code, failures=2)

    async def calls(client: Client) -> None:
        watch = client.patients.watch()
        assert [(await anext(watch)).revision.revision for _ in range(3)] == [0, 1, 2]
        await watch.aclose()

    run(patients, calls)
    tokens = [request.resume_token for request in patients.requests if isinstance(request, WatchPatientsRequest)]
    assert tokens[:2] == ["", "change 0"]


def test_export_resumes_after_its_last_message_and_ends() -> None:
    patients = FailingPatients(grpc.StatusCode.UNAVAILABLE, failures=2)

    async def calls(client: Client) -> None:
        exported = [patient.name async for patient in client.patients.export()]
        assert exported == ["Ana 0", "Ana 1", "Ana 2", "the last"]

    run(patients, calls)
    tokens = [request.resume_token for request in patients.requests if isinstance(request, ExportPatientsRequest)]
    assert tokens == ["", "page 0", "page 1"]


def test_watch_fails_with_an_error_that_will_not_pass() -> None:
    patients = FailingPatients(grpc.StatusCode.INVALID_ARGUMENT, failures=1)

    async def calls(client: Client) -> None:
        with pytest.raises(pulsetrack.InvalidArgument):
            async for _ in client.patients.watch():
                pass

    run(patients, calls)


def test_unreachable_server_raises_unavailable() -> None:
    async def calls() -> None:
        async with pulsetrack.connect("http://127.0.0.1:1", email="ana@clinic.test", password="x") as client:
            with pytest.raises(pulsetrack.Unavailable):
                await client.patients.get("1", timeout=0.3)
            with pytest.raises(pulsetrack.Unavailable):
                await anext(client.patients.watch())

    asyncio.run(calls())
