"""Makes the same call over REST, native gRPC, gRPC-Web, and directly at the service, with comparable results."""

import base64
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import httpx
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from services.common.protobuf.contract import PATH_VARIABLE, SERVICES, Method, all_methods
from tests.e2e.sessions import Session
from tests.harness.client import Client, Rejected
from tests.harness.rest_errors import read_status
from tools.instance import Instance

METHODS = {method.name: method for method in all_methods()}
SURFACES = ("REST", "gRPC", "gRPC-Web", "service")
_TRAILERS = 0x80


@dataclass(frozen=True)
class Result:
    """The result of a call: the response as JSON, or the reason and violations of its error."""

    body: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    violations: Mapping[str, str] = field(default_factory=dict)
    """The descriptions by field."""
    code: str = "OK"


@dataclass(frozen=True)
class Surface:
    """A way to call the API. Calls a method by its name with a request as JSON: `surface("GetPatient", id="...")`."""

    name: str
    call: Callable[..., Result]

    def __call__(self, method: str, /, **fields: Any) -> Result:
        return self.call(method, **fields)

    def names(self, *fields: str) -> set[str]:
        """Returns the names of a patient's fields in violations. REST uses the names of the JSON body."""
        return set(fields) if self.name == "REST" else {f"patient.{to_snake_case(name)}" for name in fields}


def to_snake_case(name: str) -> str:
    """Returns the name in the proto of a JSON field."""
    return re.sub("[A-Z]", lambda letter: f"_{letter.group().lower()}", name)


def parse_error(status: Status) -> Result:
    """Returns the result of a call that fails with a status."""
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    violations = {each.field: each.description for each in bad.field_violations}
    return Result(reason=info.reason, violations=violations, code=Code.Name(status.code))


def parse_message(method: Method, data: bytes) -> Result:
    """Returns the result of a call with a serialized response."""
    if method.output is HttpBody:  # REST returns its content
        body: Any = HttpBody.FromString(data)
        return Result(json.loads(body.data))
    return Result(MessageToDict(method.output.FromString(data), always_print_fields_with_no_presence=True))


def build_request(method: Method, fields: Mapping[str, Any]) -> bytes:
    """Returns the serialized request of a method."""
    message: Message = ParseDict(dict(fields), method.input())
    return message.SerializeToString()


def call_rest(rest: httpx.Client, name: str, /, **fields: Any) -> Result:
    """Calls a method over REST. Fields that are neither in the path nor in the body become parameters."""
    [http] = METHODS[name].http
    path = PATH_VARIABLE.sub(lambda variable: take(fields, variable.group().strip("{}").split(".")), http.path)
    body = fields.pop(http.body, None) if http.body != "*" else fields
    if METHODS[name].takes_raw_body(http):
        body = json.loads(base64.b64decode(body["data"]))
    response = rest.request(http.verb, path, json=body, params=None if body is fields else fields)
    return parse_error(read_status(response)) if response.is_error else Result(response.json())


def take(fields: dict[str, Any], path: list[str]) -> str:
    """Removes the value of a path variable from a request and returns it."""
    *outer, name = path
    for each in outer:
        fields[each] = fields = dict(fields[each])
    return str(fields.pop(name))


def call_grpc(client: Client, name: str, /, **fields: Any) -> Result:
    """Calls a method over gRPC."""
    method = METHODS[name]
    try:
        return parse_message(method, client.call(method.path, build_request(method, fields)))
    except Rejected as rejected:
        return parse_error(rejected.status)


def call_web(rest: httpx.Client, name: str, /, **fields: Any) -> Result:
    """Calls a method over gRPC-Web in its binary format."""
    method = METHODS[name]
    request = build_request(method, fields)
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    content = struct.pack(">BI", 0, len(request)) + request
    response = rest.post(method.path, content=content, headers=headers).raise_for_status()
    messages, trailers = parse_frames(response)
    if trailers["grpc-status"] == "0":
        [message] = messages
        return parse_message(method, message)
    details = trailers["grpc-status-details-bin"]
    return parse_error(Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4))))


def parse_frames(response: httpx.Response) -> tuple[list[bytes], Mapping[str, str]]:
    """Returns the messages and trailers of a gRPC-Web response. The headers of a response without trailers count."""
    messages: list[bytes] = []
    trailers: Mapping[str, str] = response.headers
    rest = response.content
    while rest:
        kind, length = struct.unpack(">BI", rest[:5])
        frame, rest = rest[5 : 5 + length], rest[5 + length :]
        if kind & _TRAILERS:
            lines = frame.decode("ascii").splitlines()
            trailers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        else:
            messages.append(frame)
    return messages, trailers


@contextmanager
def open_surfaces(system: Instance, session: Session) -> Iterator[dict[str, Surface]]:
    """Yields each surface by its name. Calls have the token of a session."""
    ports = system.state().ports
    with ExitStack() as stack:
        channels = {
            full_name: stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports[service]}"))
            for service, full_name in SERVICES.items()
        }

        def call_service(name: str, /, **fields: Any) -> Result:
            channel = channels[METHODS[name].path.split("/")[1]]
            return call_grpc(Client(channel, "", session.token), name, **fields)

        calls: dict[str, Callable[..., Result]] = {
            "REST": partial(call_rest, session.rest),
            "gRPC": partial(call_grpc, session.client("")),
            "gRPC-Web": partial(call_web, session.rest),
            "service": call_service,
        }
        yield {name: Surface(name, call) for name, call in calls.items()}
