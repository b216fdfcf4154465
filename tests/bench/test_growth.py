"""The report of how reads grow: each run replaces its sections of the document."""

from pathlib import Path

from bench.growth.plans import PlanSummary
from bench.growth.report import Growth, Sample, render_section, write_section

ORDER = ["patients", "billing"]
PLAN = PlanSummary(statements=2, rows=1500, indexes=["by_name"], scanned=["patients"])


def test_a_section_has_the_latency_by_size_and_the_plan_of_each_read() -> None:
    samples = {10: Sample([1.0, 2.0, 1.0], [100, 120, 110]), 100: Sample([3.0, 5.0, 2.0], [220, 2000, 210])}
    section = render_section("patients", "A note.", [Growth("search", samples, PLAN)])
    title, _, header, _, row, *note = filter(None, section.splitlines())
    assert title == "## patients"
    assert header.startswith("| p50 / p99 ms, CPU µs | 10 rows | 100 rows |")
    assert row == "| search | 1.0 / 2.0, 110 | 3.0 / 5.0, 220 | 2.0 | 2 | 1,500 | `by_name`, table `patients` |"
    assert note == ["A note."]


def test_a_run_replaces_its_section_and_keeps_the_others(tmp_path: Path) -> None:
    document = tmp_path / "growth.md"
    for section in ("## billing\n\nold", "## patients\n\nfirst", "## billing\n\nnew"):
        write_section(document, section, ORDER)
    _, *sections = document.read_text(encoding="utf-8").split("## ")
    assert sections == ["patients\n\nfirst\n\n", "billing\n\nnew\n"]
