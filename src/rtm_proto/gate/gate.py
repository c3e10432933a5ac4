"""The gate as a whole, pure: visits from their first byte, the decisions, the store's effects.

    bytes ─► Visit ─► Front ─► Connection ─► Decisions ─► answers, pushes ─► Visits ─► bytes
                         └──► FileExchange (GET)  └──► effects ─► store ─► carried_out

An adapter gives each accepted stream a visit, drives it like a client's connection, carries out
the effects and rings what ``Visit.bell`` tells it to. Main port and file port differ in what a
visitor may send, and in whether it has to log in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from ..codes import Code
from ..connection import Connection
from ..errors import StoreFault
from ..events import (
    Closed,
    CloseKind,
    CloseReason,
    Dropped,
    OnewayReceived,
    QuestBegun,
    QuestPiece,
    QuestReceived,
)
from ..link import Buffer, Link, StreamLink
from ..package import package_limit
from ..session import MAX_IN_HAND
from ..websocket import WebSocketLink
from . import decisions
from .decisions import Answer, Decisions, Limits, Part, Push, Refuse, Visitor
from .front import Fetch, Front, Left, Raw, Rejected, Upgrade
from .http import FileExchange
from .store import DropBody, Effect, FindFile, ReadFile, Store, StoredFile, WriteBody
from .uploads import PIECE, Uploads

HANDSHAKE_TIMEOUT = 5.0  # seconds until a visitor has said what it speaks
LOGIN_TIMEOUT = 10.0  # seconds until a visitor of the main port has logged in
IDLE_TIMEOUT = 60.0  # seconds without a byte in either direction (the framework's setting)
PING_EVERY = 20.0  # seconds between the gate's pings; SDKs give up after 60 s without one
PUSH_TIMEOUT = 5.0  # seconds a push waits for its answer; none is no error (the framework's figure)
MAX_QUEST = 65_536  # bytes of a package on the main port
EARLY_QUEST = 16_384  # bytes of a package on the main port before the login


class RawLink(Protocol):
    """Makes the link of a visitor that speaks no HTTP."""

    def __call__(self, *, max_package: int) -> Link: ...


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a gate is told when it starts.

    *users*: the login token of each uid. *secret*: the project's, with which servers sign; without
    one there are none. *endpoint*: the file port's ``host:port`` as clients reach it; *tls*: does
    it speak TLS? *piece*: bytes of a package that is received whole; the file of a larger one goes
    to the store in pieces of this size. *raw_link*: for visitors that speak no HTTP;
    ``partial(EncryptedLink.server, key, required=False)`` lets them encrypt. Timeouts are in
    seconds.
    """

    pid: int
    users: Mapping[int, str] = field(repr=False)
    endpoint: str
    tls: bool = False
    limits: Limits = field(default_factory=Limits)
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    login_timeout: float = LOGIN_TIMEOUT
    idle_timeout: float = IDLE_TIMEOUT
    ping_every: float = PING_EVERY
    secret: str | None = field(default=None, repr=False)
    piece: int = PIECE
    raw_link: RawLink = StreamLink


