"""CPU time and memory of process trees, as the operating system reports them."""

from collections.abc import Collection, Mapping

import psutil

_MIB = 1024 * 1024


def read_cpu_seconds(pids: Mapping[str, int], *, without: Collection[int] = ()) -> dict[str, float]:
    """Returns the CPU time of each tree, including descendants that have ended, but not the processes in `without`.

    A tree is named, and given by the pid of its root.
    """
    return {name: _read_tree(pid, without) for name, pid in pids.items()}


def read_memory(pids: Mapping[str, int]) -> dict[str, float]:
    """Returns the proportional set size of each tree in MiB, or its resident set size where there is no PSS."""
    return {name: sum(map(_read_process_memory, _list_tree(pid))) for name, pid in pids.items()}


def _read_tree(pid: int, without: Collection[int]) -> float:
    return sum(_read_process(process) for process in _list_tree(pid) if process.pid not in without)


def _read_process(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # it ended just now; its parent reports its time
        return 0
    return float(times.user + times.system + times.children_user + times.children_system)


def _read_process_memory(process: psutil.Process) -> float:
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return float(getattr(memory, "pss", memory.rss)) / _MIB


def _list_tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
