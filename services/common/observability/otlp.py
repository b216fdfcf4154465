"""Exports spans and metrics to a receiver over OTLP/gRPC with the OpenTelemetry SDK.

Imported only if a receiver is configured, because the import takes 0.1 s and some memory.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable
from services.common.observability.process_metrics import ProcessMetrics

Measure = Callable[[], Coroutine[Any, Any, None]]
"""Sets gauges. Raises DependencyUnavailable."""

_MEASURE_SECONDS = 5.0
_DELAY_SAMPLE_SECONDS = 0.1
_FLUSH_SECONDS = 1.5
"""Time at shutdown to export the remaining spans and metrics."""

_log = logging.getLogger(__name__)
_delay = metrics.get_meter("pulsetrack").create_gauge(
    "pulsetrack.event_loop.delay", unit="s", description="Longest delay of the event loop."
)


@asynccontextmanager
async def run_exporters(endpoint: str, service: str, measures: Sequence[Measure]) -> AsyncIterator[None]:
    """Exports spans and metrics while the context is open, and flushes them when it closes."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it logs a warning for each failed attempt
    span_exporter = OTLPSpanExporter(endpoint, insecure=True)
    metric_exporter = OTLPMetricExporter(endpoint, insecure=True)
    resource = Resource.create(
        {"service.namespace": "pulsetrack", "service.name": service, "service.instance.id": str(uuid4())}
    )
    tracers = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource)  # the gateway samples
    tracers.add_span_processor(BatchSpanProcessor(span_exporter))
    meters = MeterProvider([PeriodicExportingMetricReader(metric_exporter)], resource=resource)
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    measure_all = partial(_measure, [ProcessMetrics().measure, *measures])
    measurement = BackgroundTask(measure_all, activity="measuring gauges", interval=0)
    measurement.start()
    try:
        yield
    finally:
        await measurement.stop()
        shutdowns = [asyncio.create_task(asyncio.to_thread(provider.shutdown)) for provider in (tracers, meters)]
        _, pending = await asyncio.wait(shutdowns, timeout=_FLUSH_SECONDS)
        if pending:
            for exporter in (span_exporter, metric_exporter):
                exporter.shutdown()  # aborts the exports that the pending shutdowns wait for
        await asyncio.gather(*shutdowns)


async def _measure(measures: Sequence[Measure]) -> None:
    for measure in measures:
        try:
            await measure()
        except DependencyUnavailable as failure:
            _log.debug("%s failed: %s", measure.__qualname__, failure.__cause__)
        except Exception:  # noqa: BLE001 - a bug must not stop the other measurements
            _log.exception("%s failed", measure.__qualname__)
    _delay.set(await _measure_delay())


async def _measure_delay() -> float:
    """Returns the longest delay of the event loop within _MEASURE_SECONDS, in seconds."""
    longest, end = 0.0, time.perf_counter() + _MEASURE_SECONDS
    while (start := time.perf_counter()) < end:
        await asyncio.sleep(_DELAY_SAMPLE_SECONDS)
        longest = max(longest, time.perf_counter() - start - _DELAY_SAMPLE_SECONDS)
    return longest
