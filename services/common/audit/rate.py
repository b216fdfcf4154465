"""A bound on how many people's data a caller reads in a given time, and so on how fast the audit can grow."""

import math
import time
from collections.abc import Callable

from services.common.errors import RateLimited

_BURST_SECONDS = 20
_CALLERS = 10_000


class ReadRateExceeded(RateLimited):
    """Occurs when a caller has read the data of too many people in too short a time."""

    def __init__(self, *, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class ReadRate:
    """Counts what each caller reads against a rate. Unused allowance accumulates for 20 seconds."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes how many people's data a caller may read a second; 0 for any number."""
        self._per_second = per_second
        self._clock = clock
        self._paid_until: dict[str, float] = {}

    def charge(self, caller_id: str, count: int) -> None:
        """Counts what a caller is about to be answered. Raises ReadRateExceeded."""
        if not self._per_second:
            return
        now = self._clock()
        paid_until = max(self._paid_until.get(caller_id, now), now)
        if (ahead := paid_until - now) > _BURST_SECONDS:
            raise ReadRateExceeded(retry_after=math.ceil(ahead - _BURST_SECONDS))
        if len(self._paid_until) >= _CALLERS:
            self._paid_until = {each: until for each, until in self._paid_until.items() if until > now}
        self._paid_until[caller_id] = paid_until + count / self._per_second
