"""Export of spans and metrics, for services whose settings name a receiver."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

from services.common.settings import Settings


class GaugeSource(Protocol):
    """A component with gauges."""

    async def measure(self) -> None:
        """Sets its gauges. Raises DependencyUnavailable."""


def export_telemetry(
    settings: Settings, service: str, measured: Sequence[GaugeSource]
) -> AbstractAsyncContextManager[None]:
    """Exports spans and metrics while its context is open, if the settings name a receiver.

    Data for an unavailable receiver is dropped. Nothing waits for a receiver.
    """
    if not settings.otlp_endpoint:
        return nullcontext()
    from services.common.observability.otlp import sending  # noqa: PLC0415 - the SDK takes 0.1 s to import

    return sending(settings.otlp_endpoint, service, [each.measure for each in measured])
