"""A client's connection against a server's, with a wire between them and a clock that is a float.

    pair = Pair()                     or Pair(*websocket_connections()), or two of your own
    pair.open()                       both are connected, the handshake is through
    quest_id = pair.client.connection.send_quest("hello", {}, deadline=pair.now + 5)
    pair.pump()                       bytes move until nothing moves any more
    pair.server.take()                [QuestReceived(...)]
    pair.advance(5)                   time moves, timer by timer, and bytes with it

The wire of a peer can be held (``peer.held = True``: a transport that takes nothing more) or dead
(``pair.break_wire()``: nobody notices). A connection that has ended parts from the other as on a
real wire: an end of stream after its last byte, or a reset where the end was abrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..connection import Connection
from ..events import CloseKind, CloseReason, Event
from ..link import Link, StreamLink
from ..package import Package, Splitter

Cutter = Callable[[bytes], Iterable[bytes]]
"""How bytes are cut on their way."""


def whole(data: bytes) -> Iterable[bytes]:
    """Bytes arrive as they were written."""
    return [data]


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    """Bytes arrive one at a time."""
    return (data[at : at + 1] for at in range(len(data)))


class Peer:
    """One side: its connection, what it has written, and what happened to it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.events: list[Event] = []
        """Everything that has happened."""
        self.written = bytearray()
        """Every byte that its transport has taken."""
        self.held = False
        """Whether its transport takes nothing more for now."""
        self._taken = 0
        self._delivered = 0
        self._parted = False

    def collect(self) -> None:
        """Let the transport take what there is, and note what happened."""
        if not self.held:
            self.written += b"".join(self.connection.data_to_send())
        self.events += self.connection.events()

    def take(self) -> list[Event]:
        """What happened since the last call."""
        self.collect()
        events = self.events[self._taken :]
        self._taken = len(self.events)
        return events

    def send_to(self, other: Connection, cut: Cutter, *, now: float) -> bool:
        """Carry over what was written; whether there was anything."""
        self.collect()
        data = bytes(self.written[self._delivered :])
        self._delivered = len(self.written)
        for piece in cut(data) if data else ():
            other.receive_data(piece, now=now)
        if self.connection.finished and not self.held and not self._parted:
            self._parted = True
            if self.connection.abrupt:
                other.abort(CloseReason(CloseKind.PEER_RESET))
            else:
                other.receive_eof(now=now)
            return True
        return bool(data)


class Pair:
    """Two connections, the wire between them, and the time."""

    def __init__(
        self,
        client: Connection | None = None,
        server: Connection | None = None,
        *,
        cut: Cutter = whole,
        now: float = 1000.0,
    ) -> None:
        """By default both speak FPNN on a byte stream, with the timeouts of their role."""
        self.client = Peer(client or Connection(StreamLink()))
        self.server = Peer(server or server_connection(StreamLink()))
        self.now = now
        self.cut = cut
        self._broken = False

    @property
    def peers(self) -> tuple[Peer, Peer]:
        """Both, the client first."""
        return self.client, self.server

    def connect(self) -> None:
        """The transport comes up on both sides; no byte has moved."""
        for peer in self.peers:
            peer.connection.connected(now=self.now)

    def open(self) -> None:
        """Connect, shake hands, and forget what happened on the way.

        Raises AssertionError where they are not open then.
        """
        self.connect()
        self.pump()
        for peer in self.peers:
            if not peer.connection.open:
                raise AssertionError(f"not open: {peer.connection}, {peer.events}")
            peer.take()

    def break_wire(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._broken = True

    def pump(self) -> None:
        """Move bytes in both directions until nothing moves any more."""
        client, server = self.peers
        while not self._broken:
            moved = client.send_to(server.connection, self.cut, now=self.now)
            moved = server.send_to(client.connection, self.cut, now=self.now) or moved
            if not moved:
                break
        client.collect()
        server.collect()

    def advance(self, seconds: float) -> None:
        """Let time pass: every timer is handled when it is due, and bytes move at once."""
        until = self.now + seconds
        self.pump()
        while (when := self.next_timeout()) is not None and when <= until:
            self.now = max(self.now, when)
            for peer in self.peers:
                peer.connection.handle_timeout(now=self.now)
            self.pump()
        self.now = until
        for peer in self.peers:
            peer.connection.handle_timeout(now=self.now)
        self.pump()

    def next_timeout(self) -> float | None:
        """When the next timer of either is due."""
        times = [peer.connection.next_timeout() for peer in self.peers]
        return min((when for when in times if when is not None), default=None)


def server_connection(link: Link) -> Connection:
    """A server's connection over *link*: it does not ask, it ends after a minute of silence."""
    return Connection(link, ping=False, silence=60.0, wall_ms=lambda: 1_700_000_000_000)


def websocket_connections(server: Connection | None = None) -> tuple[Connection, Connection]:
    """A client's and a server's connection over WebSocket. Needs the ``websocket`` extra."""
    from ..websocket import WebSocketLink  # here: all else in this module does without it

    link = WebSocketLink.client(
        "gate.example:13321", nonce=bytes(16), mask_key=lambda: b"\x01\x02\x03\x04"
    )
    return Connection(link), server or server_connection(WebSocketLink.server())


def packages_in(data: bytes | bytearray) -> list[Package]:
    """The packages in what was written on a byte stream. Raises AssertionError for any others."""
    splitter = Splitter()
    packages = splitter.feed(bytes(data))
    if splitter.fault is not None or splitter.pending:
        raise AssertionError(f"not whole packages: {splitter.fault or splitter.pending}")
    return packages
