"""Message ids: making new ones, and filtering the ones that were seen.

A mid is a positive int64: milliseconds of the wall clock << 16, plus a counter (the shape of the
C#, Android and Objective-C SDKs). 0 on input means "make a new one" and never goes on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from .errors import LocalProtocolError
from .payload import INT64_MAX

FILTER_WINDOW = 20 * 60.0  # seconds a mid is remembered, from its last sight (C# and Unity SDKs)
FILTER_BOUND = 10_000  # mids remembered at the least; at the most twice as many


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

    A repeat within *window* seconds of its last sight is a duplicate, if at most *bound* other keys
    were seen since. Up to twice as many may be remembered: there are two generations, and the older
    one is forgotten whole when the younger one is full or older than the window. O(1) for each key.
    """

    __slots__ = ("_began", "_bound", "_old", "_window", "_young")

    def __init__(self, *, window: float = FILTER_WINDOW, bound: int = FILTER_BOUND) -> None:
        """Without room or time for anything, nothing is a duplicate."""
        self._window = window if bound > 0 else -1.0
        self._bound = bound
        self._began = 0.0  # when the younger generation did
        self._young: dict[Hashable, float] = {}  # the last sight of each
        self._old: dict[Hashable, float] = {}

    def __len__(self) -> int:
        """How many keys are remembered; at most twice the bound."""
        return len(self._young.keys() | self._old.keys())

    def seen(self, key: Hashable, *, now: float) -> bool:
        """Whether *key* was seen within the window; from now on it was."""
        young = self._young
        last = young.get(key)
        if last is None:
            last = self._old.get(key)
            if len(young) >= self._bound or now - self._began > self._window:
                self._old, self._young, self._began = young, {}, now
                young = self._young
        young[key] = now
        return last is not None and now - last <= self._window

    def known(self, key: Hashable, *, now: float) -> bool:
        """Whether ``seen`` would say that *key* is a duplicate; nothing changes."""
        last = self._young.get(key)
        if last is None:
            last = self._old.get(key)
        return last is not None and now - last <= self._window
