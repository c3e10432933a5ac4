"""A pace: how often a user may call, so that the service has no reason to refuse with 200010.

The published limits (spec 11) differ from page to page, and a project can have its own: this is
off unless asked for. One place is taken by each call of ``when``, whether or not it is used.
"""

from __future__ import annotations

from .errors import LocalProtocolError

FILES = 1.0  # file sends a second (published limit)
CALLS = 5.0  # calls a second, of one user (published limit)
BURST = 2  # that may come at once after a rest


class Pace:
    """At most so many file sends and calls a second; for one client."""

    def __init__(
        self, *, files: float | None = FILES, calls: float | None = CALLS, burst: int = BURST
    ) -> None:
        """*files*, *calls*: how many a second, None for any number. *burst*: how many at once.

        Raises LocalProtocolError for what is not above 0.
        """
        for name, value in (("files", files), ("calls", calls), ("burst", burst)):
            if value is not None and not 0 < value < float("inf"):
                raise LocalProtocolError(f"{name} is a number above 0, got {value!r}")
        self._burst = burst
        self._intervals = {
            kind: 1 / rate for kind, rate in (("files", files), ("calls", calls)) if rate
        }
        self._full_at = dict.fromkeys(self._intervals, float("-inf"))

    def when(self, method: str, *, now: float) -> float:
        """When *method*, which somebody wants to ask at *now*, may be asked.

        A filetoken is a call, and stands for the file that it is for.
        """
        at = now
        for kind, interval in self._intervals.items():
            if kind == "calls" or method == "filetoken":
                full_at = max(self._full_at[kind], now) + interval
                self._full_at[kind] = full_at
                at = max(at, full_at - self._burst * interval)
        return at
