"""Renders results as docs/performance.md."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from bench.cases import CASES, REFERENCE, REFERENCE_GATEWAY, REFERENCE_UNTUNED
from bench.limits import list_limits
from bench.measure import CALLERS
from bench.results import TARGETS, Results, Spread, Target, describe_status
from bench.system import UNCOUNTED

_INTRODUCTION = """# Performance

`make bench` wrote this file. It measures PulseTrack with its gateway, and beside it a reference service, on one
machine. The systems take turns in each round (rounds: {rounds}), with {callers} calls in flight. A ratio is computed
within a round. Tables show the median of the rounds and, in parentheses, the range.

The reference service (`bench/twin`) is a tuned FastAPI and SQLAlchemy service with the same work for each request:
verified token and role, validated input, the row with its revision, access event, outbox row and idempotent response
in one transaction, an access event for each read, an event in Kafka, a billing account, and an analytics row. It runs
as two processes with uvloop and httptools, caches verified tokens, reads without a transaction, and delivers in
batches. Without the cache of tokens and with a transaction for each read, as such a service is often written, it is
"untuned". It lacks PulseTrack's gRPC API, watches, rate limits, revocation, tamper-evident audit log, tracing and
metrics.

[Growth](growth.md) shows how the latency of reads grows with the number of rows."""

_METHOD = """## Method

- CPU time is that of all server processes from `/proc`: the gateway, the services, and the system's own Postgres server
  with its backends. The client is not counted, and neither is the embedded broker, a stand-in that is the same on both
  sides. A change counts until its event is delivered to billing and analytics.
- Each system has its own Postgres server and broker with default settings. PulseTrack runs with its gateway and all
  security checks, but without rate limits. "reference" has no gateway. "reference behind Envoy" verifies the token and
  writes an access log in an Envoy of the same version.
- Latency is measured by the client, which shares the cores with the servers. It shows an order of magnitude.
- Event latency is the time from a change to the start of the transaction that stores its analytics row.
- Memory is the proportional set size (PSS)."""

_MISSES = """The gateway, with REST transcoding, is part of PulseTrack only, and an empty grpc.aio call alone takes \
{floor:,.0f} µs. The largest parts of each call:"""

_MISS = """- **{label}**: {measured:.2f} instead of {wanted:.2f}, {status}: {excess:,.0f} of {total:,.0f} µs too \
many. {parts} µs.{note}"""

_RATIO_HEADER = ("call", "ratio", "wanted", "status", "PulseTrack", "reference", "ratio behind Envoy", "ratio untuned")

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""The header and the rows of a table."""

_FAN_OUT = """{watches} watches of PulseTrack over gRPC received {changes} changes each: {cpu_us:,.0f} µs of CPU \
time in the gateway and the patient service for each delivery, including its share of the create, and {p50_ms:.1f} \
ms (p50) or {p99_ms:.1f} ms (p99) from the response of the create to the arrival."""


def render_report(results: Results, plots: Sequence[tuple[str, str]]) -> str:
    """Returns the report in Markdown. Takes the captions and files of the plots."""
    sections = [
        _INTRODUCTION.format(rounds=results.rounds, callers=CALLERS),
        "## CPU time compared with the reference\n\n" + _table(*tabulate_ratios(results)),
        "## Other aims\n\n" + _render_limits(results),
        "## Missed aims\n\n" + _render_misses(results),
        *(f"## {caption}\n\n![{caption}]({file})" for caption, file in plots),
        "## CPU time by part\n\nMicroseconds per call. "
        f"An empty grpc.aio call without a gateway takes {_spread(results.floor_us(), 0)} µs.\n\n"
        + _table(*tabulate_parts(results)),
        "## Latency and throughput\n\n" + _render_latencies(results),
        "## Events and watches\n\n" + _render_events(results),
        "## Start and memory\n\n" + _render_memory(results),
        _METHOD,
        "## Machine and versions\n\n" + _render_machine(results),
    ]
    return "\n\n".join(sections) + "\n"


def tabulate_ratios(results: Results) -> Table:
    """Returns the ratios of the CPU times to those of the reference."""
    rows = []
    for target in TARGETS:
        ratio = results.ratio(target.case, target.variant)
        row = (
            target.label,
            _spread(ratio, 2),
            "-" if target.wanted is None else f"<= {target.wanted:.2f}",
            describe_status(ratio.median, target.wanted),
            f"{results.total_us(target.case, target.variant).median:,.0f} µs",
            f"{results.total_us(target.case, REFERENCE).median:,.0f} µs",
            *(
                _spread(results.ratio(target.case, target.variant, base), 2)
                if results.select(target.case, base)
                else "-"
                for base in (REFERENCE_GATEWAY, REFERENCE_UNTUNED)
            ),
        )
        rows.append(row)
    return _RATIO_HEADER, rows


