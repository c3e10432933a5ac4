"""How often somebody may ask: a bucket for each, which fills again with time.

The published rates (spec 11) differ from page to page, so all are off until they are set. What is
over a rate is refused and changes nothing, so that who is refused does not wait the longer for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from ...codes import Code
from ..actions import Refusal
from ..limits import RATES, Limits, Rate

CALLS = ("user_calls", "all_calls", "server_calls")
MAX_BUCKETS = 100_000  # for each rate; beyond it the one that was not used for longest is full


class Buckets:
    """One rate, with a bucket for each key. A full one takes no memory."""

    def __init__(self, rate: Rate, *, bound: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._bound = bound
        self._interval = 1 / rate.per_second
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def empty(self, key: Hashable, *, now: float) -> bool:
        """Whether nothing may be taken now."""
        # A rounding error of the sums must not cost a place.
        missing = self._full_at.get(key, now) - now
        return missing + self._interval > self._rate.burst * self._interval * (1 + 1e-9)

    def take(self, key: Hashable, *, now: float) -> None:
        """One is used."""
        buckets = self._full_at
        buckets[key] = max(buckets.get(key, now), now) + self._interval
        buckets.move_to_end(key)
        while len(buckets) > self._bound or next(iter(buckets.values())) <= now:
            buckets.popitem(last=False)


class Rates:
    """Every rate of a gate."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[str, Buckets] = {}
        for name in RATES:
            rate: Rate | None = getattr(limits, name)
            if rate is not None:
                self._buckets[name] = Buckets(rate)
        self.of_calls = not self._buckets.keys().isdisjoint(CALLS)
        """Whether there is one for calls of any kind."""

    def __len__(self) -> int:
        """How many buckets are not full."""
        return sum(map(len, self._buckets.values()))

    def check(self, name: str, key: Hashable, *, now: float) -> None:
        """Refuse with 200010 where *key* is over the rate *name*."""
        buckets = self._buckets.get(name)
        if buckets is not None and buckets.empty(key, now=now):
            rate: Rate = getattr(self._limits, name)
            raise Refusal(Code.RATE_LIMIT, f"over the limit {name}: {rate}")

    def take(self, name: str, key: Hashable, *, now: float) -> None:
        """Count one of *key*."""
        buckets = self._buckets.get(name)
        if buckets is not None:
            buckets.take(key, now=now)

    def spend(self, *wanted: tuple[str, Hashable], now: float) -> None:
        """Check each rate, then count one of each."""
        for name, key in wanted:
            self.check(name, key, now=now)
        for name, key in wanted:
            self.take(name, key, now=now)
