"""Tokens: for files, each for one send, of one user, to one target; and digests of login tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

TOKEN_LIFE = 60.0  # seconds
MAX_TOKENS = 100_000  # tokens that wait to be used; beyond it the oldest is forgotten
NO_DIGEST = "0" * 64  # of no token


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is good for; ``target`` is a uid, gid or rid, or a digest of many uids.

    ``by_server``: a server asked for it, so the sender's own rights do not matter.
    """

    pid: int
    uid: int
    cmd: str
    target: int | str
    by_server: bool = field(default=False, compare=False)


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

    def granted(self, token: str, *, now: float) -> Grant | None:
        """What *token* was issued for, if it was, is unused, and is young enough."""
        grant, issued = self._grants.get(token, (None, now))
        return grant if now <= issued + self._life else None

    def renew(self, token: str, life: float, *, now: float) -> None:
        """Let *token* be good for *life* seconds from now on."""
        grant, _ = self._grants.pop(token)
        self._grants[token] = (grant, now + life - self._life)

    def spend(self, token: str) -> None:
        """*token* is used up."""
        self._grants.pop(token, None)


def token_digest(token: str) -> str:
    """What is kept of a login token, and compared: sha256, lower-case hex."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