def tabulate_parts(results: Results) -> Table:
    """Returns the CPU times by part, in microseconds per call."""
    found = [(case.name, variant) for case in CASES for variant in case.variants if results.select(case.name, variant)]
    values = [results.part_us(*each) for each in found]
    parts = sorted(dict.fromkeys(part for each in values for part in each), key=lambda part: part == UNCOUNTED)
    rows = [
        (*each, _spread(results.total_us(*each), 0), *(f"{cpu[part]:,.0f}" if part in cpu else "" for part in parts))
        for each, cpu in zip(found, values, strict=True)
    ]
    names = [f"{part} (not counted)" if part == UNCOUNTED else part for part in parts]
    return ("call", "system", "total", *names), rows


def _render_limits(results: Results) -> str:
    rows = (
        (
            limit.label,
            f"{limit.measured:.1f} {limit.unit}",
            f"<= {limit.wanted:g} {limit.unit}",
            describe_status(limit.measured, limit.wanted),
        )
        for limit in list_limits(results)
    )
    return _table(("value", "measured", "wanted", "status"), rows)


def _render_misses(results: Results) -> str:
    misses = "\n".join(_list_misses(results))
    return f"{_MISSES.format(floor=results.floor_us().median)}\n\n{misses}" if misses else "None."


def _list_misses(results: Results) -> Iterator[str]:
    for target in TARGETS:
        ratio = results.ratio(target.case, target.variant)
        if target.wanted is not None and ratio.median > target.wanted:
            yield _explain_miss(results, target, ratio)
    for limit in list_limits(results):
        if limit.measured > limit.wanted:
            status = describe_status(limit.measured, limit.wanted)
            aim = f"{limit.measured:.1f} {limit.unit} instead of {limit.wanted:g} {limit.unit}"
            yield f"- **{limit.label}**: {aim}, {status}."


def _explain_miss(results: Results, target: Target, ratio: Spread) -> str:
    """Returns where the time goes, and how much less it would have to be."""
    total = results.total_us(target.case, target.variant).median
    reference = results.total_us(target.case, REFERENCE).median
    excess = max(total - (target.wanted or 0) * reference, 0)
    parts = sorted(results.part_us(target.case, target.variant).items(), key=lambda item: -item[1])
    shares = ", ".join(f"{part} {value:,.0f}" for part, value in parts if part != UNCOUNTED and value >= total / 20)
    return _MISS.format(
        label=target.label,
        measured=ratio.median,
        wanted=target.wanted,
        status=describe_status(ratio.median, target.wanted),
        excess=excess,
        total=total,
        parts=shares.capitalize(),
        note=target.note and f" {target.note}",
    )


def _render_latencies(results: Results) -> str:
    rows = []
    for case in CASES:
        for variant in case.variants:
            found = results.select(case.name, variant)
            p50, p99, rate = (
                Spread.of(values)
                for values in zip(*((each.p50_ms, each.p99_ms, each.per_second) for each in found), strict=True)
            )
            rows.append((case.name, variant, _spread(p50, 1), _spread(p99, 1), _spread(rate, 0)))
    return _table(("call", "system", "p50 ms", "p99 ms", "calls/s"), rows)


def _render_events(results: Results) -> str:
    rows = (
        (each.variant, f"{each.per_second:g}", f"{each.rejected:.0%}", f"{each.p50_ms:.1f}", f"{each.p99_ms:.1f}")
        for each in results.events
    )
    table = _table(("system", "creates/s", "rejected", "event latency p50 ms", "p99 ms"), rows)
    if (fan_out := results.fan_out) is None:
        return table
    return f"{table}\n\n" + _FAN_OUT.format(**asdict(fan_out))


def _render_memory(results: Results) -> str:
    starts = _table(
        ("start", "seconds until ready"), ((name, f"{value:.1f}") for name, value in results.start_seconds.items())
    )
    rows = []
    for system, idle in results.idle_mib.items():
        loaded = results.loaded_mib[system]
        rows += [(system, part, f"{idle[part]:.0f}", f"{loaded[part]:.0f}") for part in idle]
        rows.append((system, "total", f"{sum(idle.values()):.0f}", f"{sum(loaded.values()):.0f}"))
    return f"{starts}\n\n" + _table(("system", "part", "MiB when idle", "MiB after the run"), rows)


def _render_machine(results: Results) -> str:
    machine = results.machine
    before, after = results.load[0], results.load[-1]
    facts = (
        f"{machine.date}, revision {machine.revision}, {results.rounds} rounds of {results.calls} calls",
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}",
        f"Load average {before:.1f} before and {after:.1f} after the measurements",
        f"Python {machine.python}; PulseTrack: {_versions(machine.ours)}",
        f"Reference: {_versions(machine.reference)}",
    )
    return "\n".join(f"- {fact}" for fact in facts)


def _versions(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _spread(spread: Spread, digits: int) -> str:
    """Returns the median, and the range if there are several values."""
    text = f"{spread.median:,.{digits}f}"
    if spread.low == spread.high:
        return text
    return f"{text} ({spread.low:,.{digits}f}-{spread.high:,.{digits}f})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
