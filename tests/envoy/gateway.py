"""Runs a real Envoy on real sockets in front of stub services."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.rpc import error_details_pb2, status_pb2

from envoy.config import Address, Target, render
from envoy.program import command
from envoy.site.files import write_site
from services.common.protobuf.contract import DESCRIPTORS, SERVICES, Method, all_methods
from tests.envoy.stub import Call, Keys, Stub
from tests.harness.rest_errors import FHIR, read_issue
from tests.harness.waiting import eventually

METHODS = {method.name: method for method in all_methods()}


@dataclass
class Gateway:
    """A running gateway, its stub services, and clients of it."""

    target: Target
    keys: Keys
    stubs: dict[str, Stub]
    http: httpx.Client
    channel: grpc.Channel

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys.token()}"}

    def call(self, path: str, headers: dict[str, str] | None = None, request: bytes = b"") -> bytes:
        """Makes a gRPC call and returns the serialized response. Raises grpc.RpcError."""
        method: Any = self.channel.unary_unary(path)
        response: bytes = method(request, metadata=[*(headers or {}).items()], timeout=10)
        return response

    def received_calls(self) -> list[Call]:
        """Returns the calls that services received since the start of the test, except those of Envoy itself."""
        # Envoy's health checks have no user agent, and its key requests this one.
        agents = {None, "Go-browser"}
        return [c for stub in self.stubs.values() for c in stub.calls if c.metadata.get("user-agent") not in agents]


@contextmanager
def run_gateway(
    folder: Path, *, without: tuple[str, ...] = (), extra_stubs: Sequence[Stub] = (), **fields: Any
) -> Iterator[Gateway]:
    """Runs a gateway with a stub for each service.

    `without` names services whose stubs are stopped before the gateway starts. `extra_stubs` are started in addition.
    """
    keys = Keys()
    stubs = {service: Stub(service, keys) for service in SERVICES}
    with ExitStack() as stack:
        for stub in (*stubs.values(), *extra_stubs):
            stub.start()
            stack.callback(stub.stop)
            if stub.service in without:
                stub.stop()
        target = Target(
            listen=unused_address(),
            admin=unused_address(),
            upstreams={
                service: tuple(
                    Address("127.0.0.1", each.port) for each in (stub, *extra_stubs) if each.service == service
                )
                for service, stub in stubs.items()
            },
            descriptors=DESCRIPTORS,
            site=write_site(folder / "site"),
            console=folder / "console",
            access_log=folder / "access.log",
            **fields,
        )
        start_envoy(target, folder, stack)
        url = f"http://127.0.0.1:{target.listen.port}"
        http = stack.enter_context(httpx.Client(base_url=url, timeout=10))
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{target.listen.port}"))
        eventually(lambda: has_status(http, "/healthz", 200))
        yield Gateway(target, keys, stubs, http, channel)


def start_envoy(target: Target, folder: Path, stack: ExitStack) -> None:
    """Starts an Envoy that runs until the end of the stack."""
    file = folder / "envoy.yaml"
    file.write_text(render(target))
    log = stack.enter_context((folder / "envoy.log").open("w"))
    envoy = stack.enter_context(subprocess.Popen(command(target, file), stdout=log, stderr=log))
    stack.callback(envoy.terminate)


def unused_address() -> Address:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])


def has_status(http: httpx.Client, path: str, status: int, **headers: str) -> bool:
    """Returns whether a GET returns the status. A failed connection returns False."""
    try:
        return http.get(path, headers=headers).status_code == status
    except httpx.TransportError:
        return False


def error_reason(response: httpx.Response) -> str:
    """Returns the reason of an error response, after checking its format."""
    if response.request.url.path.startswith(FHIR):
        return read_issue(response)[0]
    error = response.json()
    assert response.headers["content-type"] == "application/json"
    assert error.keys() == {"code", "message", "details"}
    detail, *details = error["details"]
    retry = [each for each in details if not each["@type"].endswith("google.rpc.BadRequest")]
    assert detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert detail["domain"] == "pulsetrack"
    after = response.headers.get("retry-after")
    retry_info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{after}s"}
    assert retry == ([retry_info] if after else [])
    return str(detail["reason"])


def grpc_error_reason(error: grpc.RpcError) -> str:
    """Returns the reason of a gRPC error, after checking that its details match its status."""
    details: Any = next(item.value for item in error.trailing_metadata() if item.key == "grpc-status-details-bin")
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "pulsetrack"
    return str(info.reason)


def method_named(name: str) -> Method:
    """Returns the method with this name."""
    return METHODS[name]
