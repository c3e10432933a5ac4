"""What comes of a connection: one ordered list of events, ``Closed`` always last.

A connection's own quests end in exactly one of ``Answered``, ``Refused``, ``TimedOut`` or ``Lost``
(or silently, when the asker said ``forget``). The peer's quests arrive as ``QuestReceived`` and
``OnewayReceived``; where a connection was told so, large ones as ``QuestBegun`` and ``QuestPiece``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

QuestId = int
"""Names a quest within its connection and direction; never reused while it matters."""


class CloseKind(Enum):
    """Why a connection ended."""

    LOCAL = "closed by us"
    PEER_CLOSED = "closed by the peer"
    PEER_RESET = "reset by the peer"
    HANDSHAKE = "handshake failed"
    CONNECT = "could not connect"
    TLS = "TLS failed"
    PROTOCOL_ERROR = "protocol error"
    LIMIT = "over a limit"
    IDLE = "silent for too long"
    KICKOUT = "kicked out"
    LOGIN = "not logged in"


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why a connection ended: its kind, and one line of detail."""

    kind: CloseKind
    text: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}" if self.text else self.kind.value


@dataclass(frozen=True, slots=True)
class Opened:
    """The link is up: packages can pass in both directions."""


@dataclass(slots=True)
class QuestReceived:
    """The peer asks; answer with ``answer`` or ``refuse`` and this ``quest_id``, exactly once."""

    quest_id: QuestId
    method: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class QuestBegun:
    """The peer asks, with a msgpack payload of ``psize`` bytes that comes in pieces.

    Answer or refuse as for QuestReceived, at any time: what is still to come is dropped then.
    """

    quest_id: QuestId
    method: str
    psize: int


@dataclass(frozen=True, slots=True)
class QuestPiece:
    """The next bytes of the payload of a quest that has begun; ``left`` are still to come."""

    quest_id: QuestId
    data: bytes = field(repr=False)  # a token is in it
    left: int


@dataclass(slots=True)
class OnewayReceived:
    """The peer tells; nothing is ever answered."""

    method: str
    params: dict[str, object]


@dataclass(slots=True)
class Answered:
    """Your quest was answered."""

    quest_id: QuestId
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """Your quest was answered with an error; ``text`` is its ``ex``."""

    quest_id: QuestId
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Your quest was not answered by its deadline."""

    quest_id: QuestId


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended before your quest was answered."""

    quest_id: QuestId
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that arrived was of no use and was dropped; the connection goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over; nothing comes after this."""

    reason: CloseReason


Event = (
    Opened
    | QuestReceived
    | QuestBegun
    | QuestPiece
    | OnewayReceived
    | Answered
    | Refused
    | TimedOut
    | Lost
    | Dropped
    | Closed
)
