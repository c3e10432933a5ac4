"""The signs of servers' calls, as a gate checks them: each is good once, and not for long."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from ..codes import Code
from ..mids import MidFilter
from ..payload import Params, int_of, text_of
from ..signs import call_sign

CLOCK_SKEW = 15 * 60.0  # seconds that a server's clock may differ from ours (our own)
SIGN_MEMORY = 2 * CLOCK_SKEW  # seconds: as long as one that is dated ahead stays good
MAX_SIGNS = 1_000_000  # signs remembered at the most; beyond it the oldest is forgotten


class Signs:
    """Checks signs, and remembers the good ones: a recorded call cannot be said again.

    A sign of 2018 names no time and no method: it is good again once it is forgotten. So is every
    sign of the last minutes when a gate starts again, as the memory is not stored.
    """

    def __init__(
        self,
        pid: int,
        secret: str | None,
        wall_ms: Callable[[], int],
        *,
        bound: int = MAX_SIGNS,
    ) -> None:
        """*secret*: of the project *pid*; without one there are no servers here."""
        self._pid = pid
        self._secret = secret
        self._wall_ms = wall_ms
        self._used = MidFilter(window=SIGN_MEMORY, bound=bound)

    def refusal(self, method: str, params: Params, *, now: float) -> tuple[int, str] | None:
        """Code and text of what is wrong with the sign of a call; None is a sign that is used now.

        200020 without a secret (200002 would say that theirs is wrong), 200002 for another project
        or sign, 200008 for a clock that differs too much, 200006 for a sign that was used before.
        Raises PayloadError.
        """
        if not self._secret:
            return Code.METHOD_FORBIDDEN, "this gate knows no project secret: it takes no servers"
        pid, salt, given = int_of(params, "pid"), int_of(params, "salt"), text_of(params, "sign")
        ts = None if params.get("ts") is None else int_of(params, "ts")
        right = call_sign(self._pid, self._secret, salt, method, ts)
        same = hmac.compare_digest(given.upper().encode("utf-8", "surrogatepass"), right.encode())
        if not same or pid != self._pid:
            return Code.BAD_PROJECT_OR_SIGN, "project or sign is wrong"
        if ts is not None and abs(ts - self._wall_ms() / 1000) > CLOCK_SKEW:
            return Code.CLOCK_MISMATCH, f"ts {ts} is over {CLOCK_SKEW:g} s from the gate's clock"
        if self._used.known(right, now=now):
            return Code.SAME_SIGN, "this sign was used before: take a new salt"
        self._used.seen(right, now=now)
        return None
