"""Concurrent calls."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar, cast

from tests.harness.client import Rejected, attempt

T = TypeVar("T")


def call_concurrently(calls: Iterable[Callable[[], T]]) -> tuple[list[T], list[Rejected]]:
    """Makes calls at the same time, and returns the responses and the rejections."""
    calls = list(calls)
    barrier = Barrier(len(calls))

    def wait_and_call(call: Callable[[], T]) -> T | Rejected:
        barrier.wait()
        return cast("T | Rejected", attempt(call))

    with ThreadPoolExecutor(len(calls)) as threads:
        outcomes = list(threads.map(wait_and_call, calls))
    rejections = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    return [outcome for outcome in outcomes if not isinstance(outcome, Rejected)], rejections
