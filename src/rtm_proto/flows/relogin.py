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
from .login import Login, Welcome, log_in
from .steps import Now, Pause, Result, Step

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


def log_in_again(
    login: Login, policy: ReloginPolicy, *, random: Callable[[], float]
) -> ReloginFlow[Welcome]:
    """Connect and log in, as often as *policy* allows.

    Each attempt has the timeout of *login*. Raises LoginFailed: a stop code, a token that is
    refused while there is no fresh one, or the last error when the policy has come to its end.
    """
    began: float = yield Now()
    failure: LoginFailed | ConnectFailed | None = None
    for pause in policy.pauses(random):
        now: float = yield Now()
        if policy.max_time is not None and now + pause > began + policy.max_time:
            break
        if pause > 0:
            now = yield Pause(now + pause)
        try:
            return (yield from _attempt(login))
        except ConnectFailed as exc:
            failure = exc
        except LoginFailed as exc:
            failure = exc
            if _wants_fresh_token(exc):
                token: str | None = yield FreshToken()
                if token is None or token == login.token:
                    raise
                login = replace(login, token=token)
                try:
                    return (yield from _attempt(login))
                except ConnectFailed as again:
                    failure = again
                except LoginFailed as again:
                    failure = again
                    if _wants_fresh_token(again) or again.code in LOGIN_STOP_CODES:
                        raise
            elif exc.code in LOGIN_STOP_CODES:
                raise
    raise LoginFailed(f"gave up logging in again: {failure}") from failure


def _attempt(login: Login) -> ReloginFlow[Welcome]:
    now: float = yield Now()
    deadline = now + login.timeout
    yield DialMain(deadline)
    return (yield from log_in(login, deadline=deadline))


def _wants_fresh_token(exc: LoginFailed) -> bool:
    """Whether the gate has said no to the token itself: by ``ok: false``, or by its code."""
    return exc.code == Code.BAD_LOGIN_TOKEN or (exc.code is None and exc.__cause__ is None)
