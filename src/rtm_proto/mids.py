"""Message ids: making new ones, and filtering the ones that were seen.

A mid is a positive int64: milliseconds of the wall clock << 16, plus a counter (the shape of the
C#, Android and Objective-C SDKs). 0 on input means "make a new one" and never goes on the wire.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from .errors import LocalProtocolError
from .payload import INT64_MAX

FILTER_WINDOW = 20 * 60.0  # seconds a mid is remembered, from its last sight (C# and Unity SDKs)
FILTER_BOUND = 10_000  # mids remembered at the most


class MidGenerator:
    """Makes mids that strictly increase, also when the clock steps back.

    *wall_ms* gives milliseconds since 1970; *start* is a random number of 16 bits that keeps two
    clients that start in the same millisecond apart.
    """

    __slots__ = ("_last", "_start", "_wall_ms")

    def __init__(self, wall_ms: Callable[[], int], start: int) -> None:
        self._wall_ms = wall_ms
        self._start = start & 0xFFFF
        self._last = 0

    def next(self) -> int:
        """A new mid. Raises LocalProtocolError when the clock is too far ahead for an int64."""
        mid = max(self._last + 1, (self._wall_ms() << 16) + self._start)
        if mid > INT64_MAX:
            raise LocalProtocolError(f"the clock is too far ahead to make a mid: {mid}")
        self._last = mid
        return mid


def check_mid(mid: int) -> int:
    """*mid* itself, if it is 0 (make a new one) or a positive int64; else LocalProtocolError."""
    if type(mid) is not int or not 0 <= mid <= INT64_MAX:
        raise LocalProtocolError(f"a mid is 0 (make a new one) to {INT64_MAX}, got {mid!r}")
    return mid


class MidFilter:
    """Remembers which keys were seen, within a window of time and up to a bound.

    A repeat within *window* seconds of its last sight is a duplicate. Above *bound* keys the one
    that was not seen for the longest time is forgotten. O(1) for each key.
    """

    __slots__ = ("_bound", "_seen", "_window")

    def __init__(self, *, window: float = FILTER_WINDOW, bound: int = FILTER_BOUND) -> None:
        self._window = window
        self._bound = bound
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def seen(self, key: Hashable, *, now: float) -> bool:
        """Whether *key* was seen within the window; from now on it was."""
        seen = self._seen
        last = seen.pop(key, None)
        seen[key] = now
        if last is not None:
            return now - last <= self._window
        while seen and (len(seen) > self._bound or now - next(iter(seen.values())) > self._window):
            seen.popitem(last=False)
        return False

    def known(self, key: Hashable, *, now: float) -> bool:
        """Whether ``seen`` would say that *key* is a duplicate; nothing changes."""
        last = self._seen.get(key)
        return last is not None and now - last <= self._window
