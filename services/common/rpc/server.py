"""A service process: handlers bound to the contract's methods, health, reflection, and an orderly end."""

import asyncio
import inspect
import logging
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol, get_args, get_origin, get_type_hints

import betterproto2
import grpc
import uvloop
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health

from services.common.context import Caller, current_caller
from services.common.errors import DependencyUnavailable, Failure, FieldsInvalid
from services.common.postgres.database import Transaction, current_transaction
from services.common.protobuf import codec, contract
from services.common.protobuf.contract import ContractError, Method
from services.common.rpc.health_and_reflection import health_handlers, reflection_handlers
from services.common.rpc.interceptors import Admission, Audit, Concurrency, Context, bind, chain
from services.common.rpc.shares import StreamShares
from services.common.rpc.streams import Streams
from services.common.rpc.tokens import REFRESH_SECONDS, TokenVerifier
from services.common.settings import Settings, SettingsError

READINESS_SECONDS = 1.0

_GIVEN: Mapping[str, tuple[type, ContextVar[Any]]] = {
    "caller": (Caller, current_caller),
    "tx": (Transaction, current_transaction),
}
"""What a handler may take beside its request, by the parameter's name: its type, and where its value is."""

OPTIONS = (
    ("grpc.max_receive_message_length", contract.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", contract.MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", contract.MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", contract.MAX_METADATA_BYTES),
    # No HPACK table for requests: grpc-core would keep the error in a header there, for all calls of the connection.
    ("grpc.http2.hpack_table_size.decoder", 0),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
)

_log = logging.getLogger(__name__)


class Dependency(Protocol):
    """Something without which the service cannot serve."""

    async def ready(self) -> None:
        """Returns if the part works. Raises Failure."""


def handlers(
    service_name: str,
    servicer: object,
    verifier: TokenVerifier,
    settings: Settings,
    streams: Streams,
    *,
    audit: Audit | None = None,
    admission: Admission | None = None,
) -> grpc.GenericRpcHandler:
    """Binds each method of a service to the servicer's method of the same name in snake case.

    Raises ContractError if one is missing or takes or returns something else than the proto says.
    """
    bound: dict[str, Any] = {}
    calls, open_streams = Concurrency(most=settings.concurrent_calls), Concurrency(most=settings.concurrent_streams)
    shares = StreamShares(per_user=settings.streams_per_user, per_address=settings.streams_per_address)
    for method in contract.methods(service_name):
        handler = _handler(method, servicer, streams)
        interceptors = chain(
            method,
            verifier,
            slow_call_ms=settings.slow_call_ms,
            concurrency=open_streams if method.streams else calls,
            shares=shares if method.streams else None,
            audit=audit,
            admission=admission,
        )
        kind = grpc.stream_stream_rpc_method_handler if method.streams else grpc.stream_unary_rpc_method_handler
        bound[method.name] = kind(bind(handler, interceptors, method))
    return grpc.method_handlers_generic_handler(service_name, bound)


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
    """Serves a service, with health and reflection beside it, and yields its port.

    Health says SERVING as long as every part is ready. At the end it says NOT_SERVING, and for `linger_seconds` calls
    are taken from whoever has not heard of it yet. Then those under way may finish for `drain_seconds`; streams, which
    would not, end at once.
    Raises SettingsError if it cannot listen, ContractError if the servicer does not fit.
    """
    server = grpc.aio.server(options=OPTIONS)
    streams = Streams(write_seconds=settings.stream_write_seconds)
    ours = handlers(service_name, servicer, verifier, settings, streams, audit=audit, admission=admission)
    server.add_generic_rpc_handlers((ours,))
    servicer_of_health = health.HealthServicer()
    server.add_generic_rpc_handlers((health_handlers(servicer_of_health),))
    if settings.reflection == "on":
        server.add_generic_rpc_handlers(reflection_handlers())
    try:
        port = server.add_insecure_port(settings.listen)
    except RuntimeError:
        raise SettingsError(
            f"PULSETRACK_LISTEN: {settings.listen} is taken by another program, or is no host:port of this machine"
        ) from None
    dependencies = (verifier, *dependencies)
    await verifier.refresh()  # a service without keys refuses every call, so it is not ready
    await _tell_health(servicer_of_health, service_name, dependencies)
    await server.start()
    watch = asyncio.create_task(_watch_dependencies(servicer_of_health, service_name, dependencies))
    following = asyncio.create_task(_follow_auth(verifier, streams))
    try:
        yield port
    finally:
        watch.cancel()
        await servicer_of_health.enter_graceful_shutdown()
        await asyncio.sleep(settings.linger_seconds)
        streams.end()
        await server.stop(settings.drain_seconds)
        following.cancel()


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
        _log.info("serving", extra={"port": port})
        await stop.wait()
        _log.info("draining")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a service's main. A wrong setting, or a database that fails, ends it with one sentence and status 1."""
    errors: tuple[BaseException, ...] = ()
    try:
        uvloop.run(main())
    except* (SettingsError, DependencyUnavailable) as group:  # from a TaskGroup, it comes in a group
        errors = group.exceptions
    if errors:
        sys.exit(_sentence(errors[0]))


def _sentence(error: BaseException) -> str:
    if isinstance(error, DependencyUnavailable):
        return f"A dependency is not available: {error.__cause__ or error}"
    return str(error)


def _handler(method: Method, servicer: object, streams: Streams) -> Callable[[Any, Context], Awaitable[Any]]:
    """Returns a handler from the parsed message to the answer's bytes, around the servicer's own.

    That of a stream sends its answers itself, and is awaited like any other, so that it has the same interceptors.
    """
    handle, hints = _found(method, servicer)
    loaded, dumps = codec.codec_of(hints["request"]).decode, codec.codec_of(hints["return"]).dumps
    given = {name: value for name, (_, value) in _GIVEN.items() if name in hints}

    def call(message: Any) -> Any:
        try:
            request = loaded(message)
        except codec.TimeRangeError as error:
            raise FieldsInvalid({error.field: "must be a time of the years 1 to 9999"}) from None
        return handle(request, **{name: value.get() for name, value in given.items()})

    async def answer(message: Any, _: Context) -> bytes:
        return dumps(await call(message))

    async def stream(message: Any, context: Context) -> None:
        await streams.send(call(message), dumps, context, current_caller.get())

    return stream if method.streams else answer


def _found(method: Method, servicer: object) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """Returns the servicer's handler of a method, and its type hints: "return" is its answer's, or each of them."""
    name = method.snake_name
    handle = getattr(servicer, name, None)
    is_handler, kind = (
        (inspect.isasyncgenfunction, "async generator") if method.streams else (inspect.iscoroutinefunction, "async")
    )
    if handle is None or not is_handler(handle):
        raise ContractError(f"{method.path} has no handler: {type(servicer).__name__} lacks an {kind} {name}")
    hints = get_type_hints(handle)
    if method.streams and get_origin(hints.get("return")) is AsyncGenerator:
        hints["return"] = get_args(hints["return"])[0]
    _fits(method, "takes", hints.get("request"), method.input)
    _fits(method, "returns", hints.get("return"), method.output)
    others = {other: hints.get(other) for other in inspect.signature(handle).parameters if other != "request"}
    if any(kind is not _GIVEN.get(other, (None,))[0] for other, kind in others.items()):
        raise ContractError(f"{method.path}: {name} has parameters that nothing fills: {', '.join(others)}")
    return handle, hints


def _fits(method: Method, verb: str, annotation: Any, message: type) -> None:
    wanted = message.DESCRIPTOR.full_name  # type: ignore[attr-defined]
    is_message = isinstance(annotation, type) and issubclass(annotation, betterproto2.Message)
    said = codec.full_name(annotation) if is_message else annotation
    if said != wanted:
        raise ContractError(f"{method.path} {verb} {wanted}, but its handler says {said}")


async def _follow_auth(verifier: TokenVerifier, streams: Streams) -> None:
    while True:
        await verifier.refresh()
        streams.end_refused(verifier.check)
        await asyncio.sleep(REFRESH_SECONDS)


async def _watch_dependencies(
    servicer: health.HealthServicer, service_name: str, dependencies: tuple[Dependency, ...]
) -> None:
    while True:
        await asyncio.sleep(READINESS_SECONDS)
        await _tell_health(servicer, service_name, dependencies)


async def _tell_health(servicer: health.HealthServicer, service_name: str, dependencies: Iterable[Dependency]) -> None:
    status = health_pb2.HealthCheckResponse.SERVING
    for dependency in dependencies:
        try:
            await dependency.ready()
        except Failure as failure:
            _log.warning("%s is not ready: %s", type(dependency).__name__, failure.__cause__ or failure)
            status = health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", service_name):
        await servicer.set(name, status)
