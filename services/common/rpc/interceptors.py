"""What every call goes through before its handler and after it: one class for each concern."""

import asyncio
import logging
import math
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

import grpc
import protovalidate
from google.protobuf.message import DecodeError, Message
from grpc import StatusCode
from grpc.aio import EOF, AbortError
from grpc_interceptor.server import AsyncServerInterceptor

from services.common.context import (
    Caller,
    Outcome,
    current_caller,
    current_request,
    current_request_id,
    current_time_left,
    current_traceparent,
)
from services.common.errors import (
    CallTooSlow,
    Failure,
    FieldsInvalid,
    Internal,
    MessageMalformed,
    RateLimited,
    RoleRequired,
    TokenInvalid,
    TokenMissing,
)
from services.common.observability.tracing import Tracing, continue_trace
from services.common.protobuf.contract import AccessKind, Method
from services.common.rpc.tokens import SERVICE_ROLE, TokenVerifier

Context = grpc.aio.ServicerContext[Any, Any]
Next = Callable[[Any, Context], Awaitable[Any]]
"""The rest of the chain, the handler at its end."""

Observer = Callable[[Outcome], None]
"""Receives the outcome of each call of a method, within the context of the call."""

Admission = Callable[[Method], Iterable[AsyncServerInterceptor]]
"""Makes a method's interceptors that decide on callers by more than the token, in a service that has such rules."""


class CallAudit(AsyncServerInterceptor):
    """Records the calls of a method in the audit log."""

    @abstractmethod
    def observe(self, outcome: Outcome) -> None:
        """Records the call that ended with the outcome."""


Audit = Callable[[Method], CallAudit | None]
"""Returns the interceptor that records a method's calls, None if the method is not audited."""

_EARLIER_PART, _EARLIER_SECONDS = 0.02, 0.3
"""By which part of the time left, and by how much at most, a handler is ended before its deadline."""

_NO_MESSAGE = b"\0"
"""Stands for a request that did not arrive whole: bytes that no message begins with."""

_log = logging.getLogger(__name__)
_validator = protovalidate.Validator()


class Errors(AsyncServerInterceptor):
    """Answers a Failure with its google.rpc.Status. Any other exception is logged whole and answered as INTERNAL."""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest, and answers for what it raises."""
        try:
            return await method(request_or_iterator, context)
        except AbortError:
            raise
        except Failure as error:
            failure = error
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log the rest
            _log.exception("%s failed", method_name)
            failure = Internal()
        status = failure.status(current_request_id.get())
        rich = ("grpc-status-details-bin", status.SerializeToString())
        # The gateway makes the header Retry-After of this one.
        retry = () if failure.retry_after is None else (("retry-after", str(failure.retry_after)),)
        return await context.abort(failure.code, failure.message, trailing_metadata=(rich, *retry))


class RequestLog(AsyncServerInterceptor):
    """Sets the call's request id and trace, and logs the call if it is rejected or slow.

    The gateway writes the access log. The service logs the method and no other part of a request.
    """

    def __init__(self, method: Method, *, slow_call_ms: float) -> None:
        self._name = method.path
        self._slow_seconds = slow_call_ms / 1000

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest with the ids that the gateway sent, or with new ones."""
        current_request_id.set(_first(_metadata(context, "x-request-id"))[:64] or str(uuid4()))
        current_traceparent.set(continue_trace(_first(_metadata(context, "traceparent"))))
        return await method(request_or_iterator, context)

    def observe(self, outcome: Outcome) -> None:
        """Logs a call that was rejected or slow. `Errors` logs unexpected exceptions."""
        code = outcome.code.name
        if outcome.failure:
            _log.info("%s rejected", self._name, extra={"code": code, "reason": outcome.failure.reason})
        if outcome.seconds > self._slow_seconds:
            _log.warning("%s was slow", self._name, extra={"code": code, "ms": round(outcome.seconds * 1000)})


