"""Runs PulseTrack on this machine until Ctrl-C or SIGTERM: `python -m tools.local`."""

import asyncio
import os
import signal
import sys
import time

from deploy.errors import StartError
from deploy.settings import Settings
from deploy.summary import summary
from tools.local.console import Progress, progress
from tools.local.data_folder import DataFolder
from tools.local.part import Part
from tools.local.supervisor import Supervisor
from tools.local.system import System

_SAVE_SECONDS = 2


def main() -> int:
    """Returns the exit code: 0 after a clean stop, 1 if PulseTrack cannot run, which one sentence explains."""
    try:
        settings = Settings.read()
        with DataFolder.taken(settings.data_dir) as folder, progress() as shown:
            asyncio.run(_run(settings, folder, shown))
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"PulseTrack cannot run: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _run(settings: Settings, folder: DataFolder, shown: Progress) -> None:
    stop = asyncio.Event()
    system = System(settings, folder)
    for name in folder.stop_leftovers():
        shown.say(f"{name} was left running by a supervisor that was killed, and has been stopped")
    folder.record("supervisor", os.getpid(), ours=False)
    for name in folder.keep_ports(settings.gateway_port, system.port_names()):
        shown.say(f"the port of {name} is taken: it uses {folder.state.ports[name]} from now on")
    if settings.admin_password not in {None, system.admin_password().read_text()}:
        shown.say("PULSETRACK_ADMIN_PASSWORD has no effect: the first admin has a password already")
    for remark in (*settings.remarks(), *system.remarks()):
        shown.say(remark)
    shown.say(f"PulseTrack starts; its data and logs are in {folder.path}")

    def started(part: Part, pid: int) -> None:
        folder.record(part.name, pid, ours=part.ours)

    def up() -> None:
        new_password = settings.admin_password is None and folder.first_time_shown()
        shown.finish()
        shown.say(summary(settings, system.admin_password(), show_password=new_password, seconds=_age()))

    supervisor = Supervisor(system.nodes(), folder.logs, shown, started)
    _on_signals(stop, supervisor, shown)
    saving = asyncio.create_task(_keep_saving(folder, shown))
    try:
        await supervisor.run(stop, up)
    finally:
        saving.cancel()
        folder.forget_processes()
    shown.say("PulseTrack has stopped")


async def _keep_saving(folder: DataFolder, shown: Progress) -> None:
    """Writes what could not be written when it changed, as soon as the disk has room. Says once that it has none."""
    said = False
    while True:
        if (why := folder.save()) and not said:
            shown.say(f"The state cannot be written: {why}. PulseTrack goes on; `make status` may be out of date")
        said = bool(why)
        await asyncio.sleep(_SAVE_SECONDS)


def _on_signals(stop: asyncio.Event, supervisor: Supervisor, shown: Progress) -> None:
    """Makes the first signal stop everything in order, and another one at once."""

    def heard() -> None:
        if stop.is_set():
            supervisor.hurry()
        else:
            shown.say("PulseTrack stops")
            stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, heard)


def _age() -> float:
    """Returns for how many seconds this process runs."""
    import psutil  # noqa: PLC0415 - is there by now

    return time.time() - psutil.Process(os.getpid()).create_time()


if __name__ == "__main__":
    sys.exit(main())
