"""The phases of a run, in order."""

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from tools.load.clients import Client
from tools.load.errors import LoadError
from tools.load.measurement import Arrivals, Call, InFlight, Pace
from tools.load.options import Options
from tools.load.workload import Clinic, Watchers


@dataclass(frozen=True)
class Phase:
    """Calls of one kind, or a mix, at one pace."""

    name: str
    pace: Pace
    call: Call
    context: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)
    """Context that is open while the calls are made."""


def create_phases(clinic: Clinic, client: Client, options: Options) -> list[Phase]:
    """Returns the phases named in the options, or all. Raises LoadError if a name is unknown."""
    users = options.users
    watchers = Watchers(clinic, client, options.watchers)
    phases = [
        Phase("sign-ups", Arrivals(5, users), clinic.sign_up),
        Phase("log-ins", Arrivals(5, users), clinic.log_in),
        Phase("creates", Arrivals(100, 400), clinic.create_patient),
        Phase("reads", Arrivals(120, 600), clinic.get_patient),
        Phase("lists", Arrivals(120, 600), clinic.list_patients),
        Phase("mixed", Arrivals.during(options.seconds, options.rate), clinic.mixed_call),
        Phase("watchers", Arrivals.during(options.seconds, 10), watchers.update_patient, watchers),
        Phase("creates-at-once", InFlight(100, 400), clinic.create_patient),
        Phase("lists-at-once", InFlight(120, 600), clinic.list_patients),
    ]
    names = [phase.name for phase in phases]
    if unknown := set(options.phases) - set(names):
        raise LoadError(f"Unknown phase {min(unknown)}. Available phases: {', '.join(names)}.")
    return [phase for phase in phases if not options.phases or phase.name in options.phases]
