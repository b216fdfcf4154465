"""Retries with exponential backoff."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.common.errors import DependencyUnavailable

T = TypeVar("T")

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 3.0
_log = logging.getLogger(__name__)


async def retry_while_unavailable(attempt: Callable[[], Awaitable[T]], *, activity: str) -> T:
    """Calls until the call succeeds or raises something other than DependencyUnavailable.

    Waits with exponential backoff and jitter between attempts, and logs each failure. The activity names the call in
    the log: "connecting to the database".
    """
    longest = _FIRST_SECONDS
    while True:
        try:
            return await attempt()
        except DependencyUnavailable as failure:
            _log.warning("%s failed, retrying: %s", activity, failure.__cause__ or failure)
        await asyncio.sleep(random.uniform(_FIRST_SECONDS / 2, longest))  # noqa: S311 - not a secret
        longest = min(longest * 2, _LONGEST_SECONDS)
