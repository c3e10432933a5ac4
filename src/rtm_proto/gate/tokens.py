"""File tokens: each for one send, of one user, to one target, for a short time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

TOKEN_LIFE = 60.0  # seconds
MAX_TOKENS = 100_000  # tokens that wait to be used; beyond it the oldest is forgotten


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is good for; ``target`` is a uid, gid or rid."""

    pid: int
    uid: int
    cmd: str
    target: int | None


class Tokens:
    """Issues tokens, and redeems each at most once."""

    def __init__(
        self,
        make: Callable[[], str],
        *,
        life: float = TOKEN_LIFE,
        bound: int = MAX_TOKENS,
    ) -> None:
        """*make* gives a fresh text that cannot be guessed (128 random bits or more)."""
        self._make = make
        self._life = life
        self._bound = bound
        self._grants: OrderedDict[str, tuple[Grant, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._grants)

    def issue(self, grant: Grant, *, now: float) -> str:
        """A new token for *grant*."""
        grants = self._grants
        while grants and (
            len(grants) >= self._bound or now > next(iter(grants.values()))[1] + self._life
        ):
            grants.popitem(last=False)
        token = self._make()
        grants[token] = (grant, now)
        return token

    def valid(self, token: str, grant: Grant, *, now: float) -> bool:
        """Whether *token* was issued for exactly *grant*, is unused, and is young enough."""
        known = self._grants.get(token)
        return known is not None and known[0] == grant and now <= known[1] + self._life

    def spend(self, token: str) -> None:
        """*token* is used up."""
        self._grants.pop(token, None)
