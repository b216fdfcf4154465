"""OpenTelemetry's SDK at work: spans and metrics, sent to a receiver by OTLP over gRPC.

Imported only when there is a receiver: it takes a tenth of a second and some memory at start-up.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
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

from services.common.errors import DependencyUnavailable
from services.common.observability.process_metrics import Process

Measure = Callable[[], Coroutine[Any, Any, None]]
"""Sets gauges. Raises DependencyUnavailable."""

_MEASURE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_FLUSH_SECONDS = 1.5
"""How long it may take at the end to send what is left."""

_log = logging.getLogger(__name__)
_delay = metrics.get_meter("pulsetrack").create_gauge(
    "pulsetrack.event_loop.delay", unit="s", description="The longest that the event loop kept something waiting."
)


@asynccontextmanager
async def sending(endpoint: str, service: str, measures: Sequence[Measure]) -> AsyncIterator[None]:
    """Sends spans and metrics from now on, and at the end what is left of them."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it warns of each attempt to reach a receiver
    spans, numbers = OTLPSpanExporter(endpoint, insecure=True), OTLPMetricExporter(endpoint, insecure=True)
    resource = Resource.create(
        {"service.namespace": "pulsetrack", "service.name": service, "service.instance.id": str(uuid4())}
    )
    tracers = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource)  # the gateway samples
    tracers.add_span_processor(BatchSpanProcessor(spans))
    meters = MeterProvider([PeriodicExportingMetricReader(numbers)], resource=resource)
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    measuring = asyncio.create_task(_measure([Process().measure, *measures]))
    try:
        yield
    finally:
        measuring.cancel()
        endings = [asyncio.create_task(asyncio.to_thread(provider.shutdown)) for provider in (tracers, meters)]
        _, late = await asyncio.wait(endings, timeout=_FLUSH_SECONDS)
        if late:
            for exporter in (spans, numbers):
                exporter.shutdown()  # which has the others give up
        await asyncio.gather(*endings)


async def _measure(measures: Sequence[Measure]) -> None:
    while True:
        for measure in measures:
            try:
                await measure()
            except DependencyUnavailable as failure:
                _log.debug("%s failed: %s", measure.__qualname__, failure.__cause__)
            except Exception:  # noqa: BLE001 - a bug must not stop the other measurements
                _log.exception("%s failed", measure.__qualname__)
        _delay.set(await _longest_delay())


async def _longest_delay() -> float:
    """Returns by how much the loop was late at most, in seconds, looking at it for a while."""
    longest, end = 0.0, time.perf_counter() + _MEASURE_SECONDS
    while (begun := time.perf_counter()) < end:
        await asyncio.sleep(_LOOK_SECONDS)
        longest = max(longest, time.perf_counter() - begun - _LOOK_SECONDS)
    return longest
