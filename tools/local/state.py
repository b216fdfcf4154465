"""What is kept of a running copy: its ports and processes, in state.json of its data folder, for whoever asks."""

from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from deploy.errors import StartError

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
