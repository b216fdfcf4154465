"""Waiting for what happens in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, seconds: float = 30) -> T:
    """Returns what the condition gives once that is true; fails if it takes far longer than it should."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, f"still not so after {seconds} s"
        time.sleep(0.02)
    return found
