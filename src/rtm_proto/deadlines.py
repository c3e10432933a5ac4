"""Deadlines of many things in one heap: O(log n) to set, O(1) to drop.

A dropped deadline stays in the heap until it comes to the top, or until the heap is more than
twice as large as what is alive, when it is rebuilt.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

REBUILD_ABOVE = 64  # entries; below this a rebuild is not worth its cost

Key = TypeVar("Key", bound=Hashable)


class Deadlines(Generic[Key]):
    """Absolute times, one for each key."""

    __slots__ = ("_heap", "_tickets", "_times")

    def __init__(self) -> None:
        self._times: dict[Key, tuple[float, int, Key]] = {}  # what of the heap is alive
        self._heap: list[tuple[float, int, Key]] = []
        self._tickets = 0  # orders equal times by when they were set; keys are never compared

    def __len__(self) -> int:
        return len(self._times)

    def set(self, key: Key, when: float) -> None:
        """Let *key* be due at *when*, instead of any time set before."""
        self._tickets += 1
        self._times[key] = entry = (when, self._tickets, key)
        heap = self._heap
        heapq.heappush(heap, entry)
        if len(heap) > REBUILD_ABOVE and len(heap) > 2 * len(self._times):
            self._heap = [*self._times.values()]
            heapq.heapify(self._heap)

    def drop(self, key: Key) -> None:
        """Forget *key*; a key that is not there is fine."""
        self._times.pop(key, None)

    def next(self) -> float | None:
        """The earliest time, or None."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if self._times.get(entry[2]) is entry:
                return entry[0]
            heapq.heappop(heap)
        return None

    def due(self, now: float) -> list[Key]:
        """Take out every key whose time has come, earliest first."""
        keys: list[Key] = []
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._times[key]
            keys.append(key)
        return keys
