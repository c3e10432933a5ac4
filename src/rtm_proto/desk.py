"""The desk: which task waits for what. It rings bells and never waits.

    ask ──► Ticket ──(events of the connection)──► outcome, bell ──► result()
    pushes ──► answered at once ──► Inbox ──► bell ──► events()

A bell is any callable (``trio.Event().set``, ``asyncio.Event().set``): this is what lets two
runtimes share everything but the waiting. Pushes are answered here, before user code sees them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .codes import Code
from .connection import Connection
from .errors import (
    ConnectionLost,
    LocalProtocolError,
    PayloadError,
    QuestRefused,
    QuestTimeout,
)
from .events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Event,
    Lost,
    OnewayReceived,
    Opened,
    QuestId,
    QuestReceived,
    Refused,
    TimedOut,
)
from .link import Buffer
from .mids import MidFilter
from .payload import Params, int_of
from .received import (
    PUSHES,
    ClientEvent,
    Disconnected,
    EventsLost,
    KickedOut,
    KickedOutOfRoom,
    Reconnected,
    UnknownPush,
    parse_push,
)

Bell = Callable[[], None]

MAX_EVENTS = 1000  # client events that wait for their reader


class Ticket:
    """One thing that a task waits for; ``bell`` is rung once, when ``done``."""

    __slots__ = ("bell", "method", "outcome", "quest_id")

    def __init__(self, quest_id: QuestId, method: str) -> None:
        self.quest_id = quest_id
        self.method = method
        self.outcome: Opened | Answered | Refused | TimedOut | Lost | None = None
        self.bell: Bell | None = None

    @property
    def done(self) -> bool:
        """Whether ``result`` has something to say."""
        return self.outcome is not None

    def result(self) -> dict[str, object]:
        """The answer; raises QuestRefused, QuestTimeout or ConnectionLost.

        Raises LocalProtocolError when it is not done yet.
        """
        match self.outcome:
            case Answered(params=params):
                return params
            case None:
                raise LocalProtocolError(f"{self.method} has no result yet")
            case Refused(code=code, text=text):
                raise QuestRefused(self.method, code, text)
            case Lost(reason=reason):
                raise ConnectionLost(self.method, reason)
            case TimedOut():
                raise QuestTimeout(self.method)
            case _:  # Opened
                return {}

    def end(self, outcome: Opened | Answered | Refused | TimedOut | Lost) -> None:
        """Be done, and ring; the first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            if self.bell is not None:
                self.bell()


class Inbox:
    """What reached a user and waits to be read; keeps what was seen across connections.

    At most *limit* events wait; what comes on top is dropped, and one EventsLost in its place
    tells how many, so that a slow reader never stops pings or answers. Only KickedOut, Disconnected
    and Reconnected are never dropped: of each the last one waits. A mid is given out once
    (MidFilter).

    ``over``  whether a Disconnected that nothing follows was the last event that was taken
    """

    def __init__(
        self,
        uid: int,
        *,
        limit: int = MAX_EVENTS,
        mids: MidFilter | None = None,
        honour_excluded: bool = True,
    ) -> None:
        self.uid = uid
        self.duplicates = 0
        self.excluded = 0
        self.over = False
        self.bell: Bell | None = None
        self._limit = limit
        self._mids = MidFilter() if mids is None else mids
        self._honour_excluded = honour_excluded
        self._events: deque[ClientEvent] = deque()
        self._lost = 0
        self._down = False  # whether that was told
        self._ends: list[ClientEvent] = []  # what came beyond the limit: one of a kind

    def put(self, event: ClientEvent) -> None:
        """Let *event* wait for its reader; beyond the limit it is counted as lost.

        KickedOut and Disconnected are never lost: nobody may wait for what cannot come. While the
        client is logging in again, that it is not connected is told once.
        """
        if isinstance(event, Disconnected):
            if self._down and event.again:
                return
            self._down = True
        elif isinstance(event, Reconnected):
            self._down = False
        if len(self._events) < self._limit:
            if self._lost or self._ends:
                self._catch_up()
            self._events.append(event)
        elif isinstance(event, (KickedOut, Disconnected, Reconnected)):
            self._ends = [end for end in self._ends if type(end) is not type(event)]
            self._ends.append(event)
        else:
            self._lost += 1
        if self.bell is not None:
            self.bell()

    def take(self) -> ClientEvent | None:
        """The next event, or None."""
        if not self._events:
            self._catch_up()
        if not self._events:
            return None
        event = self._events.popleft()
        self.over = type(event) is Disconnected and not event.again
        return event

    def push(self, method: str, params: Params, *, now: float) -> None:
        """A push that carries a message. Raises PayloadError when it cannot be read."""
        event, attrs = parse_push(method, params, self.uid)
        if event.mid and self._mids.seen((method, event.sender, event.target, event.mid), now=now):
            self.duplicates += 1
        elif self._honour_excluded and self.uid in attrs.excluded_uids:
            self.excluded += 1
        else:
            self.put(event)

    def _catch_up(self) -> None:
        if self._lost:
            self._events.append(EventsLost(self._lost))
            self._lost = 0
        self._events += self._ends
        self._ends = []


