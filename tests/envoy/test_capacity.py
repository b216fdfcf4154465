"""Capacity of health checks, reflection and streams is limited separately from unary calls."""

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
from tests.envoy.gateway import Gateway, grpc_error_reason, has_status, method_named, run_gateway
from tests.harness.waiting import eventually

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
LIMIT = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a low capacity for streams and reflection."""
    capacity = Capacity(streams=LIMIT, reflection=LIMIT)
    with run_gateway(tmp_path_factory.mktemp("small"), rate_limits=False, capacity=capacity) as gateway:
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        yield gateway


def reflect(gateway: Gateway, stack: ExitStack) -> Any:
    """Opens a reflection stream that is idle after its first response. The stack closes it."""
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b":\x00"  # list_services
        done.wait()

    method: Any = gateway.channel.stream_stream(REFLECTION)
    call = method(requests(), timeout=60)
    stack.callback(call.cancel)
    stack.callback(done.set)
    return call


def watch(gateway: Gateway, stack: ExitStack) -> Any:
    """Opens a WatchPatients stream. The stack closes it."""
    method: Any = gateway.channel.unary_stream(method_named("WatchPatients").path)
    call = method(b"", metadata=[*gateway.bearer.items()], timeout=60)
    stack.callback(call.cancel)
    return call


def assert_serving(gateway: Gateway) -> None:
    """Asserts that a call, a health check and the readiness check succeed."""
    gateway.call(method_named("GetPatient").path, gateway.bearer)
    assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200
    assert gateway.http.get("/readyz").status_code == 200
    gateway.call(CHECK)


def test_reflection_streams_do_not_use_capacity_of_calls(small: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(LIMIT):
            next(reflect(small, stack))
        with pytest.raises(grpc.RpcError) as rejected:
            next(reflect(small, stack))
        assert grpc_error_reason(rejected.value) == "DEPENDENCY_UNAVAILABLE"
        assert_serving(small)
        next(watch(small, stack))


def test_watch_streams_do_not_use_capacity_of_calls(small: Gateway) -> None:
    done = threading.Event()

    def block(_: Any, context: grpc.ServicerContext) -> Any:
        done.wait(60)
        return method_named("WatchPatients").output()

    patient = small.stubs["patient"]
    patient.calls.clear()
    patient.responses["WatchPatients"] = block
    with ExitStack() as stack:
        stack.callback(patient.responses.clear)
        stack.callback(done.set)
        for _ in range(LIMIT):
            watch(small, stack)
        eventually(lambda: len(patient.calls) == LIMIT)
        with pytest.raises(grpc.RpcError) as rejected:
            next(watch(small, stack))
        assert grpc_error_reason(rejected.value) == "DEPENDENCY_UNAVAILABLE"
        assert_serving(small)
        next(reflect(small, stack))


def test_health_watch_is_unimplemented(gateway: Gateway) -> None:
    method: Any = gateway.channel.unary_stream(WATCH)
    with pytest.raises(grpc.RpcError) as rejected:
        next(method(b"", timeout=10))
    assert (rejected.value.code(), grpc_error_reason(rejected.value)) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "ROUTE_NOT_FOUND",
    )


@pytest.mark.parametrize("service", SERVICES)
def test_health_check_reaches_the_named_service(gateway: Gateway, service: str) -> None:
    health, request = health_pb2_grpc.HealthStub(gateway.channel), health_pb2.HealthCheckRequest
    assert health.Check(request(service=SERVICES[service])).status == health_pb2.HealthCheckResponse.SERVING
    gateway.stubs[service].set_ready(ready=False)
    try:
        statuses = {name: health.Check(request(service=SERVICES[name])).status for name in SERVICES}
    finally:
        gateway.stubs[service].set_ready()
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
    assert [name for name in statuses if statuses[name] != health_pb2.HealthCheckResponse.SERVING] == [service]


@pytest.mark.parametrize("name", ["pulsetrack.nosuch.v1.Service", "x", "x" * 300, "patient-health\r\n"])
def test_health_check_of_unknown_service_is_not_found(gateway: Gateway, name: str) -> None:
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(CHECK, request=health_pb2.HealthCheckRequest(service=name).SerializeToString())
    assert rejected.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_streams_are_rate_limited_per_address(tmp_path: Path) -> None:
    with run_gateway(tmp_path, rates=Rates(reflection=Rate(LIMIT, 60))) as gateway, ExitStack() as stack:
        for _ in range(LIMIT):
            next(reflect(gateway, stack))
        with pytest.raises(grpc.RpcError) as rejected:
            next(reflect(gateway, stack))
        assert grpc_error_reason(rejected.value) == "RATE_LIMITED"
        gateway.call(method_named("GetPatient").path, gateway.bearer)


@pytest.mark.soak
def test_idle_reflection_stream_is_closed(gateway: Gateway) -> None:
    with ExitStack() as stack:
        call = reflect(gateway, stack)
        next(call)
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
    assert ended.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED  # the deadline of the test is 60 s
