"""One visitor of a gate, from its first byte: what it speaks, what it asks, when it has to go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, assert_never

from h11 import Request

from ..codes import Code
from ..connection import Connection
from ..errors import StoreFault
from ..events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Dropped,
    Lost,
    OnewayReceived,
    QuestBegun,
    QuestId,
    QuestPiece,
    QuestReceived,
    Refused,
    TimedOut,
)
from ..link import Buffer, Link, StreamLink
from ..package import package_limit
from ..session import MAX_IN_HAND
from ..websocket import WebSocketLink
from . import notes, watch
from .decisions import Answer, Part, Push, Refuse, Visitor
from .front import Fetch, Front, Left, Raw, Rejected, Upgrade
from .http import FileExchange
from .limits import MAX_QUEST
from .settings import EARLY_QUEST, PUSH_TIMEOUT, Port
from .store import StoredFile, Used

if TYPE_CHECKING:
    from .gate import Gate

MAX_BEHIND = 131_072  # bytes behind a request for a file: what a stream brings at once, twice
KICK_GRACE = 5.0  # seconds that who was kicked out has to read it; the SDKs leave by themselves


class Visit:
    """One stream that was accepted; driven like a Connection, by the same methods.

    ``bell`` is rung when somebody else's doing, or the end of a download, has left something to
    send or to wait for. ``dropped`` counts what came and was of no use.
    """

    def __init__(
        self, gate: Gate, name: str, *, port: Port, tls: bool = False, peer: str | None = None
    ) -> None:
        """For ``Gate.visit``."""
        self.bell: Callable[[], None] | None = None
        self.port = port
        self.kind = "none yet"
        """What it speaks: raw, websocket or http."""
        self.peer = peer
        self.visitor = Visitor(name, tls=tls, operator=port is Port.OPERATOR, peer=peer)
        self.finished = False
        self.abrupt = False
        self.reason: CloseReason | None = None
        self.dropped = 0
        self._gate = gate
        self._front: Front | None = Front(allow_origin=gate.settings.allow_origin)
        self._behind = bytearray()  # what came behind a request for a file: the next one, perhaps
        self._last = False  # no request can follow: the visitor has ended its side
        self._connection: Connection | None = None
        self._link: Link | None = None
        self._exchange: FileExchange | None = None
        self._uploads = gate.uploads(self.visitor)
        self._out: list[Buffer] = []
        self._parting: CloseReason | None = None  # why it will be closed at the deadline
        self._deadline: float | None = None  # of the front, then of the login or the exchange
        self._log_in_by = 0.0
        self._next_ping: float | None = None
        self._heard = 0.0
        self._asked: dict[QuestId, str] = {}  # the methods of the quests that wait for an answer
        self._pushed: dict[QuestId, int] = {}  # the messages whose pushes wait for an answer
        self._stats: list[QuestId] = []  # those of them that ask how the gate is
        self._reading = False
        self._taken = False  # whether the stream has taken everything there was

    def __repr__(self) -> str:
        return f"<Visit {self.visitor.name} uid={self.visitor.uid}>"

    @property
    def unsent(self) -> int:
        """Bytes of packages that wait for a visitor that does not read."""
        return 0 if self._connection is None else self._connection.unsent

    @property
    def full(self) -> bool:
        """Whether nothing should be read now: the store is behind. The bell tells the end of it."""
        return self._uploads.full or (bool(self._behind) and not self.finished)

    @property
    def uploads(self) -> int:
        """Large files that are coming."""
        return len(self._uploads)

    @property
    def busy(self) -> bool:
        """Whether a file is on its way, in or out, or an answer is still to come."""
        return not (self.finished or self.port.local) and (
            bool(self._asked) or len(self._uploads) > 0 or self._exchange is not None
        )

    # --- what happened ---

    def connected(self, *, now: float) -> None:
        """The stream is up."""
        self._heard = now
        self._deadline = now + self._gate.settings.handshake_timeout
        self._log_in_by = now + self._gate.settings.login_timeout
        if self._gate.draining and not self.port.local:
            self._end(CloseReason(CloseKind.LOCAL, "the gate stops"))

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came."""
        self._heard = now
        if self._connection is not None:
            self._gate.figures.bytes_in += len(data)
            self._connection.receive_data(data, now=now)
        elif self._front is not None:
            self._gate.figures.bytes_in += len(data)
            self._front.receive_data(data)
            self._decide(now)
        elif self._exchange is not None:
            self._take_behind(data)

    def receive_eof(self, *, now: float) -> None:
        """The peer will send no more."""
        if self._connection is not None:
            self._connection.receive_eof(now=now)
        elif self._front is not None:
            self._front.receive_eof()
            self._decide(now)
        else:
            self._last = True

    def abort(self, reason: CloseReason) -> None:
        """The stream is gone."""
        if self._connection is not None:
            self._connection.abort(reason)
        else:
            self._end(reason, abrupt=True)

    def handle_timeout(self, *, now: float) -> None:
        """Time has passed."""
        connection = self._connection
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            text = "not logged in in time" if connection else "the request took too long"
            reason = self._parting or CloseReason(CloseKind.IDLE, text)
            if connection is None:
                self._end(reason, abrupt=True)
            else:
                connection.close(now=now, reason=reason)
        if connection is not None:
            if self._deaf_at is not None and now >= self._deaf_at:
                text = f"no byte for {self._gate.settings.idle_timeout:g} s, although it was pinged"
                connection.abort(CloseReason(CloseKind.IDLE, text))
                return
            if self._next_ping is not None and now >= self._next_ping:
                self._next_ping = now + self._gate.settings.ping_every
                self._push("ping", {}, now)
            too_slow = self._uploads.handle_timeout(now=now)
            if too_slow is not None:
                self._see_to_uploads(now)
                connection.close(now=now, reason=CloseReason(CloseKind.IDLE, too_slow))
            connection.handle_timeout(now=now)

    def collect(self, *, now: float) -> None:
        """Let the gate see what has come of it. Call after each of the above."""
        connection = self._connection
        while connection is not None and (events := connection.events()):
            for event in events:
                match event:
                    case QuestReceived(quest_id, method, params):
                        self._asked[quest_id] = method
                        if not self._refuse_late(quest_id, now):
                            self._gate.quest(self, quest_id, method, params, now=now)
                    case QuestBegun(quest_id, method):
                        self._asked[quest_id] = method
                        if not self._refuse_late(quest_id, now):
                            self._uploads.begun(event, now=now)
                    case QuestPiece():
                        self._uploads.piece(event, now=now)
                    case Closed(reason):
                        self._end(reason, abrupt=connection.abrupt)
                    case Dropped() | OnewayReceived():
                        self.dropped += 1  # no method of ours is one-way
                    case Answered() | Refused() | TimedOut() | Lost():
                        # pushes are not repeated, whatever becomes of them
                        self._gate.figures.push_ends[type(event).__name__.lower()] += 1
                        message_id = self._pushed.pop(event.quest_id, None)
                        if message_id is not None and isinstance(event, Answered):
                            self._gate.delivered(self, message_id)
                    case _:
                        pass
                self._see_to_uploads(now)
        self._read_on(now)
        if self._gate.draining:
            self._gate.look_for_the_end(self)

    # --- what comes of it ---

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order. Call again only when these are written."""
        if self._connection is not None:
            out = self._connection.data_to_send()
        else:
            out, self._out = self._out, []
            if self._exchange is not None:
                out += self._exchange.data_to_send()
                self._taken = not out
        self._gate.figures.bytes_out += sum(map(len, out))
        return out

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` should be called, or None."""
        times = [self._deadline, self._next_ping, self._deaf_at, self._uploads.next_timeout()]
        if self._connection is not None:
            times.append(self._connection.next_timeout())
        return min((time for time in times if time is not None), default=None)

    # --- for the gate ---

    def answer(self, action: Answer | Refuse, *, now: float) -> None:
        """Say an answer or a refusal."""
        if self._connection is None:
            return
        method = self._asked.pop(action.quest_id, "")
        if isinstance(action, Answer):
            self._connection.answer(action.quest_id, action.params)
            known = self.visitor.server or self.visitor.uid is not None
            if known and self._next_ping is None:
                self._logged_in(now)
        else:
            self._connection.refuse(action.quest_id, action.code, action.text)
        self._gate.answered(self, method, action)

    def push(self, action: Push, *, now: float) -> None:
        """Send a quest, unless the visitor is leaving."""
        self._gate.figures.pushes[action.method] += 1
        if action.oneway:
            if self._connection is not None and self._connection.open:
                self._connection.send_oneway(action.method, action.params)
        else:
            quest_id = self._push(action.method, action.params, now)
            if quest_id is not None and action.message_id is not None:
                self._pushed[quest_id] = action.message_id

    def part(self, action: Part, *, now: float) -> None:
        """Close, once what was said is out; who is kicked out gets the time to read why."""
        if self._connection is None:
            return
        if action.reason.kind is CloseKind.KICKOUT:
            self._parting, self._deadline = action.reason, now + KICK_GRACE
            self._next_ping = None
        else:
            self._connection.close(now=now, reason=action.reason)

    def drain(self, *, now: float) -> None:
        """The gate stops: who has not said what it wants leaves; others see their files through."""
        if self._front is not None:
            self._end(CloseReason(CloseKind.LOCAL, "the gate stops"))

    def stop(self, *, now: float) -> None:
        """The gate stops now: close, with the answers that are owed on either side."""
        reason = CloseReason(CloseKind.LOCAL, "the gate stops")
        if self._connection is not None:
            self._connection.close(now=now, reason=reason)
        else:
            self._end(reason, abrupt=self._exchange is not None)

    def wants_stats(self, quest_id: QuestId) -> None:
        """An operator has asked how the gate is."""
        self._stats.append(quest_id)

    def told_used(self, used: Used | None, *, now: float) -> None:
        """The store has told how much it holds, or could not."""
        if self._exchange is not None:
            self._exchange.tell(200, watch.metrics(self._gate, used))
        asked, self._stats = self._stats, []
        for quest_id in asked:
            self.answer(Answer(self.visitor, quest_id, watch.stats(self._gate, used)), now=now)

    def found(self, file: StoredFile | None, fault: StoreFault | None) -> None:
        """The store has looked for the file that is asked for."""
        if self._exchange is None:
            return
        if fault is not None:
            self._exchange.failed(str(fault))
        elif file is None:
            self._exchange.not_found()
        else:
            self._gate.downloads.serve(self, self._exchange, file)

    def thumbnail(self, data: bytes | None) -> None:
        """The small picture of the file that is asked for; None: the file itself has to do."""
        assert self._exchange is not None  # who does not wait any more is not told
        self._gate.downloads.serve_thumbnail(self._exchange, data)
        self.ring()

    def read(self, data: bytes | None, fault: StoreFault | None) -> None:
        """The store has read the next part."""
        self._reading = False
        if self._exchange is None:
            return
        if data is None:
            self._exchange.failed(str(fault))
        else:
            self._exchange.provide(data)

    def written(self, key: str, fault: StoreFault | None, *, now: float) -> None:
        """The store has written a piece of a body, or has failed."""
        self._uploads.written(key, fault, now=now)
        self._see_to_uploads(now)

    def ring(self) -> None:
        """Tell the adapter that there is something to do."""
        if self.bell is not None:
            self.bell()

    # --- private ---

    def _decide(self, now: float) -> None:
        front = self._front
        if front is None or front.decision is None:
            return
        self._front = None
        match front.decision:
            case Raw() if self.port is Port.WATCH or self.kind == "http":
                self._end(CloseReason(CloseKind.HANDSHAKE, "no GET"), abrupt=True)
            case Upgrade() if self.port is Port.WATCH:
                self._end(CloseReason(CloseKind.HANDSHAKE, "no GET"), abrupt=True)
            case Upgrade() | Fetch() if self.port is Port.OPERATOR:
                self._end(CloseReason(CloseKind.HANDSHAKE, "HTTP"), abrupt=True)
            case Raw(data):
                self.kind = "raw"
                encrypts = self.port is not Port.OPERATOR
                make_link = self._gate.settings.raw_link if encrypts else StreamLink
                self._open(make_link(max_package=self._max_package()), now)
                self.receive_data(data, now=now)
            case Upgrade(request, trailing):
                self.kind = "websocket"
                self._open(self._websocket(request, trailing, now), now)
            case Fetch(exchange, trailing):
                self.kind = "http"
                self._exchange = exchange
                self._take_behind(trailing)
                self._deadline = now + self._gate.settings.idle_timeout
                if self.port in (Port.MAIN, Port.WATCH) and exchange.path == watch.HEALTH:
                    exchange.tell(*watch.health(self._gate))
                elif self.port is Port.WATCH and exchange.path == watch.METRICS:
                    self._gate.ask_used(self)
                elif self.port is Port.WATCH or exchange.link is None:
                    exchange.not_found()
                elif (refusal := self._gate.downloads.links.refusal(exchange.link)) is not None:
                    exchange.refuse(*refusal)
                else:
                    self._gate.find(self, exchange.link.key)
            case Rejected(data, text):
                self._out.append(data)
                self._end(CloseReason(CloseKind.HANDSHAKE, text))
            case Left(text):
                self._end(CloseReason(CloseKind.PEER_CLOSED, text))
            case _:
                assert_never(front.decision)

    def _websocket(self, request: Request, trailing: bytes, now: float) -> Link:
        return WebSocketLink.upgraded(request, trailing, max_package=self._max_package())

    def _max_package(self) -> int:
        if self.port is not Port.FILES:
            return MAX_QUEST if self.port is Port.OPERATOR else EARLY_QUEST
        return package_limit(self._gate.settings.limits.max_file)

    def _open(self, link: Link, now: float) -> None:
        settings = self._gate.settings
        self._link = link
        self._connection = Connection(
            link,
            open_timeout=settings.handshake_timeout,
            ping=False,
            silence=settings.idle_timeout,
            max_in_hand=MAX_IN_HAND,
            max_whole=settings.piece if self.port is Port.FILES else None,
            oversize_code=Code.FILE_TOO_LARGE if self.port is Port.FILES else Code.INVALID_PACKAGE,
            stop_code=Code.SERVER_STOPPING,
            wall_ms=self._gate.wall_ms,
        )
        self._deadline = self._log_in_by if self.port is Port.MAIN else None
        self._connection.connected(now=now)

    def _logged_in(self, now: float) -> None:
        self._deadline = None
        self._next_ping = now + self._gate.settings.ping_every
        if self._link is not None and self.port is Port.MAIN:
            self._link.set_max_package(MAX_QUEST)

    @property
    def _deaf_at(self) -> float | None:
        """When a user who answers no ping has to go. Not seen of servers: do they answer these?"""
        if self._next_ping is None or self.visitor.uid is None:
            return None
        return self._heard + self._gate.settings.idle_timeout

    def _refuse_late(self, quest_id: QuestId, now: float) -> bool:
        """Refuse a quest that came while the gate stops; whether it did."""
        if not self._gate.draining or self.port.local:
            return False
        text = "the gate stops"
        self.answer(Refuse(self.visitor, quest_id, Code.SERVER_STOPPING, text), now=now)
        return True

    def _push(self, method: str, params: Mapping[str, object], now: float) -> QuestId | None:
        if self._connection is None or not self._connection.open:
            return None
        return self._connection.send_quest(method, params, deadline=now + PUSH_TIMEOUT)

    def _see_to_uploads(self, now: float) -> None:
        """Carry on what came of the large quests."""
        uploads = self._uploads
        refused, uploads.refused = uploads.refused, []
        for refusal in refused:
            self.answer(refusal, now=now)
        effects, uploads.effects = uploads.effects, []
        for effect in effects:
            self._gate.keep(self, effect)
        whole, uploads.whole = uploads.whole, []
        for quest in whole:
            self._gate.quest(self, quest.quest_id, quest.method, quest.params, now=now)

    def _read_on(self, now: float) -> None:
        """Ask the store for the next part once the last one was taken by the stream."""
        exchange = self._exchange
        if exchange is None or self._reading or self.finished or not self._taken:
            return
        if exchange.done and exchange.keep_alive and not (self._last or self._gate.draining):
            self._next_request(exchange, now)
            self.ring()
            return
        if exchange.done:
            text = exchange.abrupt or "file served"
            self._end(CloseReason(CloseKind.LOCAL, text), abrupt=exchange.abrupt is not None)
            self.ring()
            return
        wanted = exchange.wanted()
        if wanted is not None and exchange.link is not None:
            self._reading, self._taken = True, False
            self._deadline = now + self._gate.settings.idle_timeout
            self._gate.read(self, exchange.link.key, *wanted)

    def _take_behind(self, data: Buffer) -> None:
        """Keep for later what came before an answer was out. There is a limit: then it is dropped,
        and no other request is read."""
        self._behind += data
        if len(self._behind) > MAX_BEHIND:
            self._behind.clear()
            self._last = True

    def _next_request(self, exchange: FileExchange, now: float) -> None:
        """An answer is whole, and another request may follow on the same stream."""
        self._out += exchange.data_to_send()
        self._exchange = None
        self._taken = False
        self._front = Front(allow_origin=self._gate.settings.allow_origin)
        self._deadline = now + self._gate.settings.handshake_timeout
        self._log_in_by = now + self._gate.settings.login_timeout
        behind, self._behind = self._behind, bytearray()
        self._front.receive_data(bytes(behind))
        self._decide(now)

    def _end(self, reason: CloseReason, *, abrupt: bool = False) -> None:
        if self.finished:
            return
        self.finished = True
        self.abrupt = abrupt
        self.reason = reason
        self._deadline = self._next_ping = None
        self._front = None
        self._uploads.left()
        facts = {"visit": self.visitor.name, "why": str(reason)}
        self._gate.note(notes.DEBUG, "left", self, facts)
        self._gate.left(self)
