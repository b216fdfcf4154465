"""The wanted maxima of values that are not compared with the reference."""

from collections.abc import Iterator

from bench.cases import OURS
from bench.ours import SERVICES
from bench.results import Limit, Results

QUIET_PER_SECOND = 20.0
BUSY_PER_SECOND = 300.0

FIRST_START = "PulseTrack, first start"
WARM_START = "PulseTrack, later start"
REFERENCE_START = "reference, first start"

_EVENT_P99_MS = {QUIET_PER_SECOND: 25.0, BUSY_PER_SECOND: 250.0}
_START_SECONDS = {FIRST_START: 4.0, WARM_START: 2.5}
_SERVICE_MIB = 45.0


def list_limits(results: Results) -> Iterator[Limit]:
    """Yields each limit with the measured value."""
    for event in results.events:
        if event.variant == OURS:
            label = f"event latency p99 at {event.per_second:g} creates/s"
            yield Limit(label, "ms", event.p99_ms, _EVENT_P99_MS[event.per_second])
    for name, wanted in _START_SECONDS.items():
        yield Limit(f"{name}, until ready", "s", results.start_seconds[name], wanted)
    for service in SERVICES:
        yield Limit(f"memory of {service} when idle", "MiB", results.idle_mib["PulseTrack"][service], _SERVICE_MIB)
