"""A service process: handlers bound to the contract's methods, health, reflection, and an orderly end."""

import asyncio
import inspect
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol, get_type_hints

import betterproto2
import grpc
import uvloop
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health

from services.common import contract, wire
from services.common.contract import ContractError, Method
from services.common.errors import Failure, FieldsInvalid
from services.common.identity import Caller, TokenVerifier
from services.common.interceptors import Audit, Concurrency, Context, bind, caller_of_call, chain
from services.common.settings import Settings, SettingsError
from services.common.standard import health_handlers, reflection_handlers

READINESS_SECONDS = 1.0

_OPTIONS = (
    ("grpc.max_receive_message_length", contract.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", contract.MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
)

_log = logging.getLogger(__name__)


class Part(Protocol):
    """Something without which the service cannot serve."""

    async def ready(self) -> None:
        """Returns if the part works. Raises Failure."""


def handlers(
    service_name: str,
    servicer: object,
    verifier: TokenVerifier,
    *,
    slow_call_ms: int,
    concurrent_calls: int,
    audit: Audit | None = None,
) -> grpc.GenericRpcHandler:
    """Binds each method of a service to the servicer's method of the same name in snake case.

    Raises ContractError if one is missing or takes or returns something else than the proto says.
    """
    bound: dict[str, Any] = {}
    concurrency = Concurrency(most=concurrent_calls)
    for method in contract.methods(service_name):
        handler = _handler(method, servicer)
        interceptors = chain(method, verifier, slow_call_ms=slow_call_ms, concurrency=concurrency, audit=audit)
        entry = bind(handler, interceptors, method)
        bound[method.name] = grpc.unary_unary_rpc_method_handler(entry)
    return grpc.method_handlers_generic_handler(service_name, bound)


@asynccontextmanager
async def serving(
    settings: Settings,
    service_name: str,
    servicer: object,
    *,
    verifier: TokenVerifier,
    parts: Iterable[Part] = (),
    audit: Audit | None = None,
) -> AsyncIterator[int]:
    """Serves a service, with health and reflection beside it, and yields its port.

    Health says SERVING as long as every part is ready. At the end calls under way may finish for `drain_seconds`.
    Raises SettingsError if it cannot listen, ContractError if the servicer does not fit.
    """
    server = grpc.aio.server(options=_OPTIONS)
    limits = {"slow_call_ms": settings.slow_call_ms, "concurrent_calls": settings.concurrent_calls}
    server.add_generic_rpc_handlers((handlers(service_name, servicer, verifier, **limits, audit=audit),))
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
    await _tell_health(servicer_of_health, service_name, parts)
    await server.start()
    watch = asyncio.create_task(_watch_parts(servicer_of_health, service_name, tuple(parts)))
    try:
        yield port
    finally:
        watch.cancel()
        await servicer_of_health.enter_graceful_shutdown()
        await server.stop(settings.drain_seconds)


async def serve(
    settings: Settings,
    service_name: str,
    servicer: object,
    *,
    verifier: TokenVerifier,
    parts: Iterable[Part] = (),
    audit: Audit | None = None,
) -> None:
    """Serves a service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings, service_name, servicer, verifier=verifier, parts=parts, audit=audit) as port:
        _log.info("serving", extra={"port": port})
        await stop.wait()
        _log.info("draining")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a service's main. A wrong setting ends it with one sentence and status 1."""
    wrong: tuple[BaseException, ...] = ()
    try:
        uvloop.run(main())
    except* SettingsError as group:  # one of them comes in a group from a TaskGroup
        wrong = group.exceptions
    if wrong:
        sys.exit(str(wrong[0]))


def _handler(method: Method, servicer: object) -> Callable[[Any, Context], Awaitable[bytes]]:
    """Returns a handler from the parsed message to the answer's bytes, around the servicer's own."""
    if method.streams:
        raise ContractError(f"{method.path} streams its answers, which no handler can do yet")
    name = method.snake_name
    handle = getattr(servicer, name, None)
    if not inspect.iscoroutinefunction(handle):
        raise ContractError(f"{method.path} has no handler: {type(servicer).__name__} lacks an async {name}")
    hints = get_type_hints(handle)
    _fits(method, "takes", hints.get("request"), method.input)
    _fits(method, "returns", hints.get("return"), method.output)
    others = {other: hints.get(other) for other in inspect.signature(handle).parameters if other != "request"}
    if others not in ({}, {"caller": Caller}):
        raise ContractError(f"{method.path}: {name} has parameters that nothing fills: {', '.join(others)}")
    loaded, dumps = wire.codec_of(hints["request"]).decode, wire.codec_of(hints["return"]).dumps

    def decode(message: Any) -> Any:
        try:
            return loaded(message)
        except wire.TimeRangeError as error:
            raise FieldsInvalid({error.field: "must be a time of the years 1 to 9999"}) from None

    async def with_caller(message: Any, _: Context) -> bytes:
        return dumps(await handle(decode(message), caller_of_call.get()))

    async def without_caller(message: Any, _: Context) -> bytes:
        return dumps(await handle(decode(message)))

    return with_caller if others else without_caller


def _fits(method: Method, verb: str, annotation: Any, message: type) -> None:
    wanted = message.DESCRIPTOR.full_name  # type: ignore[attr-defined]
    is_message = isinstance(annotation, type) and issubclass(annotation, betterproto2.Message)
    said = wire.full_name(annotation) if is_message else annotation
    if said != wanted:
        raise ContractError(f"{method.path} {verb} {wanted}, but its handler says {said}")


async def _watch_parts(servicer: health.HealthServicer, service_name: str, parts: tuple[Part, ...]) -> None:
    while True:
        await asyncio.sleep(READINESS_SECONDS)
        await _tell_health(servicer, service_name, parts)


async def _tell_health(servicer: health.HealthServicer, service_name: str, parts: Iterable[Part]) -> None:
    status = health_pb2.HealthCheckResponse.SERVING
    for part in parts:
        try:
            await part.ready()
        except Failure as failure:
            _log.warning("%s is not ready: %s", type(part).__name__, failure.__cause__ or failure)
            status = health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", service_name):
        await servicer.set(name, status)
