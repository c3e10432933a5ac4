"""The virtual clock: one heap of what happens when, and wall clocks that can jump.

Two things at the same time happen in the order in which they were asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

START = 1000.0  # seconds; a monotonic clock may begin anywhere
WALL = 1_700_000_000_000  # milliseconds since 1970, at START

Action = Callable[[], None]


class Alarm:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Action) -> None:
        self.when = when
        self.action: Action | None = action

    def cancel(self) -> None:
        """It will not happen."""
        self.action = None


class Clock:
    """Seconds that pass only when ``step`` says so."""

    def __init__(self) -> None:
        self.now = START
        self.steps = 0
        self._heap: list[tuple[float, int, Alarm]] = []
        self._tickets = 0

    def at(self, when: float, action: Action) -> Alarm:
        """Let *action* happen at *when*, or at once if that has passed."""
        alarm = Alarm(when if when > self.now else self.now, action)
        self._tickets += 1
        heapq.heappush(self._heap, (alarm.when, self._tickets, alarm))
        return alarm

    def after(self, seconds: float, action: Action) -> Alarm:
        """Let *action* happen in so many seconds."""
        return self.at(self.now + seconds, action)

    def soon(self, action: Action) -> None:
        """Let *action* happen as soon as what happens now is over."""
        self.at(self.now, action)

    def step(self) -> bool:
        """Let the next thing happen; False if there is none."""
        while self._heap:
            when, _, alarm = heapq.heappop(self._heap)
            action, alarm.action = alarm.action, None
            if action is not None:
                self.now = when
                self.steps += 1
                action()
                return True
        return False


class WallClock:
    """Milliseconds since 1970, as some machine believes them to be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = 0

    def ms(self) -> int:
        """What it shows."""
        return WALL + self._offset + int((self._clock.now - START) * 1000)

    def jump(self, ms: int) -> None:
        """Somebody sets it forward, or back."""
        self._offset += ms
