"""Several callers at the same time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar, cast

from tests.harness.client import Rejected, attempt

T = TypeVar("T")


def call_concurrently(calls: Iterable[Callable[[], T]]) -> tuple[list[T], list[Rejected]]:
    """Makes calls at the same time, and returns their answers and their refusals."""
    calls = list(calls)
    everybody = Barrier(len(calls))

    def call_with_the_others(call: Callable[[], T]) -> T | Rejected:
        everybody.wait()
        return cast("T | Rejected", attempt(call))

    with ThreadPoolExecutor(len(calls)) as threads:
        outcomes = list(threads.map(call_with_the_others, calls))
    refusals = [each for each in outcomes if isinstance(each, Rejected)]
    return [each for each in outcomes if not isinstance(each, Rejected)], refusals
