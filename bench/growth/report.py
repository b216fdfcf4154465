"""Renders how reads grow as docs/growth.md."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.growth.plans import PlanSummary
from bench.machine import describe_machine
from tools.local.process import ROOT

DOCUMENT: Final = ROOT / "docs" / "growth.md"

_INTRODUCTION: Final = """# Growth

`python -m bench.growth --docs` wrote the tables of this file. They show how the cost of reads grows with the number of
rows. The reads call the services' own code on a Postgres server, without gRPC. The sizes take turns, so other load
affects all alike. A cell contains the median and the 99th percentile of the latency, and the median of the CPU time of
Postgres and the service. Latencies include waiting for a core. With a load average above the number of cores, compare
the CPU times.

The growth is the CPU time of the largest size divided by that of the smallest. A plan is that of the largest size: the
number of statements, the maximum number of rows that a node of a plan reads, and the indexes, unless the statements run
in a transaction. `tests/common/postgres/test_plans.py` and `tests/patient/test_plans.py` check that no plan reads a
growing table without a bound."""


@dataclass
class Sample:
    """The costs of calls of a read."""

    latencies_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def add(self, *, latency_ms: float, cpu_us: float) -> None:
        """Adds a call."""
        self.latencies_ms.append(latency_ms)
        self.cpu_us.append(cpu_us)


class Growth(NamedTuple):
    """The cost of a read by the number of rows."""

    read: str
    samples: Mapping[int, Sample]
    plan: PlanSummary


def render_section(name: str, note: str, growths: Sequence[Growth]) -> str:
    """Returns a section with the reads of a service or table."""
    sizes = [*growths[0].samples]
    calls = len(growths[0].samples[sizes[0]].cpu_us)
    machine = describe_machine()
    header = [
        "p50 / p99 ms, CPU µs",
        *(f"{size:,} rows" for size in sizes),
        "growth",
        "statements",
        "rows read",
        "indexes",
    ]
    rows = [header, ["---"] * len(header), *(_render_growth(growth) for growth in growths)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    run = (
        f"{calls} calls of each read at revision {machine.revision} on {machine.date}, {machine.processor}, "
        f"{machine.cores} cores, load average {os.getloadavg()[2]:.0f} (15 minutes)."
    )
    return "\n\n".join(filter(None, (f"## {name}", run, table, note)))


def write_section(document: Path, section: str, order: Sequence[str]) -> None:
    """Replaces or adds a section of the document. The sections have this order."""
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    old = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    sections = {_read_title(each): each.strip() for each in (*old, section)}
    body = [sections[name] for name in order if name in sections]
    document.write_text("\n\n".join((_INTRODUCTION, *body)) + "\n", encoding="utf-8")


def _read_title(section: str) -> str:
    return section.partition("\n")[0].removeprefix("## ")


def _render_growth(growth: Growth) -> list[str]:
    cpu = {size: median(sample.cpu_us) for size, sample in growth.samples.items()}
    first, *_, last = cpu.values()
    cells = [
        f"{median(each.latencies_ms):.1f} / {_percentile(each.latencies_ms, 0.99):.1f}, {cpu[size]:,.0f}"
        for size, each in growth.samples.items()
    ]
    plan = growth.plan
    used = [*(f"`{name}`" for name in plan.indexes), *(f"table `{name}`" for name in plan.scanned)]
    return [growth.read, *cells, f"{last / first:.1f}", str(plan.statements), f"{plan.rows:,}", ", ".join(used)]


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]
