"""A gate on real streams: accept, drive the visits, carry out the store's effects."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Unpack

import trio

from rtm_proto.address import Address
from rtm_proto.connection import CLOSE_TIMEOUT
from rtm_proto.errors import StoreFault
from rtm_proto.gate.decisions import Limits
from rtm_proto.gate.doors import Door, doors_of, find, told
from rtm_proto.gate.gate import Gate
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.places import Places
from rtm_proto.gate.settings import GateSettings, MoreSettings, Port, RawLink
from rtm_proto.gate.store import Effect, Result, Store
from rtm_proto.link import StreamLink

from ._doors import Doors, peer_of, secured
from ._wire import LINGER, Wire, wall_ms

_log = logging.getLogger("rtm_trio")

GRACE = 30.0  # seconds that a gate which stops sees through what is under way
PARTING = CLOSE_TIMEOUT + LINGER + 1.0  # seconds that it waits for its visitors to go
TIDY_EVERY = 600.0  # seconds between two times that the store forgets what is too old


class GateServer:
    """A gate that runs; made by ``serve_gate``.

    ``address`` is the main port's, ``file_address`` the file port's: the plain ones where there
    are both, and ``tls_address`` and ``tls_file_address`` the others. ``watch_address`` is the
    watch port's, if there is one. ``visits`` counts the streams that are being served, but for
    those at the local ports.
    """

    def __init__(
        self, nursery: trio.Nursery, gate: Gate, store: Store, doors: Doors, places: Places,
        ssl_context: ssl.SSLContext | None,
    ) -> None:  # fmt: skip
        """For ``serve_gate``."""
        opened = doors.opened
        plain, secure = (
            [find(opened, kind, tls=tls) for kind in (Port.MAIN, Port.FILES)]
            for tls in (False, True)
        )
        self.tls_address, self.tls_file_address = secure
        self.address = _first(plain[0], secure[0])
        self.file_address = _first(plain[1], secure[1])
        self.watch_address = find(opened, Port.WATCH, tls=False)
        self.endpoint = gate.settings.endpoint
        self.visits = 0
        self._nursery = nursery
        self._gate = gate
        self._store = store
        self._doors = doors
        self._places = places
        self._ssl_context = ssl_context
        self._arrived = 0
        self._empty = trio.Event()

    def __repr__(self) -> str:
        return f"<GateServer {self.address} files {self.file_address}>"

    @property
    def url(self) -> str:
        """What a WebSocket client connects to."""
        return str(self.address)

    def kick(self, uid: int) -> bool:
        """End the login of *uid*; whether there was one."""
        kicked = self._gate.kick(uid, now=trio.current_time())
        self._look()
        return kicked

    async def stop(self, grace: float = GRACE) -> None:
        """Take nothing new, and see through what is under way, for *grace* seconds at the most.

        New quests are refused with 20014, files that are coming come to their end, answers and
        pushes go out; then every visitor is parted from politely. Who watches may go on watching.
        Cancelled, it leaves things where they stand.
        """
        drained = trio.Event()
        self._gate.on_drained = drained.set
        await self._doors.shut()
        self._gate.drain(now=trio.current_time())
        self._look()
        with trio.move_on_after(grace):
            await drained.wait()
        self._gate.stop(now=trio.current_time())
        self._look()
        if self.visits:
            self._empty = trio.Event()
            with trio.move_on_after(PARTING):
                await self._empty.wait()

    async def serve_stream(
        self, stream: trio.abc.Stream, *, port: Port, tls: bool = False, peer: str | None = None
    ) -> None:
        """Serve one stream, of whatever kind, until it ends.

        *tls*: it is inside TLS, so the visitor is told the file port that speaks TLS too. *peer*:
        its address, for logs.
        """
        self._arrived += 1
        visit = self._gate.visit(f"visit {self._arrived}", port=port, tls=tls, peer=peer)

        def collect(now: float) -> None:
            visit.collect(now=now)
            self._look()

        wire = Wire(stream, visit, collect)
        visit.bell = wire.turn
        self.visits += not port.local
        try:
            await wire.run()
        except Exception:  # a fault of ours in one visit must not end the gate for all others
            _log.exception("%s ended by a fault", visit)
        finally:
            visit.bell = None  # or both would wait for the collector
            self.visits -= not port.local
            if not self.visits:
                self._empty.set()

    # --- for serve_gate ---

    def start(self) -> None:
        """Let visitors in."""
        self._nursery.start_soon(self._doors.let_in, self._nursery, self._receive)
        self._nursery.start_soon(self._tidy)

    # --- private ---

    async def _receive(self, stream: trio.SocketStream, door: Door) -> None:
        """A stream came in at a door: is there a place for it?"""
        peer = peer_of(stream)
        why = None if door.kind.local else self._places.take(peer)
        if why is not None:
            self._gate.no_place(door.kind, peer, why)
            await trio.aclose_forcefully(stream)
            return
        try:
            inside: trio.abc.Stream | None = stream
            if door.tls and self._ssl_context is not None:
                patience = self._gate.settings.handshake_timeout
                inside = await secured(stream, self._ssl_context, patience)
            if inside is not None:
                await self.serve_stream(inside, port=door.kind, tls=door.tls, peer=peer)
        finally:
            if not door.kind.local:
                self._places.leave(peer)

    async def _tidy(self) -> None:
        while True:
            await trio.sleep(TIDY_EVERY)
            self._gate.tidy()
            self._look()

    def _look(self) -> None:
        """See to what the gate has for the store, and for the log."""
        for note in self._gate.take_notes():
            _log.log(note.level, "%s", note, extra={"event": note.event, "facts": note.facts})
        for effect in self._gate.effects():
            asked_at = trio.current_time()
            if self._store.blocks(effect):
                self._nursery.start_soon(self._carry_out_in_thread, effect, asked_at)
            else:
                self._carried_out(effect, asked_at, *_carry_out(self._store, effect))

    async def _carry_out_in_thread(self, effect: Effect, asked_at: float) -> None:
        done = await trio.to_thread.run_sync(_carry_out, self._store, effect)
        self._carried_out(effect, asked_at, *done)

    def _carried_out(
        self, effect: Effect, asked_at: float, result: Result, fault: StoreFault | None
    ) -> None:
        now, name = trio.current_time(), type(effect).__name__
        self._gate.figures.stored(name, now - asked_at, failed=fault is not None)
        self._gate.carried_out(effect, result, fault, now=now)
        self._look()


@asynccontextmanager
async def serve_gate(
    *,
    pid: int,
    users: Mapping[int, str],
    secret: str | None = None,
    host: str | Sequence[str] = "127.0.0.1",
    port: int | None = 0,
    file_port: int | None = 0,
    tls_port: int | None = None,
    tls_file_port: int | None = None,
    admin_socket: str | None = None,
    watch_port: int | None = None,
    watch_host: str = "127.0.0.1",
    endpoint: str | None = None,
    tls_endpoint: str | None = None,
    store: Store | None = None,
    limits: Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    raw_link: RawLink = StreamLink,
    make_gate: Callable[..., Gate] = Gate,
    **more: Unpack[MoreSettings],
) -> AsyncGenerator[GateServer, None]:
    """Run a gate of one's own; leaving the block ends it at once (``GateServer.stop`` does not).

    *users*: the login token of each uid of the project *pid*. *secret*: the project's, with which
    servers sign their calls (default: there are none). *host*, an address or several, is bound on
    two ports, of which 0 is a free one: *port* for the main links and *file_port* for files, each
    for raw FPNN and WebSocket (and GET of the stored files).

    *ssl_context*: speak TLS, with this certificate: on *tls_port* and *tls_file_port*, and on the
    other two not; or, where neither of these is given, on *port* and *file_port*. None is no such
    port.

    *endpoint*: how clients reach the file port, where that is not *host* and *file_port*.
    *tls_endpoint*: the same of *tls_file_port*, told to clients that came over TLS (default: the
    host of *endpoint*). *admin_socket*: the path of a local socket at which whoever may open it,
    this user only, asks what servers ask, without a sign. *watch_port*: for GET of ``/healthz``
    and ``/metrics``, on *watch_host*; ``/healthz`` is on the main port too.

    *store*: where things are kept (default: in memory); it is the caller's to close, afterwards.
    *raw_link*: makes the link of a visitor that speaks no HTTP;
    ``partial(EncryptedLink.server, key, required=False)`` lets it use FPNN's encryption.
    *make_gate*: called as ``Gate`` is, for a gate of another kind (``rtm_proto.testing.scripted``).
    *more*: timeouts and limits of GateSettings.

    Raises OSError when a port cannot be bound, LocalProtocolError where the ports make no gate.
    """
    kept = MemoryStore() if store is None else store
    hosts = [host] if isinstance(host, str) else [*host]
    tls = ssl_context is not None
    async with AsyncExitStack() as stack:
        doors = Doors()
        stack.push_async_callback(doors.close)
        for door in doors_of(port, file_port, tls_port, tls_file_port, tls=tls):
            await doors.open(door, hosts)
        if watch_port is not None:
            await doors.open(Door(Port.WATCH, watch_port), [watch_host])
        if admin_socket is not None:
            await doors.open_socket_file(Door(Port.OPERATOR, 0), admin_socket)
            stack.callback(_forget, admin_socket)
        places = told(doors.opened, endpoint, tls_endpoint)
        settings = GateSettings(
            pid,
            users,
            places.endpoint,
            tls=places.tls,
            tls_endpoint=places.tls_endpoint,
            limits=limits or Limits(),
            secret=secret,
            raw_link=raw_link,
            **more,
        )
        gate = make_gate(settings, wall_ms=wall_ms, make_token=_make_token, store=kept)
        room = Places(most=settings.max_connections, most_per_address=settings.max_per_address)
        left_with: BaseException | None = None
        async with trio.open_nursery() as nursery:
            server = GateServer(nursery, gate, kept, doors, room, ssl_context)
            server.start()
            try:
                yield server
            except trio.Cancelled:
                raise
            except BaseException as exc:
                left_with = exc  # raised below, as itself and not in the nursery's group
            nursery.cancel_scope.cancel()
        if left_with is not None:
            raise left_with


def _carry_out(store: Store, effect: Effect) -> tuple[Result, StoreFault | None]:
    try:
        return store.carry_out(effect), None
    except StoreFault as fault:
        if fault.__cause__ is not None:  # not by its own rules
            _log.error("the store failed at %s: %s", type(effect).__name__, fault)
        return None, fault
    except Exception as exc:  # a fault of the store must not leave its asker without an answer
        _log.exception("the store failed at %s", type(effect).__name__)
        broken = StoreFault(f"{type(exc).__name__} in the store")
        broken.__cause__ = exc
        return None, broken


def _first(*addresses: Address | None) -> Address:
    return next(address for address in addresses if address is not None)


def _forget(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _make_token() -> str:
    return os.urandom(16).hex()
