"""Waiting for a condition."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, seconds: float = 30) -> T:
    """Polls a condition, and returns its value once it is true. Fails after a time limit."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < limit, f"the condition is still false after {seconds} s"
        time.sleep(0.02)
    return value
