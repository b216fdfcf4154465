"""Health, readiness and service failures."""

from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from services.common.protobuf.contract import SERVICES
from tests.envoy.gateway import Gateway, error_reason, grpc_error_reason, has_status, method_named, run_gateway
from tests.envoy.stub import Keys, Stub
from tests.harness.waiting import eventually


def test_liveness_and_readiness_require_no_token(gateway: Gateway) -> None:
    for path in ("/healthz", "/readyz"):
        response = gateway.http.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_health_and_reflection_require_no_token(gateway: Gateway) -> None:
    health = health_pb2_grpc.HealthStub(gateway.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    assert set(SERVICES.values()) <= {*ProtoReflectionDescriptorDatabase(gateway.channel).get_services()}


def test_readiness_follows_service_failure_and_recovery(gateway: Gateway) -> None:
    billing = gateway.stubs["billing"]
    billing.stop()
    try:
        response = gateway.http.get("/v1/billing/accounts", headers=gateway.bearer)
        assert (response.status_code, response.json()["code"], error_reason(response)) == (
            503,
            14,
            "DEPENDENCY_UNAVAILABLE",
        )
        assert response.headers["retry-after"] == "1"
        with pytest.raises(grpc.RpcError) as rejected:
            gateway.call(method_named("ListBillingAccounts").path, gateway.bearer)
        assert rejected.value.code() is grpc.StatusCode.UNAVAILABLE
        assert grpc_error_reason(rejected.value) == "DEPENDENCY_UNAVAILABLE"
        assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200
        eventually(lambda: has_status(gateway.http, "/readyz", 503))
        assert error_reason(gateway.http.get("/readyz")) == "DEPENDENCY_UNAVAILABLE"
    finally:
        billing.start()
    eventually(lambda: has_status(gateway.http, "/v1/billing/accounts", 200, **gateway.bearer))
    eventually(lambda: has_status(gateway.http, "/readyz", 200))


def test_unready_endpoints_receive_traffic_only_if_none_is_ready(tmp_path: Path) -> None:
    others = [Stub("patient", Keys()) for _ in range(2)]
    with run_gateway(tmp_path, extra_stubs=others) as gateway:
        first = gateway.stubs["patient"]
        eventually(lambda: count_ready(gateway) == 3)
        for stub in others:
            stub.set_ready(ready=False)
        eventually(lambda: count_ready(gateway) == 1)
        assert [list_status(gateway) for _ in range(20)] == [200] * 20
        assert len(first.calls) == 20
        first.set_ready(ready=False)
        eventually(lambda: count_ready(gateway) == 0)
        assert [list_status(gateway) for _ in range(20)] == [200] * 20


def count_ready(gateway: Gateway) -> int:
    """Returns the number of patient service endpoints that the gateway considers healthy."""
    admin = gateway.target.admin
    url = f"http://{admin.host}:{admin.port}/stats?filter=^cluster.patient.membership_healthy$"
    return int(httpx.get(url).text.split(": ")[1])


def list_status(gateway: Gateway) -> int:
    """Returns the HTTP status of a call to the patient service."""
    return gateway.http.get("/v1/patients", headers=gateway.bearer).status_code


def test_gateway_starts_before_auth_and_survives_its_failure(tmp_path: Path) -> None:
    with run_gateway(tmp_path, without=("auth",), reflection=False) as gateway:
        early = gateway.http.get("/v1/patients", headers=gateway.bearer)
        assert (early.status_code, error_reason(early)) == (503, "DEPENDENCY_UNAVAILABLE")
        with pytest.raises(grpc.RpcError) as rejected:
            gateway.call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert grpc_error_reason(rejected.value) == "ROUTE_NOT_FOUND"

        gateway.stubs["auth"].start()
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200

        eventually(lambda: bool(gateway.stubs["auth"].calls))
        gateway.stubs["auth"].stop()
        assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200
