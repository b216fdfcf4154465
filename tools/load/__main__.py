"""Generates load on a running gateway: `make load`, or `python -m tools.load --help`."""

import json
import sys
from pathlib import Path

import aiohttp
import uvloop
from rich.console import Console

from tools.load import clients, console, options, plots, results
from tools.load.errors import LoadError
from tools.load.measurement import Record
from tools.load.options import Options
from tools.load.phases import Phase, create_phases
from tools.load.results import Result
from tools.load.workload import Clinic

_WIDTH = 120  # columns, if the output is not a terminal


def main() -> int:
    """Returns the exit code: 1 if a gate fails or no load can be generated, 130 after Ctrl-C."""
    screen = Console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    finished: list[Result] = []
    code = 0
    try:
        chosen = options.parse()
        uvloop.run(_run(chosen, finished, screen))
    except LoadError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        code = 130
    _report(chosen, finished, screen)
    return code or int(any(results.failures(finished, chosen)))


async def _run(chosen: Options, finished: list[Result], screen: Console) -> None:
    await _check_gateway(chosen.url, screen)
    connect = clients.connect_rest if chosen.protocol == "rest" else clients.connect_grpc
    async with connect(chosen.url) as client:
        clinic = Clinic(client)
        phases = create_phases(clinic, client, chosen)
        progress = console.PhaseProgress(screen)
        async with clinic.open():
            for phase in phases:
                async with phase.context:
                    await _run_phase(phase, finished, progress)


async def _run_phase(phase: Phase, finished: list[Result], progress: console.PhaseProgress) -> None:
    record = Record()
    finished.append(Result(phase, record))
    try:
        async with progress.show(phase, record):
            await phase.pace.run(phase.call, record)
    finally:
        record.close()


async def _check_gateway(url: str, screen: Console) -> None:
    """Checks that the gateway is ready, and prints a warning if it limits rates. Raises LoadError."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            async with session.get(f"{url}/readyz") as ready:
                if ready.status != 200:  # noqa: PLR2004
                    raise LoadError(f"{url} is not ready: /readyz returned {ready.status}.")
            async with session.get(f"{url}/v1/auth/me") as response:
                if "x-ratelimit-limit" in response.headers:
                    screen.print(results.RATE_LIMITS_WARNING)
    except (TimeoutError, aiohttp.ClientError, ValueError) as error:
        raise LoadError(f"Cannot connect to a gateway at {url}: {error or type(error).__name__}.") from None


def _report(chosen: Options, finished: list[Result], screen: Console) -> None:
    console.print_results(finished, screen)
    _write(chosen.json, json.dumps(results.as_json(finished, chosen), indent=2) + "\n")
    _write(chosen.html, plots.render_page(finished, chosen))
    screen.print(f"Results are in {chosen.json}, plots in {chosen.html}.", highlight=False)
    for warning in results.warnings(finished):
        screen.print(warning, style="yellow", highlight=False)
    for failure in results.failures(finished, chosen):
        screen.print(f"FAILED {failure}", style="bold red", highlight=False)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
