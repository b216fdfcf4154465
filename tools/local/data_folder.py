"""The data folder: everything that one copy of PulseTrack keeps, in use by one supervisor at a time."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec
from filelock import FileLock, Timeout

from deploy.errors import StartError
from tools.local.process import kill_tree
from tools.ports import free_port, is_free

if TYPE_CHECKING:
    import psutil


FORMAT = 1
"""The version of the data folder's layout."""

_SAME_START_SECONDS = 2


class Recorded(msgspec.Struct):
    """A process that was started."""

    pid: int
    start_time: float
    """In seconds since the epoch, as the operating system says. With the pid it names one process of all time."""
    ours: bool = False
    """True for PulseTrack's own programs."""

    @classmethod
    def of(cls, pid: int, *, ours: bool) -> Self:
        """Records a process that runs, or has just ended."""
        import psutil  # noqa: PLC0415 - costs 30 ms, spent here while the first part starts

        try:
            return cls(pid=pid, start_time=psutil.Process(pid).create_time(), ours=ours)
        except psutil.NoSuchProcess:
            return cls(pid=pid, start_time=0, ours=ours)

    def process(self) -> "psutil.Process | None":
        """Returns the process if it still runs; another one that has its pid now is not returned."""
        import psutil  # noqa: PLC0415 - as above

        try:
            process = psutil.Process(self.pid)
            gone = process.status() == psutil.STATUS_ZOMBIE
            same = abs(process.create_time() - self.start_time) < _SAME_START_SECONDS
        except psutil.NoSuchProcess:
            return None
        return process if same and not gone else None


class State(msgspec.Struct, kw_only=True):
    """The content of state.json."""

    format: int = FORMAT
    gateway_port: int = 0
    ports: dict[str, int] = {}
    """The ports behind the gateway, by the part's name."""
    password_shown: bool = False
    """Whether the first admin's password has been printed."""
    processes: dict[str, Recorded] = {}
    """The supervisor and its parts, by name, in the order in which they were started."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads the state of a data folder, None if it has none. Raises StartError for another version's."""
        path = folder / "state.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            version = msgspec.json.decode(content, type=_Version).format
            if version == FORMAT:
                return msgspec.json.decode(content, type=cls)
        except msgspec.MsgspecError as error:
            raise StartError(f"{path} is damaged ({error}): name another folder in PULSETRACK_DATA_DIR.") from None
        raise StartError(
            f"The data dir {folder} is of format {version} and this version of PulseTrack knows format {FORMAT}: "
            "run it with the version that made it, or name another folder in PULSETRACK_DATA_DIR."
        )

    def write(self, folder: Path) -> None:
        """Writes the state, so that a reader sees the old one or the new one whole."""
        new = folder / "state.json.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        new.replace(folder / "state.json")


class _Version(msgspec.Struct):
    format: int


_LEFTOVER_SECONDS = 5


class DataFolder:
    """The folder and its state. Made by `taken`."""

    def __init__(self, path: Path, state: State) -> None:
        self.path = path
        self.state = state
        self.logs = path / "logs"
        self._unsaved = False

    @classmethod
    @contextmanager
    def taken(cls, path: Path) -> Iterator[Self]:
        """Takes the folder for this process alone, and makes it first if need be. Raises StartError."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(path)
            state = State.read(path) or _fresh(path)
            (path / "logs").mkdir(mode=0o700, exist_ok=True)
            (path / "secrets").mkdir(mode=0o700, exist_ok=True)
            state.write(path)
        except OSError as error:
            raise StartError(f"The data dir {path} cannot be used: {error.strerror}.") from None
        try:
            yield cls(path, state)
        finally:
            lock.release()

    def stop_leftovers(self) -> list[str]:
        """Ends what a killed supervisor has left running, and returns its names."""
        if not self.state.processes:
            return []
        import psutil  # noqa: PLC0415 - costs 30 ms, spent only if there was no clean stop

        left = {name: process for name, entry in self.state.processes.items() if (process := entry.process())}
        for process in left.values():
            process.terminate()
        _, stubborn = psutil.wait_procs(list(left.values()), timeout=_LEFTOVER_SECONDS)
        for process in stubborn:
            kill_tree(process.pid)
        psutil.wait_procs(stubborn)
        self.forget_processes()
        return list(left)

    def keep_ports(self, gateway_port: int, names: Iterable[str]) -> list[str]:
        """Gives every name a port, the one it had if that is free; returns the names whose port was taken.

        Raises StartError if the gateway's port, which the user has chosen, is not to be had.
        """
        _check_gateway_port(gateway_port)
        kept, moved = self.state.ports, []
        ports: dict[str, int] = {}
        for name in names:
            if name in kept and not is_free(kept[name]):
                moved.append(name)
            elif name in kept:
                ports[name] = kept[name]
                continue
            ports[name] = free_port(avoid={gateway_port, *kept.values(), *ports.values()})
        self.state.gateway_port, self.state.ports = gateway_port, ports
        self.state.write(self.path)
        return moved

    def secret(self, name: str, value: str | None = None, *, keep: bool = True) -> Path:
        """Returns the file of a secret, mode 0600: the one kept, or else a new one of this value or a random one."""
        path = self.path / "secrets" / name
        if keep and path.exists():
            return path
        new = path.with_name(f"{name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(secrets.token_urlsafe(24) if value is None else value, encoding="utf-8")
        return new.replace(path)

    def first_time_shown(self) -> bool:
        """Tells, once in the folder's life, that the first admin's password has not been shown yet."""
        first = not self.state.password_shown
        self.state.password_shown = True
        self.state.write(self.path)
        return first

    def record(self, name: str, pid: int, *, ours: bool) -> None:
        """Writes down that a process was started, as far as the disk lets us."""
        self.state.processes[name] = Recorded.of(pid, ours=ours)
        self._unsaved = True
        self.save()

    def forget_processes(self) -> None:
        """Writes down that nothing runs, as far as the disk lets us."""
        self.state.processes = {}
        self._unsaved = True
        self.save()

    def save(self) -> str:
        """Writes the state if it has changed. Returns why it cannot be written, if that is so; it stays to be saved."""
        if not self._unsaved:
            return ""
        try:
            self.state.write(self.path)
        except OSError as error:
            return error.strerror or str(error)
        self._unsaved = False
        return ""


def _lock(path: Path) -> FileLock:
    lock = FileLock(path / "lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StartError(
            f"PulseTrack runs already on the data dir {path}: stop it, or name another folder in PULSETRACK_DATA_DIR."
        ) from None
    return lock


def _fresh(path: Path) -> State:
    """Returns the state of a new data folder. Raises StartError if the folder is something else's."""
    if {entry.name for entry in path.iterdir()} - {"lock", "compose"}:
        raise StartError(
            f"The data dir {path} holds other files: name an empty or a new folder in PULSETRACK_DATA_DIR."
        )
    return State()


def _check_gateway_port(port: int) -> None:
    try:
        if not is_free(port):
            raise StartError(f"Port {port} is taken by another program: choose another in PULSETRACK_GATEWAY_PORT.")
    except PermissionError:
        raise StartError(f"This user may not use port {port}: choose another in PULSETRACK_GATEWAY_PORT.") from None
