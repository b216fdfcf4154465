"""Distributed tracing with OpenTelemetry.

The trace context is a traceparent (W3C Trace Context). It is propagated in call metadata, outbox rows and message
headers, and within the process in `current_traceparent`. The gateway decides which traces are sampled. A span that is
not sampled costs one comparison. Spans are exported only if a receiver is configured (`export_telemetry`).

Spans contain no values of requests, statements or errors, because these may be personal data.
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from grpc import StatusCode
from grpc_interceptor.server import AsyncServerInterceptor
from opentelemetry import metrics, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common.context import Outcome, current_traceparent
from services.common.errors import Failure
from services.common.protobuf.contract import Method

Attributes = Mapping[str, str | int]

_SERVER_ERRORS = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
}
"""The codes of errors that the caller did not cause."""

_SAMPLED = frozenset("13579bdf")  # the last digits of a traceparent whose sampled flag, the lowest bit, is set
_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_NOT_SAMPLED = nullcontext(INVALID_SPAN)
_current_span: ContextVar[Span | None] = ContextVar("span", default=None)
_w3c = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("pulsetrack")
_durations = metrics.get_meter("pulsetrack").create_histogram(
    "rpc.server.call.duration",
    unit="s",
    description="Duration of calls, by method and status.",
    explicit_bucket_boundaries_advisory=_BUCKETS_SECONDS,
)


def validate_traceparent(parent: str) -> str:
    """Returns a traceparent if it is valid (W3C Trace Context, version 00), otherwise an empty string."""
    return parent if _TRACEPARENT.fullmatch(parent) else ""


def continue_trace(parent: str) -> str:
    """Returns a traceparent if it is valid, otherwise that of a new trace that is not sampled."""
    if valid := validate_traceparent(parent):
        return valid
    ids = secrets.token_hex(24)  # one system call for both
    return f"00-{ids[:32]}-{ids[32:]}-00"


def start_span(
    name: str, kind: SpanKind, attributes: Attributes, *, parent: str | None = None
) -> AbstractContextManager[Span]:
    """Records a block as a span if its trace is sampled. The parent is the current span by default.

    An exception that leaves the block marks the span as failed, unless it is a Failure that the caller caused.
    """
    parent = current_traceparent.get() if parent is None else parent
    return _record_span(name, kind, attributes, parent) if parent[-1:] in _SAMPLED else _NOT_SAMPLED


@contextmanager
def start_spans(name: str, kind: SpanKind, attributes: Attributes, *, parents: Sequence[str]) -> Iterator[list[str]]:
    """Records a block that processes a batch as one span per item. Yields the traceparents of the spans.

    Spans within the block belong to the last trace that is sampled.
    """
    with ExitStack() as stack:
        spans = [stack.enter_context(start_span(name, kind, attributes, parent=parent)) for parent in parents]
        yield [
            parent if span is INVALID_SPAN else _format_traceparent(span)
            for span, parent in zip(spans, parents, strict=True)
        ]


class Tracing(AsyncServerInterceptor):
    """Measures each call, and records a span in the caller's trace if that trace is sampled."""

    def __init__(self, method: Method) -> None:
        self._name = method.path.removeprefix("/")
        self._streams = method.streams
        self._attributes = rpc_attributes(self._name)
        self._with_code = {code: self._attributes | {"rpc.response.status_code": code.name} for code in StatusCode}

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """Calls the next interceptor within the span."""
        with start_span(self._name, SpanKind.SERVER, self._attributes):
            if self._streams:  # a stream has no natural end: its trace would be too long to read
                current_traceparent.set(current_traceparent.get()[:-2] + "00")
            return await method(request_or_iterator, context)

    def observe(self, outcome: Outcome) -> None:
        """Records the call's duration and adds its status code to the span."""
        _durations.record(outcome.seconds, self._with_code[outcome.code])
        if span := _current_span.get():
            span.set_attribute("rpc.response.status_code", outcome.code.name)


@contextmanager
def _record_span(name: str, kind: SpanKind, attributes: Attributes, parent: str) -> Iterator[Span]:
    span = _tracer.start_span(name, _w3c.extract({"traceparent": parent}), kind, attributes)
    token, span_token = current_traceparent.set(_format_traceparent(span)), _current_span.set(span)
    try:
        yield span
    except BaseException as error:
        if error_type := _get_error_type(error):
            span.set_attribute("error.type", error_type)
            span.set_status(Status(trace.StatusCode.ERROR))
        raise
    finally:
        current_traceparent.reset(token)
        _current_span.reset(span_token)
        span.end()


def rpc_attributes(method: str) -> dict[str, str]:
    """Returns the attributes of a call's spans and metrics. Takes the method as "package.Service/Method"."""
    return {"rpc.system.name": "grpc", "rpc.method": method}


def messaging_attributes(topic: str, operation: str) -> dict[str, str]:
    """Returns the attributes of a span for the operation "send" or "process" on a topic."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _format_traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


def _get_error_type(error: BaseException) -> str:
    """Returns the code of a Failure, or "" if the caller caused it. Returns the class name of other errors."""
    if isinstance(error, Failure):
        return error.code.name if error.code in _SERVER_ERRORS else ""
    return type(error).__name__
