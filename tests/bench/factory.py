"""Results of a run, made up."""

from collections.abc import Sequence

from bench.cases import CASES, OURS, REFERENCE
from bench.events import EventLatency
from bench.limits import BUSY_PER_SECOND, FIRST_START, QUIET_PER_SECOND, REFERENCE_START, WARM_START
from bench.machine import Machine
from bench.measure import FLOOR, Measurement
from bench.ours import SERVICES
from bench.results import Results
from bench.watches import FanOut

MACHINE = Machine(
    date="2026-01-31",
    revision="0123456789ab",
    processor="A processor",
    cores=2,
    memory_gib=4,
    system="Linux 6",
    python="3.11.7",
    ours={"grpcio": "1.0"},
    reference={"fastapi": "0.1"},
)


def a_measurement(case: str, variant: str, us: float, number: int = 1, **parts: float) -> Measurement:
    """Returns a measurement of a call that takes `us` in Postgres and more in other parts."""
    return Measurement(case, variant, number, 100, {"postgres": us, **parts}, p50_ms=2, p99_ms=5, per_second=800)


def some_results(rounds: Sequence[float] = (500, 400, 450), *, reference: float = 1000) -> Results:
    """Returns results in which all calls take the same CPU time. That of PulseTrack differs by round."""
    results = Results(machine=MACHINE, rounds=len(rounds), calls=100, load=[0.5, 1.5])
    for number, ours in enumerate(rounds, 1):
        for case in CASES:
            for variant in case.variants:
                us = ours if variant.startswith("PulseTrack") else reference
                results.measurements.append(a_measurement(case.name, variant, us, number, broker=50))
        results.measurements.append(a_measurement(FLOOR, FLOOR, 300, number))
    for name in (OURS, REFERENCE):
        results.events += [
            EventLatency(name, QUIET_PER_SECOND, 9, 24, rejected=0),
            EventLatency(name, BUSY_PER_SECOND, 60, 500, rejected=0.1),
        ]
    results.fan_out = FanOut(100, 50, 40, 3, 9)
    results.start_seconds = {FIRST_START: 3, WARM_START: 5, REFERENCE_START: 6}
    memory = {"PulseTrack": dict.fromkeys(SERVICES, 44.0), "reference": {"api": 150.0}}
    results.idle_mib, results.loaded_mib = memory, memory
    return results
