"""A service process: a gRPC server with health, reflection and graceful shutdown."""

import asyncio
import gc
import logging
import math
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
import uvloop
from grpc.aio import EOF
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_interceptor.server import AsyncServerInterceptor

from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable, Failure
from services.common.observability.tracing import Tracing
from services.common.protobuf import contract
from services.common.protobuf.contract import Method
from services.common.protobuf.texts import create_normalizer
from services.common.rpc.authorization import Access, Admission, Identity
from services.common.rpc.conditions import IfMatch
from services.common.rpc.handlers import create_check, create_handler
from services.common.rpc.health_and_reflection import create_health_handlers, create_reflection_handlers
from services.common.rpc.interceptors import (
    Audit,
    Concurrency,
    Context,
    Deadline,
    Errors,
    Next,
    Outcomes,
    Parsing,
    RequestLog,
)
from services.common.rpc.metadata import Handlers
from services.common.rpc.normalization import Normalization
from services.common.rpc.streams import StreamQuota, Streams
from services.common.rpc.tls import bind_port
from services.common.rpc.tokens import REFRESH_SECONDS, TokenVerifier
from services.common.rpc.validation import Check, FieldNames, Validation
from services.common.settings import Settings, SettingsError

_READY_SECONDS = 1.0
_UNREADY_SECONDS = 0.1
"""The interval of health checks while a dependency is not ready, for example while all services start."""

