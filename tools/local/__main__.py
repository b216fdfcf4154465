"""Runs PulseTrack on this machine until Ctrl-C or SIGTERM: `python -m tools.local`."""

import argparse
import asyncio
import os
import signal
import sys
import time

from deploy.errors import StartError
from deploy.settings import HOST, Settings
from deploy.summary import summary
from tools.local import START
from tools.local.build import build_console
from tools.local.console import Console, open_console
from tools.local.data_folder import DataFolder
from tools.local.part import Part
from tools.local.supervisor import Supervisor
from tools.local.system import System

_SAVE_SECONDS = 2


def main() -> int:
    """Returns the exit code: 0 after a clean stop, 1 after an error, which is printed."""
    parser = argparse.ArgumentParser(prog="python -m tools.local", description=__doc__)
    parser.add_argument("--build-console", action="store_true", help="build the web console, unless it is current")
    arguments = parser.parse_args()
    try:
        settings = Settings.read()
        with DataFolder.lock(settings.data_dir) as folder, open_console() as console:
            asyncio.run(_run(settings, folder, console, builds_console=arguments.build_console))
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"PulseTrack cannot run: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _run(settings: Settings, folder: DataFolder, console: Console, *, builds_console: bool) -> None:
    stop = asyncio.Event()
    background: list[asyncio.Task[None]] = []
    system = System(settings, folder)
    _prepare(settings, folder, system, console)

    def record_start(part: Part, pid: int) -> None:
        folder.record(part.name, pid, ours=part.ours)

    def print_summary() -> None:
        new_password = settings.admin_password is None and folder.mark_password_shown()
        console.close()
        console.print(
            summary(settings, system.admin_password(), show_password=new_password, seconds=time.monotonic() - START)
        )
        if builds_console:
            url = f"http://{HOST}:{settings.gateway_port}"
            background.append(asyncio.create_task(build_console(url, folder.logs, console)))

    supervisor = Supervisor(system.nodes(), folder.logs, console, record_start)
    _handle_signals(stop, supervisor, console)
    background.append(asyncio.create_task(_save_periodically(folder, console)))
    try:
        await supervisor.run(stop, print_summary)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        folder.forget_processes()
    console.print("PulseTrack has stopped")


def _prepare(settings: Settings, folder: DataFolder, system: System, console: Console) -> None:
    """Stops leftover processes, assigns the ports, and prints warnings."""
    for name in folder.stop_leftovers():
        console.print(f"Stopped {name}, which a killed supervisor had left running")
    folder.record("supervisor", os.getpid(), ours=False)
    for name in folder.assign_ports(settings.gateway_port, system.port_names()):
        console.print(f"The previous port of {name} is in use. {name} now uses {folder.state.ports[name]}")
    if settings.admin_password not in {None, system.admin_password().read_text()}:
        console.print("PULSETRACK_ADMIN_PASSWORD is ignored: the first admin already has a password")
    for warning in (*settings.warnings(sends_mail=settings.sends_mail), *system.warnings()):
        console.print(warning)
    console.print(f"Starting PulseTrack. Data and logs: {folder.path}")


async def _save_periodically(folder: DataFolder, console: Console) -> None:
    """Saves changes of the state that a full disk did not accept. Reports the problem once."""
    reported = False
    while True:
        if (error := folder.save()) and not reported:
            console.print(f"The state cannot be saved: {error}. PulseTrack still runs; `make status` may be outdated")
        reported = bool(error)
        await asyncio.sleep(_SAVE_SECONDS)


def _handle_signals(stop: asyncio.Event, supervisor: Supervisor, console: Console) -> None:
    """Stops all parts in order after the first signal, and kills them after the second."""

    def handle() -> None:
        if stop.is_set():
            supervisor.kill_all()
        else:
            console.print("Stopping PulseTrack")
            stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, handle)


if __name__ == "__main__":
    sys.exit(main())
