"""Compares PulseTrack with a reference service: `make bench`, or `python -m bench --help`."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.errors import BenchError
from bench.machine import describe_machine
from bench.plots import plot_cpu, plot_latency
from bench.report import render_report, tabulate_parts, tabulate_ratios
from bench.results import Results
from bench.run import measure_all, start_ours
from deploy.errors import StartError
from tools.local.process import ROOT

_FULL, _QUICK = (3, 3000), (1, 500)
_QUICK_FOLDER = ROOT / "build" / "bench-quick"
_WIDTH = 130


def main() -> int:
    """Runs the benchmark. Returns the exit code: 1 if it cannot run or a call fails."""
    options = _parse_options()
    console = Console(width=_WIDTH)
    start = time.monotonic()

    def show(activity: str) -> None:
        console.print(f"{time.monotonic() - start:5.0f} s  {activity}")

    results = Results(machine=describe_machine(), rounds=options.rounds, calls=options.calls)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            show("Starting the systems, PulseTrack twice")
            with start_ours(folder, results) as instance:
                asyncio.run(measure_all(instance, folder, results, show, is_alone=options.alone))
    except (BenchError, StartError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.alone:
        header, rows = tabulate_parts(results)
    else:
        header, rows = tabulate_ratios(results)
        _write(results, options.output)
        show(f"Results are in {options.output}")
    table = Table(*header, title=f"CPU time per call, load average {max(results.load):.1f}")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    return 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, whose results stay out of docs/")
    parser.add_argument("--alone", action="store_true", help="only PulseTrack, to compare two revisions")
    parser.add_argument("--rounds", type=int, help="number of rounds (3)")
    parser.add_argument("--calls", type=int, help="number of calls of GET per round and system (3000)")
    parser.add_argument("--output", type=Path, help="folder for performance.md and its plots (docs)")
    options = parser.parse_args()
    rounds, calls = _QUICK if options.quick else _FULL
    options.rounds, options.calls = options.rounds or rounds, options.calls or calls
    options.output = options.output or (_QUICK_FOLDER if options.quick else ROOT / "docs")
    return options


def _write(results: Results, folder: Path) -> None:
    """Writes the report and its plots to the folder, and all values as JSON to build/."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {
        "performance-cpu.svg": ("CPU time", plot_cpu(results)),
        "performance-latency.svg": ("Latency", plot_latency(results)),
    }
    for name, (_, content) in plots.items():
        (folder / name).write_text(content, encoding="utf-8")
    report = render_report(results, [(caption, name) for name, (caption, _) in plots.items()])
    (folder / "performance.md").write_text(report, encoding="utf-8")
    file = ROOT / "build" / "bench.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results)))


if __name__ == "__main__":
    sys.exit(main())
