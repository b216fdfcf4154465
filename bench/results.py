"""The results of a run, and what they say: medians, ranges and ratios."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.cases import NATIVE, OURS, REFERENCE
from bench.events import EventLatency
from bench.machine import Machine
from bench.measure import FLOOR, Measurement
from bench.watches import FanOut


@dataclass(frozen=True)
class Spread:
    """The median and the range of the values of all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Returns the spread of at least one value."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class Target:
    """The wanted ratio of the CPU time of a call to that of the reference without a gateway."""

    label: str
    case: str
    variant: str
    wanted: float | None = None
    note: str = ""
    """Why the aim may be missed, if that does not follow from the parts."""


TARGETS = (
    Target("GET, REST", "GET", OURS, 0.45),
    Target("GET, gRPC", "GET", NATIVE),
    Target("LIST of 50, REST", "LIST of 50", OURS, 0.50),
    Target("LIST of 50, gRPC", "LIST of 50", NATIVE, 0.35),
    Target("CREATE, the whole job, REST", "CREATE, the whole job", OURS, 0.45),
    Target("CREATE, the whole job, gRPC", "CREATE, the whole job", NATIVE),
    Target("UPDATE, the whole job, REST", "UPDATE, the whole job", OURS),
    Target("search, REST", "search", OURS),
    Target("login, REST", "login", OURS, 0.45, "Both systems hash passwords with the same parameters of argon2id."),
)


@dataclass(frozen=True)
class Limit:
    """A wanted maximum of a value that has no counterpart in the reference."""

    label: str
    unit: str
    measured: float
    wanted: float


@dataclass(kw_only=True)
class Results:
    """The results of a run."""

    machine: Machine
    rounds: int
    calls: int
    load: list[float] = field(default_factory=list)
    """The load averages before and after the measurements."""
    measurements: list[Measurement] = field(default_factory=list)
    events: list[EventLatency] = field(default_factory=list)
    fan_out: FanOut | None = None
    start_seconds: dict[str, float] = field(default_factory=dict)
    idle_mib: dict[str, dict[str, float]] = field(default_factory=dict)
    """Memory by system and part, after the start."""
    loaded_mib: dict[str, dict[str, float]] = field(default_factory=dict)
    """Memory by system and part, after the measurements."""

    def select(self, case: str, variant: str) -> Sequence[Measurement]:
        """Returns the measurements of all rounds."""
        return [each for each in self.measurements if (each.case, each.variant) == (case, variant)]

    def total_us(self, case: str, variant: str) -> Spread:
        """Returns the CPU time per call."""
        return Spread.of(each.total_us for each in self.select(case, variant))

    def part_us(self, case: str, variant: str) -> dict[str, float]:
        """Returns the median CPU time per call by part."""
        found = self.select(case, variant)
        return {part: median(each.cpu_us[part] for each in found) for part in found[0].cpu_us}

    def ratio(self, case: str, variant: str, base: str = REFERENCE) -> Spread:
        """Returns the ratio of the CPU times of two variants, which is computed within each round."""
        pairs = zip(self.select(case, variant), self.select(case, base), strict=True)
        return Spread.of(ours.total_us / theirs.total_us for ours, theirs in pairs)

    def floor_us(self) -> Spread:
        """Returns the CPU time of an empty grpc.aio call."""
        return self.total_us(FLOOR, FLOOR)


def describe_status(measured: float, wanted: float | None) -> str:
    """Returns "met", "missed by ...%", or a dash if nothing is wanted."""
    if wanted is None:
        return "-"
    if measured <= wanted:
        return "met"
    return f"missed by {max((measured / wanted - 1) * 100, 1):.0f}%"
