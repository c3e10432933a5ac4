"""An echo over rtm_proto's WebSocket layer, for the conformance run: pure, either role.

    bytes ─► receive_data ─► text and binary messages ─┐
    bytes ◄─ data_to_send ◄────────────────────────────┘

The suite sends more fragments and longer messages than we take in production, and it wants text
to be checked: the limits are raised and the text option is on.
"""

from __future__ import annotations

import os

from rtm_proto.events import CloseReason
from rtm_proto.link import Buffer
from rtm_proto.messages import WebSocket
from rtm_proto.upgrade import (
    ClientUpgrade,
    HandshakeRefused,
    ServerUpgrade,
    accept_response,
    refuse_response,
)

MAX_MESSAGE = 16 * 1024 * 1024  # bytes; case 9.1.6
MAX_FRAGMENTS = 65_536  # cases 9.3 and 9.4
AGENT = "rtm-proto"


class Echo:
    """One connection: sends back every message that it gets, and keeps the last one.

    It has the methods of a Connection that an adapter's wire drives.
    """

    abrupt = False
    full = False

    def __init__(self, upgrade: ClientUpgrade | ServerUpgrade) -> None:
        self.finished = False
        self.last: bytes | None = None
        self._upgrade: ClientUpgrade | ServerUpgrade | None = upgrade
        self._out: list[Buffer] = []
        self._message = bytearray()
        client = isinstance(upgrade, ClientUpgrade)
        if isinstance(upgrade, ClientUpgrade):
            self._out.append(upgrade.request)
        self._socket = WebSocket(
            client=client,
            mask_key=(lambda: os.urandom(4)) if client else None,
            max_message=MAX_MESSAGE,
            max_fragments=MAX_FRAGMENTS,
            text=True,
        )

    @classmethod
    def client(cls, host: str, target: str) -> Echo:
        """The client that asks *host* for *target*."""
        return cls(ClientUpgrade(host, target, os.urandom(16)))

    @classmethod
    def server(cls) -> Echo:
        """A server of every path."""
        return cls(ServerUpgrade(path=lambda _: True))

    def connected(self, *, now: float) -> None:
        """The stream is up."""

    def receive_eof(self, *, now: float) -> None:
        """The peer will send no more."""
        self._socket.receive_eof()
        self.finished = True

    def abort(self, reason: CloseReason) -> None:
        """The stream is gone."""
        self.finished = True

    def handle_timeout(self, *, now: float) -> None:
        """There are no timers."""

    def next_timeout(self) -> float | None:
        """There are no timers."""
        return None

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came."""
        behind = self._shake_hands(data)
        if behind is None:
            return
        socket = self._socket
        socket.receive_data(behind, now=now)
        while (piece := socket.next_piece()) is not None:
            opcode, part, last = piece
            self._message += part
            if last:
                self.last = bytes(self._message)
                self._message.clear()
                socket.send(self.last, opcode)
        if socket.ended is not None:
            socket.close(socket.close_code, socket.ended.text)
            self.finished = True

    def data_to_send(self) -> list[Buffer]:
        """What to write."""
        out = self._out + self._socket.data_to_send()
        self._out = []
        return out

    def _shake_hands(self, data: Buffer) -> Buffer | None:
        if self._upgrade is None:
            return data
        try:
            behind = self._upgrade.receive_data(data)
        except HandshakeRefused as refusal:
            if isinstance(self._upgrade, ServerUpgrade):
                self._out.append(refuse_response(refusal))
            self.finished = True
            return None
        if behind is None:
            return None
        if isinstance(self._upgrade, ServerUpgrade):
            self._out.append(accept_response([*self._upgrade.headers, ("Server", AGENT)]))
        self._upgrade = None
        return behind
