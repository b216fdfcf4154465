"""The two doors of the gateway, JSON by REST and native gRPC, behind which the same calls are."""

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
from tools.load.record import OK

Json = dict[str, Any]

_METHODS = {method.name: method for method in all_methods()}
_TIMEOUT_SECONDS = 20
_CHANNELS = 4  # each is one connection, on which the gateway takes 256 calls at a time


@dataclass(frozen=True)
class Answer:
    """OK with what was answered, or what went wrong."""

    status: str
    json: Callable[[], Json] = dict


class Door(ABC):
    """Calls the contract's methods by their names, with requests in their JSON form."""

    def __init__(self) -> None:
        self.token = ""
        """The access token that goes with every call."""

    @abstractmethod
    async def call(self, name: str, request: Json) -> Answer:
        """Makes a call."""

    @abstractmethod
    def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        """Makes a call and yields its answers. Raises StreamError when it ends otherwise than well."""

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class StreamError(Exception):
    """Occurs when a stream is refused or breaks off. Its text says what went wrong, as an answer's status does."""


class Rest(Door):
    """JSON over HTTP/1.1, on as many connections as there are calls at a time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__()
        self._session = session

    async def call(self, name: str, request: Json) -> Answer:
        """Makes a call. It is OK if HTTP and gRPC both say so."""
        try:
            async with self._session.request(**_http(name, request), headers=self._headers()) as answer:
                content = await answer.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            return Answer(_why(error))
        if answer.status == 200 and answer.headers.get("grpc-status") == "0":  # noqa: PLR2004
            return Answer(OK, lambda: cast("Json", json.loads(content)))
        return Answer(f"{answer.status} {_reason(content)}".strip())

    async def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        """Makes a call and yields its answers, a line of JSON each."""
        endless = aiohttp.ClientTimeout(total=None)
        try:
            async with self._session.request(
                **_http(name, request), headers=self._headers(), timeout=endless
            ) as answer:
                if answer.status != 200:  # noqa: PLR2004
                    raise StreamError(f"{answer.status} {_reason(await answer.read())}")
                async for line in answer.content:
                    yield json.loads(line)
        except aiohttp.ClientError as error:
            raise StreamError(_why(error)) from error


class Grpc(Door):
    """Native gRPC, on a few connections."""

    def __init__(self, channels: list[grpc.aio.Channel]) -> None:
        super().__init__()
        self._channels = cycle(channels)

    async def call(self, name: str, request: Json) -> Answer:
        """Makes a call."""
        method = _METHODS[name]
        call: Callable[..., Awaitable[bytes]] = next(self._channels).unary_unary(method.path)
        try:
            content = await call(
                _bytes(method, request), metadata=tuple(self._headers().items()), timeout=_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            return Answer(_refusal(error))
        return Answer(OK, lambda: MessageToDict(method.output.FromString(content)))

    async def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        """Makes a call and yields its answers."""
        method = _METHODS[name]
        call: Callable[..., AsyncIterable[bytes]] = next(self._channels).unary_stream(method.path)
        try:
            async for content in call(_bytes(method, request), metadata=tuple(self._headers().items())):
                yield MessageToDict(method.output.FromString(content))
        except grpc.aio.AioRpcError as error:
            raise StreamError(_refusal(error)) from error


@asynccontextmanager
async def rest(url: str) -> AsyncIterator[Rest]:
    """Opens the REST door of the gateway at a URL."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield Rest(session)


@asynccontextmanager
async def native(url: str) -> AsyncIterator[Grpc]:
    """Opens the gRPC door of the gateway at a URL."""
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
        yield Grpc(channels)
    finally:
        for channel in channels:
            await channel.close()


def _http(name: str, request: Json) -> Json:
    """Returns the REST form of a request: its verb, URL, and body or query."""
    [http] = _METHODS[name].http
    left = deepcopy(request)

    def filled(variable: str) -> str:
        *outer, field = variable.strip("{}").split(".")
        return str(reduce(getitem, outer, left).pop(field))

    url = PATH_VARIABLE.sub(lambda found: filled(found[0]), http.path)
    if http.body == "*":
        return {"method": http.verb, "url": url, "json": left}
    if http.body:
        return {"method": http.verb, "url": url, "json": left.pop(http.body), "params": left}
    return {"method": http.verb, "url": url, "params": left}


def _bytes(method: Method, request: Json) -> bytes:
    return ParseDict(request, method.input()).SerializeToString()


def _why(error: Exception) -> str:
    return "TIMEOUT" if isinstance(error, TimeoutError) else type(error).__name__


def _reason(content: bytes) -> str:
    """Returns the reason in a REST error's body, "" if it has none."""
    try:
        return str(json.loads(content)["details"][0]["reason"])
    except (ValueError, LookupError, TypeError):
        return ""


def _refusal(error: grpc.aio.AioRpcError) -> str:
    details = Status.FromString(dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b""))
    info = ErrorInfo()
    for detail in details.details:
        if detail.Unpack(info):
            break
    return f"{error.code().name} {info.reason}".strip()
