"""The build of the web console, in the background of a running system."""

import sys
from pathlib import Path

from deploy.errors import StartError
from tools.local.console import Console
from tools.local.process import Command, run_to_end

_COMMAND = Command(argv=("nice", sys.executable, "-m", "console"))


async def build_console(url: str, logs: Path, output: Console) -> None:
    """Builds the console unless it is current, and prints its URL or why it could not be built."""
    from console.build import is_current  # noqa: PLC0415 - takes 10 ms, and PulseTrack is ready by then

    if not is_current():
        output.print("Building the web console")
        try:
            await run_to_end("The build of the console", _COMMAND, logs / "console.log")
        except (StartError, OSError) as error:
            output.print(f"{error}\nPulseTrack runs without its console. `make console` builds it")
            return
        output.print(f"The web console is at {url}/console/")
