"""Puts load on a running gateway: `make load`, or `python -m tools.load --help`."""

import json
import sys
from pathlib import Path

import aiohttp
import uvloop
from rich.console import Console

from tools.load import doors, options, plots, report
from tools.load.clinic import Clinic
from tools.load.errors import LoadError
from tools.load.options import Options
from tools.load.phases import Phase, Result, phases
from tools.load.progress import Shown
from tools.load.record import Record

_WIDTH = 120  # where there is no terminal that has one


def main() -> int:
    """Returns the exit code: 1 if a gate was not passed or no load could be made, 130 after Ctrl-C."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    results: list[Result] = []
    code = 0
    try:
        said = options.read()
        uvloop.run(_run(said, results, console))
    except LoadError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        code = 130
    _report(said, results, console)
    return code or int(any(report.failures(results, said)))


async def _run(said: Options, results: list[Result], console: Console) -> None:
    await _look(said.url, console)
    door = doors.rest if said.door == "rest" else doors.native
    async with door(said.url) as opened:
        clinic = Clinic(opened)
        shown = Shown(console)
        chosen = phases(clinic, opened, said)
        async with clinic.open():
            for phase in chosen:
                async with phase.around:
                    await _drive(phase, results, shown)


async def _drive(phase: Phase, results: list[Result], shown: Shown) -> None:
    record = Record()
    results.append(Result(phase, record))
    try:
        async with shown.during(phase, record):
            await phase.pace.drive(phase.call, record)
    finally:
        record.close()


async def _look(url: str, console: Console) -> None:
    """Makes sure that a gateway is there, and says if it limits calls. Raises LoadError."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            async with session.get(f"{url}/readyz") as ready:
                if ready.status != 200:  # noqa: PLR2004
                    raise LoadError(f"{url} is not ready: /readyz answers {ready.status}.")
            async with session.get(f"{url}/v1/auth/me") as answer:
                if "x-ratelimit-limit" in answer.headers:
                    console.print(report.LIMITED)
    except (TimeoutError, aiohttp.ClientError, ValueError) as error:
        raise LoadError(f"No gateway answers at {url}: {error or type(error).__name__}.") from None


def _report(said: Options, results: list[Result], console: Console) -> None:
    report.show(results, console)
    _write(said.json, json.dumps(report.as_json(results, said), indent=2) + "\n")
    _write(said.html, plots.page(results, said))
    console.print(f"{said.json} has these numbers, {said.html} plots.", highlight=False)
    for warning in report.warnings(results):
        console.print(warning, style="yellow", highlight=False)
    for failure in report.failures(results, said):
        console.print(f"FAILED {failure}", style="bold red", highlight=False)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