class Visit:
    """One stream that was accepted; driven like a Connection, by the same methods.

    ``bell`` is rung when somebody else's doing, or the end of a download, has left something to
    send or to wait for. ``dropped`` counts what came and was of no use.
    """

    def __init__(self, gate: Gate, name: str, *, on_file_port: bool) -> None:
        """For ``Gate.visit``."""
        self.bell: Callable[[], None] | None = None
        self.visitor = Visitor(name)
        self.finished = False
        self.abrupt = False
        self.reason: CloseReason | None = None
        self.dropped = 0
        self._gate = gate
        self._on_file_port = on_file_port
        self._front: Front | None = Front()
        self._connection: Connection | None = None
        self._link: Link | None = None
        self._exchange: FileExchange | None = None
        self._uploads = gate.uploads(self.visitor)
        self._out: list[Buffer] = []
        self._deadline: float | None = None  # of the front, then of the login or the exchange
        self._log_in_by = 0.0
        self._next_ping: float | None = None
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
        return self._uploads.full

    # --- what happened ---

    def connected(self, *, now: float) -> None:
        """The stream is up."""
        self._deadline = now + self._gate.settings.handshake_timeout
        self._log_in_by = now + self._gate.settings.login_timeout

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came."""
        if self._connection is not None:
            self._connection.receive_data(data, now=now)
        elif self._front is not None:
            self._front.receive_data(data)
            self._decide(now)

    def receive_eof(self, *, now: float) -> None:
        """The peer will send no more."""
        if self._connection is not None:
            self._connection.receive_eof(now=now)
        elif self._front is not None:
            self._front.receive_eof()
            self._decide(now)

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
            reason = CloseReason(CloseKind.IDLE, text)
            if connection is None:
                self._end(reason, abrupt=True)
            else:
                connection.close(now=now, reason=reason)
        if connection is not None:
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
                        self._gate.quest(self, quest_id, method, params, now=now)
                    case QuestBegun():
                        self._uploads.begun(event, now=now)
                    case QuestPiece():
                        self._uploads.piece(event, now=now)
                    case Closed(reason):
                        self._end(reason, abrupt=connection.abrupt)
                    case Dropped() | OnewayReceived():
                        self.dropped += 1  # no method of ours is one-way
                    case _:
                        pass  # pushes are not repeated, whatever becomes of them
                self._see_to_uploads(now)
        self._read_on(now)

    # --- what comes of it ---

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order. Call again only when these are written."""
        if self._connection is not None:
            return self._connection.data_to_send()
        out, self._out = self._out, []
        if self._exchange is not None:
            out += self._exchange.data_to_send()
            self._taken = not out
        return out

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` should be called, or None."""
        times = [self._deadline, self._next_ping, self._uploads.next_timeout()]
        if self._connection is not None:
            times.append(self._connection.next_timeout())
        return min((time for time in times if time is not None), default=None)

    # --- for the gate ---

    def answer(self, action: Answer | Refuse, *, now: float) -> None:
        """Say an answer or a refusal."""
        if self._connection is None:
            return
        if isinstance(action, Answer):
            self._connection.answer(action.quest_id, action.params)
            known = self.visitor.server or self.visitor.uid is not None
            if known and self._next_ping is None:
                self._logged_in(now)
        else:
            self._connection.refuse(action.quest_id, action.code, action.text)

    def push(self, action: Push, *, now: float) -> None:
        """Send a quest, unless the visitor is leaving."""
        if action.oneway:
            if self._connection is not None and self._connection.open:
                self._connection.send_oneway(action.method, action.params)
        else:
            self._push(action.method, action.params, now)

    def part(self, action: Part, *, now: float) -> None:
        """Close, once what was said is out."""
        if self._connection is not None:
            self._connection.close(now=now, reason=action.reason)

    def found(self, file: StoredFile | None, fault: StoreFault | None) -> None:
        """The store has looked for the file that is asked for."""
        if self._exchange is None:
            return
        if fault is not None:
            self._exchange.failed(str(fault))
        elif file is None:
            self._exchange.not_found()
        else:
            self._exchange.found(size=file.size, etag=file.digest, name=file.name, mtype=file.mtype)

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
            case Raw(data):
                self._open(self._gate.settings.raw_link(max_package=self._max_package()), now)
                self.receive_data(data, now=now)
            case Upgrade(request, trailing):
                limit = self._max_package()
                self._open(WebSocketLink.upgraded(request, trailing, max_package=limit), now)
            case Fetch(exchange):
                self._exchange = exchange
                self._deadline = now + self._gate.settings.idle_timeout
                if exchange.key is None:
                    exchange.not_found()
                else:
                    self._gate.find(self, exchange.key)
            case Rejected(data, text):
                self._out.append(data)
                self._end(CloseReason(CloseKind.HANDSHAKE, text))
            case Left(text):
                self._end(CloseReason(CloseKind.PEER_CLOSED, text))
            case _:
                assert_never(front.decision)

    def _max_package(self) -> int:
        if not self._on_file_port:
            return EARLY_QUEST
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
            max_whole=settings.piece if self._on_file_port else None,
            oversize_code=Code.FILE_TOO_LARGE if self._on_file_port else Code.INVALID_PACKAGE,
            stop_code=Code.SERVER_STOPPING,
            wall_ms=self._gate.wall_ms,
        )
        self._deadline = None if self._on_file_port else self._log_in_by
        self._connection.connected(now=now)

    def _logged_in(self, now: float) -> None:
        self._deadline = None
        self._next_ping = now + self._gate.settings.ping_every
        if self._link is not None and not self._on_file_port:
            self._link.set_max_package(MAX_QUEST)

    def _push(self, method: str, params: Mapping[str, object], now: float) -> None:
        if self._connection is not None and self._connection.open:
            self._connection.send_quest(method, params, deadline=now + PUSH_TIMEOUT)

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
        if exchange.done:
            text = exchange.abrupt or "file served"
            self._end(CloseReason(CloseKind.LOCAL, text), abrupt=exchange.abrupt is not None)
            self.ring()
            return
        wanted = exchange.wanted()
        if wanted is not None and exchange.key is not None:
            self._reading, self._taken = True, False
            self._deadline = now + self._gate.settings.idle_timeout
            self._gate.read(self, exchange.key, *wanted)

    def _end(self, reason: CloseReason, *, abrupt: bool = False) -> None:
        if self.finished:
            return
        self.finished = True
        self.abrupt = abrupt
        self.reason = reason
        self._deadline = self._next_ping = None
        self._front = None
        self._uploads.left()
        self._gate.left(self)


@dataclass(frozen=True, slots=True)
class Held:
    """How much a gate holds right now: visits, effects of downloads and uploads under way, bodies
    whose token has not come, and what is decided on."""

    visits: int
    downloads: int
    uploads: int
    unproven: int
    decisions: decisions.Held


class Gate:
    """Every visit, the decisions over them, and the effects that a store is to carry out."""

    def __init__(
        self,
        settings: GateSettings,
        *,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        store: Store | None = None,
    ) -> None:
        """*wall_ms*: milliseconds since 1970. *make_token*: a fresh text of 128 random bits.

        *store*: read once, here, for what it has kept from before.
        """
        self.settings = settings
        self.wall_ms = wall_ms
        self.decisions = Decisions(
            pid=settings.pid,
            users=settings.users,
            endpoint=settings.endpoint,
            file_url=f"{'https' if settings.tls else 'http'}://{settings.endpoint}/files",
            wall_ms=wall_ms,
            make_token=make_token,
            secret=settings.secret,
            limits=settings.limits,
            groups=store.groups() if store is not None else None,
            messages=store.messages() if store is not None else None,
        )
        self._visits: dict[Visitor, Visit] = {}
        self._effects: list[Effect] = []
        self._fetching: dict[int, Visit] = {}  # effects of downloads, by effect id
        self._writing: dict[int, Visit] = {}  # the same of uploads
        self._effect_ids = 0  # below 0; those of the decisions are above
        self._unproven: set[object] = set()
        self._make_token = make_token

    def __repr__(self) -> str:
        return f"<Gate pid={self.settings.pid} {len(self._visits)} visits>"

    def visit(self, name: str, *, on_file_port: bool) -> Visit:
        """A stream was accepted; *name* is for logs."""
        visit = Visit(self, name, on_file_port=on_file_port)
        self._visits[visit.visitor] = visit
        return visit

    def kick(self, uid: int, *, now: float) -> bool:
        """End the login of *uid*; whether there was one."""
        kicked = self.decisions.kick(uid)
        self._act(None, now)
        return kicked

    def uploads(self, visitor: Visitor) -> Uploads:
        """For a visit: its large quests."""
        return Uploads(
            visitor,
            check=self.decisions.refusal_before_body,
            make_key=self._make_token,
            effect_id=self._effect_id,
            unproven=self._unproven,
            piece=self.settings.piece,
        )

    def effects(self) -> list[Effect]:
        """Take the effects that a store is to carry out; report each with ``carried_out``."""
        effects, self._effects = self._effects, []
        return effects

    def carried_out(
        self,
        effect: Effect,
        result: StoredFile | bytes | None,
        fault: StoreFault | None,
        *,
        now: float,
    ) -> None:
        """A store has carried out *effect* with *result*, or failed with *fault*."""
        if isinstance(effect, WriteBody):
            writer = self._writing.pop(effect.effect_id, None)
            if writer is not None:
                writer.written(effect.key, fault, now=now)
                writer.ring()
            return
        if isinstance(effect, (FindFile, ReadFile)):
            visit = self._fetching.pop(effect.effect_id, None)
            if visit is None:
                return
            if isinstance(effect, FindFile):
                visit.found(result if isinstance(result, StoredFile) else None, fault)
            else:
                visit.read(result if isinstance(result, bytes) else None, fault)
            visit.ring()
            return
        self.decisions.carried_out(effect, fault, now=now)
        self._act(None, now)

    def held(self) -> Held:
        """How much is held, for figures and for tests: without visits it goes back to nothing."""
        return Held(
            len(self._visits),
            len(self._fetching),
            len(self._writing),
            len(self._unproven),
            self.decisions.held(),
        )

    # --- for the visits ---

    def quest(
        self, visit: Visit, quest_id: int, method: str, params: Mapping[str, object], *, now: float
    ) -> None:
        """A visitor asks."""
        self.decisions.quest(visit.visitor, quest_id, method, params, now=now)
        self._act(visit, now)

    def left(self, visit: Visit) -> None:
        """A visit is over."""
        self._visits.pop(visit.visitor, None)
        for effect_id in [key for key, value in self._fetching.items() if value is visit]:
            del self._fetching[effect_id]
        self.decisions.left(visit.visitor)

    def keep(self, visit: Visit, effect: WriteBody | DropBody) -> None:
        """A large quest goes on, or ends."""
        if isinstance(effect, WriteBody):
            self._writing[effect.effect_id] = visit
        self._effects.append(effect)

    def find(self, visit: Visit, key: str) -> None:
        """A visitor wants a file."""
        self._effects.append(FindFile(self._fetch_id(visit), key))

    def read(self, visit: Visit, key: str, offset: int, length: int) -> None:
        """A visitor wants a part of a file."""
        self._effects.append(ReadFile(self._fetch_id(visit), key, offset, length))

    # --- private ---

    def _fetch_id(self, visit: Visit) -> int:
        effect_id = self._effect_id()
        self._fetching[effect_id] = visit
        return effect_id

    def _effect_id(self) -> int:
        self._effect_ids -= 1
        return self._effect_ids

    def _act(self, current: Visit | None, now: float) -> None:
        """Say what was decided; then ring every visit that is not being driven right now."""
        rung: dict[Visit, None] = {}
        actions, self.decisions.actions = self.decisions.actions, []
        for action in actions:
            visit = self._visits.get(action.visitor)
            if visit is None:
                continue  # gone meanwhile
            match action:
                case Answer() | Refuse():
                    visit.answer(action, now=now)
                case Push():
                    visit.push(action, now=now)
                case Part():
                    visit.part(action, now=now)
                case _:
                    assert_never(action)
            if visit is not current:
                rung[visit] = None
        self._effects += self.decisions.effects
        self.decisions.effects = []
        for visit in rung:
            visit.ring()
