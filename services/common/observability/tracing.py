"""Spans: what was done for a call, where, and how long it took (OpenTelemetry).

A trace travels as its traceparent (W3C Trace Context): in metadata, in the outbox, in a message's header and, during
the work itself, in `current_traceparent`. The gateway decides which traces are sampled. Other spans cost one
comparison. Spans are exported only if the settings name a receiver (services/common/observability/export.py).

No span holds a value of a request, a statement or an error: they may be a patient's.
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

_FAULTS = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
}
"""The codes that are no fault of the caller."""

_SAMPLED = frozenset("13579bdf")  # as the last digit of a traceparent, whose last bit is the flag
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_NOT_SAMPLED = nullcontext(INVALID_SPAN)
_current_span: ContextVar[Span] = ContextVar("span", default=INVALID_SPAN)
_w3c = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("pulsetrack")
_durations = metrics.get_meter("pulsetrack").create_histogram(
    "rpc.server.call.duration",
    unit="s",
    description="How long calls took, by method and status.",
    explicit_bucket_boundaries_advisory=_SECONDS,
)


def validate_traceparent(parent: str) -> str:
    """Returns a traceparent that is valid (W3C Trace Context, version 00), "" in place of any other text."""
    return parent if _TRACEPARENT.fullmatch(parent) else ""


def continue_trace(parent: str) -> str:
    """Returns a traceparent that is valid, a new one that is not sampled in place of any other text."""
    return validate_traceparent(parent) or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def start_span(
    name: str, kind: SpanKind, attributes: Attributes, *, parent: str | None = None
) -> AbstractContextManager[Span]:
    """Makes a block a span of its parent's trace, the current one's by default, if that is sampled.

    An exception that leaves the block marks the span as failed, unless it is a Failure that is the caller's own.
    """
    parent = current_traceparent.get() if parent is None else parent
    return _made(name, kind, attributes, parent) if parent[-1:] in _SAMPLED else _NOT_SAMPLED


@contextmanager
def start_spans(name: str, kind: SpanKind, attributes: Attributes, *, parents: Sequence[str]) -> Iterator[list[str]]:
    """Makes a block, in which a batch is dealt with, a span of each of its traces, and yields them as they go on.

    What is done for the batch as a whole is part of the last trace that is sampled.
    """
    with ExitStack() as stack:
        made = [stack.enter_context(start_span(name, kind, attributes, parent=parent)) for parent in parents]
        yield [
            parent if each is INVALID_SPAN else _traceparent(each) for each, parent in zip(made, parents, strict=True)
        ]


class Tracing(AsyncServerInterceptor):
    """Measures each call, and records a span in the caller's trace if that trace is sampled."""

    def __init__(self, method: Method) -> None:
        self._name = method.path.removeprefix("/")
        self._streams = method.streams
        self._attributes = rpc_attributes(self._name)
        self._with_code = {code: self._attributes | {"rpc.response.status_code": code.name} for code in StatusCode}

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """Calls the rest within the span."""
        with start_span(self._name, SpanKind.SERVER, self._attributes):
            if self._streams:  # a stream has no natural end: its trace would be too long to read
                current_traceparent.set(current_traceparent.get()[:-2] + "00")
            return await method(request_or_iterator, context)

    def observe(self, outcome: Outcome) -> None:
        """Records the call's duration and adds its status code to the span."""
        _durations.record(outcome.seconds, self._with_code[outcome.code])
        _current_span.get().set_attribute("rpc.response.status_code", outcome.code.name)


@contextmanager
def _made(name: str, kind: SpanKind, attributes: Attributes, parent: str) -> Iterator[Span]:
    made = _tracer.start_span(name, _w3c.extract({"traceparent": parent}), kind, attributes)
    token, span_token = current_traceparent.set(_traceparent(made)), _current_span.set(made)
    try:
        yield made
    except BaseException as error:
        if fault := _fault(error):
            made.set_attribute("error.type", fault)
            made.set_status(Status(trace.StatusCode.ERROR))
        raise
    finally:
        current_traceparent.reset(token)
        _current_span.reset(span_token)
        made.end()


def rpc_attributes(method: str) -> dict[str, str]:
    """Returns what spans and metrics of a call say of its method: "package.Service/Method"."""
    return {"rpc.system.name": "grpc", "rpc.method": method}


def messaging_attributes(topic: str, operation: str) -> dict[str, str]:
    """Returns what spans say of an operation on a topic: "send" or "process"."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _traceparent(made: Span) -> str:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(made))
    return carrier.get("traceparent", "")


def _fault(error: BaseException) -> str:
    """Returns the type of an error, by its code if it has one; "" if it is the caller's own."""
    if isinstance(error, Failure):
        return error.code.name if error.code in _FAULTS else ""
    return type(error).__name__
