"""What an anonymous client, or one kind of call, can take of the gateway's capacity."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from envoy.target import Capacity, Rate, Rates
from services.common.protobuf.contract import SERVICES
from tests.envoy.gateway import Gateway, answers, native, native_reason, running
from tests.harness.waiting import eventually

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
MOST = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that is soon full, but for calls."""
    capacity = Capacity(streams=MOST, reflection=MOST)
    with running(tmp_path_factory.mktemp("small"), rate_limits=False, capacity=capacity) as gateway:
        eventually(lambda: answers(gateway.http, "/readyz", 200))
        yield gateway


def reflect(gateway: Gateway, stack: ExitStack) -> Any:
    """Opens a reflection stream that stays idle after its first answer, until the stack closes."""
    over = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b":\x00"  # list_services
        over.wait()

    method: Any = gateway.channel.stream_stream(REFLECTION)
    call = method(requests(), timeout=60)
    stack.callback(call.cancel)
    stack.callback(over.set)
    return call


def watch(gateway: Gateway, stack: ExitStack) -> Any:
    """Opens a watch of patients, until the stack closes."""
    method: Any = gateway.channel.unary_stream(native("WatchPatients").path)
    call = method(b"", metadata=[*gateway.bearer.items()], timeout=60)
    stack.callback(call.cancel)
    return call


def serves(gateway: Gateway) -> None:
    """Checks that a call, a health check and readiness are answered."""
    gateway.call(native("GetPatient").path, gateway.bearer)
    assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200
    assert gateway.http.get("/readyz").status_code == 200
    gateway.call(CHECK)


def test_reflection_streams_take_nothing_from_calls(small: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(MOST):
            next(reflect(small, stack))
        with pytest.raises(grpc.RpcError) as refused:
            next(reflect(small, stack))
        assert native_reason(refused.value) == "DEPENDENCY_UNAVAILABLE"
        serves(small)
        next(watch(small, stack))


def test_watches_take_nothing_from_calls(small: Gateway) -> None:
    over = threading.Event()

    def held(_: Any, context: grpc.ServicerContext) -> Any:
        over.wait(60)
        return native("WatchPatients").output()

    patient = small.stubs["patient"]
    patient.calls.clear()
    patient.answers["WatchPatients"] = held
    with ExitStack() as stack:
        stack.callback(patient.answers.clear)
        stack.callback(over.set)
        for _ in range(MOST):
            watch(small, stack)
        eventually(lambda: len(patient.calls) == MOST)
        with pytest.raises(grpc.RpcError) as refused:
            next(watch(small, stack))
        assert native_reason(refused.value) == "DEPENDENCY_UNAVAILABLE"
        serves(small)
        next(reflect(small, stack))


def test_health_cannot_be_watched_through_the_gateway(gateway: Gateway) -> None:
    method: Any = gateway.channel.unary_stream(WATCH)
    with pytest.raises(grpc.RpcError) as refused:
        next(method(b"", timeout=10))
    assert (refused.value.code(), native_reason(refused.value)) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "ROUTE_NOT_FOUND",
    )


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_that_of_the_service_named(gateway: Gateway, service: str) -> None:
    health, request = health_pb2_grpc.HealthStub(gateway.channel), health_pb2.HealthCheckRequest
    assert health.Check(request(service=SERVICES[service])).status == health_pb2.HealthCheckResponse.SERVING
    gateway.stubs[service].say_ready(ready=False)
    try:
        found = {name: health.Check(request(service=SERVICES[name])).status for name in SERVICES}
    finally:
        gateway.stubs[service].say_ready()
        eventually(lambda: answers(gateway.http, "/readyz", 200))
    assert [name for name in found if found[name] != health_pb2.HealthCheckResponse.SERVING] == [service]


@pytest.mark.parametrize("name", ["pulsetrack.nosuch.v1.Service", "x", "x" * 300, "patient-health\r\n"])
def test_health_of_an_unknown_service_is_not_found(gateway: Gateway, name: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(CHECK, request=health_pb2.HealthCheckRequest(service=name).SerializeToString())
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_address_opens_so_many_reflection_streams_at_a_time(tmp_path: Path) -> None:
    with running(tmp_path, rates=Rates(reflection=Rate(MOST, 60))) as gateway, ExitStack() as stack:
        for _ in range(MOST):
            next(reflect(gateway, stack))
        with pytest.raises(grpc.RpcError) as refused:
            next(reflect(gateway, stack))
        assert native_reason(refused.value) == "RATE_LIMITED"
        gateway.call(native("GetPatient").path, gateway.bearer)


def test_an_idle_reflection_stream_ends(gateway: Gateway) -> None:
    with ExitStack() as stack:
        call = reflect(gateway, stack)
        next(call)
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
    assert ended.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED  # which would be the test's own, of 60 s
