"""Steps: what a flow asks its driver to do. The driver waits, the flow decides.

    flow = transfer.run()
    step = next(flow)                       # a Step
    step = flow.send(outcome)               # what became of it: see "gives" below
    step = flow.throw(error)                # or the error that it ended with: see "raises"
    ... until StopIteration(value)          # the flow's result

A driver needs a ``match`` over the steps and nothing else; it ends a flow early with
``flow.close()``, and then discards the file link and closes the source that it holds for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from ..address import Address
from ..errors import LocalProtocolError
from ..link import Buffer
from ..payload import Params

Result = TypeVar("Result")


class Stage(Enum):
    """How far the sending of a file has come."""

    CHECK = "check"
    TOKEN = "token"
    CONNECTING = "connecting"
    UPLOADING = "uploading"
    CONFIRMING = "confirming"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """``sent`` of ``total`` bytes of the file were handed to the transport; only DONE means
    that the gate has answered."""

    mid: int
    stage: Stage
    sent: int
    total: int
    attempt: int


class ProgressInbox:
    """Progress that waits for its reader: every stage, and of the bytes the newest.

    ``over``  the send has ended, and everything was taken
    """

    def __init__(self) -> None:
        self.bell: Callable[[], None] | None = None
        self._waiting: deque[Progress] = deque()
        self._ended = False

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._ended and not self._waiting

    def put(self, progress: Progress) -> None:
        """Something has come on."""
        waiting = self._waiting
        if waiting and (waiting[-1].stage, waiting[-1].attempt) == (
            progress.stage,
            progress.attempt,
        ):
            waiting.pop()
        waiting.append(progress)
        self._ring()

    def take(self) -> Progress | None:
        """The next one, or None."""
        return self._waiting.popleft() if self._waiting else None

    def end(self) -> None:
        """The send has ended."""
        self._ended = True
        self._ring()

    def _ring(self) -> None:
        if self.bell is not None:
            self.bell()


@dataclass(frozen=True, slots=True)
class Now:
    """Gives the time in seconds, of the clock that deadlines are on."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until the time ``until``. Gives the time."""

    until: float


@dataclass(frozen=True, slots=True)
class Ask:
    """A quest on the main link. Gives the answer; raises QuestError."""

    method: str
    params: Params = field(repr=False)  # tokens are in it
    deadline: float


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the file gate, instead of any file link held before. Raises ConnectFailed."""

    address: Address
    deadline: float


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a quest in pieces on the file link. Raises QuestError."""

    method: str
    head: bytes = field(repr=False)  # a token is in it
    psize: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Hand:
    """Hand over the next piece and wait until the transport has taken it.

    Gives True, or False when the quest has ended meanwhile (then go on to Finish).
    """

    piece: Buffer = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """Wait for the answer to the quest in pieces. Gives it; raises QuestError."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Close the file link: with goodbye after an answer, else at once."""


@dataclass(frozen=True, slots=True)
class OpenSource:
    """Open the source of the file from its beginning, instead of any held before.

    Gives a SourceOpened; raises OSError or FileUnusable.
    """


@dataclass(frozen=True, slots=True)
class SourceOpened:
    """A source: its size in bytes, the file's name for attrs, and how errors call it."""

    size: int
    name: str
    where: str


@dataclass(frozen=True, slots=True)
class Read:
    """Read at most ``size`` bytes of the source. Gives them, none at its end; raises OSError."""

    size: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the caller how far it has come."""

    progress: Progress


Step = Now | Pause | Ask | Dial | Begin | Hand | Finish | Discard | OpenSource | Read | Tell

Flow = Generator[Step, Any, Result]


def check_timeout(timeout: float) -> float:
    """*timeout* itself, if it is seconds above 0; else LocalProtocolError."""
    if type(timeout) not in (int, float) or not 0 < timeout < float("inf"):
        raise LocalProtocolError(f"a timeout is seconds above 0, got {timeout!r}")
    return timeout
