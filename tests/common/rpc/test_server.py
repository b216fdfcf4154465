"""What every service answers beside its own RPCs: health and reflection; and how it ends."""

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

from gen.pulsetrack.billing.v1 import BillingAccount, GetBillingAccountRequest
from services.billing.service import BillingService
from services.common.postgres.database import Database
from services.common.protobuf import contract
from services.common.protobuf.contract import SERVICES
from services.common.rpc.tokens import TokenVerifier
from tests.common.conftest import Frail
from tests.harness.background import Background
from tests.harness.client import Rejected, connect
from tests.harness.services import serve_service, serve_servicer
from tests.harness.tokens import Signer

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
V1ALPHA, V1 = "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"
LISTED = {*SERVICES.values(), "grpc.health.v1.Health"}
SYMBOLS = [method.path.strip("/").replace("/", ".") for method in contract.all_methods()]


@pytest.mark.parametrize("name", ["", SERVICES["billing"]])
def test_health_tells_of_the_server_and_of_its_service(grpc_channel: grpc.Channel, name: str) -> None:
    assert HealthStub(grpc_channel).Check(HealthCheckRequest(service=name)).status == SERVING


def test_health_knows_no_other_service(grpc_channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        HealthStub(grpc_channel).Check(HealthCheckRequest(service=SERVICES["auth"]))
    assert refused.value.code() is StatusCode.NOT_FOUND


def test_health_follows_the_database(background: Background, signer: Signer, frail: Frail) -> None:
    serving = serve_service("billing", frail.url, TokenVerifier(signer.trust))
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
        assert next(watch).status == SERVING
        frail.kill()
        assert next(watch).status == NOT_SERVING
        frail.start()
        assert next(watch).status == SERVING
        watch.cancel()


@pytest.mark.parametrize("version", [V1ALPHA, V1])
def test_reflection_lists_all_services(grpc_channel: grpc.Channel, version: str) -> None:
    answer = reflected(grpc_channel, version, ServerReflectionRequest(list_services=""))
    assert {service.name for service in answer.list_services_response.service} >= LISTED | {version}


@pytest.mark.parametrize("version", [V1ALPHA, V1])
@pytest.mark.parametrize("symbol", [*SERVICES.values(), *SYMBOLS, "pulsetrack.options.v1.access", V1ALPHA, V1])
def test_reflection_resolves_a_symbol(grpc_channel: grpc.Channel, version: str, symbol: str) -> None:
    answer = reflected(grpc_channel, version, ServerReflectionRequest(file_containing_symbol=symbol))
    [file, *_] = answer.file_descriptor_response.file_descriptor_proto
    assert symbol.startswith(FileDescriptorProto.FromString(file).package)


def test_reflection_knows_no_other_symbol(grpc_channel: grpc.Channel) -> None:
    answer = reflected(grpc_channel, V1, ServerReflectionRequest(file_containing_symbol="pulsetrack.Nothing"))
    assert answer.error_response.error_code == StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("version", [V1ALPHA, V1])
def test_reflection_that_is_off_is_not_there(
    background: Background, signer: Signer, database_url: str, version: str
) -> None:
    serving = serve_service("billing", database_url, TokenVerifier(signer.trust), reflection="off")
    with background.during(serving) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert HealthStub(channel).Check(HealthCheckRequest()).status == SERVING
        with pytest.raises(grpc.RpcError) as refused:
            reflected(channel, version, ServerReflectionRequest(list_services=""))
    assert refused.value.code() is StatusCode.UNIMPLEMENTED


class Slow(BillingService):
    """A service whose answer waits until the test lets it go."""

    def __init__(self) -> None:
        super().__init__(Database(""))
        self.called, self.let_go = threading.Event(), threading.Event()

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        self.called.set()
        await asyncio.to_thread(self.let_go.wait)
        return BillingAccount(id=request.id)


def test_a_call_under_way_when_the_server_ends_is_answered(background: Background, signer: Signer) -> None:
    slow, request = Slow(), GetBillingAccountRequest(id=str(uuid4()))
    serving = serve_servicer("billing", slow, TokenVerifier(signer.trust), drain_seconds=30)
    with ThreadPoolExecutor() as threads, ExitStack() as stack:
        stack.callback(slow.let_go.set)
        with background.during(serving) as port:
            client = stack.enter_context(connect(port, "billing", signer.token("USER")))
            under_way = threads.submit(client.get_billing_account, request)
            assert slow.called.wait(20)
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
            assert next(watch).status == SERVING
            threads.submit(let_go_when_not_serving, slow, watch)
        assert under_way.result().id == request.id
        with pytest.raises(Rejected) as refused:
            client.get_billing_account(request)
    assert refused.value.code is StatusCode.UNAVAILABLE


def test_a_server_that_is_about_to_end_takes_calls_of_those_who_do_not_know_it_yet(
    background: Background, signer: Signer
) -> None:
    slow, request = Slow(), GetBillingAccountRequest(id=str(uuid4()))
    slow.let_go.set()
    serving = serve_servicer("billing", slow, TokenVerifier(signer.trust), linger_seconds=4)
    with ThreadPoolExecutor() as threads, ExitStack() as stack:
        with background.during(serving) as port:
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
            assert next(watch).status == SERVING

            def late() -> Any:
                assert next(watch).status == NOT_SERVING
                watch.cancel()
                with connect(port, "billing", signer.token("USER")) as client:
                    return client.get_billing_account(request)

            answered = threads.submit(late)
        assert answered.result().id == request.id


def let_go_when_not_serving(slow: Slow, watch: Any) -> None:
    """Lets the call go as soon as health says that the server is about to end."""
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    slow.let_go.set()


def reflected(channel: grpc.Channel, version: str, request: ServerReflectionRequest) -> ServerReflectionResponse:
    """Asks one question of reflection in a version, whose messages are the same in all."""
    method = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    [answer] = method(iter([request]), timeout=20)
    return answer
