"""Export of spans and metrics, for services that have a receiver configured."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

from services.common.settings import Settings


class GaugeSource(Protocol):
    """A component with gauges."""

    async def measure(self) -> None:
        """Sets the gauges. Raises DependencyUnavailable."""


def export_telemetry(
    settings: Settings, service: str, sources: Sequence[GaugeSource]
) -> AbstractAsyncContextManager[None]:
    """Exports spans and metrics while the context is open, if a receiver is configured.

    Data is dropped while the receiver is unavailable. Calls never wait for it.
    """
    if not settings.otlp_endpoint:
        return nullcontext()
    from services.common.observability.otlp import run_exporters  # noqa: PLC0415 - importing the SDK takes 0.1 s

    return run_exporters(settings.otlp_endpoint, service, [source.measure for source in sources])
