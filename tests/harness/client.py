"""A gRPC client that returns responses as dataclasses and raises errors with their google.rpc.Status."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar, cast

import betterproto2
import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from gen.message_pool import default_message_pool
from services.common.protobuf import codec, contract

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]
_STREAMS = {method.path for method in contract.all_methods() if method.streams}


class Rejected(Exception):  # noqa: N818 - an expected response, not a failure of the test
    """A status other than OK, with its google.rpc details."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        trailers: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
        self.status = Status.FromString(trailers.get("grpc-status-details-bin", b""))
        self.reason = self._detail(ErrorInfo()).reason
        self.domain = self._detail(ErrorInfo()).domain
        self.metadata = dict(self._detail(ErrorInfo()).metadata)
        self.violations = {v.field: v.description for v in self._detail(BadRequest()).field_violations}
        self.request_id = self._detail(RequestInfo()).request_id
        self.retry_after: int = self._detail(RetryInfo()).retry_delay.seconds
        self.retry_after_header: str = trailers.get("retry-after", "")
        super().__init__(f"{self.code.name} {self.reason} {self.violations or ''} {self.message}")

    def _detail(self, empty: Any) -> Any:
        for detail in self.status.details:
            if detail.Unpack(empty):
                break
        return empty


class Client:
    """Calls the methods of a service by their names in snake case: `client.get_patient(GetPatientRequest(id=...))`.

    Each call sends the client's access token, unless it is empty.
    """

    def __init__(self, channel: grpc.Channel, service: str, token: str = "") -> None:
        self._channel = channel
        self._service = service
        self._token = token

    def with_token(self, token: str) -> "Client":
        """Returns a client with another token."""
        return Client(self._channel, self._service, token)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        [method] = [m for m in contract.methods(contract.SERVICES[self._service]) if m.snake_name == name]
        response = default_message_pool.url_to_type[_build_type_url(method.output)]

        loads = codec.codec_of(response).loads

        def call(request: betterproto2.Message, *, metadata: Metadata = ()) -> Any:
            data = codec.codec_of(type(request)).dumps(request)
            if method.streams:
                return ResponseStream(self._stream(method.path, data, metadata), loads)
            return loads(self.call(method.path, data, metadata))

        return call

    def call(self, path: str, request: bytes, metadata: Metadata = ()) -> bytes:
        """Calls a method by its path with a serialized request. Returns the (first) response. Raises Rejected."""
        if path in _STREAMS:
            with ResponseStream(self._stream(path, request, metadata), bytes) as responses:
                return next(responses)
        try:
            method: Callable[..., bytes] = self._channel.unary_unary(path)
            return method(request, metadata=self._with_token(metadata), timeout=20)
        except grpc.RpcError as error:
            raise Rejected(error) from None

    def _stream(self, path: str, request: bytes, metadata: Metadata) -> Any:
        method: Any = self._channel.unary_stream(path)
        return method(request, metadata=self._with_token(metadata), timeout=120)

    def _with_token(self, metadata: Metadata) -> Metadata:
        return (*metadata, ("authorization", f"Bearer {self._token}")) if self._token else metadata


class ResponseStream(Generic[T]):
    """The responses of a stream, which is cancelled at the end of the context."""

    def __init__(self, call: Any, loads: Callable[[bytes], T]) -> None:
        self._call = call
        self._loads = loads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Returns the next response. Raises Rejected."""
        try:
            return self._loads(next(self._call))
        except grpc.RpcError as error:
            raise Rejected(error) from None


@contextmanager
def connect(port: int, service: str, token: str = "") -> Iterator[Client]:
    """Yields a client with its own channel to a port on this machine."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel, service, token)


def attempt(call: Callable[[], Any]) -> Any:
    """Makes a call and returns its response, or the error."""
    try:
        return call()
    except Rejected as error:
        return error


def _build_type_url(message: type[Message]) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
