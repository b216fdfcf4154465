"""The server: health, reflection and graceful shutdown."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from gen.pulsetrack.auth.v1 import TrustBundle
from gen.pulsetrack.billing.v1 import BillingAccount, GetBillingAccountRequest
from services.billing.service import BillingService
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.protobuf import contract
from services.common.protobuf.contract import SERVICES
from services.common.rpc.tokens import TokenVerifier
from tests.common.conftest import StoppableDatabase
from tests.harness.background import Background
from tests.harness.client import Rejected, connect
from tests.harness.services import find_no_access, serve_service, serve_servicer
from tests.harness.tokens import Signer

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
V1ALPHA, V1 = "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"
SERVED = {*SERVICES.values(), "grpc.health.v1.Health"}
SYMBOLS = [method.path.strip("/").replace("/", ".") for method in contract.all_methods()]


@pytest.mark.parametrize("name", ["", SERVICES["billing"]])
def test_health_reports_the_server_and_its_service(grpc_channel: grpc.Channel, name: str) -> None:
    assert HealthStub(grpc_channel).Check(HealthCheckRequest(service=name)).status == SERVING


def test_health_of_another_service_is_not_found(grpc_channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as rejected:
        HealthStub(grpc_channel).Check(HealthCheckRequest(service=SERVICES["auth"]))
    assert rejected.value.code() is StatusCode.NOT_FOUND


def test_health_follows_the_database(
    background: Background, signer: Signer, stoppable_database: StoppableDatabase
) -> None:
    serving = serve_service("billing", stoppable_database.url, TokenVerifier(signer.trust))
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
        assert next(watch).status == SERVING
        stoppable_database.kill()
        assert next(watch).status == NOT_SERVING
        stoppable_database.start()
        assert next(watch).status == SERVING
        watch.cancel()


def test_unready_dependency_is_logged_once(
    background: Background, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = 0

    async def fetch() -> TrustBundle:
        nonlocal attempts
        attempts += 1
        if attempts < 5:
            raise DependencyUnavailable
        return await signer.trust()

    service = serve_servicer("billing", BillingService(Database(""), find_no_access), TokenVerifier(fetch))
    with background.during(service) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
        assert [next(watch).status for _ in range(2)] == [NOT_SERVING, SERVING]
        watch.cancel()
    assert sum("TokenVerifier is not ready" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("version", [V1ALPHA, V1])
def test_reflection_lists_all_services(grpc_channel: grpc.Channel, version: str) -> None:
    response = call_reflection(grpc_channel, version, ServerReflectionRequest(list_services=""))
    assert {service.name for service in response.list_services_response.service} >= SERVED | {version}


@pytest.mark.parametrize("version", [V1ALPHA, V1])
@pytest.mark.parametrize("symbol", [*SERVICES.values(), *SYMBOLS, "pulsetrack.options.v1.access", V1ALPHA, V1])
def test_reflection_resolves_a_symbol(grpc_channel: grpc.Channel, version: str, symbol: str) -> None:
    response = call_reflection(grpc_channel, version, ServerReflectionRequest(file_containing_symbol=symbol))
    [file, *_] = response.file_descriptor_response.file_descriptor_proto
    assert symbol.startswith(FileDescriptorProto.FromString(file).package)


def test_reflection_of_an_unknown_symbol_is_not_found(grpc_channel: grpc.Channel) -> None:
    response = call_reflection(grpc_channel, V1, ServerReflectionRequest(file_containing_symbol="pulsetrack.Nothing"))
    assert response.error_response.error_code == StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("version", [V1ALPHA, V1])
def test_disabled_reflection_is_unimplemented(
    background: Background, signer: Signer, database_url: str, version: str
) -> None:
    serving = serve_service("billing", database_url, TokenVerifier(signer.trust), reflection="off")
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert HealthStub(channel).Check(HealthCheckRequest()).status == SERVING
        with pytest.raises(grpc.RpcError) as rejected:
            call_reflection(channel, version, ServerReflectionRequest(list_services=""))
    assert rejected.value.code() is StatusCode.UNIMPLEMENTED


class Slow(BillingService):
    """A service whose response waits until the test releases it."""

    def __init__(self) -> None:
        super().__init__(Database(""), find_no_access)
        self.called, self.release = threading.Event(), threading.Event()

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        self.called.set()
        await asyncio.to_thread(self.release.wait)
        return BillingAccount(id=request.id)


def test_call_in_progress_completes_during_shutdown(background: Background, signer: Signer) -> None:
    slow, request = Slow(), GetBillingAccountRequest(id=str(uuid4()))
    serving = serve_servicer("billing", slow, TokenVerifier(signer.trust), drain_seconds=30)
    with ThreadPoolExecutor() as threads, ExitStack() as stack:
        stack.callback(slow.release.set)
        with background.during(serving) as port:
            client = stack.enter_context(connect(port, "billing", signer.token("USER")))
            in_progress = threads.submit(client.get_billing_account, request)
            assert slow.called.wait(20)
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
            assert next(watch).status == SERVING
            threads.submit(release_when_not_serving, slow, watch)
        assert in_progress.result().id == request.id
        with pytest.raises(Rejected) as rejected:
            client.get_billing_account(request)
    assert rejected.value.code is StatusCode.UNAVAILABLE


def test_lingering_server_accepts_new_calls(background: Background, signer: Signer) -> None:
    slow, request = Slow(), GetBillingAccountRequest(id=str(uuid4()))
    slow.release.set()
    serving = serve_servicer("billing", slow, TokenVerifier(signer.trust), linger_seconds=4)
    with ThreadPoolExecutor() as threads, ExitStack() as stack:
        with background.during(serving) as port:
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
            assert next(watch).status == SERVING

            def call_late() -> Any:
                assert next(watch).status == NOT_SERVING
                watch.cancel()
                with connect(port, "billing", signer.token("USER")) as client:
                    return client.get_billing_account(request)

            late = threads.submit(call_late)
        assert late.result().id == request.id


def release_when_not_serving(slow: Slow, watch: Any) -> None:
    """Releases the call as soon as health reports NOT_SERVING."""
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    slow.release.set()


def call_reflection(channel: grpc.Channel, version: str, request: ServerReflectionRequest) -> ServerReflectionResponse:
    """Sends one reflection request, in the given version of the protocol."""
    method = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    [response] = method(iter([request]), timeout=20)
    return response
