"""Every exception of the project: one base, then who is at fault.

RtmError
├── LocalProtocolError     you asked for something that is always wrong; nothing has changed
├── RemoteFault            the peer broke the protocol
│   ├── FramingError       where a package ends is no longer known: ends the connection
│   └── PayloadError       one payload cannot be read: ends its quest only
├── QuestError             a quest ended without success
│   ├── QuestRefused       the peer answered with an error code
│   ├── QuestTimeout       no answer by the deadline
│   └── ConnectionLost     the connection ended first
├── ConnectFailed          no connection could be made
├── LoginFailed            the gate did not let you in
├── FileUnusable           a local file or source cannot be sent as announced
├── SendFailed             a file send ended without success; always carries the mid
│   ├── FileRefused        the gate said no
│   ├── FileNotSent        it certainly did not arrive
│   └── OutcomeUnknown     it may have arrived: sending again with the same mid is safe
└── DownloadFailed         a received file could not be fetched whole
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import CloseReason

SHOWN_BYTES = 16  # how many offending bytes a message shows


def show_bytes(data: bytes | bytearray | memoryview) -> str:
    """The first bytes of *data* as hex, for an error message."""
    shown = bytes(data[:SHOWN_BYTES]).hex(" ")
    return shown + (" ..." if len(data) > SHOWN_BYTES else "")


class RtmError(Exception):
    """The base of every exception that this project raises on purpose."""


class LocalProtocolError(RtmError, ValueError):
    """You asked for something that is always wrong; nothing has changed."""


class RemoteFault(RtmError):
    """The peer broke the protocol."""

    code: int
    """The FPNN code that an answer to the fault carries (codes.Code)."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class FramingError(RemoteFault):
    """Where a package ends is no longer known: the connection has to end.

    ``limit`` is true where the package was well formed but over a limit. ``seq`` is the quest's
    sequence number where it was in hand, so that the quest can still be refused.
    """

    def __init__(
        self, text: str, code: int, *, limit: bool = False, seq: int | None = None
    ) -> None:
        super().__init__(text, code)
        self.limit = limit
        self.seq = seq


class PayloadError(RemoteFault):
    """One payload cannot be read; the packages around it are unharmed."""


class QuestError(RtmError):
    """A quest ended without success."""

    method: str

    def __init__(self, text: str, method: str) -> None:
        super().__init__(text)
        self.method = method


class QuestRefused(QuestError):
    """The peer answered with an error: ``code`` (codes.Code has names) and ``text``, its ``ex``."""

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method} was refused with {code}: {text or '(no text)'}", method)
        self.code = code
        self.text = text


class QuestTimeout(QuestError):
    """No answer came by the deadline."""

    def __init__(self, method: str) -> None:
        super().__init__(f"no answer to {method} by the deadline", method)


class ConnectionLost(QuestError):
    """The connection ended before the answer came; ``reason`` says why."""

    def __init__(self, method: str, reason: CloseReason) -> None:
        super().__init__(f"connection lost before the answer to {method}: {reason}", method)
        self.reason = reason


class ConnectFailed(RtmError):
    """No connection: the address, TLS or the link's handshake failed, or time ran out."""


class LoginFailed(RtmError):
    """The gate did not let you in.

    ``code`` is its error code, or None where it answered ``ok: false`` (a wrong login token) or
    never answered; the cause is chained.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class FileUnusable(RtmError):
    """A local file or source cannot be sent: too large, or not as long as it was announced."""


class SendFailed(RtmError):
    """A file send ended without success.

    ``mid`` is the message id that was used (send again with it, and the gate filters the
    duplicate), ``stage`` is where it ended, ``cause`` is what happened there.
    """

    def __init__(self, text: str, *, mid: int, stage: str, cause: Exception) -> None:
        super().__init__(text)
        self.mid = mid
        self.stage = stage
        self.cause = cause


class FileRefused(SendFailed):
    """The gate said no: ``code`` and ``text`` are its own."""

    def __init__(self, *, mid: int, stage: str, cause: QuestRefused) -> None:
        super().__init__(
            f"the gate refused the file at stage {stage} with {cause.code}: "
            f"{cause.text or '(no text)'} (mid {mid})",
            mid=mid,
            stage=stage,
            cause=cause,
        )
        self.code = cause.code
        self.text = cause.text


class FileNotSent(SendFailed):
    """The file certainly did not arrive."""

    def __init__(self, *, mid: int, stage: str, cause: Exception) -> None:
        super().__init__(
            f"file not sent, it ended at stage {stage}: {cause} (mid {mid})",
            mid=mid,
            stage=stage,
            cause=cause,
        )


class OutcomeUnknown(SendFailed):
    """The file was handed over whole but no answer came: it may have arrived.

    Sending again with the same mid is safe: the gate delivers a mid once.
    """

    def __init__(self, *, mid: int, stage: str, cause: Exception) -> None:
        super().__init__(
            f"outcome unknown, it ended at stage {stage}: {cause}; "
            f"sending again with mid {mid} is safe",
            mid=mid,
            stage=stage,
            cause=cause,
        )


def carry_outcome(exc: BaseException, outcome: SendFailed) -> None:
    """Let *exc*, a cancellation perhaps, tell with what outcome it ended a send."""
    exc.rtm_outcome = outcome  # type: ignore[attr-defined]


def outcome_of(exc: BaseException | None) -> SendFailed | None:
    """With what outcome *exc* ended a send; None if it ended none.

    *exc*: a SendFailed itself, a cancellation that passed through a send, or the error of a timeout
    that came of it (its cause or its context is searched).
    """
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        if isinstance(exc, SendFailed):
            return exc
        carried = getattr(exc, "rtm_outcome", None)
        if isinstance(carried, SendFailed):
            return carried
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__
    return None


class DownloadFailed(RtmError):
    """A received file could not be fetched whole; ``status`` is the HTTP status where one came."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class StoreFault(RtmError):
    """A gate's store could not do what it was asked; nothing of it was kept."""
