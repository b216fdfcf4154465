"""Calls to other services."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import betterproto2
import grpc
from opentelemetry.trace import SpanKind

from gen.google.api import HttpBody
from gen.pulsetrack.auth.v1 import (
    GetJwksRequest,
    GetTrustBundleRequest,
    IssueServiceTokenRequest,
    ServiceToken,
    TrustBundle,
)
from services.common.context import current_request_id, current_time_left, current_traceparent
from services.common.errors import DependencyUnavailable
from services.common.observability.tracing import rpc_attributes, start_spans
from services.common.protobuf import codec, contract
from services.common.rpc.metadata import read_metadata
from services.common.rpc.tls import Tls
from services.common.rpc.tokens import FetchTrust

Q = TypeVar("Q", bound=betterproto2.Message)
R = TypeVar("R", bound=betterproto2.Message)

_OUTAGES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
_RENEWAL_MARGIN_SECONDS = 30
_KEEPALIVE_MS, _PING_TIMEOUT_MS = 10_000, 5_000

_OPTIONS = (
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),  # all services start at the same time
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),  # grpc-core waits for 60 s without this
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


def open_channel(target: str, *, service: str = "", tls: Tls | None = None) -> grpc.aio.Channel:
    """Returns a channel to host:port, or to several comma-separated IP addresses with ports.

    With TLS, the server must have a certificate with the name of the service.

    Calls are distributed over all addresses, including those that a host name resolves to (round robin). The channel
    connects on first use and reconnects automatically. It resolves a host name again whenever a connection ends, which
    servers cause regularly. A connection whose server does not respond is replaced within 15 seconds.
    """
    target = f"ipv4:{target}" if "," in target else target
    if tls is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    named = (*_OPTIONS, ("grpc.ssl_target_name_override", service))
    return grpc.aio.secure_channel(target, tls.channel_credentials(), options=named)


class Credentials(Protocol):
    """The access tokens with which calls authenticate."""

    async def get_token(self) -> str:
        """Returns a token. Raises DependencyUnavailable."""

    def discard(self) -> None:
        """Discards a cached token. Called after a service has rejected it."""


class CallerCredentials:
    """The token of the current call, for calls on behalf of the caller."""

    async def get_token(self) -> str:
        """Returns the token."""
        return "".join(read_metadata("authorization")).partition(" ")[2].strip()

    def discard(self) -> None:
        """Does nothing. The caller has no other token."""


class ServiceCredentials:
    """Exchanges client credentials for service tokens. Caches each token until shortly before it expires."""

    def __init__(self, auth: grpc.aio.Channel, *, client_id: str, client_secret: str) -> None:
        self._issue = RemoteMethod(auth, "auth", "IssueServiceToken", IssueServiceTokenRequest, ServiceToken)
        self._request = IssueServiceTokenRequest(client_id=client_id, client_secret=client_secret)
        self._token = ""
        self._valid_until = 0.0

    async def get_token(self) -> str:
        """Returns a token that is valid for at least 30 seconds. Raises DependencyUnavailable."""
        if time.monotonic() > self._valid_until:
            issued = await self._issue(self._request)
            self._token = issued.access_token
            self._valid_until = time.monotonic() + issued.expires_in - _RENEWAL_MARGIN_SECONDS
        return self._token

    def discard(self) -> None:
        """Discards the cached token. Called after a service has rejected it."""
        self._valid_until = 0.0


class RemoteMethod(Generic[Q, R]):
    """A method of another service, callable as a function from request to response.

    Raises DependencyUnavailable if the service does not respond in time, grpc.aio.AioRpcError for any other error.
    """

    def __init__(
        self,
        to: grpc.aio.Channel,
        service: str,
        method: str,
        request: type[Q],
        response: type[R],
        *,
        credentials: Credentials | None = None,
        timeout_seconds: float = 5,
    ) -> None:
        self._name = f"{contract.SERVICES[service]}/{method}"
        self._call: Callable[..., Awaitable[bytes]] = to.unary_unary(f"/{self._name}")
        self._dumps: Callable[[Q], bytes] = codec.codec_of(request).dumps
        self._loads: Callable[[bytes], R] = codec.codec_of(response).loads
        self._credentials = credentials
        self._timeout_seconds = timeout_seconds

    async def __call__(self, request: Q, *, parents: Sequence[str] | None = None) -> R:
        """Calls the method. A batch has one span for each of its parents, which are the traceparents of its items."""
        parents = [current_traceparent.get()] if parents is None else parents
        with start_spans(self._name, SpanKind.CLIENT, rpc_attributes(self._name), parents=parents):
            return await self._send(request)

    async def _send(self, request: Q) -> R:
        metadata = []
        if self._credentials:
            metadata.append(("authorization", f"Bearer {await self._credentials.get_token()}"))
        if request_id := current_request_id.get():
            metadata.append(("x-request-id", request_id))
        if traceparent := current_traceparent.get():
            metadata.append(("traceparent", traceparent))
        try:
            response = await self._call(self._dumps(request), timeout=self._timeout(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED and self._credentials:
                self._credentials.discard()
            if error.code() in _OUTAGES:
                raise DependencyUnavailable from error
            raise
        return self._loads(response)

    def _timeout(self) -> float:
        """Returns the timeout in seconds: the method's own, or the time until the current call's deadline if less."""
        time_left = current_time_left.get()()
        return self._timeout_seconds if time_left is None else min(self._timeout_seconds, time_left)


def create_trust_fetcher(auth: grpc.aio.Channel) -> FetchTrust:
    """Returns a function that fetches auth's public keys and revocations."""
    get = RemoteMethod(auth, "auth", "GetTrustBundle", GetTrustBundleRequest, TrustBundle)
    get_keys = RemoteMethod(auth, "auth", "GetJwks", GetJwksRequest, HttpBody)

    async def fetch() -> TrustBundle:
        try:
            return await get(GetTrustBundleRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            keys = await get_keys(GetJwksRequest())  # auth may run an older version during an upgrade
            return TrustBundle(jwks=keys.data)

    return fetch
