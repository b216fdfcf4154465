"""Trying again, for work that must be done in the end."""

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


async def persistently(attempt: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Calls until it succeeds, while it fails with DependencyUnavailable: with exponential backoff and jitter."""
    longest = _FIRST_SECONDS
    while True:
        try:
            return await attempt()
        except DependencyUnavailable as failure:
            _log.warning("%s: will try again: %s", what, failure.__cause__ or failure)
        await asyncio.sleep(random.uniform(_FIRST_SECONDS / 2, longest))  # noqa: S311 - nothing secret in it
        longest = min(longest * 2, _LONGEST_SECONDS)
