"""Who asks a gate, and what it says: the words that the decisions and the visits share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from ..events import CloseReason, QuestId
from ..payload import Params, int_of

HEAD = 512  # bytes of a file by which its type is known
SERVER = 0  # who asks where it is no user: a server, or an operator


@dataclass(eq=False, slots=True)
class Visitor:
    """One connection as the decisions see it; ``uid`` is None until it has logged in.

    ``server``: a call with a good sign came from it. ``operator``: it is one of the local
    administration's, and may do everything that servers may, without a sign. ``tls``: it came
    over TLS. ``peer``: the address that it comes from, where that is known. ``failed``: wrong
    tokens that it has shown.
    """

    name: str
    uid: int | None = None
    server: bool = False
    operator: bool = False
    tls: bool = False
    peer: str | None = None
    failed: int = 0
    rooms: set[int] = field(default_factory=set[int])


@dataclass(frozen=True, slots=True)
class Body:
    """The file of a quest: what the store has of it already under ``key``, and the rest.

    ``size`` and ``digest`` (md5, lower-case hex) are of all of it, ``head`` is how it begins (HEAD
    bytes); ``written`` bytes of it are in the store. A peer cannot make one: msgpack has no such
    type.
    """

    key: str  # the key that the stored file will have
    size: int
    digest: str
    written: int
    rest: bytes = field(repr=False)
    head: bytes = field(default=b"", repr=False)


# --- what is said ---


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a quest of this visitor."""

    visitor: Visitor
    quest_id: QuestId
    params: Params = field(repr=False)  # a file token may be in it


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a quest of this visitor with an error."""

    visitor: Visitor
    quest_id: QuestId
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Push:
    """Send a quest to this visitor.

    ``message_id``: of the message in it; when the visitor answers, ``Decisions.delivered`` wants
    to know. None: nobody has to.
    """

    visitor: Visitor
    method: str
    params: Params = field(repr=False)  # a link that is signed may be in it
    oneway: bool = False
    message_id: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Close this visitor's connection, once what was said to it is out."""

    visitor: Visitor
    reason: CloseReason


Action = Answer | Refuse | Push | Part


# --- what is asked ---


class Asked(NamedTuple):
    """A quest on its way through the rules; ``user`` is the uid that asks, or SERVER."""

    visitor: Visitor
    quest_id: QuestId
    method: str
    params: Params
    now: float
    user: int = SERVER

    def speaks_for(self, key: str) -> int:
        """The user whom it is about: the one who asks, or whom a server names with *key*."""
        return self.user or int_of(self.params, key)


class Refusal(Exception):
    """A decision to refuse, on its way out of a method's checks."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Who(Enum):
    """Who may call a method."""

    ANYBODY = "anybody"
    USER = "a user"
    SERVER = "a server"
    EITHER = "a user or a server"


class Method(NamedTuple):
    """A method: who may call it, and what it does.

    It gives the answer, or None where that follows when an effect is carried out.
    """

    who: Who
    run: Callable[[Asked], Params | None]


Methods = dict[str, Method]