OPTIONS = (
    ("grpc.max_receive_message_length", contract.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", contract.MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", contract.MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", contract.MAX_METADATA_BYTES),
    # No HPACK table for requests: grpc-core would cache an invalid header there for all calls of a connection.
    ("grpc.http2.hpack_table_size.decoder", 0),
    ("grpc.so_reuseport", 0),  # a port that is in use is an error
    # Accepts the keepalive pings of clients, at half of their interval in client.py.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_NO_MESSAGE = b"\0"
"""Replaces a request that was not received completely. No valid message begins with these bytes."""

_log = logging.getLogger(__name__)


class Dependency(Protocol):
    """A component that the service needs in order to serve."""

    async def ready(self) -> None:
        """Checks that the component works. Raises Failure."""


class HandlerBuilder:
    """Builds the handlers of a service: each method's implementation, wrapped in the method's interceptors."""

    def __init__(
        self,
        settings: Settings,
        verifier: TokenVerifier,
        *,
        audit: Audit | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.streams = Streams(write_seconds=settings.stream_write_seconds)
        self._settings = settings
        self._verifier = verifier
        self._audit = audit
        self._admission = admission
        self._unary_limit = Concurrency(settings.concurrent_calls)
        self._stream_limits = (
            Concurrency(settings.concurrent_streams),
            StreamQuota(per_user=settings.streams_per_user, per_address=settings.streams_per_address),
        )

    def create_handlers(self, service_name: str, servicer: object) -> grpc.GenericRpcHandler:
        """Returns the handlers of all methods of a service.

        Raises ContractError if the servicer does not implement a method as the proto declares it.
        """
        handlers: dict[str, Any] = {}
        for method in contract.methods(service_name):
            kind = grpc.stream_stream_rpc_method_handler if method.streams else grpc.stream_unary_rpc_method_handler
            handler = create_handler(method, servicer, self.streams)
            interceptors = self._interceptors(method, create_check(method, servicer))
            handlers[method.path] = kind(bind_interceptors(handler, interceptors, method))
        return Handlers(handlers)

    def _interceptors(self, method: Method, check: Check | None) -> Sequence[AsyncServerInterceptor]:
        """Returns a method's interceptors, the outermost first."""
        log = RequestLog(method, slow_call_ms=math.inf if method.streams else self._settings.slow_call_ms)
        tracing, recorder = Tracing(method), self._audit(method) if self._audit else None
        recorders = [recorder] if recorder else []
        normalize = create_normalizer(method.input.DESCRIPTOR)
        concurrency, *quota = self._stream_limits if method.streams else (self._unary_limit,)
        return (
            Errors(),  # outermost: converts the exceptions of all others into statuses
            log,  # sets the request id and the trace, which all others use
            tracing,
            Outcomes([*(each.observe for each in recorders), tracing.observe, log.observe]),  # before any rejection
            *recorders,  # before any rejection: rejected calls are audited
            concurrency,  # before any expensive work
            Identity(method, self._verifier),
            Access(method),  # before the request is parsed
            *quota,  # after Identity: the quota is per user
            Deadline(),  # after Identity: fetching auth's keys serves all callers and must not be cancelled
            *(self._admission(method) if self._admission else ()),  # before parsing, within the deadline
            Parsing(method),
            *([Normalization(normalize)] if normalize else []),  # before any rule is applied to the text
            FieldNames(method),  # before all that rejects fields
            Validation(method, check),
            *([IfMatch(method)] if contract.IF_MATCH in map(method.condition, method.http) else []),
        )


def bind_interceptors(handler: Next, interceptors: Sequence[AsyncServerInterceptor], method: Method) -> Next:
    """Wraps a handler in its interceptors once, at start-up. grpc would wrap it again in each call.

    The result reads the single request message itself: grpc.aio never responds to a call that ends within its request.
    """

    def wrap(interceptor: AsyncServerInterceptor, following: Next) -> Next:
        intercept, path = interceptor.intercept, method.path

        def call(request: Any, context: Context) -> Awaitable[Any]:
            return intercept(following, request, context, path)

        return call

    for interceptor in reversed(interceptors):
        handler = wrap(interceptor, handler)

    async def receive(_: Any, context: Context) -> Any:  # a coroutine: grpc.aio runs plain functions in threads
        request = await context.read()
        return await handler(_NO_MESSAGE if request is EOF else request, context)

    return receive


class _Health:
    """Reports SERVING in grpc.health.v1 while all dependencies are ready, and NOT_SERVING otherwise."""

    def __init__(self, service_name: str, dependencies: Sequence[Dependency]) -> None:
        self._servicer = health.HealthServicer()
        self._names = ("", service_name)
        self._dependencies = dependencies
        self._unready: set[str] = set()

    def create_handlers(self) -> grpc.GenericRpcHandler:
        """Returns the handlers of the health service."""
        return create_health_handlers(self._servicer)

    async def update(self) -> None:
        """Checks all dependencies and sets the status."""
        unready: set[str] = set()
        for dependency in self._dependencies:
            name = type(dependency).__name__
            try:
                await dependency.ready()
            except Failure as failure:
                unready.add(name)
                if name not in self._unready:
                    _log.warning("%s is not ready: %s", name, failure.__cause__ or failure)
        self._unready = unready
        status = health_pb2.HealthCheckResponse.NOT_SERVING if unready else health_pb2.HealthCheckResponse.SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    async def update_until_ready(self) -> None:
        """Updates the status until all dependencies are ready."""
        await self.update()
        while self._unready:
            await asyncio.sleep(_UNREADY_SECONDS)
            await self.update()

    async def shut_down(self) -> None:
        """Reports NOT_SERVING from now on."""
        await self._servicer.enter_graceful_shutdown()


@asynccontextmanager
async def start_server(
    settings: Settings,
    service_name: str,
    servicer: object,
    *,
    verifier: TokenVerifier,
    dependencies: Iterable[Dependency] = (),
    audit: Audit | None = None,
    admission: Admission | None = None,
) -> AsyncIterator[int]:
    """Serves a service with health and reflection, and yields its port.

    Health reports SERVING while all dependencies are ready. On exit it reports NOT_SERVING, and the server accepts
    calls for another `linger_seconds`, because clients take time to notice. Then streams end at once, and calls in
    progress may complete within `drain_seconds`. Raises SettingsError, ContractError.
    """
    builder = HandlerBuilder(settings, verifier, audit=audit, admission=admission)
    state = _Health(service_name, (verifier, *dependencies))
    reflection = create_reflection_handlers() if settings.reflection == "on" else ()
    # Without a limit of the grace, calls and streams in progress on an old connection continue until they end.
    age = ("grpc.max_connection_age_ms", settings.connection_age_seconds * 1000)
    server = grpc.aio.server(options=(*OPTIONS, age))
    server.add_generic_rpc_handlers(
        (builder.create_handlers(service_name, servicer), state.create_handlers(), *reflection)
    )
    port = bind_port(server, settings)
    await state.update()
    await server.start()
    async with (
        BackgroundTask(state.update_until_ready, activity="checking dependencies", interval=_READY_SECONDS),
        _follow_trust(verifier, builder.streams),
    ):
        try:
            yield port
        finally:
            await state.shut_down()  # does not wait for a check in progress, whose status is ignored afterwards
            await asyncio.sleep(settings.linger_seconds)
            builder.streams.end()
            await server.stop(settings.drain_seconds)


def _follow_trust(verifier: TokenVerifier, streams: Streams) -> BackgroundTask:
    """Returns the task that refreshes auth's keys, and ends the streams whose tokens are no longer valid."""

    async def refresh() -> None:
        await verifier.refresh()
        streams.end_unauthorized(verifier.check)

    return BackgroundTask(refresh, activity="refreshing the keys of auth", interval=REFRESH_SECONDS)


async def serve(
    settings: Settings,
    service_name: str,
    servicer: object,
    *,
    verifier: TokenVerifier,
    dependencies: Iterable[Dependency] = (),
    audit: Audit | None = None,
    admission: Admission | None = None,
) -> None:
    """Serves a service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with start_server(
        settings, service_name, servicer, verifier=verifier, dependencies=dependencies, audit=audit, admission=admission
    ) as port:
        gc.freeze()  # a full collection then skips the objects of the modules, which takes 45 ms
        _log.info("serving", extra={"port": port})
        await stop.wait()
        _log.info("draining")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a service's main function. Exits with status 1 and a one-line error if a setting or the database fails."""
    errors: tuple[BaseException, ...] = ()
    try:
        uvloop.run(main())
    except* (SettingsError, DependencyUnavailable) as group:  # a TaskGroup raises a group
        errors = group.exceptions
    if errors:
        sys.exit(_describe_error(errors[0]))


def _describe_error(error: BaseException) -> str:
    if isinstance(error, DependencyUnavailable):
        return f"A dependency is unavailable: {error.__cause__ or error}"
    return str(error)
