"""The measured reads of a service, and the rows that they read."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from services.common.postgres.database import Database

Read = Callable[[Database], Awaitable[object]]


@dataclass(frozen=True)
class Cases:
    """The measured reads of a service."""

    service: str
    fill: Sequence[str]
    """Statements that fill the tables. `{count}` stands for the number of rows of the largest table."""
    table: str
    """The largest table."""
    reads: Mapping[str, Read]
    note: str = ""
    """Why reads grow, in Markdown."""
