"""Token buckets, one per caller. Pure: the time comes with each call."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_CALLERS = 20_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left after a request. `wait_s` > 0 = refused, come back then."""

    limit: int
    remaining: int
    reset_s: float
    wait_s: float


class RateLimiter:
    """Requests per minute and caller; a whole minute's worth may be used at once. Least recent callers are forgotten."""

    def __init__(self, per_minute: int, *, anonymous_per_minute: int = 60) -> None:
        self._limits = {False: per_minute, True: anonymous_per_minute}
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, *, now_s: float, anonymous: bool = False) -> Allowance | None:
        """Count one request of `caller`; None when there is no limit."""
        limit = self._limits[anonymous]
        if not limit:
            return None
        rate = limit / 60.0
        tokens, seen = self._buckets.get(caller, (float(limit), now_s))
        tokens = min(float(limit), tokens + max(0.0, now_s - seen) * rate)
        granted = tokens >= 1.0
        if granted:
            tokens -= 1.0
        self._buckets[caller] = (tokens, now_s)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        wait = 0.0 if granted else (1.0 - tokens) / rate
        return Allowance(limit, int(tokens), (limit - tokens) / rate, wait)
