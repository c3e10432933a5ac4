"""Tasks: whoever waits in a simulation, as a coroutine; nothing real ever waits.

await clock-time or a bell ─► Task parks ─► the clock, or who rings the bell, resumes it
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

from .clock import Alarm, Clock


class Wait:
    """Await it: True once *bell* has rung, False when the time *until* has come before."""

    __slots__ = ("bell", "until")

    def __init__(self, bell: Bell | None, until: float | None) -> None:
        self.bell = bell
        self.until = until

    def __await__(self) -> Generator[Wait, bool, bool]:
        """Park the task."""
        return (yield self)


class Bell:
    """Rung once, it stays rung; ``ring`` may be called at any time, by anybody."""

    __slots__ = ("_tasks", "rung")

    def __init__(self) -> None:
        self.rung = False
        self._tasks: list[tuple[Task, Wait]] = []

    def ring(self) -> None:
        """Wake whoever waits, as soon as what happens now is over."""
        self.rung = True
        tasks, self._tasks = self._tasks, []
        for task, wait in tasks:
            task.wake(wait)

    def wait(self, until: float | None = None) -> Wait:
        """Await it; *until* is the time after which it is False."""
        return Wait(self, until)

    def expect(self, task: Task, wait: Wait) -> None:
        """For Task: *task* is parked with *wait*."""
        self._tasks.append((task, wait))


def sleep_until(when: float) -> Wait:
    """Await the time *when*."""
    return Wait(None, when)


class Task:
    """A coroutine that is under way; it begins as soon as what happens now is over."""

    def __init__(self, clock: Clock, work: Coroutine[Any, Any, None]) -> None:
        self.done = Bell()
        self._clock = clock
        self._work = work
        self._parked: Wait | None = None
        self._alarm: Alarm | None = None
        self._started = False
        self._park(Wait(None, clock.now))

    def cancel(self) -> None:
        """End it where it stands; its ``finally`` blocks are carried out, and await nothing."""
        if not self.done.rung:
            self._unpark()
            self.done.ring()
            self._work.close()

    def wake(self, wait: Wait) -> None:
        """For Bell: what it waited for has happened."""
        if self._parked is wait:
            self._unpark()
            self._parked = wait
            self._clock.soon(lambda: self._resume(wait, True))

    # --- private ---

    def _park(self, wait: Wait) -> None:
        self._parked = wait
        if wait.bell is not None:
            if wait.bell.rung:
                self.wake(wait)
                return
            wait.bell.expect(self, wait)
        if wait.until is not None:
            self._alarm = self._clock.at(wait.until, lambda: self._resume(wait, False))

    def _unpark(self) -> None:
        self._parked = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _resume(self, wait: Wait, rung: bool) -> None:
        if self._parked is not wait:
            return
        self._unpark()
        try:
            parked: Wait = self._work.send(rung if self._started else None)
            self._started = True
        except StopIteration:
            self.done.ring()
        else:
            self._park(parked)
