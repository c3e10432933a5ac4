"""The trace: what happened, in lines for people, and a digest over all of it."""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from .clock import Clock

KEPT = 60  # lines that a trace keeps where not all are asked for


class Trace:
    """Lines ``seconds  who  what``. The digest covers every line and every byte that arrived."""

    def __init__(self, clock: Clock, *, keep: int | None = KEPT) -> None:
        """*keep*: how many of the last lines are kept; None for all."""
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=keep)
        self._hash = sha256()

    def say(self, who: str, what: str) -> None:
        """Something has happened."""
        line = f"{self._clock.now:11.6f}  {who:<14} {what}"
        self._lines.append(line)
        self._hash.update(line.encode())

    def bytes(self, data: bytes) -> None:
        """Bytes have arrived: for the digest only."""
        self._hash.update(data)

    def lines(self) -> list[str]:
        """What is kept, oldest first."""
        return [*self._lines]

    def digest(self) -> str:
        """Of everything so far, in hex."""
        return self._hash.hexdigest()
