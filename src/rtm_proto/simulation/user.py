"""A user: logs in, again and again, sends files, reads events; over the real core.

    live ─► Relogin ─► DialMain ─► Desk, Connection, Link ─► Wire ─► Stream ─► the gate
    send ─► Transfer     ─► Dial    ─► the same, for one file
    read ◄─ Inbox ◄────────────────────┘

What waits here is what waits in an adapter's client, in the same order.
"""

from __future__ import annotations

from typing import Any, TypeVar, assert_never

from ..address import WEBSOCKET_PATH, Address, FileRoute
from ..connection import MAX_UNSENT, Connection
from ..desk import MAX_EVENTS, Desk, Inbox, Ticket
from ..errors import ConnectFailed, ConnectionLost, LoginFailed, RtmError, SendFailed
from ..events import CloseKind, CloseReason, Lost
from ..files import Source
from ..flows.login import Login
from ..flows.relogin import DialMain, FreshToken, Relogin, ReloginFlow
from ..flows.steps import (
    Ask,
    Begin,
    Dial,
    Discard,
    Finish,
    Hand,
    Now,
    OpenSource,
    Pause,
    Read,
    SourceOpened,
    Tell,
)
from ..flows.transfer import FileSent, Sender
from ..link import Link, StreamLink
from ..mids import MidGenerator
from ..payload import Params
from ..received import Conversation, EventsLost, FileReceived
from ..websocket import WebSocketLink
from .clock import WallClock
from .ledger import Message, Presence, Sending, Violation
from .network import Stream
from .service import FILE_PORT, HOST, MAIN_PORT, PID, ROOM
from .tasks import Bell, sleep_until
from .wire import Wire
from .world import World

Result = TypeVar("Result")

QUEST_TIMEOUT = 5.0  # seconds
MTYPE = 50
MAX_PENDING = 50  # quests of one user that wait at once; a story has no more


class OddSource(Source):
    """A file that is shorter or longer than it says."""

    def __init__(self, body: bytes, by: int) -> None:
        super().__init__(body)
        self._by = by

    def open(self) -> SourceOpened:
        """Open it, and lie about its size."""
        opened = super().open()
        return SourceOpened(max(0, opened.size + self._by), opened.name, opened.where)


class _Held:
    """A link to the file gate, with the one quest that goes over it."""

    def __init__(self, desk: Desk, wire: Wire) -> None:
        self.desk = desk
        self.wire = wire
        self.ticket: Ticket | None = None


