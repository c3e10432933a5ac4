"""Chance: every draw of a simulation, from one seed.

Only ``random()`` and ``getrandbits()`` are used: Python promises that these two give the same
numbers in every version and on every machine, and promises nothing for the rest of the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")


class Chance:
    """Draws from a seed. Times and sizes that are drawn use no function of the platform's libm."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def number(self) -> float:
        """From 0 to below 1."""
        return self._random.random()

    def happens(self, share: float) -> bool:
        """True in this share of all draws. Nothing is drawn where the answer is certain."""
        return share > 0 and (share >= 1 or self._random.random() < share)

    def between(self, low: float, high: float) -> float:
        """A float from *low* to *high*."""
        return low + (high - low) * self._random.random()

    def integer(self, low: int, high: int) -> int:
        """An int from *low* to *high*, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def one_of(self, items: Sequence[Item]) -> Item:
        """One of *items*."""
        return items[int(self._random.random() * len(items))]

    def bytes(self, size: int) -> bytes:
        """*size* random bytes."""
        return self._random.getrandbits(8 * size).to_bytes(size, "big") if size else b""
