"""A receiver of spans and metrics: a real OTLP/gRPC server, which remembers what it got."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanProto
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.harness.waiting import eventually


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    service: str
    name: str
    kind: str
    """SERVER, CLIENT, PRODUCER, CONSUMER or INTERNAL."""
    trace: str
    id: str
    parent: str
    """The id of the span that it is a part of, "" of the first of a trace."""
    attributes: dict[str, Any]
    failed: bool
    start: int
    """Nanoseconds since the epoch."""
    end: int


@dataclass(frozen=True)
class Point:
    """The value of a metric that arrived, by its attributes; of a histogram the count."""

    service: str
    name: str
    attributes: dict[str, Any]
    value: float


class Receiver(traces_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
    """Takes what is exported, under the names that the two services of OTLP give it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.points: list[Point] = []
        self.raw: list[bytes] = []
        """All that arrived, as it was on the wire."""
        self.port = 0

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - of both services
        """Takes spans or metrics."""
        self.raw.append(request.SerializeToString())
        if isinstance(request, traces.ExportTraceServiceRequest):
            self.spans += _spans(request)
            return traces.ExportTraceServiceResponse()
        self.points += _points(request)
        return metrics.ExportMetricsServiceResponse()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def trace(self, trace: str, *ends: tuple[str, str]) -> list[Span]:
        """Waits until a trace has these spans, by service and name, with all that led to them, and returns it."""

        def look() -> list[Span]:
            found = [span for span in self.spans if span.trace == trace]
            there = {(span.service, span.name) for span in found}
            known = {"", *(span.id for span in found)}
            return found if there >= {*ends} and known >= {span.parent for span in found} else []

        return eventually(look)


@contextmanager
def run_receiver(port: int = 0) -> Iterator[Receiver]:
    """Runs a receiver during a block, on a free port unless one is given."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    traces_grpc.add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    metrics_grpc.add_MetricsServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    receiver.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()


def _spans(request: traces.ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Span(
                service=service,
                name=span.name,
                kind=SpanProto.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                attributes=_values(span.attributes),
                failed=span.status.code == Status.STATUS_CODE_ERROR,
                start=span.start_time_unix_nano,
                end=span.end_time_unix_nano,
            )


def _points(request: metrics.ExportMetricsServiceRequest) -> Iterator[Point]:
    for resource in request.resource_metrics:
        service = _values(resource.resource.attributes)["service.name"]
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            data: Any = getattr(metric, metric.WhichOneof("data") or "")
            for point in data.data_points:
                value = point.count if metric.HasField("histogram") else point.as_double or point.as_int
                yield Point(service, metric.name, _values(point.attributes), value)


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