class Outcomes(AsyncServerInterceptor):
    """Computes the outcome of each call once and passes it to the observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest and measures its duration."""
        start = time.perf_counter()
        code, failure = StatusCode.INTERNAL, None
        try:
            response = await method(request_or_iterator, context)
            code = StatusCode.OK
        except Failure as error:
            code, failure = error.code, error
            raise
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        finally:
            outcome = Outcome(code, failure, time.perf_counter() - start)
            for observe in self._observers:
                observe(outcome)
        return response


class Concurrency(AsyncServerInterceptor):
    """Refuses a call at once when as many are under way as may be: an answer that comes too late helps nobody.

    One for all methods of a server that answer once, and one for its streams, which wait most of their time.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._under_way = 0

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises RateLimited."""
        if self._under_way >= self._most:
            raise RateLimited
        self._under_way += 1
        try:
            return await method(request_or_iterator, context)
        finally:
            self._under_way -= 1


class Identity(AsyncServerInterceptor):
    """Finds out who calls, from the bearer token (RFC 6750), for a method that is not public.

    The gateway has verified the token of a call that came through it; here it is verified again, so that a call
    straight to the service's port gets no further.
    """

    def __init__(self, method: Method, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._public = method.access.kind is AccessKind.PUBLIC
        self._optional = method.access.kind in {AccessKind.CLIENT_CREDENTIALS, AccessKind.INTERNAL}

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest as the caller. Raises TokenMissing, TokenInvalid, UserDisabled."""
        current_caller.set(None if self._public else await self._caller(context))
        return await method(request_or_iterator, context)

    async def _caller(self, context: Context) -> Caller | None:
        headers = _metadata(context, "authorization")
        if len(headers) > 1:
            raise TokenInvalid  # another who reads this call might take another of them
        scheme, _, token = "".join(headers).partition(" ")
        if scheme.lower() == "bearer" and token:
            return await self._verifier.verify(token.strip())
        if self._optional:
            return None
        raise TokenMissing


class Access(AsyncServerInterceptor):
    """Lets in whom the method's access option names, and nobody else."""

    def __init__(self, method: Method) -> None:
        self._access = method.access

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises RoleRequired."""
        if not self._admits(current_caller.get()):
            raise RoleRequired
        return await method(request_or_iterator, context)

    def _admits(self, caller: Caller | None) -> bool:
        match self._access.kind:
            case AccessKind.PUBLIC:
                return True
            case AccessKind.USERS:
                return caller is not None and caller.role in self._access.roles
            case AccessKind.SERVICES:
                return caller is not None and caller.role == SERVICE_ROLE
            case AccessKind.CLIENT_CREDENTIALS | AccessKind.INTERNAL:
                return caller is None or caller.role == SERVICE_ROLE


class Deadline(AsyncServerInterceptor):
    """Passes the caller's deadline on to the calls that the handler makes, and ends the handler just before it.

    At the deadline itself grpc would end it, with an error that has no details.
    """

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises CallTooSlow."""
        current_time_left.set(context.time_remaining)
        if (seconds := context.time_remaining()) is None:
            return await method(request_or_iterator, context)
        deadline = asyncio.timeout(seconds - min(seconds * _EARLIER_PART, _EARLIER_SECONDS))
        try:
            async with deadline:
                return await method(request_or_iterator, context)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise CallTooSlow from None


class Parsing(AsyncServerInterceptor):
    """Turns the bytes of the request into its message: after the door, so that a stranger has nothing parsed."""

    def __init__(self, method: Method) -> None:
        self._parse: Callable[[bytes], Message] = method.input.FromString

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest with the message. Raises MessageMalformed."""
        try:
            message = self._parse(request_or_iterator)
        except DecodeError:
            raise MessageMalformed from None
        current_request.set(message)
        return await method(message, context)


class RequestId(AsyncServerInterceptor):
    """Takes the header Idempotency-Key for the request's `request_id`, of a method that has one (AIP-155)."""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest with the id in the message. Raises FieldsInvalid if header and field differ."""
        given = {*_metadata(context, "idempotency-key"), request_or_iterator.request_id} - {""}
        if len(given) > 1:
            raise FieldsInvalid({"request_id": "must be what the header Idempotency-Key says, if both are given"})
        request_or_iterator.request_id = "".join(given)
        return await method(request_or_iterator, context)


class Validation(AsyncServerInterceptor):
    """Holds the message against the buf.validate rules of its proto."""

    def __init__(self, method: Method) -> None:
        _validator.collect_violations(method.input())  # compiles the rules now, not in the first call

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises FieldsInvalid."""
        if violations := _validator.collect_violations(request_or_iterator):
            raise FieldsInvalid(_violated(violations))
        return await method(request_or_iterator, context)


def chain(
    method: Method,
    verifier: TokenVerifier,
    *,
    slow_call_ms: int,
    concurrency: Concurrency,
    shares: AsyncServerInterceptor | None = None,
    audit: Audit | None = None,
    admission: Admission | None = None,
) -> Sequence[AsyncServerInterceptor]:
    """Returns a method's interceptors, the outermost first."""
    log = RequestLog(method, slow_call_ms=math.inf if method.streams else slow_call_ms)
    tracing, recorder = Tracing(method), audit(method) if audit else None
    recorders = [recorder] if recorder else []
    return (
        Errors(),  # outermost: converts the exceptions of all others into statuses
        log,  # sets the request id and the trace, which all others use
        tracing,
        Outcomes(
            [*(each.observe for each in recorders), tracing.observe, log.observe]
        ),  # outside everything that can reject
        *recorders,  # outside everything that can reject: rejected calls are audited
        concurrency,  # before anything that costs
        Identity(method, verifier),  # who calls
        Access(method),  # and may he? Before the request is read at all
        *([shares] if shares else []),  # after Identity: a share belongs to a user
        Deadline(),  # after Identity: auth's keys, which it may fetch, are for all callers
        *(admission(method) if admission else ()),  # before the request is read, within the deadline
        Parsing(method),  # what he asks
        *([RequestId()] if "request_id" in method.input.DESCRIPTOR.fields_by_name else []),  # before its rules
        Validation(method),  # and is it well-formed?
    )


def bind(handler: Next, interceptors: Sequence[AsyncServerInterceptor], method: Method) -> Next:
    """Wraps a handler in its interceptors once, when it is registered: grpc would do it anew at each call.

    What it returns reads the one request itself. grpc.aio would leave a call that ends within its request unanswered.
    """

    def around(interceptor: AsyncServerInterceptor, following: Next) -> Next:
        def call(request: Any, context: Context) -> Awaitable[Any]:
            return interceptor.intercept(following, request, context, method.path)

        return call

    for interceptor in reversed(interceptors):
        handler = around(interceptor, handler)

    async def entry(_: Any, context: Context) -> Any:  # grpc.aio would run a plain function in a thread
        request = await context.read()
        return await handler(_NO_MESSAGE if request is EOF else request, context)

    return entry


def _metadata(context: Context, name: str) -> list[str]:
    return [
        value if isinstance(value, str) else value.decode("ascii", "replace")
        for key, value in context.invocation_metadata() or ()
        if key == name
    ]


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""


def _violated(violations: list[protovalidate.Violation]) -> dict[str, str]:
    """Returns what is wrong by the field's path, in google.rpc.BadRequest's form: `patient.name`, `mask.paths[0]`."""
    found: dict[str, list[str]] = {}
    for violation in violations:
        elements = violation.proto.field.elements if violation.proto.field else ()
        path = ".".join(e.field_name + (f"[{e.subscript.value}]" if e.subscript else "") for e in elements)
        found.setdefault(path, []).append(violation.proto.message)
    return {path: "; ".join(messages) for path, messages in found.items()}
