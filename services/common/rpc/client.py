"""Calls from one service to another."""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

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
from services.common.observability.tracing import rpc_attributes, start_span
from services.common.protobuf import codec, contract
from services.common.rpc.tokens import FetchTrust

Q = TypeVar("Q", bound=betterproto2.Message)
A = TypeVar("A", bound=betterproto2.Message)

_OUTAGES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
_EARLY_SECONDS = 30


def open_channel(target: str) -> grpc.aio.Channel:
    """Returns a channel to host:port, or to several IP addresses and ports, separated by commas, in turn.

    A name that stands for several addresses means all of them. The channel connects when it is used, and again when a
    connection is lost.
    """
    return grpc.aio.insecure_channel(
        f"ipv4:{target}" if "," in target else target,
        options=[
            ("grpc.lb_policy_name", "round_robin"),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ],
    )


class ServiceCredentials:
    """Exchanges a service's client credentials for service tokens, and keeps each until shortly before it expires."""

    def __init__(self, auth: grpc.aio.Channel, *, client_id: str, client_secret: str) -> None:
        self._issue = RemoteMethod(auth, "auth", "IssueServiceToken", IssueServiceTokenRequest, ServiceToken)
        self._request = IssueServiceTokenRequest(client_id=client_id, client_secret=client_secret)
        self._token = ""
        self._good_until = 0.0

    async def token(self) -> str:
        """Returns a token that is good for some seconds at least. Raises DependencyUnavailable."""
        if time.monotonic() > self._good_until:
            issued = await self._issue(self._request)
            self._token = issued.access_token
            self._good_until = time.monotonic() + issued.expires_in - _EARLY_SECONDS
        return self._token

    def forget(self) -> None:
        """Drops the token that is kept: somebody refused it."""
        self._good_until = 0.0


class RemoteMethod(Generic[Q, A]):
    """A method of another service, called as a function from its request to its answer.

    Raises DependencyUnavailable if the service does not answer in time, grpc.aio.AioRpcError if it refuses.
    """

    def __init__(
        self,
        to: grpc.aio.Channel,
        service: str,
        method: str,
        request: type[Q],
        answer: type[A],
        *,
        credentials: ServiceCredentials | None = None,
        seconds: float = 5,
    ) -> None:
        self._name = f"{contract.SERVICES[service]}/{method}"
        self._call: Callable[..., Awaitable[bytes]] = to.unary_unary(f"/{self._name}")
        self._dumps: Callable[[Q], bytes] = codec.codec_of(request).dumps
        self._loads: Callable[[bytes], A] = codec.codec_of(answer).loads
        self._credentials = credentials
        self._seconds = seconds

    async def __call__(self, request: Q) -> A:
        """Makes the call."""
        with start_span(self._name, SpanKind.CLIENT, rpc_attributes(self._name)):
            return await self._answer(request)

    async def _answer(self, request: Q) -> A:
        metadata = []
        if self._credentials:
            metadata.append(("authorization", f"Bearer {await self._credentials.token()}"))
        if request_id := current_request_id.get():
            metadata.append(("x-request-id", request_id))
        if traceparent := current_traceparent.get():
            metadata.append(("traceparent", traceparent))
        try:
            answer = await self._call(self._dumps(request), timeout=self._patience(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED and self._credentials:
                self._credentials.forget()
            if error.code() in _OUTAGES:
                raise DependencyUnavailable from error
            raise
        return self._loads(answer)

    def _patience(self) -> float:
        """Returns how long to wait for the answer, in seconds: no longer than the one who waits for ours."""
        time_left = current_time_left.get()()
        return self._seconds if time_left is None else min(self._seconds, time_left)


def create_trust_fetcher(auth: grpc.aio.Channel) -> FetchTrust:
    """Returns what fetches auth's public keys and revocations."""
    get = RemoteMethod(auth, "auth", "GetTrustBundle", GetTrustBundleRequest, TrustBundle)
    get_keys = RemoteMethod(auth, "auth", "GetJwks", GetJwksRequest, HttpBody)

    async def fetch() -> TrustBundle:
        try:
            return await get(GetTrustBundleRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            return TrustBundle(jwks=(await get_keys(GetJwksRequest())).data)  # during an upgrade auth may be older

    return fetch
