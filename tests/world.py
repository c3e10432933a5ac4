"""A gate and its clients in one piece of memory: no sockets, no tasks, a clock that is a float.

    client ─ Desk ─ Connection ─┐                    ┌─ Visit ─ Gate ─ MemoryStore
                                └── Pipe (bytes) ────┘
    flow ─► Run: carries out its steps ─► Desk, Pipe, clock

Everything happens in a fixed order, so the same calls give the same bytes. Faults are switches:
a pipe that is cut after so many bytes, that stands still, a store that fails or waits, a file
port that nobody answers at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from hashlib import md5
from typing import Any, Generic, TypeVar

from rtm_proto.address import WEBSOCKET_PATH, Address, FileRoute
from rtm_proto.connection import Connection
from rtm_proto.desk import Desk, Inbox, Ticket
from rtm_proto.errors import ConnectFailed, RtmError, StoreFault
from rtm_proto.events import CloseKind, CloseReason, Lost
from rtm_proto.files import LocalSource, Source
from rtm_proto.flows.login import Login, log_in
from rtm_proto.flows.steps import (
    Ask,
    Begin,
    Dial,
    Discard,
    Finish,
    Flow,
    Hand,
    Now,
    OpenSource,
    Pause,
    Progress,
    Read,
    Step,
    Tell,
)
from rtm_proto.flows.transfer import FileSent, Sender, Transfer
from rtm_proto.gate.gate import Gate
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import GateSettings, Port
from rtm_proto.gate.store import Effect, Store
from rtm_proto.gate.visit import Visit
from rtm_proto.link import Link, StreamLink
from rtm_proto.mids import MidGenerator
from rtm_proto.payload import Params
from rtm_proto.received import ClientEvent, Conversation
from rtm_proto.websocket import WebSocketLink

Result = TypeVar("Result")

PID = 11000001
USERS = {1001: "token-of-1001", 1002: "token-of-1002", 1003: "token-of-1003"}
MAIN_PORT = 13321
FILE_PORT = 13461
HOST = "gate.test"
START = 1000.0  # seconds; a monotonic clock may begin anywhere
WALL = 1_700_000_000_000  # milliseconds since 1970, at START


class Pipe:
    """The bytes between a client's connection and a visit; either side may be cut short.

    ``up_left``, ``down_left``: bytes that still pass towards the gate, towards the client; when
    one is used up both sides see a reset. ``stalled``: nothing passes, and nobody is told.
    ``sent_up``, ``sent_down``: bytes that have passed.
    """

    def __init__(self, world: World, desk: Desk, visit: Visit) -> None:
        self.desk = desk
        self.visit = visit
        self.up_left: int | None = None
        self.down_left: int | None = None
        self.stalled = False
        self.broken = False
        self.sent_up = 0
        self.sent_down = 0
        self.taken = True  # whether the transport has taken what the client had to send
        self._world = world
        self._told = [False, False]  # that the client, that the gate has said goodbye

    def connected(self) -> None:
        """Both ends are up."""
        now = self._world.now
        self.desk.connection.connected(now=now)
        self.visit.connected(now=now)
        self._collect()

    def move(self) -> bool:
        """Pass on what there is, in both directions; whether there was anything."""
        if self.stalled or self.broken:
            return False
        return any([self._up(), self._down(), self._goodbyes()])

    def handle_timeout(self) -> None:
        """The world's clock has moved."""
        now = self._world.now
        if not self.desk.connection.finished:
            self.desk.connection.handle_timeout(now=now)
        if not self.visit.finished:
            self.visit.handle_timeout(now=now)
        self._collect()

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` has something to do."""
        ends = (self.desk.connection, self.visit)
        times = [end.next_timeout() for end in ends if not end.finished]
        return min((time for time in times if time is not None), default=None)

    def cut(self, text: str = "cut") -> None:
        """Both ends see a reset."""
        self.broken = self.taken = True
        reason = CloseReason(CloseKind.PEER_RESET, text)
        self.desk.connection.abort(reason)
        self.visit.abort(reason)
        self._collect()

    # --- private ---

    def _collect(self) -> None:
        self.desk.collect(now=self._world.now)
        self.visit.collect(now=self._world.now)

    def _up(self) -> bool:
        data = b"".join(self.desk.connection.data_to_send())
        self.taken = not data
        part, self.up_left = _pass(data, self.up_left)
        self.sent_up += len(part)
        if part and not self.visit.finished:
            self.visit.receive_data(part, now=self._world.now)
        self._collect()
        if self.up_left == 0 and not self.broken:
            self.cut(f"cut after {self.sent_up} bytes up")
        return bool(data)

    def _down(self) -> bool:
        data = b"".join(self.visit.data_to_send())
        part, self.down_left = _pass(data, self.down_left)
        self.sent_down += len(part)
        if part and not self.desk.connection.finished:
            self.desk.connection.receive_data(part, now=self._world.now)
        self._collect()
        if self.down_left == 0 and not self.broken:
            self.cut(f"cut after {self.sent_down} bytes down")
        return bool(data)

    def _goodbyes(self) -> bool:
        """A side that is finished, and has said everything, closes its stream."""
        moved = False
        client, visit, now = self.desk.connection, self.visit, self._world.now
        if client.finished and not self._told[0]:
            moved = self._told[0] = True
            if client.abrupt:
                visit.abort(CloseReason(CloseKind.PEER_RESET, "the client is gone"))
            else:
                visit.receive_eof(now=now)
        if visit.finished and not self._told[1]:
            moved = self._told[1] = True
            if visit.abrupt:
                client.abort(CloseReason(CloseKind.PEER_RESET, "the gate is gone"))
            else:
                client.receive_eof(now=now)
        if all(self._told):
            self.broken = True
        self._collect()
        return moved


def _pass(data: bytes, left: int | None) -> tuple[bytes, int | None]:
    return (data, None) if left is None else (data[:left], max(0, left - len(data)))


class Run(Generic[Result]):
    """A flow that is being carried out; ``outcome`` or ``error`` once it is ``done``."""

    def __init__(self, world: World, client: Client, flow: Flow[Result], source: Source) -> None:
        self.done = False
        self.outcome: Result | None = None
        self.error: Exception | None = None
        self.steps: list[Step] = []
        self.progress: list[Progress] = []
        self.waits_until: float | None = None
        self._world = world
        self._client = client
        self._source = source
        self._work = self._carry_out(flow)

    def advance(self) -> bool:
        """Do what can be done now; whether that was anything."""
        if self.done:
            return False
        before = len(self.steps)
        return next(self._work, self) is self or len(self.steps) > before

    def give_up(self) -> None:
        """The caller leaves: the flow is closed where it stands."""
        self._work.close()
        self.done = True

    def result(self) -> Result:
        """What the flow came to; raises what it raised."""
        assert self.done, "the flow is not done"
        if self.error is not None:
            raise self.error
        return self.outcome  # type: ignore[return-value]

    # --- private ---

    def _carry_out(self, flow: Flow[Result]) -> Generator[None, None, None]:
        outcome: object = None
        error: Exception | None = None
        held: list[tuple[Pipe, Ticket | None]] = []
        try:
            while True:
                step = flow.throw(error) if error else flow.send(outcome)
                self.steps.append(step)
                outcome = error = None
                try:
                    outcome = yield from self._step(step, held)
                except (RtmError, OSError) as exc:
                    error = exc
        except StopIteration as stop:
            self.outcome = stop.value
        except RtmError as exc:
            self.error = exc
        finally:
            flow.close()
            self._drop(held)
            self._source.close()
            self.done = True

    def _step(
        self, step: Step, held: list[tuple[Pipe, Ticket | None]]
    ) -> Generator[None, None, object]:
        world = self._world
        match step:
            case Now():
                return world.now
            case Pause(until):
                yield from self._wait(lambda: world.now >= until, until)
                return world.now
            case Ask(method, params, deadline):
                ticket = self._client.desk.ask(method, params, deadline=deadline)
                return (yield from self._answer(self._client.desk, ticket))
            case Dial(address, deadline):
                self._drop(held)
                held.append(((yield from self._dial(address, deadline)), None))
            case Begin(method, head, psize, deadline):
                pipe = held[0][0]
                ticket = pipe.desk.begin(method, head, psize, deadline=deadline)
                held[0] = (pipe, ticket)
            case Hand(piece):
                pipe, begun = held[0][0], _begun(held[0][1])
                if not pipe.desk.hand(begun, piece):
                    return False
                pipe.taken = False
                yield from self._wait(lambda: pipe.taken or begun.done)
                return not begun.done
            case Finish():
                pipe, begun = held[0][0], _begun(held[0][1])
                return (yield from self._answer(pipe.desk, begun))
            case Discard():
                self._drop(held)
            case OpenSource():
                return self._source.open()
            case Read(size):
                return self._source.read(size)
            case Tell(told):
                self.progress.append(told)
        return None

    def _answer(self, desk: Desk, ticket: Ticket) -> Generator[None, None, object]:
        try:
            yield from self._wait(lambda: ticket.done)
        finally:
            if not ticket.done:
                desk.leave(ticket)
        return ticket.result()

    def _dial(self, address: Address, deadline: float) -> Generator[None, None, Pipe]:
        world = self._world
        world.dialled.append(address)
        if world.refused_dials:
            world.refused_dials -= 1
            raise ConnectFailed(f"could not connect to {address}: refused")
        pipe = world.connect(address)
        try:
            yield from self._wait(lambda: pipe.desk.opening.done or world.now >= deadline, deadline)
        except GeneratorExit:
            pipe.cut("the dialler left")
            raise
        opening = pipe.desk.opening
        if isinstance(opening.outcome, Lost):
            raise ConnectFailed(f"no link to {address}: {opening.outcome.reason}")
        if not opening.done:
            pipe.cut("the dialler left")
            raise ConnectFailed(f"{address} did not answer in time")
        return pipe

    def _wait(
        self, ready: Callable[[], bool], until: float | None = None
    ) -> Generator[None, None, None]:
        self.waits_until = until
        while not ready():
            yield
        self.waits_until = None

    def _drop(self, held: list[tuple[Pipe, Ticket | None]]) -> None:
        """Close the file link: politely after an answer, else at once."""
        for pipe, ticket in held:
            connection = pipe.desk.connection
            if ticket is not None and ticket.done:
                connection.close(now=self._world.now)
            else:
                connection.abort(CloseReason(CloseKind.LOCAL))
            pipe.desk.collect(now=self._world.now)
        held.clear()


def _begun(ticket: Ticket | None) -> Ticket:
    assert ticket is not None, "a piece before Begin"
    return ticket


class Client:
    """A user's main link, with what has reached it."""

    def __init__(self, world: World, uid: int, main: Address) -> None:
        self.uid = uid
        self.inbox = Inbox(uid)
        self.pipe = world.connect(main, self.inbox)
        self.sender = Sender(PID, uid, FileRoute(main, proxied=False))
        self._world = world
        self._mids = MidGenerator(world.wall_ms, int.from_bytes(md5(world.draw(4)).digest()[:2]))

    @property
    def desk(self) -> Desk:
        """The main link's desk."""
        return self.pipe.desk

    def transfer(
        self,
        kind: Conversation,
        target: int,
        *,
        mid: int = 0,
        mtype: int = 50,
        timeout: float = 20.0,
        name: str | None = "note.txt",
    ) -> Transfer:
        """A file sending that has not begun."""
        return Transfer(
            self.sender,
            kind,
            mtype,
            target,
            mid=mid or self._mids.next(),
            repeat=mid != 0,
            timeout=timeout,
            name=name,
        )

    def send(
        self, kind: Conversation, target: int, file: LocalSource = b"hello", *, mid: int = 0
    ) -> FileSent:
        """Send a file, and wait for what becomes of it."""
        return self._world.run(self, self.transfer(kind, target, mid=mid).run(), file)

    def quest(self, method: str, params: Params, timeout: float = 20.0) -> dict[str, object]:
        """Ask on the main link, and wait for the answer."""
        ticket = self.desk.ask(method, params, deadline=self._world.now + timeout)
        self._world.wait(lambda: ticket.done)
        return ticket.result()

    def received(self) -> list[ClientEvent]:
        """What has reached the user since the last look."""
        events: list[ClientEvent] = []
        while (event := self.inbox.take()) is not None:
            events.append(event)
        return events


class World:
    """The gate, its store, every pipe, every flow under way, and the clock."""

    def __init__(self, *, store: Store | None = None, scheme: str = "ws", **settings: Any) -> None:
        """*scheme*: what clients speak, ws or tcp. *settings* go to GateSettings."""
        self.now = START
        self.wall_offset = 0  # milliseconds that somebody has moved the wall clock by
        self.store = MemoryStore() if store is None else store
        self.store_faults: list[StoreFault] = []  # one for each effect, until there are no more
        self.store_waits = False
        self.file_port_deaf = False
        self.refused_dials = 0  # how many of the next connections to the file port fail
        self.dialled: list[Address] = []
        self.pipes: list[Pipe] = []
        self.on_pipe: Callable[[Pipe], None] | None = None
        """Called with each new pipe, before a byte has passed."""
        self._scheme = scheme
        self._random = 0
        self._runs: list[Run[Any]] = []
        self._waiting: list[Effect] = []
        settings = {"pid": PID, "users": USERS, "endpoint": f"{HOST}:{FILE_PORT}", **settings}
        self._settings = GateSettings(**settings)
        self.gate = self._new_gate()

    # --- the clocks, and what is random elsewhere ---

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return WALL + self.wall_offset + int((self.now - START) * 1000)

    def make_token(self) -> str:
        """128 bits that nobody else has."""
        self._random += 1
        return f"{self._random:032x}"

    def draw(self, size: int) -> bytes:
        """Bytes for nonces and masks."""
        self._random += 1
        return self._random.to_bytes(size, "big")

    # --- what happens in it ---

    def restart(self) -> None:
        """The gate ends without a word, and comes back with what its store has kept."""
        for pipe in self.pipes:
            pipe.cut("the gate is gone")
        self._waiting.clear()
        self.gate = self._new_gate()

    def connect(self, address: Address, inbox: Inbox | None = None) -> Pipe:
        """A stream to the gate, with a client at its other end."""
        port = Port.FILES if address.port == FILE_PORT else Port.MAIN
        desk = Desk(Connection(self._link(address)), inbox)
        visit = self.gate.visit(f"visit {len(self.pipes)}", port=port)
        pipe = Pipe(self, desk, visit)
        self.pipes.append(pipe)
        pipe.connected()
        if self.on_pipe is not None:
            self.on_pipe(pipe)
        pipe.stalled = pipe.stalled or (port is Port.FILES and self.file_port_deaf)
        return pipe

    def log_in(self, uid: int, *, scheme: str | None = None, token: str | None = None) -> Client:
        """A new main link, with *uid* logged in."""
        client = Client(self, uid, Address(scheme or self._scheme, HOST, MAIN_PORT, WEBSOCKET_PATH))
        self.run(client, log_in(Login(PID, uid, USERS[uid] if token is None else token)))
        return client

    def start(self, client: Client, flow: Flow[Result], file: LocalSource = b"") -> Run[Result]:
        """Let *flow* be carried out while the world goes on."""
        run = Run(self, client, flow, Source(file))
        self._runs.append(run)
        return run

    def run(self, client: Client, flow: Flow[Result], file: LocalSource = b"") -> Result:
        """Carry out *flow* until it is done."""
        run = self.start(client, flow, file)
        self.wait(lambda: run.done)
        return run.result()

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        while True:
            moved = [pipe.move() for pipe in self.pipes]
            moved += [run.advance() for run in self._runs]
            moved.append(self._carry_out_effects())
            if not any(moved):
                break
        self.pipes = [pipe for pipe in self.pipes if not pipe.broken]
        self._runs = [run for run in self._runs if not run.done]

    def wait(self, until: Callable[[], bool]) -> None:
        """Let time pass until something is so."""
        self.settle()
        while not until():
            when = self._next()
            assert when is not None, "nothing will ever happen"
            self._step_to(when)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with everything that happens in it."""
        end = self.now + seconds
        self.settle()
        while (when := self._next()) is not None and when <= end:
            self._step_to(when)
        self._step_to(end)

    # --- private ---

    def _new_gate(self) -> Gate:
        return Gate(
            self._settings, wall_ms=self.wall_ms, make_token=self.make_token, store=self.store
        )

    def _link(self, address: Address) -> Link:
        if not address.websocket:
            return StreamLink()
        return WebSocketLink.client(
            address.authority, address.path, nonce=self.draw(16), mask_key=lambda: self.draw(4)
        )

    def _carry_out_effects(self) -> bool:
        if self.store_waits:
            return False
        self._waiting += self.gate.effects()
        effects, self._waiting = self._waiting, []
        for effect in effects:
            result, fault = None, None
            try:
                if self.store_faults:
                    raise self.store_faults.pop(0)
                result = self.store.carry_out(effect)
            except StoreFault as exc:
                fault = exc
            self.gate.carried_out(effect, result, fault, now=self.now)
        return bool(effects)

    def _next(self) -> float | None:
        times = [pipe.next_timeout() for pipe in self.pipes if not pipe.broken]
        times += [run.waits_until for run in self._runs]
        return min((time for time in times if time is not None), default=None)

    def _step_to(self, when: float) -> None:
        self.now = max(self.now, when)
        for pipe in self.pipes:
            pipe.handle_timeout()
        self.settle()
