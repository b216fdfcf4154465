"""The data folder of an instance: its state, ports, secrets and lock."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec
from filelock import FileLock, Timeout

from deploy.errors import StartError
from tools.local.process import kill_tree
from tools.ports import is_free, reserve, reserve_free_port

if TYPE_CHECKING:
    import psutil

FORMAT = 1
"""The version of the folder's layout."""

_SAME_START_SECONDS = 2
_LEFTOVER_SECONDS = 5


class RecordedProcess(msgspec.Struct):
    """A process that was started."""

    pid: int
    start_time: float
    """Seconds since the epoch, as the operating system reports. Pid and start time identify a process uniquely."""
    ours: bool = False
    """True for PulseTrack's own programs."""

    @classmethod
    def of(cls, pid: int, *, ours: bool) -> Self:
        """Records a process that is running or has just ended."""
        import psutil  # noqa: PLC0415 - takes 30 ms, while the first part starts

        try:
            return cls(pid=pid, start_time=psutil.Process(pid).create_time(), ours=ours)
        except psutil.NoSuchProcess:
            return cls(pid=pid, start_time=0, ours=ours)

    def process(self) -> "psutil.Process | None":
        """Returns the process if it is still running. None if another process has its pid."""
        import psutil  # noqa: PLC0415 - as above

        try:
            process = psutil.Process(self.pid)
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
            same = abs(process.create_time() - self.start_time) < _SAME_START_SECONDS
        except psutil.NoSuchProcess:
            return None
        return process if same and not is_zombie else None


class State(msgspec.Struct, kw_only=True):
    """The content of state.json, which other programs read."""

    format: int = FORMAT
    gateway_port: int = 0
    ports: dict[str, int] = {}
    """The ports behind the gateway, by part."""
    password_shown: bool = False
    """Whether the first admin's password has been printed."""
    processes: dict[str, RecordedProcess] = {}
    """The supervisor and its parts by name, in the order in which they were started."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads the state of a data folder. None if it has none. Raises StartError for another version's state."""
        path = folder / "state.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            version = msgspec.json.decode(content, type=_Version).format
            if version == FORMAT:
                return msgspec.json.decode(content, type=cls)
        except ValueError as error:
            raise StartError(f"{path} is damaged ({error}). Set PULSETRACK_DATA_DIR to another folder.") from None
        raise StartError(
            f"The data folder {folder} has format {version}, but this version of PulseTrack requires format {FORMAT}. "
            "Use the version that created it, or set PULSETRACK_DATA_DIR to another folder."
        )

    def write(self, folder: Path) -> None:
        """Writes the state atomically."""
        new = folder / "state.json.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        new.replace(folder / "state.json")


class _Version(msgspec.Struct):
    format: int


class DataFolder:
    """A data folder that this process has locked. Created by `lock`."""

    def __init__(self, path: Path, state: State) -> None:
        self.path = path
        self.state = state
        self.logs = path / "logs"
        self._unsaved = False
        self._reservations = ExitStack()

    @classmethod
    @contextmanager
    def lock(cls, path: Path) -> Iterator[Self]:
        """Locks the folder for this process, and creates it if it is missing. Raises StartError."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _acquire_lock(path)
            state = State.read(path) or _create_state(path)
            (path / "logs").mkdir(mode=0o700, exist_ok=True)
            (path / "secrets").mkdir(mode=0o700, exist_ok=True)
            state.write(path)
        except OSError as error:
            raise StartError(f"The data folder {path} cannot be used: {error.strerror}.") from None
        folder = cls(path, state)
        try:
            yield folder
        finally:
            folder._reservations.close()
            lock.release()

    def stop_leftovers(self) -> list[str]:
        """Stops the processes that a killed supervisor left running, and returns their names."""
        if not self.state.processes:
            return []
        import psutil  # noqa: PLC0415 - takes 30 ms, and is needed only after an unclean stop

        left = {name: process for name, entry in self.state.processes.items() if (process := entry.process())}
        for process in left.values():
            process.terminate()
        _, alive = psutil.wait_procs(list(left.values()), timeout=_LEFTOVER_SECONDS)
        for process in alive:
            kill_tree(process.pid)
        psutil.wait_procs(alive)
        self.forget_processes()
        return list(left)

    def assign_ports(self, gateway_port: int, names: Iterable[str]) -> list[str]:
        """Assigns and reserves a port for every name, the previous one if possible.

        Returns the names whose previous port is in use. Raises StartError if the gateway's port is not available.
        """
        _check_gateway_port(gateway_port)
        self._reservations.close()
        previous, moved = self.state.ports, []
        ports: dict[str, int] = {}
        for name in names:
            reservation = reserve(previous[name]) if name in previous else None
            if reservation is None:
                moved += [name] if name in previous else []
                reservation = reserve_free_port(avoid={gateway_port, *previous.values()})
            ports[name] = self._reservations.enter_context(reservation).port
        self.state.gateway_port, self.state.ports = gateway_port, ports
        self.state.write(self.path)
        return moved

    def secret(self, name: str, value: str | None = None, *, keep: bool = True) -> Path:
        """Returns the file of a secret, with mode 0600. Creates it with this value or a random one.

        With `keep`, an existing secret is not changed.
        """
        path = self.path / "secrets" / name
        if keep and path.exists():
            return path
        new = path.with_name(f"{name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(secrets.token_urlsafe(24) if value is None else value, encoding="utf-8")
        return new.replace(path)

    def mark_password_shown(self) -> bool:
        """Records that the first admin's password is shown. Returns True only the first time."""
        first = not self.state.password_shown
        self.state.password_shown = True
        self.state.write(self.path)
        return first

    def record(self, name: str, pid: int, *, ours: bool) -> None:
        """Records that a process was started, and saves the state if the disk has space."""
        self.state.processes[name] = RecordedProcess.of(pid, ours=ours)
        self._unsaved = True
        self.save()

    def forget_processes(self) -> None:
        """Records that no process is running, and saves the state if the disk has space."""
        self.state.processes = {}
        self._unsaved = True
        self.save()

    def save(self) -> str:
        """Saves the state if it has unsaved changes. Returns the error if it cannot be saved, or an empty string."""
        if not self._unsaved:
            return ""
        try:
            self.state.write(self.path)
        except OSError as error:
            return error.strerror or str(error)
        self._unsaved = False
        return ""


def _acquire_lock(path: Path) -> FileLock:
    lock = FileLock(path / "lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StartError(
            f"PulseTrack is already running in the data folder {path}. "
            "Stop it, or set PULSETRACK_DATA_DIR to another folder."
        ) from None
    return lock


def _create_state(path: Path) -> State:
    """Returns the state of a new data folder. Raises StartError if the folder contains other files."""
    if {entry.name for entry in path.iterdir()} - {"lock", "compose"}:
        raise StartError(
            f"The data folder {path} contains other files. Set PULSETRACK_DATA_DIR to an empty or a new folder."
        )
    return State()


def _check_gateway_port(port: int) -> None:
    try:
        if not is_free(port):
            raise StartError(f"Port {port} is in use. Set PULSETRACK_GATEWAY_PORT to another port.")
    except PermissionError:
        raise StartError(f"This user cannot use port {port}. Set PULSETRACK_GATEWAY_PORT to another port.") from None
