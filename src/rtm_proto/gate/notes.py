"""What a gate has to say for its log: notes, which an adapter writes into the log of its package.

No note has a token, a sign, a secret, a body or the text of a message in it: its facts are uids,
methods, codes, counts, addresses, and the gate's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEBUG, INFO, WARNING = 10, 20, 30  # the numbers that Python's logging has for them

Fact = str | int | float | None


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that happened; ``event`` is the same for all of its kind."""

    level: int
    event: str
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])

    def __str__(self) -> str:
        told = " ".join(f"{name}={_shown(fact)}" for name, fact in self.facts.items())
        return f"{self.event} {told}" if told else self.event


def _shown(fact: Fact) -> str:
    text = str(fact)
    return repr(text) if " " in text or not text.isprintable() or not text else text
