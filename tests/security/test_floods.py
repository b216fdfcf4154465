"""Denial of service by large, deeply nested, slow and numerous requests."""

import asyncio
import gzip
import json
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from deploy.settings import HOST
from envoy.target import Capacity
from gen.pulsetrack.auth.v1 import GetCurrentUserRequest
from services.common.protobuf.contract import all_methods
from tests.e2e.sessions import Session, a_patient
from tests.harness.background import Background
from tests.harness.client import Rejected, attempt
from tests.security.raw import open_connection
from tools.instance import Instance

CREATE = "/pulsetrack.patient.v1.PatientService/CreatePatient"
BOMB_BYTES = 64 * 1024 * 1024
TEN_MEGABYTES = b" " * 10_000_000
MANY = 2000
STREAMS_OF_A_CONNECTION = 256
LOGIN = "POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raises the limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * MANY), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def check_no_restart(system: Instance, user: Session) -> Iterator[None]:
    """Checks after each test that no process was restarted and calls succeed."""
    before = system.state().processes
    yield
    user.get("/v1/patients", pageSize=1)
    assert system.state().processes == before


def test_gzip_bomb_over_rest_is_not_decompressed(user: Session) -> None:
    bomb = gzip.compress(b" " * BOMB_BYTES, 9)
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    response = user.rest.post("/v1/patients", content=bomb, headers=headers)
    assert (response.status_code, response.json()["details"][0]["reason"]) == (415, "CONTENT_TYPE_UNSUPPORTED")


@pytest.mark.skipif(not Path("/proc").exists(), reason="peak memory is available only on Linux")
def test_gzip_bomb_over_grpc_is_not_decompressed_completely(system: Instance, user: Session) -> None:
    before = memory_peak(system)
    call: Any = user.channel.unary_unary(CREATE)
    with pytest.raises(grpc.RpcError) as rejected:
        call(b"\x00" * BOMB_BYTES, metadata=bearer(user), compression=grpc.Compression.Gzip, timeout=20)
    assert rejected.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert memory_peak(system) - before < BOMB_BYTES / 2


def memory_peak(system: Instance) -> int:
    """Returns the peak memory of the patient service, in bytes."""
    status = Path(f"/proc/{system.state().processes['patient'].pid}/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"name":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"x": ' + b'{"x":' * 50_000 + b"1" + b"}" * 50_001,
    ],
    ids=["lists", "objects", "objects in an unknown field"],
)
def test_deeply_nested_json_is_rejected(user: Session, body: bytes) -> None:
    response = user.rest.post("/v1/patients", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (400, "JSON_INVALID")


@pytest.mark.parametrize(
    ("build_body", "reason"),
    [
        (lambda: json.dumps({f"field{number}": number for number in range(150_000)}), "JSON_INVALID"),
        (lambda: json.dumps({"name": "x" * 4_000_000}), "FIELDS_INVALID"),
        (lambda: json.dumps({"name": ["x"] * 500_000}), "JSON_INVALID"),
        (lambda: '{"name": ' + "9" * 4_000_000 + "}", "JSON_INVALID"),
    ],
    ids=["many fields", "a long text", "a long list", "a long number"],
)
def test_huge_json_is_rejected(user: Session, build_body: Callable[[], str], reason: str) -> None:
    response = user.rest.post("/v1/patients", content=build_body(), headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (400, reason)


@pytest.mark.parametrize("content", [TEN_MEGABYTES, iter([TEN_MEGABYTES])], ids=["with its length", "in chunks"])
def test_ten_megabyte_body_is_rejected(user: Session, content: Any) -> None:
    response = user.rest.post("/v1/patients", content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (413, "BODY_TOO_LARGE")


def test_ten_megabyte_message_is_rejected(user: Session) -> None:
    response = attempt(lambda: user.client("patient").call(CREATE, TEN_MEGABYTES))
    assert isinstance(response, Rejected)
    assert response.reason == "BODY_TOO_LARGE"


def test_deeply_nested_groups_are_rejected_over_grpc(user: Session) -> None:
    response = attempt(lambda: user.client("patient").call(CREATE, b"\x0b" * 100_000 + b"\x0c" * 100_000))
    assert isinstance(response, Rejected)
    assert response.reason == "FIELDS_INVALID"


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
def test_undefined_enum_number_is_rejected_over_grpc_and_rest(user: Session, number: int) -> None:
    patient = a_patient(sex=number)
    rest = user.rest.post("/v1/patients", json=patient)
    assert (rest.status_code, rest.json()["details"][0]["reason"]) == (400, "FIELDS_INVALID")
    [create] = [method for method in all_methods() if method.path == CREATE]
    request = ParseDict({"patient": patient}, create.input())
    response = attempt(lambda: user.client("patient").call(CREATE, request.SerializeToString()))
    assert isinstance(response, Rejected)
    assert (response.reason, [*response.violations]) == ("FIELDS_INVALID", ["patient.sex"])


@pytest.mark.parametrize(
    "first",
    [
        b"",
        LOGIN.encode(),
        LOGIN.encode() + b'content-length: 100\r\n\r\n{"email": ',
        LOGIN.encode() + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["nothing", "half a header", "half a body", "half a chunk", "half a handshake"],
)
def test_thousands_of_stalled_connections_do_not_delay_other_clients(
    system: Instance, user: Session, many_files: None, first: bytes
) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(open_connection(system, first))
        start = time.monotonic()
        with Session.open(system, user.token) as session:
            session.get("/v1/auth/me")
            session.client("auth").get_current_user(GetCurrentUserRequest())
        assert time.monotonic() - start < 5


@pytest.mark.soak
def test_unfinished_headers_time_out(system: Instance) -> None:
    with open_connection(system, LOGIN.encode()) as slow:
        start = time.monotonic()
        response = b""
        while part := slow.recv(4096):
            response += part
        assert 5 < time.monotonic() - start < 15
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TOO_SLOW" in response


@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
)
def test_thousands_of_anonymous_streams_do_not_affect_services(
    system: Instance, user: Session, background: Background, path: str
) -> None:
    with background.during(streams(system, path)):
        assert {user.rest.get("/v1/patients", params={"pageSize": 1}).status_code for _ in range(20)} == {200}
        assert user.client("auth").get_current_user(GetCurrentUserRequest())
        assert user.rest.get("/readyz").status_code == 200


@asynccontextmanager
async def streams(system: Instance, path: str) -> AsyncIterator[None]:
    """Opens more streams than the gateway allows concurrent calls to a service, each with one empty message."""
    async with AsyncExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]  # separate connections
        for _ in range(1 + Capacity().calls // STREAMS_OF_A_CONNECTION):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"{HOST}:{system.port}", own))
            method: Any = channel.stream_stream(path)
            for call in [method() for _ in range(STREAMS_OF_A_CONNECTION)]:
                with suppress(grpc.RpcError, asyncio.InvalidStateError):
                    await call.write(b"")
        yield


def bearer(session: Session) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {session.token}"),)
