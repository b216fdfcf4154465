"""The phases of a run, in their order."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from tools.load.clinic import Clinic
from tools.load.doors import Door
from tools.load.errors import LoadError
from tools.load.options import Options
from tools.load.pace import Arrivals, InFlight, Pace
from tools.load.record import Call, Record, Summary
from tools.load.watchers import Watchers


@dataclass(frozen=True)
class Phase:
    """Calls of one kind, or a mixture, at one pace."""

    name: str
    pace: Pace
    call: Call
    around: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)
    """What is there while the calls are made."""


@dataclass(frozen=True)
class Result:
    """What became of a phase."""

    phase: Phase
    record: Record

    def summaries(self) -> Iterator[tuple[str, Summary]]:
        """Yields the calls of each method, by its name, summed up."""
        samples = self.record.samples
        for method in dict.fromkeys(sample.method for sample in samples):
            yield method, Summary.of([sample for sample in samples if sample.method == method])


def phases(clinic: Clinic, door: Door, options: Options) -> list[Phase]:
    """Returns the phases that are asked for. Raises LoadError if there is none of a name."""
    people = options.people
    watchers = Watchers(clinic, door, options.watchers)
    every = [
        Phase("sign-ups", Arrivals(5, people), clinic.sign_up),
        Phase("log-ins", Arrivals(5, people), clinic.log_in),
        Phase("creates", Arrivals(100, 400), clinic.create),
        Phase("reads", Arrivals(120, 600), clinic.get),
        Phase("lists", Arrivals(120, 600), clinic.list_page),
        Phase("mixed", Arrivals.during(options.seconds, options.rate), clinic.day),
        Phase("watchers", Arrivals.during(options.seconds, 10), watchers.change, watchers),
        Phase("creates-at-once", InFlight(100, 400), clinic.create),
        Phase("lists-at-once", InFlight(120, 600), clinic.list_page),
    ]
    if unknown := set(options.phases) - {phase.name for phase in every}:
        raise LoadError(f"There is no phase {min(unknown)}, only {', '.join(phase.name for phase in every)}.")
    return [phase for phase in every if not options.phases or phase.name in options.phases]
