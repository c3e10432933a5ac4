"""FPNN over WebSocket: a link with a handshake, frames and masks; either role.

    transport bytes ─► upgrade ─► WebSocket ─► pieces ─► Splitter ─► packages
    transport bytes ◄─ upgrade ◄─ WebSocket ◄──────────────────────── packages

The handshake is in ``upgrade``, frames and messages are in ``messages``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

try:
    import h11
    from wsproto.frame_protocol import CloseReason as CloseCode
except ModuleNotFoundError as exc:
    missing = str(exc.name).partition(".")[0]
    raise ImportError(
        f"rtm_proto.websocket needs {missing}: pip install 'rtm-proto[websocket]'", name=missing
    ) from exc

from .errors import FramingError, LocalProtocolError
from .events import CloseKind, CloseReason
from .frames import Mask
from .link import Buffer, Link
from .messages import WebSocket
from .package import MAX_PACKAGE, Package, Splitter
from .upgrade import (
    ClientUpgrade,
    HandshakeRefused,
    ServerUpgrade,
    accept_response,
    check_upgrade,
    is_service_path,
    refuse_response,
)


class WebSocketLink(Link):
    """FPNN packages in WebSocket messages, after the handshake; made by ``client``, ``server``
    or ``upgraded``.

    A message sent is one package. A message received is exactly one package where *strict* (a
    server), else the payloads are one stream of bytes (a client; spec 11.3).

    ``refusal``  why the handshake failed, with the HTTP status, where it did
    """

    def __init__(
        self,
        upgrade: ClientUpgrade | ServerUpgrade | None,
        socket: WebSocket,
        *,
        max_package: int,
        strict: bool,
        repair: bool,
    ) -> None:
        """For the constructors below."""
        super().__init__()
        self.refusal: HandshakeRefused | None = None
        self._upgrade = upgrade
        self._socket = socket
        self._splitter = Splitter(max_package)
        self._strict = strict
        self._repair = repair
        self._first: bytes = b""  # what is sent at the start
        self._behind: bytes = b""  # bytes that came behind a request read by somebody else
        self._held: list[Package] = []  # strict: of a message that is not whole yet

    @classmethod
    def client(
        cls,
        host: str,
        target: str = "/service/websocket",
        *,
        nonce: bytes,
        mask_key: Callable[[], bytes],
        mask: Mask | None = None,
        max_package: int = MAX_PACKAGE,
        subprotocol: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        strict: bool = False,
        lane: bool = True,
    ) -> WebSocketLink:
        """A client of the server *host* (with its port, where that is not the scheme's own).

        *nonce*: 16 random bytes; *mask_key*: 4 random bytes at each call. *max_package*: the
        largest package and message taken, in bytes. *headers* are sent as well. The link is open
        when the whole 101 has arrived, and sends nothing between its request and that.

        Raises LocalProtocolError where HTTP cannot carry *host*, *target* or *headers*.
        """
        upgrade = ClientUpgrade(host, target, nonce, subprotocol=subprotocol, headers=headers)
        socket = WebSocket(
            client=True, mask_key=mask_key, mask=mask, max_message=max_package, lane=lane
        )
        link = cls(upgrade, socket, max_package=max_package, strict=strict, repair=True)
        link._first = upgrade.request
        return link

    @classmethod
    def server(
        cls,
        *,
        path: Callable[[str], bool] = is_service_path,
        mask: Mask | None = None,
        max_package: int = MAX_PACKAGE,
        strict: bool = True,
        lane: bool = True,
    ) -> WebSocketLink:
        """A server that reads the request itself; *path* says which targets it serves."""
        socket = WebSocket(client=False, mask=mask, max_message=max_package, lane=lane)
        upgrade = ServerUpgrade(path)
        return cls(upgrade, socket, max_package=max_package, strict=strict, repair=False)

    @classmethod
    def upgraded(
        cls,
        request: h11.Request,
        trailing_data: bytes = b"",
        *,
        path: Callable[[str], bool] = is_service_path,
        mask: Mask | None = None,
        max_package: int = MAX_PACKAGE,
        strict: bool = True,
        lane: bool = True,
    ) -> WebSocketLink:
        """A server whose request was read by somebody else; *trailing_data* came behind it.

        ``start`` queues the 101, or the refusal and ends the link.
        """
        socket = WebSocket(client=False, mask=mask, max_message=max_package, lane=lane)
        link = cls(None, socket, max_package=max_package, strict=strict, repair=False)
        link._behind = trailing_data
        try:
            link._first = accept_response(check_upgrade(request, path=path))
        except HandshakeRefused as refusal:
            link.refusal = refusal.with_traceback(None)
        return link

    def start(self) -> None:
        """A client asks; a server waits, or answers the request that it was given."""
        if self._first:
            self._out.append(self._first)
            self._first = b""
        if self._upgrade is None:
            if self.refusal is not None:
                self._refuse(self.refusal)
                return
            self.is_open = True
            # No time is known yet. The limit of control frames counts these for themselves.
            self.receive_data(self._behind, now=float("-inf"))
            self._behind = b""

    def send_package(self, package: bytes) -> None:
        """One whole package, in a message of its own."""
        if self._left or not self.is_open:
            self._check_idle()
        self._send_whole(package)

    def ping(self) -> bool:
        """Send an empty WebSocket ping, unless a package sent in pieces is under way."""
        return self.is_open and self._socket.ping()

    def set_max_package(self, size: int) -> None:
        """Change the limit, of packages and of messages."""
        self._splitter.limit = size
        self._socket.set_max_message(size)

    def set_max_whole(self, size: int) -> None:
        """Give packages over *size* bytes in parts."""
        self._splitter.whole_to = size

    def close(self, reason: CloseReason) -> None:
        """Send a close frame, once the link is open; its code comes of the fault or *reason*."""
        self._end(reason.kind, reason.text)
        ended = self.ended or reason
        if not self.is_open or ended.kind in _SPEECHLESS:
            return
        code = self._socket.close_code
        if code is None:
            code = _CLOSE_CODES.get(ended.kind, CloseCode.NORMAL_CLOSURE)
        self._socket.close(code, ended.text)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Read the handshake, then frames, and cut what they carry into packages."""
        if self.ended is not None:
            return
        if not self.is_open:
            data = self._shake_hands(data)
            if not self.is_open:
                return
        self._read(data, now)

    def receive_eof(self) -> None:
        """The peer's end of the stream: in order between packages."""
        if self.ended is not None:
            return
        if not self.is_open:
            if self._upgrade is not None:
                self.refusal = self._upgrade.receive_eof()
                self._end(CloseKind.HANDSHAKE, str(self.refusal))
            return
        self._socket.receive_eof()
        pending = self._splitter.pending
        if pending:
            self._end(CloseKind.PEER_CLOSED, f"inside a package, after {pending} bytes of it")
        else:
            assert self._socket.ended is not None
            self._end(self._socket.ended.kind, self._socket.ended.text)

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order."""
        out = self._socket.data_to_send()
        if self._out:
            out = super().data_to_send() + out
        return out

    # --- private ---

    def _send_whole(self, package: bytes) -> None:
        self._socket.send(package)

    def _send_begin(self, size: int, head: bytes) -> None:
        self._socket.begin(size)
        self._socket.send_piece(head)

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._socket.send_piece(piece)

    def _check_idle(self) -> None:
        if not self.is_open:
            raise LocalProtocolError("the handshake is not done yet")
        super()._check_idle()

    def _end_with(self, fault: FramingError) -> None:
        super()._end_with(fault)
        if fault.limit:
            self._socket.fail(CloseKind.LIMIT, CloseCode.MESSAGE_TOO_BIG, str(fault))
        else:
            self._socket.fail(CloseKind.PROTOCOL_ERROR, CloseCode.PROTOCOL_ERROR, str(fault))

    def _read(self, data: Buffer, now: float) -> None:
        socket = self._socket
        splitter = self._splitter
        if not self._strict:
            payloads, end = socket.take_whole(data)
            if end:
                self._packages += splitter.feed(payloads)
                if splitter.fault is not None:
                    self._end_with(splitter.fault)
                    return
                if end == len(data):
                    return
                data = data[end:]
        socket.receive_data(data, now=now)
        while self.ended is None:
            piece = socket.next_piece(repair=self._repair and not splitter.pending)
            if piece is None:
                if socket.ended is not None:
                    self._end(socket.ended.kind, socket.ended.text)
                return
            if self._strict:
                self._take_strictly(piece[1], last=piece[2])
            else:
                self._packages += splitter.feed(piece[1])
                if splitter.fault is not None:
                    self._end_with(splitter.fault)

    def _shake_hands(self, data: Buffer) -> bytes:
        """Read the handshake; what came behind it."""
        if self._upgrade is None:  # upgraded, but not started
            self._behind += bytes(data)
            return b""
        try:
            behind = self._upgrade.receive_data(data)
        except HandshakeRefused as refusal:
            self._refuse(refusal)
            return b""
        if behind is None:
            return b""
        if isinstance(self._upgrade, ServerUpgrade):
            self._out.append(accept_response(self._upgrade.headers))
        self._upgrade = None  # with all that it has buffered
        self.is_open = True
        return behind

    def _refuse(self, refusal: HandshakeRefused) -> None:
        self.refusal = refusal.with_traceback(None)  # which would keep what was read
        if not isinstance(self._upgrade, ClientUpgrade):
            self._out.append(refuse_response(refusal))
        self._end(CloseKind.HANDSHAKE, str(refusal))

    def _take_strictly(self, data: Buffer, *, last: bool) -> None:
        """A message is one package: it counts once the message is whole and nothing is left.

        The parts of a large one count at once, but for the last.
        """
        splitter = self._splitter
        for package in splitter.feed(data):
            if package.left and not self._held:
                self._packages.append(package)
            else:
                self._held.append(package)
        if not self._held:
            if splitter.fault is not None:
                self._end_with(splitter.fault)
            elif last:
                pending = splitter.pending
                what = f"a package, after {pending} bytes of it" if pending else "nothing"
                self._end_inconsistent(f"a message carries one whole package, got {what}")
        elif len(self._held) > 1 or splitter.pending or splitter.fault is not None:
            self._end_inconsistent("a message carries one package, got more bytes behind it")
        elif last:
            self._packages.append(self._held.pop())

    def _end_inconsistent(self, text: str) -> None:
        self._socket.fail(CloseKind.PROTOCOL_ERROR, CloseCode.INVALID_FRAME_PAYLOAD_DATA, text)
        self._end(CloseKind.PROTOCOL_ERROR, text)


_SPEECHLESS = frozenset(
    {CloseKind.HANDSHAKE, CloseKind.CONNECT, CloseKind.TLS, CloseKind.PEER_RESET}
)  # there is nobody to say it to
_CLOSE_CODES = {  # for what the link itself did not find; RFC 6455, section 7.4.1
    CloseKind.PROTOCOL_ERROR: CloseCode.PROTOCOL_ERROR,
    CloseKind.LIMIT: CloseCode.POLICY_VIOLATION,
}
