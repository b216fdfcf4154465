"""Plots of the results, as one HTML page that needs nothing else."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence

from tools.load.options import Options
from tools.load.phases import Result
from tools.load.record import OK, Sample, Summary, percentile

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 220, 56, 28
_DOTS = 2000
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
<p>{url}, {door}. What a call took counts from when it should have begun. Calls that failed are red.</p>
{sections}
</html>
"""


def page(results: Sequence[Result], options: Options) -> str:
    """Returns the page: for each phase every call by its time, and the times by percentile."""
    sections = "\n".join(map(_section, results))
    return _PAGE.format(width=_WIDTH, url=html.escape(options.url), door=options.door, sections=sections)


def _section(result: Result) -> str:
    samples = result.record.samples
    summary = Summary.of(samples)
    errors = ", ".join(f"{times} with {html.escape(status)}" for status, times in summary.errors.items())
    return (
        f"<section><h2>{result.phase.name}</h2><p>{summary.count} calls, {result.phase.pace}; "
        f"mean {summary.mean:.1f} ms, p99 {summary.p99:.1f} ms; {summary.failed} failed{errors and ': '}{errors}</p>"
        f"<div>{_by_time(samples)}{_by_percent(samples)}</div></section>"
    )


def _by_time(samples: Sequence[Sample]) -> str:
    """Plots each call; of very many some, but all that failed."""
    step = math.ceil(len(samples) / _DOTS) or 1
    chosen = [sample for number, sample in enumerate(samples) if number % step == 0 or sample.status != OK]
    most = max((sample.took for sample in samples), default=0) * 1000
    seconds = max((sample.due for sample in samples), default=0)
    plot = _Plot(seconds, most)
    dots = "".join(
        f'<circle class="{"ok" if sample.status == OK else "failed"}" r="2" {plot.at(sample.due, sample.took * 1000)}/>'
        for sample in chosen
    )
    ticks = {seconds * part / 4: f"{seconds * part / 4:.1f} s" for part in range(5)}
    return plot.svg("Each call, by when it should begin", dots, ticks)


def _by_percent(samples: Sequence[Sample]) -> str:
    took = sorted(sample.took * 1000 for sample in samples)
    last = len(_PERCENTS) - 1
    plot = _Plot(last, took[-1] if took else 0)
    points = " ".join(
        "{:.1f},{:.1f}".format(*plot.point(x, percentile(took, percent))) for x, percent in enumerate(_PERCENTS)
    )
    ticks = {float(x): f"{percent:g}%" for x, percent in enumerate(_PERCENTS)}
    return plot.svg("How many calls took at most so long", f'<polyline class="curve" points="{points}"/>', ticks)


class _Plot:
    """A coordinate system from 0 to the greatest values, milliseconds upwards."""

    def __init__(self, most_x: float, most_ms: float) -> None:
        self._most_x = most_x or 1
        self._most_ms = most_ms or 1

    def point(self, x: float, ms: float) -> tuple[float, float]:
        """Returns where a value is."""
        inner_width, inner_height = _WIDTH - _LEFT - 24, _HEIGHT - _BOTTOM - 24
        return _LEFT + x / self._most_x * inner_width, _HEIGHT - _BOTTOM - ms / self._most_ms * inner_height

    def at(self, x: float, ms: float) -> str:
        """Returns the attributes that put a circle there."""
        return 'cx="{:.1f}" cy="{:.1f}"'.format(*self.point(x, ms))

    def svg(self, title: str, content: str, ticks: Mapping[float, str]) -> str:
        """Returns the plot with its axes."""
        grid = "".join((*self._rows(), *self._columns(ticks)))
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
            f'<text x="{_LEFT}" y="14">{title}</text>{grid}{content}</svg>'
        )

    def _rows(self) -> Iterator[str]:
        for part in range(5):
            ms = self._most_ms * part / 4
            (left, y), (right, _) = self.point(0, ms), self.point(self._most_x, ms)
            yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{ms:.4g} ms</text>'

    def _columns(self, ticks: Mapping[float, str]) -> Iterator[str]:
        for x, label in ticks.items():
            yield f'<text x="{self.point(x, 0)[0]:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{label}</text>'
