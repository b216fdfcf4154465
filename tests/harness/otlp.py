"""A receiver of spans and metrics: an OTLP/gRPC server that stores everything it receives."""

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
    """A received span."""

    service: str
    name: str
    kind: str
    """SERVER, CLIENT, PRODUCER, CONSUMER or INTERNAL."""
    trace: str
    id: str
    parent: str
    """The id of the parent span. Empty for the root of a trace."""
    attributes: dict[str, Any]
    failed: bool
    start: int
    """Nanoseconds since the epoch."""
    end: int


@dataclass(frozen=True)
class Point:
    """A received value of a metric; for a histogram, the count."""

    service: str
    name: str
    attributes: dict[str, Any]
    value: float
    unit: str
    kind: str
    """gauge, sum or histogram."""


class Receiver(traces_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
    """Implements the two OTLP services, whose methods have the same name."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.points: list[Point] = []
        self.raw: list[bytes] = []
        """All serialized requests."""
        self.port = 0

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the name in both services
        """Stores spans or metrics."""
        self.raw.append(request.SerializeToString())
        if isinstance(request, traces.ExportTraceServiceRequest):
            self.spans += _parse_spans(request)
            return traces.ExportTraceServiceResponse()
        self.points += _parse_points(request)
        return metrics.ExportMetricsServiceResponse()

    @property
    def address(self) -> str:
        """The address that the receiver listens on."""
        return f"127.0.0.1:{self.port}"

    def wait_for_trace(self, trace: str, *ends: tuple[str, str]) -> list[Span]:
        """Waits until a trace contains spans, given by service and name, and all their parents. Returns the trace."""

        def find_trace() -> list[Span]:
            found = [span for span in self.spans if span.trace == trace]
            names = {(span.service, span.name) for span in found}
            ids = {"", *(span.id for span in found)}
            return found if names >= {*ends} and ids >= {span.parent for span in found} else []

        return eventually(find_trace)


@contextmanager
def run_receiver(port: int = 0) -> Iterator[Receiver]:
    """Runs a receiver during a block, by default on a free port."""
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


def _parse_spans(request: traces.ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _parse_attributes(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Span(
                service=service,
                name=span.name,
                kind=SpanProto.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                attributes=_parse_attributes(span.attributes),
                failed=span.status.code == Status.STATUS_CODE_ERROR,
                start=span.start_time_unix_nano,
                end=span.end_time_unix_nano,
            )


def _parse_points(request: metrics.ExportMetricsServiceRequest) -> Iterator[Point]:
    for resource in request.resource_metrics:
        service = _parse_attributes(resource.resource.attributes)["service.name"]
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            data: Any = getattr(metric, metric.WhichOneof("data") or "")
            for point in data.data_points:
                value = point.count if metric.HasField("histogram") else point.as_double or point.as_int
                attributes, kind = _parse_attributes(point.attributes), str(metric.WhichOneof("data"))
                yield Point(service, metric.name, attributes, value, metric.unit, kind)


def _parse_attributes(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
