"""The interceptors that every call passes: one class per concern. The server composes them (server.py)."""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import StatusCode
from grpc.aio import AbortError
from grpc_interceptor.server import AsyncServerInterceptor

from services.common.context import (
    Outcome,
    current_request,
    current_request_id,
    current_time_left,
    current_traceparent,
)
from services.common.errors import CallTooSlow, Failure, Internal, MessageMalformed, RateLimited
from services.common.observability.tracing import continue_trace
from services.common.protobuf.contract import Method
from services.common.rpc.metadata import read_metadata

Context = grpc.aio.ServicerContext[Any, Any]

Next = Callable[[Any, Context], Awaitable[Any]]
"""The next interceptor, or the handler after the last one."""

Observer = Callable[[Outcome], None]
"""Receives the outcome of each call, within the context of the call."""


class CallAudit(AsyncServerInterceptor):
    """Records the calls of a method in the audit log."""

    @abstractmethod
    def observe(self, outcome: Outcome) -> None:
        """Records the call that ended with the outcome."""


Audit = Callable[[Method], CallAudit | None]
"""Returns the interceptor that records a method's calls, or None if the method is not audited."""

_GRACE_RATIO, _MAX_GRACE_SECONDS = 0.02, 0.3
"""A handler is cancelled before the deadline, by this share of the remaining time, up to this maximum."""

_log = logging.getLogger(__name__)


class Errors(AsyncServerInterceptor):
    """Converts a Failure into its google.rpc.Status. Logs any other exception and returns INTERNAL."""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor and aborts the call with the status of an exception."""
        try:
            return await method(request_or_iterator, context)
        except AbortError:
            raise
        except Failure as error:
            failure = error
        except Exception:  # noqa: BLE001 - the client receives a status for any bug, and the log the traceback
            _log.exception("%s failed", method_name)
            failure = Internal()
        status = failure.status(current_request_id.get())
        rich = ("grpc-status-details-bin", status.SerializeToString())
        # The gateway copies this into the Retry-After header.
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
        """Sets the ids that the gateway sent, or new ones, and calls the next interceptor."""
        current_request_id.set(_first(read_metadata("x-request-id"))[:64] or str(uuid4()))
        current_traceparent.set(continue_trace(_first(read_metadata("traceparent"))))
        return await method(request_or_iterator, context)

    def observe(self, outcome: Outcome) -> None:
        """Logs a call that was rejected or slow. `Errors` logs unexpected exceptions."""
        code, failure, seconds = outcome
        if failure:
            _log.info("%s rejected", self._name, extra={"code": code.name, "reason": failure.reason})
        if seconds > self._slow_seconds:
            _log.warning("%s was slow", self._name, extra={"code": code.name, "ms": round(seconds * 1000)})


class Outcomes(AsyncServerInterceptor):
    """Computes the outcome of each call once and passes it to the observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor and measures the duration."""
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
    """Limits the number of concurrent calls. Rejects calls above the limit at once instead of queueing them.

    A server has one instance for all unary methods and one for all streams, which are idle most of the time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_progress = 0

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Counts the call and calls the next interceptor. Raises RateLimited."""
        if self._in_progress >= self._limit:
            raise RateLimited
        self._in_progress += 1
        try:
            return await method(request_or_iterator, context)
        finally:
            self._in_progress -= 1


class Deadline(AsyncServerInterceptor):
    """Propagates the client's deadline to outgoing calls, and cancels the handler shortly before the deadline.

    At the deadline itself, grpc would end the call with a status that has no details.
    """

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor with a timeout. Raises CallTooSlow."""
        current_time_left.set(context.time_remaining)
        if (seconds := context.time_remaining()) is None:
            return await method(request_or_iterator, context)
        deadline = asyncio.timeout(seconds - min(seconds * _GRACE_RATIO, _MAX_GRACE_SECONDS))
        try:
            async with deadline:
                return await method(request_or_iterator, context)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise CallTooSlow from None


class Parsing(AsyncServerInterceptor):
    """Parses the request. Runs only after authorization, so unauthorized input is never parsed."""

    def __init__(self, method: Method) -> None:
        self._parse: Callable[[bytes], Message] = method.input.FromString

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor with the message instead of its bytes. Raises MessageMalformed."""
        try:
            message = self._parse(request_or_iterator)
        except DecodeError:
            raise MessageMalformed from None
        current_request.set(message)
        return await method(message, context)


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""