class Desk:
    """A connection with tickets for its quests and an inbox for its pushes.

    ``lost``  the connection has ended, and logging in again is the thing to do
    """

    def __init__(
        self, connection: Connection, inbox: Inbox | None = None, *, relogin: bool = False
    ) -> None:
        """*relogin*: whether its owner logs in again when it is lost."""
        self.connection = connection
        self.lost = False
        self.opening = Ticket(0, "connect")
        self.dropped = 0
        self._inbox = inbox
        self._relogin = relogin
        self._tickets: dict[QuestId, Ticket] = {}
        self._kicked = False
        self._collecting = False

    def ask(self, method: str, params: Params, *, deadline: float | None) -> Ticket:
        """A quest with a ticket. Raises as ``Connection.send_quest``."""
        quest_id = self.connection.send_quest(method, params, deadline=deadline)
        ticket = self._tickets[quest_id] = Ticket(quest_id, method)
        return ticket

    def begin(self, method: str, head: bytes, psize: int, *, deadline: float | None) -> Ticket:
        """A quest in pieces with a ticket. Raises as ``Connection.begin_quest``."""
        quest_id = self.connection.begin_quest(method, head, psize, deadline=deadline)
        ticket = self._tickets[quest_id] = Ticket(quest_id, method)
        return ticket

    def hand(self, ticket: Ticket, piece: Buffer) -> bool:
        """The next piece; False, and nothing sent, when the quest has already ended."""
        if ticket.done:
            return False
        self.connection.send_piece(ticket.quest_id, piece)
        return True

    def leave(self, ticket: Ticket) -> None:
        """The task that waited has left: whatever comes is dropped."""
        if self._tickets.get(ticket.quest_id) is ticket:
            del self._tickets[ticket.quest_id]
            self.connection.forget(ticket.quest_id)

    def collect(self, *, now: float) -> None:
        """Route what has happened on the connection: tickets end, pushes are answered, bells ring.

        A bell may call it again: the events that come then are taken after those before them.
        """
        if self._collecting:
            return
        self._collecting = True
        try:
            while events := self.connection.events():
                for event in events:
                    self._route(event, now)
        finally:
            self._collecting = False

    # --- private ---

    def _route(self, event: Event, now: float) -> None:
        match event:
            case Answered() | Refused() | TimedOut() | Lost():
                ticket = self._tickets.pop(event.quest_id, None)
                if ticket is not None:
                    ticket.end(event)
            case QuestReceived():
                self._quest(event, now)
            case OnewayReceived():
                self._oneway(event, now)
            case Opened():
                self.opening.end(event)
            case Closed():
                self._closed(event.reason)
            case _:  # Dropped
                self.dropped += 1

    def _quest(self, event: QuestReceived, now: float) -> None:
        connection, quest_id = self.connection, event.quest_id
        try:
            known = self._receive(event.method, event.params, now)
        except PayloadError as fault:
            connection.refuse(quest_id, fault.code, str(fault))
        else:
            if known:
                connection.answer(quest_id, {})
            else:
                connection.refuse(quest_id, Code.UNKNOWN_METHOD, f"unknown method: {event.method}")

    def _oneway(self, event: OnewayReceived, now: float) -> None:
        try:
            taken = self._receive(event.method, event.params, now) or self._inbox is not None
        except PayloadError:
            taken = False  # nobody waits to hear of it
        if not taken:
            self.dropped += 1

    def _receive(self, method: str, params: Params, now: float) -> bool:
        """Take a push; whether it is one that we know. Raises PayloadError."""
        inbox = self._inbox
        if inbox is None:
            return method == "ping"
        if method in PUSHES:
            inbox.push(method, params, now=now)
        elif method == "kickout":
            if not self._kicked:
                self._kicked = True
                inbox.put(KickedOut())
            self.connection.close(now=now, reason=CloseReason(CloseKind.KICKOUT))
        elif method == "kickoutroom":
            inbox.put(KickedOutOfRoom(int_of(params, "rid")))
        elif method != "ping":
            inbox.put(UnknownPush(method, params))
            return False
        return True

    def _closed(self, reason: CloseReason) -> None:
        if not self.opening.done:
            self.opening.end(Lost(0, reason))
        if self._kicked:  # the gate may have closed faster than we have
            reason = self.connection.reason = CloseReason(CloseKind.KICKOUT)
        self.lost = self._relogin and reason.kind not in (CloseKind.KICKOUT, CloseKind.LOCAL)
        if self._inbox is not None:
            self._inbox.put(Disconnected(reason, again=self.lost))
