"""Readiness follows the services, and the gateway lives through their deaths."""

from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from services.common.protobuf.contract import SERVICES
from tests.envoy.gateway import Gateway, answers, native, native_reason, reason, running
from tests.envoy.stub import Keys, Stub
from tests.harness.waiting import eventually


def test_liveness_and_readiness_need_no_token(gateway: Gateway) -> None:
    for path in ("/healthz", "/readyz"):
        answer = gateway.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_health_and_reflection_need_no_token(gateway: Gateway) -> None:
    health = health_pb2_grpc.HealthStub(gateway.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    assert set(SERVICES.values()) <= {*ProtoReflectionDescriptorDatabase(gateway.channel).get_services()}


def test_readiness_follows_a_service_that_dies_and_comes_back(gateway: Gateway) -> None:
    billing = gateway.stubs["billing"]
    billing.stop()
    try:
        down = gateway.http.get("/v1/billing/accounts", headers=gateway.bearer)
        assert (down.status_code, down.json()["code"], reason(down)) == (503, 14, "DEPENDENCY_UNAVAILABLE")
        assert down.headers["retry-after"] == "1"
        with pytest.raises(grpc.RpcError) as refused:
            gateway.call(native("ListBillingAccounts").path, gateway.bearer)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert native_reason(refused.value) == "DEPENDENCY_UNAVAILABLE"
        assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200
        eventually(lambda: answers(gateway.http, "/readyz", 503))
        assert reason(gateway.http.get("/readyz")) == "DEPENDENCY_UNAVAILABLE"
    finally:
        billing.start()
    eventually(lambda: answers(gateway.http, "/v1/billing/accounts", 200, **gateway.bearer))
    eventually(lambda: answers(gateway.http, "/readyz", 200))


def test_who_is_not_ready_gets_calls_only_if_nobody_is(tmp_path: Path) -> None:
    leaving = [Stub("patient", Keys()) for _ in range(2)]
    with running(tmp_path, beside=leaving) as gateway:
        stays = gateway.stubs["patient"]
        eventually(lambda: ready(gateway) == 3)
        for stub in leaving:
            stub.say_ready(ready=False)
        eventually(lambda: ready(gateway) == 1)
        assert [status(gateway) for _ in range(20)] == [200] * 20
        assert len(stays.calls) == 20
        stays.say_ready(ready=False)
        eventually(lambda: ready(gateway) == 0)
        assert [status(gateway) for _ in range(20)] == [200] * 20


def ready(gateway: Gateway) -> int:
    """Returns how many processes of the patient service the gateway holds to be ready."""
    admin = gateway.target.admin
    url = f"http://{admin.host}:{admin.port}/stats?filter=^cluster.patient.membership_healthy$"
    return int(httpx.get(url).text.split(": ")[1])


def status(gateway: Gateway) -> int:
    """Returns what a call of the patient service is answered."""
    return gateway.http.get("/v1/patients", headers=gateway.bearer).status_code


def test_auth_may_be_late_and_may_leave(tmp_path: Path) -> None:
    with running(tmp_path, without=("auth",), reflection=False) as gateway:
        early = gateway.http.get("/v1/patients", headers=gateway.bearer)
        assert (early.status_code, reason(early)) == (503, "DEPENDENCY_UNAVAILABLE")
        with pytest.raises(grpc.RpcError) as refused:
            gateway.call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert native_reason(refused.value) == "ROUTE_NOT_FOUND"

        gateway.stubs["auth"].start()
        eventually(lambda: answers(gateway.http, "/readyz", 200))
        assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200

        eventually(lambda: bool(gateway.stubs["auth"].calls))
        gateway.stubs["auth"].stop()
        assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200
