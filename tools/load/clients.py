"""REST and gRPC clients of the gateway with one interface: methods by name, requests and responses as JSON."""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from itertools import cycle
from operator import getitem
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from services.common.protobuf.contract import PATH_VARIABLE, Method, all_methods
from tools.load.measurement import OK

Json = dict[str, Any]

_METHODS = {method.name: method for method in all_methods()}
_TIMEOUT_SECONDS = 20
_CHANNELS = 4  # one connection each; the gateway allows 256 concurrent streams per connection


@dataclass(frozen=True)
class Response:
    """The status of a call, OK or an error, and the response message as JSON."""

    status: str
    json: Callable[[], Json] = dict


class Client(ABC):
    """Calls methods by name, with requests in JSON form."""

    def __init__(self) -> None:
        self.token = ""
        """Access token of all calls. Empty sends none."""

    @abstractmethod
    async def call(self, name: str, request: Json) -> Response:
        """Makes a unary call."""

    @abstractmethod
    def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        """Makes a streaming call and yields its responses. Raises StreamError if it fails."""

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class StreamError(Exception):
    """Raised when a stream is rejected or aborted. The text has the form of Response.status."""


class RestClient(Client):
    """A client of the REST API over HTTP/1.1, with one connection per concurrent call."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__()
        self._session = session

    async def call(self, name: str, request: Json) -> Response:
        """Makes a unary call. The status is OK if both the HTTP and the gRPC status are."""
        try:
            async with self._session.request(**_http_request(name, request), headers=self._headers()) as response:
                content = await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            return Response(_transport_error(error))
        if response.status == 200 and response.headers.get("grpc-status") == "0":  # noqa: PLR2004
            return Response(OK, lambda: cast("Json", json.loads(content)))
        return Response(f"{response.status} {_reason(content)}".strip())

    async def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        """Makes a streaming call and yields its responses, which are lines of JSON. Raises StreamError."""
        unlimited = aiohttp.ClientTimeout(total=None)
        try:
            async with self._session.request(
                **_http_request(name, request), headers=self._headers(), timeout=unlimited
            ) as response:
                if response.status != 200:  # noqa: PLR2004
                    raise StreamError(f"{response.status} {_reason(await response.read())}")
                async for line in response.content:
                    yield json.loads(line)
        except aiohttp.ClientError as error:
            raise StreamError(_transport_error(error)) from error


class GrpcClient(Client):
    """A gRPC client with a few connections."""

    def __init__(self, channels: list[grpc.aio.Channel]) -> None:
        super().__init__()
        self._channels = cycle(channels)

    async def call(self, name: str, request: Json) -> Response:
        """Makes a unary call."""
        method = _METHODS[name]
        call: Callable[..., Awaitable[bytes]] = next(self._channels).unary_unary(method.path)
        try:
            content = await call(
                _serialize(method, request), metadata=tuple(self._headers().items()), timeout=_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            return Response(_grpc_error(error))
        return Response(OK, lambda: MessageToDict(method.output.FromString(content)))

    async def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        """Makes a streaming call and yields its responses. Raises StreamError."""
        method = _METHODS[name]
        call: Callable[..., AsyncIterable[bytes]] = next(self._channels).unary_stream(method.path)
        try:
            async for content in call(_serialize(method, request), metadata=tuple(self._headers().items())):
                yield MessageToDict(method.output.FromString(content))
        except grpc.aio.AioRpcError as error:
            raise StreamError(_grpc_error(error)) from error


@asynccontextmanager
async def connect_rest(url: str) -> AsyncIterator[RestClient]:
    """Opens a REST client of the gateway at a URL."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield RestClient(session)


@asynccontextmanager
async def connect_grpc(url: str) -> AsyncIterator[GrpcClient]:
    """Opens a gRPC client of the gateway at a URL."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    target = f"{parts.hostname}:{parts.port or (443 if secure else 80)}"
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options)
        if secure
        else grpc.aio.insecure_channel(target, options)
        for _ in range(_CHANNELS)
    ]
    try:
        yield GrpcClient(channels)
    finally:
        for channel in channels:
            await channel.close()


def _http_request(name: str, request: Json) -> Json:
    """Returns the REST form of a request: its HTTP method, URL, and body or query."""
    [http] = _METHODS[name].http
    remaining = deepcopy(request)

    def pop_variable(variable: str) -> str:
        *outer, field = variable.strip("{}").split(".")
        return str(reduce(getitem, outer, remaining).pop(field))

    url = PATH_VARIABLE.sub(lambda match: pop_variable(match[0]), http.path)
    if http.body == "*":
        return {"method": http.verb, "url": url, "json": remaining}
    if http.body:
        return {"method": http.verb, "url": url, "json": remaining.pop(http.body), "params": remaining}
    return {"method": http.verb, "url": url, "params": remaining}


def _serialize(method: Method, request: Json) -> bytes:
    return ParseDict(request, method.input()).SerializeToString()


def _transport_error(error: Exception) -> str:
    return "TIMEOUT" if isinstance(error, TimeoutError) else type(error).__name__


def _reason(content: bytes) -> str:
    """Returns the reason in the body of a REST error, or "" if there is none."""
    try:
        return str(json.loads(content)["details"][0]["reason"])
    except (ValueError, LookupError, TypeError):
        return ""


def _grpc_error(error: grpc.aio.AioRpcError) -> str:
    details = Status.FromString(dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b""))
    info = ErrorInfo()
    for detail in details.details:
        if detail.Unpack(info):
            break
    return f"{error.code().name} {info.reason}".strip()
