"""How a command ends: its exit status, and the one line that says what, where and what next.

    0    done
    1    refused by the gate, or a check failed
    2    usage, or a missing extra
    3    unreachable, or the link was lost
    4    login or token
    5    outcome unknown: repeating with --mid is safe
    6    a file is too big, or cannot be read or written
    130  Ctrl-C
    141  nobody reads stdout any more
    143  SIGTERM (a gate: 0)

``explain`` is where each exception gets its status.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from ..codes import Code, Retry, describe, retry
from ..errors import (
    ConnectFailed,
    ConnectionLost,
    DownloadFailed,
    FileNotSent,
    FileRefused,
    FileUnusable,
    LocalProtocolError,
    LoginFailed,
    OutcomeUnknown,
    QuestRefused,
    QuestTimeout,
    RtmError,
)


class Exit(IntEnum):
    """The exit statuses of ``rtm``."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    LOGIN = 4
    OUTCOME_UNKNOWN = 5
    FILE = 6
    INTERRUPTED = 130
    OUTPUT_GONE = 141
    TERMINATED = 143


class UsageError(Exception):
    """The command line cannot be carried out as it stands."""


class Mismatch(Exception):
    """The demo saw something else than it had to."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command failed: ``facts`` are for ``--json``, ``advice`` is what to do next."""

    status: Exit
    text: str
    advice: str = ""
    facts: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def line(self) -> str:
        """All of it on one line, whatever the peer put into it."""
        return printable(f"{self.text}; {self.advice}" if self.advice else self.text)

    def json(self) -> dict[str, object]:
        """What ``--json`` prints instead of a result."""
        return {"error": self.text, "exit_status": int(self.status), **self.facts}


def printable(text: str) -> str:
    """*text* without anything that could move a terminal's cursor or begin a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def explain(exc: BaseException) -> Failure | None:
    """What *exc* means for the person at the keyboard; None for what nobody expects."""
    match exc:
        case FileRefused():
            facts = {"mid": exc.mid, "stage": exc.stage}
            return _refused("the gate refused the file", exc.code, exc.text, facts)
        case OutcomeUnknown():
            return Failure(
                Exit.OUTCOME_UNKNOWN,
                f"outcome unknown, it may have arrived: {exc.cause} (stage {exc.stage})",
                f"repeating with --mid {exc.mid} is safe",
                {"mid": exc.mid, "stage": exc.stage},
            )
        case FileNotSent():
            return _not_sent(exc)
        case LoginFailed():
            return _not_logged_in(exc)
        case QuestRefused():
            return _refused(f"the gate refused {exc.method}", exc.code, exc.text, {})
        case ConnectFailed() | ConnectionLost() | QuestTimeout():
            return Failure(Exit.UNREACHABLE, str(exc), "check that the gate runs there")
        case DownloadFailed():
            return _not_fetched(exc)
        case FileUnusable():
            return Failure(Exit.FILE, str(exc), "choose another file")
        case LocalProtocolError() | UsageError():
            return Failure(Exit.USAGE, str(exc))
        case Mismatch():
            return Failure(Exit.REFUSED, f"the check failed: {exc}", "please report this")
        case ImportError():
            return Failure(Exit.USAGE, str(exc))
        case RtmError():
            return Failure(Exit.REFUSED, str(exc))
        case OSError():
            return _system_error(exc)
        case _:
            return None


# --- private -------------------------------------------------------------------------------------

_ADVICE: Mapping[Retry, str] = {
    Retry.NEVER: "sending the same again will not help",
    Retry.NEW_TOKEN: "send it again",
    Retry.AFTER_PAUSE: "try again in a moment",
    Retry.NEW_CONNECTION: "try again",
    Retry.UNKNOWN: "try again with the same mid",
    Retry.AFTER_LOGIN: "log in again",
    Retry.USER_ACTION: "join first",
    Retry.DELIVERED: "a message with this mid was delivered before",
}


def _refused(what: str, code: int, text: str, facts: Mapping[str, object]) -> Failure:
    meaning = describe(code)
    advice = _ADVICE[retry(code)]
    if code == Code.NOT_GROUP_MEMBER:
        advice = "let a member of the group add the user"
    return Failure(
        Exit.REFUSED,
        f"{what} with {code} ({meaning}): {text or 'no text'}",
        advice,
        {**facts, "code": code, "meaning": meaning, "text": text},
    )


def _not_sent(exc: FileNotSent) -> Failure:
    facts = {"mid": exc.mid, "stage": exc.stage}
    cause = explain(exc.cause)
    if cause is None:
        return Failure(Exit.UNREACHABLE, str(exc), facts=facts)
    text = f"the file was not sent: {cause.text} (stage {exc.stage})"
    return Failure(cause.status, text, cause.advice, facts)


def _not_logged_in(exc: LoginFailed) -> Failure:
    if exc.code is not None:
        meaning = describe(exc.code)
        cause = exc.__cause__
        text = cause.text if isinstance(cause, QuestRefused) else str(exc)
        return Failure(
            Exit.LOGIN,
            f"the gate refused the login with {exc.code} ({meaning}): {text or 'no text'}",
            "check --pid, --uid and the token",
            {"code": exc.code, "meaning": meaning, "text": text},
        )
    if exc.__cause__ is not None:  # it never answered
        return Failure(Exit.UNREACHABLE, str(exc), "check that a gate runs there")
    return Failure(Exit.LOGIN, str(exc))


def _not_fetched(exc: DownloadFailed) -> Failure:
    facts = {} if exc.status is None else {"http_status": exc.status}
    match exc.__cause__:
        case OSError():
            return Failure(Exit.FILE, str(exc), "check the folder", facts)
        case ConnectFailed():
            return Failure(Exit.UNREACHABLE, str(exc), "check that its host can be reached", facts)
        case _:
            return Failure(Exit.REFUSED, str(exc), facts=facts)


def _system_error(exc: OSError) -> Failure:
    what = exc.strerror or str(exc) or type(exc).__name__
    if exc.filename is None:
        if exc.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            return Failure(Exit.USAGE, what, "choose another --host or --port, or port 0")
        return Failure(Exit.FILE, what)
    where = exc.filename.decode("utf-8", "replace") if isinstance(exc.filename, bytes) else None
    match exc.errno:
        case errno.ENOENT:
            advice = "check the path"
        case errno.EISDIR | errno.ENOTDIR:
            advice = "name a file"
        case errno.EACCES | errno.EPERM:
            advice = "check its permissions"
        case errno.EEXIST:
            advice = "move it away"
        case _:
            advice = ""
    return Failure(Exit.FILE, f"{where or exc.filename}: {what[:1].lower()}{what[1:]}", advice)
