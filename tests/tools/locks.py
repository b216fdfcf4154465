"""Reads locks: their pins, and the requirements that they do not meet."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))


@dataclass(frozen=True)
class Environment:
    """A Python version on a platform, with the values of its environment markers (PEP 508)."""

    python: str
    system: str
    machine: str

    def has(self, marker: Marker | None, extras: frozenset[str] = frozenset()) -> bool:
        """Returns whether a marker is true, with any of the extras or with none."""
        values = {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": self.system.capitalize(),
            "python_full_version": f"{self.python}.1",
            "python_version": self.python,
            "sys_platform": self.system,
        }
        return marker is None or any(marker.evaluate({**values, "extra": extra}) for extra in ("", *extras))


ENVIRONMENTS = [Environment(python, *platform) for python in PYTHONS for platform in PLATFORMS]


def read(lock: Path) -> list[str]:
    """Returns the entries of a lock, each with its hashes."""
    lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def pins(lock: Path) -> dict[str, Requirement]:
    """Returns the pins of a lock by package name."""
    found = [Requirement(entry.partition("\\\n")[0].partition(" --hash")[0].strip()) for entry in read(lock)]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def find_unmet(roots: list[Requirement], locked: dict[str, Requirement], environment: Environment) -> Iterator[str]:
    """Yields each direct or transitive requirement of the roots that a lock does not pin in an environment.

    An extra counts as pinned only if the lock lists it. With only `package==1`, an installer can choose another version
    for `package[extra]`.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [("pyproject.toml", requirement, frozenset[str]()) for requirement in roots]
    while waiting:
        parent, requirement, extras = waiting.pop()
        if not environment.has(requirement.marker, extras):
            continue
        name, wanted = canonicalize_name(requirement.name), frozenset(requirement.extras)
        pin = locked.get(name)
        if pin is None or not environment.has(pin.marker) or not wanted <= pin.extras:
            yield f"{parent} requires {requirement}"
        elif not all(requirement.specifier.contains(each.version, prereleases=True) for each in pin.specifier):
            yield f"{parent} requires {requirement}, but the lock has {pin}"
        elif (name, wanted) not in seen:
            seen.add((name, wanted))
            waiting += [(name, Requirement(text), wanted) for text in _requires(name)]


def _requires(name: str) -> list[str]:
    """Returns the requirements of a package. Raises AssertionError if the package is not installed."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        raise AssertionError(f"{name} is locked for another platform and cannot be examined on this one") from None
