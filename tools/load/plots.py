"""Plots of the results as a self-contained HTML page."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence

from tools.load.measurement import OK, Sample, percentile
from tools.load.options import Options
from tools.load.results import Result

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 220, 56, 28
_MAX_DOTS = 2000
_PERCENTS = (0, 50, 75, 90, 95, 99, 99.9, 100)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>PulseTrack under load</title>
<style>
  body {{ font: 14px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #222; }}
  h2 {{ margin-bottom: 0; }}
  p {{ margin: 0; }}
  section > div {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
  svg {{ width: {width}px; max-width: 100%; }}
  text {{ font: 11px system-ui, sans-serif; fill: #666; }}
  .grid {{ stroke: #ddd; }}
  .ok {{ fill: #2266aa; fill-opacity: .5; }}
  .failed {{ fill: #cc2222; }}
  .curve {{ stroke: #2266aa; stroke-width: 2; fill: none; }}
</style>
<h1>PulseTrack under load</h1>
<p>{url}, {protocol}. Latency is measured from the scheduled send time. Failed calls are red.</p>
{sections}
</html>
"""


def render_page(results: Sequence[Result], options: Options) -> str:
    """Returns the page: for each phase, the latency of each call over time and the latency by percentile."""
    sections = "\n".join(map(_section, results))
    return _PAGE.format(width=_WIDTH, url=html.escape(options.url), protocol=options.protocol, sections=sections)


def _section(result: Result) -> str:
    samples = result.record.samples
    summary = result.summary
    errors = ", ".join(f"{times} with {html.escape(status)}" for status, times in summary.errors.items())
    return (
        f"<section><h2>{result.phase.name}</h2><p>{summary.count} calls, {result.phase.pace}; "
        f"mean {summary.mean:.1f} ms, p99 {summary.p99:.1f} ms; {summary.failed} failed{errors and ': '}{errors}</p>"
        f"<div>{_plot_over_time(samples)}{_plot_percentiles(samples)}</div></section>"
    )


def _plot_over_time(samples: Sequence[Sample]) -> str:
    """Plots each call. Of more than _MAX_DOTS calls, plots a sample and all failed calls."""
    step = math.ceil(len(samples) / _MAX_DOTS) or 1
    selected = [sample for number, sample in enumerate(samples) if number % step == 0 or sample.status != OK]
    max_ms = max((sample.latency for sample in samples), default=0) * 1000
    seconds = max((sample.scheduled for sample in samples), default=0)
    plot = _Plot(seconds, max_ms)
    dots = "".join(
        f'<circle class="{"ok" if sample.status == OK else "failed"}" r="2" '
        f"{plot.center(sample.scheduled, sample.latency * 1000)}/>"
        for sample in selected
    )
    ticks = {seconds * part / 4: f"{seconds * part / 4:.1f} s" for part in range(5)}
    return plot.svg("Latency by scheduled send time", dots, ticks)


def _plot_percentiles(samples: Sequence[Sample]) -> str:
    latencies = sorted(sample.latency * 1000 for sample in samples)
    last = len(_PERCENTS) - 1
    plot = _Plot(last, latencies[-1] if latencies else 0)
    points = " ".join(
        "{:.1f},{:.1f}".format(*plot.point(x, percentile(latencies, percent))) for x, percent in enumerate(_PERCENTS)
    )
    ticks = {float(x): f"{percent:g}%" for x, percent in enumerate(_PERCENTS)}
    return plot.svg("Latency by percentile", f'<polyline class="curve" points="{points}"/>', ticks)


class _Plot:
    """A coordinate system from 0 to the maximum values, with milliseconds on the y axis."""

    def __init__(self, max_x: float, max_ms: float) -> None:
        self._max_x = max_x or 1
        self._max_ms = max_ms or 1

    def point(self, x: float, ms: float) -> tuple[float, float]:
        """Returns the coordinates of a value in the SVG."""
        inner_width, inner_height = _WIDTH - _LEFT - 24, _HEIGHT - _BOTTOM - 24
        return _LEFT + x / self._max_x * inner_width, _HEIGHT - _BOTTOM - ms / self._max_ms * inner_height

    def center(self, x: float, ms: float) -> str:
        """Returns the center attributes of a circle at a value."""
        return 'cx="{:.1f}" cy="{:.1f}"'.format(*self.point(x, ms))

    def svg(self, title: str, content: str, ticks: Mapping[float, str]) -> str:
        """Returns the plot as SVG, with axes."""
        grid = "".join((*self._rows(), *self._columns(ticks)))
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
            f'<text x="{_LEFT}" y="14">{title}</text>{grid}{content}</svg>'
        )

    def _rows(self) -> Iterator[str]:
        for part in range(5):
            ms = self._max_ms * part / 4
            (left, y), (right, _) = self.point(0, ms), self.point(self._max_x, ms)
            yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{ms:.4g} ms</text>'

    def _columns(self, ticks: Mapping[float, str]) -> Iterator[str]:
        for x, label in ticks.items():
            yield f'<text x="{self.point(x, 0)[0]:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{label}</text>'
