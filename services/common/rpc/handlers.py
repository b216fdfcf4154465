"""Adapters from the methods of a service class to gRPC handlers.

A service class is plain Python. It implements each RPC as a coroutine (or an async generator, for a stream) with the
RPC's name in snake case. `create_handler` finds it, checks its signature against the proto, and returns a function
from a parsed request to a serialized response. For example, given

    class BillingService:
        async def get_billing_account(self, request: GetBillingAccountRequest, caller: Caller) -> BillingAccount: ...

the handler of GetBillingAccount takes the parsed google.protobuf message `id: "7"`, calls
`get_billing_account(GetBillingAccountRequest(id="7"), caller=<the current caller>)`, whose arguments are dataclasses,
and returns the serialized BillingAccount. An implementation that returns Encoded[BillingAccount] has serialized it.

A service can be split into several classes. The server then takes a tuple of their objects.

A service class may have an attribute `checks`: an object with coroutines of the same names, which take a request and
return the violations that the handler would report, by field path. They complete the violations of an invalid request.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints

import betterproto2

from services.common.context import Caller, current_caller
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Transaction, current_transaction
from services.common.protobuf import codec
from services.common.protobuf.contract import ContractError, Method
from services.common.protobuf.encoded import Encoded
from services.common.protobuf.violations import find_time_violations
from services.common.rpc.conditions import Condition, current_condition
from services.common.rpc.interceptors import Context
from services.common.rpc.streams import Streams
from services.common.rpc.validation import Check

_INJECTED: Mapping[str, tuple[type, ContextVar[Any]]] = {
    "caller": (Caller, current_caller),
    "condition": (Condition, current_condition),
    "tx": (Transaction, current_transaction),
}
"""The parameters that an implementation may declare after `request`: their type and the source of their value."""


def create_handler(method: Method, servicer: object, streams: Streams) -> Callable[[Any, Context], Awaitable[Any]]:
    """Returns the handler of a method.

    The handler of a stream sends the responses itself and returns None, so the same interceptors apply to both kinds.
    Raises ContractError if the servicer does not implement the method, or its signature differs from the proto.
    """
    implementation = _find_implementation(method, servicer)
    hints = _check_signature(method, implementation)
    decode, dumps = codec.codec_of(hints["request"]).decode, _serializer(hints["return"])
    injected = {name: variable for name, (_, variable) in _INJECTED.items() if name in hints}

    def call(message: Any) -> Any:
        try:
            request = decode(message)
        except codec.TimeRangeError:
            raise FieldsInvalid(dict(find_time_violations(message))) from None
        return implementation(request, **{name: variable.get() for name, variable in injected.items()})

    async def respond(message: Any, _: Context) -> bytes:
        return dumps(await call(message))

    async def stream(message: Any, context: Context) -> None:
        await streams.send(call(message), dumps, context, current_caller.get())

    return stream if method.streams else respond


def create_check(method: Method, servicer: object) -> Check | None:
    """Returns the check of a method, or None if the servicer has none.

    Raises ContractError if its request differs from the proto.
    """
    implementation = _find([getattr(part, "checks", None) for part in _parts(servicer)], method)
    if implementation is None:
        return None
    hint = get_type_hints(implementation)["request"]
    _check_type(method, "takes", hint, method.input)
    decode = codec.codec_of(hint).decode

    def check(message: Any) -> Awaitable[Mapping[str, str]]:
        return implementation(decode(message))  # type: ignore[no-any-return]

    return check


def _serializer(response: Any) -> Callable[[Any], bytes]:
    """Returns the function that serializes responses of a type: a dataclass, or Encoded."""
    return attrgetter("data") if get_origin(response) is Encoded else codec.codec_of(response).dumps


def _find_implementation(method: Method, servicer: object) -> Callable[..., Any]:
    """Returns the servicer's method of the same name. Raises ContractError if it is missing or of the wrong kind."""
    parts = _parts(servicer)
    implementation = _find(parts, method)
    has_kind, kind = (
        (inspect.isasyncgenfunction, "async generator")
        if method.streams
        else (inspect.iscoroutinefunction, "coroutine")
    )
    if implementation is None or not has_kind(implementation):
        names = ", ".join(type(part).__name__ for part in parts)
        raise ContractError(f"{method.path} is not implemented: {names} has no {kind} {method.snake_name}")
    return implementation  # type: ignore[no-any-return]


def _parts(servicer: object) -> Sequence[object]:
    return servicer if isinstance(servicer, tuple) else (servicer,)


def _find(objects: Sequence[object], method: Method) -> Any:
    """Returns the implementation of a method in the first object that has one, or None."""
    return next((found for each in objects if (found := getattr(each, method.snake_name, None))), None)


def _check_signature(method: Method, implementation: Callable[..., Any]) -> Mapping[str, Any]:
    """Returns the type hints of an implementation. "return" is the type of the response, or of each one of a stream.

    Raises ContractError if the types differ from the proto, or a parameter is unknown.
    """
    hints = get_type_hints(implementation)
    if method.streams and get_origin(hints.get("return")) is AsyncGenerator:
        hints["return"] = get_args(hints["return"])[0]
    _check_type(method, "takes", hints.get("request"), method.input)
    _check_type(method, "returns", hints.get("return"), method.output)
    others = {name: hints.get(name) for name in inspect.signature(implementation).parameters if name != "request"}
    if any(hint is not _INJECTED.get(name, (None,))[0] for name, hint in others.items()):
        raise ContractError(f"{method.path}: {method.snake_name} has unsupported parameters: {', '.join(others)}")
    return hints


def _check_type(method: Method, verb: str, hint: Any, message: type) -> None:
    if verb == "returns" and get_origin(hint) is Encoded:
        [hint] = get_args(hint)
    expected = message.DESCRIPTOR.full_name  # type: ignore[attr-defined]
    is_message = isinstance(hint, type) and issubclass(hint, betterproto2.Message)
    declared = codec.full_name(hint) if is_message else hint
    if declared != expected:
        raise ContractError(f"{method.path} {verb} {expected}, but its implementation declares {declared}")
