"""Plots of results as SVG: CPU time by part, and latencies."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from bench.cases import CASES
from bench.results import Results

_WIDTH, _LEFT, _RIGHT, _TOP, _BAR, _GAP = 900, 340, 60, 40, 16, 12
_PARTS = ("gateway", "api", "untuned", "auth", "patient", "billing", "analytics", "postgres")
_COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#997700")

Row = tuple[str, Mapping[str, float]]
"""A label, and the values of a bar by name."""


def plot_cpu(results: Results) -> str:
    """Returns the CPU time per call by part, relative to the reference: bars of cases differ by orders of magnitude."""
    groups = []
    for case in CASES:
        base = results.total_us(case.name, "reference").median
        rows = []
        for variant in case.variants:
            parts = results.part_us(case.name, variant)
            rows.append((variant, {part: parts[part] / base for part in _PARTS if part in parts}))
        groups.append((case.name, rows))
    return _render("CPU time per call, by part; the reference is 1", groups)


def plot_latency(results: Results) -> str:
    """Returns the latencies, relative to the median latency of the reference."""
    groups = []
    for case in CASES:
        base = median(each.p50_ms for each in results.select(case.name, "reference"))
        rows = []
        for variant in case.variants:
            found = results.select(case.name, variant)
            p50, p99 = median(each.p50_ms for each in found), median(each.p99_ms for each in found)
            rows.append((variant, {"p50": p50 / base, "p99": (p99 - p50) / base}))
        groups.append((case.name, rows))
    return _render("Latency p50 and p99 (end of the bar); the p50 of the reference is 1", groups)


def _render(title: str, groups: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """Returns horizontal bars. The number at the end of a bar is its length."""
    found = {name for _, rows in groups for _, values in rows for name in values}
    names = [name for name in (*_PARTS, "p50", "p99") if name in found]
    longest = max(sum(values.values()) for _, rows in groups for _, values in rows)
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    y, content = float(_TOP), []
    for group, rows in groups:
        content.append(_text(8, y + _BAR - 4, group, is_bold=True))
        for label, values in rows:
            content.append(_bar(y, label, values, names, scale))
            y += _BAR + 2
        y += _GAP
    legend = _legend(names)
    style = "text{font:12px system-ui,sans-serif;fill:#555}.b{font-weight:600}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" role="img" '
        f'aria-label="{escape(title)}"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{_text(8, 14, title, is_bold=True)}{legend}{''.join(content)}</svg>\n"
    )


def _bar(y: float, label: str, values: Mapping[str, float], names: Sequence[str], scale: float) -> str:
    x, boxes = float(_LEFT), []
    for name, value in values.items():
        color = _COLORS[names.index(name) % len(_COLORS)]
        boxes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{value * scale:.1f}" height="{_BAR}" fill="{color}"/>')
        x += value * scale
    end = _text(x + 4, y + _BAR - 4, f"{sum(values.values()):.2f}")
    return _text(_LEFT - 150, y + _BAR - 4, label) + "".join(boxes) + end


def _legend(names: Sequence[str]) -> str:
    items = []
    for number, name in enumerate(names):
        x = _LEFT + number * 68
        color = _COLORS[number % len(_COLORS)]
        items.append(f'<rect x="{x}" y="22" width="10" height="10" fill="{color}"/>{_text(x + 14, 31, name)}')
    return "".join(items)


def _text(x: float, y: float, text: str, *, is_bold: bool = False) -> str:
    weight = ' class="b"' if is_bold else ""
    return f'<text{weight} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
