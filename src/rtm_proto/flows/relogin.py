"""The flow that logs in again after the main link was lost.

    connect, log in ──► done
        │ no connection, no answer, a refusal that may pass ──► pause, again
        │ ok: false, or the token is refused (200027) ──► once more at once, with a fresh token
        └ a stop code, no fresh token, the policy's limit ──► LoginFailed

Nothing is tried again after a kickout, nor after the user has closed: the driver does not start
this flow then. The stop codes are ``codes.LOGIN_STOP_CODES`` (source: the C# and Unity SDKs); the
pauses are ours (the SDKs' own grow by 2 s to 8 s).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..codes import LOGIN_STOP_CODES, Code
from ..errors import ConnectFailed, LocalProtocolError, LoginFailed
from ..signs import Signer
from .login import LOGIN_TIMEOUT, Login, Welcome, log_in
from .server import introduce
from .steps import Flow, Now, Pause, Result, Step

FIRST_PAUSE = 0.5  # seconds, at the most, before the second attempt; the first is at once
LONGEST_PAUSE = 8.0  # seconds, at the most


@dataclass(frozen=True, slots=True)
class DialMain:
    """Connect the main link, instead of any held before. Raises ConnectFailed."""

    deadline: float


@dataclass(frozen=True, slots=True)
class FreshToken:
    """Ask the user's own server for a new login token. Gives it, or None where there is none."""


ReloginStep = Step | DialMain | FreshToken
ReloginFlow = Generator[ReloginStep, Any, Result]


@dataclass(frozen=True, slots=True)
class ReloginPolicy:
    """How often, and how long apart: at once, then pauses that double, with full jitter.

    ``max_tries`` and ``max_time`` (seconds since the link was lost) have no limit by default.
    """

    first_pause: float = FIRST_PAUSE
    longest_pause: float = LONGEST_PAUSE
    max_tries: int | None = None
    max_time: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.first_pause <= self.longest_pause < float("inf"):
            raise LocalProtocolError(
                "pauses are seconds above 0, the first at most as long as the longest, "
                f"got {self.first_pause!r} and {self.longest_pause!r}"
            )
        if self.max_tries is not None and self.max_tries < 1:
            raise LocalProtocolError(f"max_tries is 1 or more, got {self.max_tries!r}")
        if self.max_time is not None and not self.max_time > 0:
            raise LocalProtocolError(f"max_time is seconds above 0, got {self.max_time!r}")

    def pauses(self, random: Callable[[], float]) -> Iterator[float]:
        """Seconds to wait before each attempt; *random* gives numbers from 0 to below 1.

        Replace this method for a policy of your own; when it ends, so do the attempts.
        """
        yield 0.0
        tries, longest = 1, self.first_pause
        while self.max_tries is None or tries < self.max_tries:
            tries += 1
            yield random() * longest
            longest = min(2 * longest, self.longest_pause)


RELOGIN = ReloginPolicy()
"""What clients do where nobody says otherwise: try again for ever."""


def greet(who: Login | Signer, *, deadline: float) -> Flow[Welcome]:
    """Make oneself known on a main link that is open: a user logs in, a server signs."""
    if isinstance(who, Login):
        return (yield from log_in(who, deadline=deadline))
    yield from introduce(who, deadline=deadline)
    return Welcome(None)


class Relogin:
    """Logs in again, whenever a link was lost; remembers what it has learned meanwhile.

    ``who`` logs in: with the newest token, where the user gave a fresh one.
    """

    def __init__(
        self,
        who: Login | Signer,
        policy: ReloginPolicy = RELOGIN,
        *,
        random: Callable[[], float],
        timeout: float = LOGIN_TIMEOUT,
    ) -> None:
        """*random* gives numbers from 0 to below 1. *timeout*: seconds, for each attempt."""
        self.who = who
        self._policy = policy
        self._random = random
        self._timeout = timeout
        self._pauses: Iterator[float] = iter(())
        self._since = float("-inf")  # when the last login succeeded

    def run(self) -> ReloginFlow[Welcome]:
        """Connect and log in, as often as the policy allows.

        Where the link that was lost had not lived for the policy's longest pause, the pauses go on
        where they were: a gate that lets in and hangs up is not stormed. Raises LoginFailed: a stop
        code, a token that is refused while there is no fresh one, or the last error when the policy
        has come to its end.
        """
        policy = self._policy
        began: float = yield Now()
        if began >= self._since + policy.longest_pause:
            self._pauses = policy.pauses(self._random)
        failure: object = "the link was lost again and again"
        for pause in self._pauses:
            now: float = yield Now()
            if policy.max_time is not None and now + pause > began + policy.max_time:
                break
            if pause > 0:
                yield Pause(now + pause)
            try:
                welcome = yield from self._attempt()
            except ConnectFailed as exc:
                failure = exc
            except LoginFailed as exc:
                failure = exc
                if exc.code in LOGIN_STOP_CODES or _wants_fresh_token(exc):
                    raise
            else:
                self._since = yield Now()
                return welcome
        cause = failure if isinstance(failure, Exception) else None
        raise LoginFailed(f"gave up logging in again: {failure}") from cause

    def _attempt(self) -> ReloginFlow[Welcome]:
        """Connect and log in; once more with a fresh token, where it was the token."""
        try:
            return (yield from self._log_in())
        except LoginFailed as exc:
            if not isinstance(self.who, Login) or not _wants_fresh_token(exc):
                raise
            token: str | None = yield FreshToken()
            if not token or token == self.who.token:
                raise
            self.who = replace(self.who, token=token)
        return (yield from self._log_in())

    def _log_in(self) -> ReloginFlow[Welcome]:
        now: float = yield Now()
        deadline = now + self._timeout
        yield DialMain(deadline)
        return (yield from greet(self.who, deadline=deadline))


def _wants_fresh_token(exc: LoginFailed) -> bool:
    """Whether the gate has said no to the token itself: by ``ok: false``, or by its code."""
    return exc.code == Code.BAD_LOGIN_TOKEN or (exc.code is None and exc.__cause__ is None)