class User:
    """Somebody with a uid, a login token, one inbox and one main link at a time."""

    def __init__(self, world: World, uid: int, token: str) -> None:
        chance = world.chance
        self.uid = uid
        self.wall = WallClock(world.clock)
        lazy = bool(world.sky.weather.lazy)
        limit = 1 if lazy and chance.happens(0.5) else MAX_EVENTS
        self.inbox = world.parts.inbox(uid, limit=limit)
        self.presence: Presence | None = None
        self.online = Bell()
        self.leaving = False
        self.lost_events = 0
        self.connections: list[Connection] = []
        self.spent: list[tuple[str, Message]] = []
        self._world = world
        self._token = token
        self._mids = MidGenerator(self.wall.ms, chance.integer(0, 0xFFFF))
        self._scheme = chance.one_of(world.parts.schemes)
        self._proxied = chance.happens(0.3)
        self._main = Address(self._scheme, HOST, MAIN_PORT, WEBSOCKET_PATH)
        self._roomy = chance.happens(0.7)
        self._desk: Desk | None = None
        self._wire: Wire | None = None
        self._stream: Stream | None = None
        world.start(self._live())
        world.start(self._read())

    def __repr__(self) -> str:
        return f"<User {self.uid}>"

    # --- logging in ---

    async def _live(self) -> None:
        world, chance = self._world, self._world.chance
        token = self._token
        if chance.happens(world.sky.weather.stale_token):
            token = "stale"
        while not self.leaving:
            login = Login(PID, self.uid, token, timeout=chance.between(2.0, 20.0))
            relogin = Relogin(login, random=chance.number, timeout=login.timeout)
            try:
                await self._drive(relogin.run())
            except LoginFailed as exc:
                raise Violation(f"user {self.uid} cannot log in: {exc}") from exc
            token = self._token
            desk, wire, stream = self._desk, self._wire, self._stream
            assert desk is not None and wire is not None and stream is not None
            await self._logged_in(desk, stream)
            await wire.ended.wait()
            self._went_offline()
            reason = desk.connection.reason
            assert reason is not None
            if reason.kind is CloseKind.KICKOUT and not self.leaving:
                await sleep_until(world.clock.now + chance.between(0.1, 3.0))

    async def _logged_in(self, desk: Desk, stream: Stream) -> None:
        if self.leaving:  # while the login was under way
            await self.leave()
        elif not desk.connection.finished and not stream.broken:
            self._came_online(stream)
            if self._roomy:
                await self.move("enterroom")

    def _came_online(self, stream: Stream) -> None:
        presence = self.presence = Presence(self.uid)
        self._world.ledger.presences[self.uid] = presence
        presence.visit = stream.visit
        stream.on_broken = lambda: self._spoil(presence)
        self._world.trace.say(f"user {self.uid}", "is online")
        self.online.ring()

    def _went_offline(self) -> None:
        if self.presence is not None:
            self._spoil(self.presence)
        self.presence = None
        self.online = Bell()
        self._world.trace.say(f"user {self.uid}", "is offline")

    def _spoil(self, presence: Presence) -> None:
        presence.good = False

    # --- what a user does ---

    async def quest(self, method: str, params: Params) -> bool:
        """Any other quest; whether it was answered."""
        world, desk, wire = self._world, self._desk, self._wire
        if desk is None or wire is None:
            return False
        deadline = world.clock.now + QUEST_TIMEOUT
        try:
            ticket = desk.ask(method, params, deadline=deadline)
            await self._answer(desk, wire, ticket)
        except RtmError as exc:
            world.trace.say(f"user {self.uid}", f"{method} failed: {type(exc).__name__}")
            if world.ledger.calm:
                raise Violation(f"{method} failed in a calm: {exc}") from exc
            return False
        finally:
            world.ledger.call_ended(method, deadline)
        return True

    async def move(self, method: str) -> None:
        """``enterroom`` or ``leaveroom``."""
        presence = self.presence
        if presence is None:
            return
        presence.in_room = False
        presence.moves += 1
        presence.maybe_in_room = presence.maybe_in_room or method == "enterroom"
        moves = presence.moves
        if await self.quest(method, {"rid": ROOM}) and presence.moves == moves:
            presence.in_room = presence.maybe_in_room = method == "enterroom"

    def new_message(self, kind: Conversation, target: int, body: bytes) -> Message:
        """Something to deliver, with a mid of its own."""
        return self._world.ledger.new_message(self.uid, kind, target, self._mids.next(), body)

    async def send(self, message: Message) -> FileSent | SendFailed:
        """Send it, once more where that was done before; what becomes of it."""
        world, chance = self._world, self._world.chance
        weather, ledger = world.sky.weather, world.ledger
        body = message.body
        odd = chance.happens(weather.odd_source)
        source = OddSource(body, chance.one_of((-1, 1, 100))) if odd and body else Source(body)
        odd = isinstance(source, OddSource)
        timeout = 20.0 if weather.calm else chance.one_of((0.5, 3.0, 10.0, 20.0, 20.0))
        repeat = bool(message.sendings)
        sending = ledger.began(message, timeout, odd=odd)
        transfer = world.parts.transfer(
            Sender(PID, self.uid, FileRoute(self._main, proxied=self._proxied)),
            message.kind,
            MTYPE,
            message.target,
            mid=message.mid,
            repeat=repeat,
            timeout=timeout,
            name=sending.name,
            piece=chance.one_of((7, 500, 65_536)) if len(body) < 400 else 65_536,
        )
        outcome: FileSent | SendFailed | None = None
        try:
            outcome = await self._drive(transfer.run(), source, sending)
        except SendFailed as exc:
            outcome = exc
        finally:
            if outcome is None:  # the caller has left
                outcome = transfer.given_up(ConnectFailed("the caller has left"))
            ledger.ended(sending, outcome)
        message.settled = isinstance(outcome, FileSent)
        return outcome

    async def leave(self) -> None:
        """Log out for good."""
        self.leaving = True
        if self.presence is not None:
            self.presence.good = False
        desk, wire = self._desk, self._wire
        if desk is None or wire is None:
            return
        await self.quest("bye", {})
        desk.connection.close(now=self._world.clock.now)
        wire.turn()
        await wire.ended.wait()

    def watch(self) -> None:
        """Check what the connections hold. Raises Violation."""
        self.connections = [c for c in self.connections if not c.finished]
        for connection in self.connections:
            if connection.pending > MAX_PENDING or connection.unsent > MAX_UNSENT:
                raise Violation(f"user {self.uid} holds too much: {connection}")

    # --- reading ---

    async def _read(self) -> None:
        world, inbox = self._world, self.inbox
        while True:
            event = inbox.take()
            if event is None:
                bell = Bell()
                inbox.bell = bell.ring
                await bell.wait()
                continue
            if isinstance(event, FileReceived):
                world.ledger.received(self.uid, event)
            elif isinstance(event, EventsLost):
                self.lost_events += event.count
                world.trace.say(f"user {self.uid}", f"has lost {event.count} events")
            else:
                world.trace.say(f"user {self.uid}", f"reads {type(event).__name__}")
            lazy = world.sky.weather.lazy
            if lazy:
                await sleep_until(world.clock.now + lazy * world.chance.number())

    # --- driving flows ---

    async def _drive(
        self,
        flow: ReloginFlow[Result],
        source: Source | None = None,
        sending: Sending | None = None,
    ) -> Result:
        """Carry out the steps of *flow* until it is done."""
        world, clock = self._world, self._world.clock
        held: _Held | None = None
        last_token: object = None
        outcome: Any = None
        error: Exception | None = None
        try:
            while True:
                try:
                    step = flow.send(outcome) if error is None else flow.throw(error)
                except StopIteration as stop:
                    result: Result = stop.value
                    if sending is not None and isinstance(last_token, str):
                        self._spent(last_token, sending, result)
                    return result
                outcome = error = None
                try:
                    match step:
                        case Now():
                            outcome = clock.now
                        case Pause(until):
                            await sleep_until(until)
                            outcome = clock.now
                        case Ask(method, params, deadline):
                            desk, wire = self._main_link()
                            ticket = desk.ask(method, params, deadline=deadline)
                            outcome = await self._answer(desk, wire, ticket)
                            last_token = outcome.get("token")
                        case Dial(place, deadline):
                            self._drop(held)
                            held = None
                            desk, wire, _ = await self._link(place, deadline, None)
                            held = _Held(desk, wire)
                        case DialMain(deadline):
                            if self._desk is not None and self._wire is not None:
                                _abort(self._desk, self._wire)
                            link = await self._link(self._main, deadline, self.inbox)
                            self._desk, self._wire, self._stream = link
                        case FreshToken():
                            await sleep_until(clock.now + world.sky.weather.latency)
                            outcome = self._token
                        case Begin(method, head, psize, deadline):
                            held = _needed(held)
                            world.ledger.attempts(head, sending)
                            held.ticket = held.desk.begin(method, head, psize, deadline=deadline)
                        case Hand(piece):
                            held = _needed(held)
                            outcome = await _hand(held, piece)
                        case Finish():
                            held = _needed(held)
                            if held.ticket is not None:
                                outcome = await self._answer(held.desk, held.wire, held.ticket)
                        case Discard():
                            self._drop(held)
                            held = None
                        case OpenSource():
                            outcome = None if source is None else source.open()
                        case Read(size):
                            outcome = b"" if source is None else source.read(size)
                        case Tell(progress):
                            who = f"user {self.uid}"
                            if sending is not None and not progress.sent:
                                text = f"{sending.name}: attempt {progress.attempt}"
                                world.trace.say(who, f"{text} {progress.stage.value}")
                        case _:
                            assert_never(step)
                except (RtmError, OSError) as exc:
                    error = exc
        finally:
            flow.close()
            self._drop(held)
            if source is not None:
                source.close()

    def _main_link(self) -> tuple[Desk, Wire]:
        if self._desk is None or self._wire is None:
            raise ConnectionLost("quest", CloseReason(CloseKind.LOCAL, "never connected"))
        return self._desk, self._wire

    def _spent(self, token: str, sending: Sending, result: object) -> None:
        """A token that the gate has accepted, for the thief; nothing else looks at it."""
        if isinstance(result, FileSent) and not result.duplicate:
            self.spent.append((token, sending.message))

    async def _link(
        self, place: Address, deadline: float, inbox: Inbox | None
    ) -> tuple[Desk, Wire, Stream]:
        """Connect and wait for the link to open. Raises ConnectFailed."""
        world = self._world
        what = "file" if place.port == FILE_PORT else "main"
        stream = await world.service.dial(place, deadline, f"{self.uid} {what}")
        connection = world.parts.connection(self._make_link(place))
        self.connections.append(connection)
        desk = world.parts.desk(connection, inbox)
        wire = Wire(
            world.clock,
            world.chance,
            world.sky,
            stream.client,
            connection,
            lambda now: desk.collect(now=now),
        )
        try:
            wire.start()
            opening = desk.opening
            if not opening.done:
                bell = Bell()
                opening.bell = bell.ring
                await bell.wait(deadline)
            if isinstance(opening.outcome, Lost):
                raise ConnectFailed(f"no link to {place}: {opening.outcome.reason}")
            if not opening.done:
                raise ConnectFailed(f"{place} did not answer the handshake in time")
        except BaseException:
            _abort(desk, wire)
            raise
        return desk, wire, stream

    def _make_link(self, place: Address) -> Link:
        chance = self._world.chance
        if not place.websocket:
            return StreamLink()
        return WebSocketLink.client(
            place.authority, place.path, nonce=chance.bytes(16), mask_key=lambda: chance.bytes(4)
        )

    async def _answer(self, desk: Desk, wire: Wire, ticket: Ticket) -> dict[str, object]:
        """The answer to a quest; leaving early forgets it."""
        wire.turn()
        try:
            if not ticket.done:
                bell = Bell()
                ticket.bell = bell.ring
                await bell.wait()
        finally:
            if not ticket.done:
                desk.leave(ticket)
                wire.turn()
        return ticket.result()

    def _drop(self, held: _Held | None) -> None:
        """Close a file link: politely after an answer, else at once."""
        if held is None:
            return
        if held.ticket is not None and held.ticket.done:
            held.desk.connection.close(now=self._world.clock.now)
            held.wire.turn()
        else:
            _abort(held.desk, held.wire)


async def _hand(held: _Held, piece: Any) -> bool:
    """Hand over a piece and wait until it is taken; False if the quest has ended."""
    ticket = held.ticket
    if ticket is None or not held.desk.hand(ticket, piece):
        return False
    bell = Bell()
    ticket.bell = bell.ring
    held.wire.flush(bell)
    await bell.wait()
    return not ticket.done


def _needed(held: _Held | None) -> _Held:
    if held is None:
        raise ConnectionLost("file quest", CloseReason(CloseKind.LOCAL, "no file link is open"))
    return held


def _abort(desk: Desk, wire: Wire) -> None:
    desk.connection.abort(CloseReason(CloseKind.LOCAL))
    wire.turn()
