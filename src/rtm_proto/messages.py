"""WebSocket messages after the handshake (RFC 6455), either role: bytes <-> pieces of messages.

    bytes ─► receive_data ─┬─ fast lane ─┬─► next_piece     (Piece: a part of a message)
                           └─ wsproto ───┘
    bytes ◄─ data_to_send ◄─ our own frames ◄─ send, begin + send_piece, ping, close

The fast lane takes whole data frames (FIN set, no reserved bit, rightly masked, no fragmented
message under way) and hands their payload on as it arrives. Every other frame goes to wsproto:
control frames, fragments and all that is odd or broken. wsproto always gets whole frames and the
lane only works between them, so both read the same stream.
"""

from __future__ import annotations

from collections.abc import Callable

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason as CloseCode

from .errors import LocalProtocolError
from .events import CloseKind, CloseReason
from .frames import (
    BINARY,
    CONTINUATION,
    FIN,
    MASKED,
    MAX_CONTROL,
    PING,
    TEXT,
    FrameWriter,
    Mask,
    best_mask,
    head_size,
    payload_size,
    turn_key,
)
from .link import Buffer
from .package import MAX_PACKAGE

MAX_FRAGMENTS = 4_096  # frames of one message, empty ones too
MAX_CONTROLS = 50  # control frames taken in one second
FP = 0x4650  # the letters, where they stand for the length of a frame
PEEK = 16  # bytes of an over-long message that are handed on: an FPNN header with its seq

Piece = tuple[int, Buffer, bool]
"""A part of a message: its opcode (TEXT or BINARY), its bytes, whether the message ends here."""


class WebSocket:
    """Bytes <-> messages of a WebSocket whose handshake is done.

    Reading is pulling: after ``receive_data`` call ``next_piece`` until it returns None. Messages
    come in pieces, as they arrive; none is ever collected here.

    ``ended``       why nothing more is read, or None; the pieces before it are good
    ``close_code``  the code that ``close`` sends for it, where the reason has one
    """

    def __init__(
        self,
        *,
        client: bool,
        mask_key: Callable[[], bytes] | None = None,
        mask: Mask | None = None,
        max_message: int = MAX_PACKAGE,
        max_fragments: int = MAX_FRAGMENTS,
        text: bool = False,
        lane: bool = True,
    ) -> None:
        """A client needs *mask_key*: each call gives 4 random bytes for one frame.

        *mask* does the masking (the fastest installed routine by default). *max_message* is in
        bytes, all fragments together. *text*: text messages are checked to be UTF-8; without it
        they are taken like binary ones, as FPNN's servers do. *lane*: False gives wsproto every
        byte as it comes, so that a test can compare the two.
        """
        if client and mask_key is None:
            raise LocalProtocolError("a client masks its frames: mask_key is missing")
        self.ended: CloseReason | None = None
        self.close_code: int | None = None
        self._mask = best_mask() if mask is None else mask
        self._writer = FrameWriter(mask_key if client else None, self._mask)
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._text = text
        self._lane = lane
        self._lane_heads = (FIN | BINARY,) if text else (FIN | BINARY, FIN | TEXT)
        self._mask_bit = 0 if client else MASKED  # what the peer's frames must have
        self._client = client
        self._wsproto_made: Connection | None = None  # many connections never need it
        # what arrives
        self._data: Buffer = b""  # not read yet: at most a frame's head when nothing is pulled
        self._offset = 0  # where reading goes on in it
        self._fed = 0  # bytes of the head at the offset that wsproto has already
        self._left = 0  # bytes of payload to come in the current frame
        self._in_lane = False  # whether those are ours or wsproto's
        self._opcode = BINARY
        self._key = b""  # the current frame's mask key, turned to its next byte
        self._pieces: list[Piece] = []  # from wsproto: one at the most
        self._message_open = False  # wsproto has a message under way
        self._message_size = 0  # bytes of it so far
        self._fragments = 0  # frames of it so far
        self._frame_open = False  # wsproto has a data frame under way
        self._now = 0.0
        self._controls_since = float("-inf")
        self._controls = 0  # since then

    # --- what you want said ---

    @property
    def in_frame(self) -> bool:
        """Whether a frame sent in pieces has begun and is not whole."""
        return self._writer.in_frame

    def send(self, payload: Buffer, opcode: int = BINARY) -> None:
        """One message in one frame; dropped after a close.

        Raises LocalProtocolError inside a frame sent in pieces.
        """
        self._writer.write(opcode, payload)

    def begin(self, size: int, opcode: int = BINARY) -> None:
        """Begin a message of *size* bytes in one frame; ``send_piece`` brings its payload."""
        self._writer.begin(opcode, size)

    def send_piece(self, piece: Buffer) -> None:
        """The next bytes of the message that has begun.

        A server's pieces are not copied: leave the buffer alone until it is written. Raises
        LocalProtocolError where the message has no room for them.
        """
        self._writer.write_piece(piece)

    def ping(self, payload: bytes = b"") -> bool:
        """Send a ping, unless a frame is under way or the close is said: then False."""
        if len(payload) > MAX_CONTROL:
            raise LocalProtocolError(
                f"a ping carries at most {MAX_CONTROL} bytes, got {len(payload)}"
            )
        if self._writer.in_frame or self._writer.closed:
            return False
        self._writer.write(PING, payload)
        return True

    def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, text: str = "") -> None:
        """Send a close frame, once; what arrives from now on is dropped.

        A frame that is under way is finished first. *text* is cut to 123 bytes. The peer is not
        waited for: FPNN's servers end the stream without an answer (spec 11.3).
        """
        if self.ended is None:
            self._end(CloseKind.LOCAL, "")
        if not self._writer.closed:
            # wsproto has to know; its bytes are dropped, because it draws its mask keys itself.
            self._wsproto.send(CloseConnection(code=CloseCode.NORMAL_CLOSURE))
            self._writer.close(code, text)

    def fail(self, kind: CloseKind, code: int, text: str) -> None:
        """What came is at fault: no more is read, and ``close_code`` becomes *code*."""
        if self.ended is None:
            self._end(kind, text)
            self.close_code = code

    def set_max_message(self, size: int) -> None:
        """From now on take messages of *size* bytes."""
        self._max_message = size

    # --- what happened ---

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came. Leave the buffer alone until ``next_piece`` has returned None."""
        if self.ended is not None:
            return
        self._now = now
        if self._offset < len(self._data):
            self._data = bytes(self._data[self._offset :]) + data
        else:
            self._data = data
        self._offset = 0

    def take_whole(self, data: Buffer) -> tuple[bytes, int]:
        """The payloads of the binary messages that stand at the start of *data*, each whole in one
        frame below 64 KiB, one behind the other; and where they end.

        For a client. What is behind them goes to ``receive_data``, and so does all that is not
        plain: it may be nothing that is taken here.
        """
        if (
            self._mask_bit
            or not self._lane
            or self._data
            or self._left
            or self._message_open
            or self.ended is not None
            or type(data) is not bytes
        ):
            return b"", 0
        payloads: list[bytes] = []
        offset, end, limit = 0, len(data), self._max_message
        while end - offset >= 4 and data[offset] == FIN | BINARY:
            size = data[offset + 1]
            start = offset + 2
            if size == 126:
                size = data[offset + 2] << 8 | data[offset + 3]
                start = offset + 4
                if size == FP:
                    break
            elif size > 126:
                break
            if size > limit or start + size > end:
                break
            offset = start + size
            payloads.append(data[start:offset])
        return payloads[0] if len(payloads) == 1 else b"".join(payloads), offset

    def receive_eof(self) -> None:
        """The peer's end of the stream: without a close frame that is FPNN's normal end."""
        inside = self._left or self._message_open or self._offset < len(self._data)
        if self.ended is None:
            self._end(CloseKind.PEER_CLOSED, "inside a WebSocket message" if inside else "")

    # --- what comes of it ---

    def next_piece(self, *, repair: bool = False) -> Piece | None:
        """The next piece of a message, or None if nothing more comes of what arrived.

        A piece may be a view into the buffer that was received. *repair*: the next frame begins
        a package, so that the missing length of a 126-byte frame can be told (spec 11.3).
        """
        while True:
            if self._pieces:
                return self._pieces.pop()
            if self.ended is not None:
                return None
            data = self._data
            offset = self._offset
            have = len(data) - offset
            if not self._lane:
                self._offset = len(data)
                self._feed(bytes(data[offset:]))
                if self._pieces or self.ended is not None:
                    continue
                break
            if have == 0:
                break
            if self._left:
                piece = self._take(min(have, self._left))
                if piece is not None:
                    return piece
                continue
            if have < 2:
                break
            first = data[offset]
            size = data[offset + 1] & 0x7F
            head = 2
            if (
                first not in self._lane_heads
                or data[offset + 1] & MASKED != self._mask_bit
                or self._message_open
            ):
                if self._begin_wsproto(have):
                    continue
                break
            # the fast lane
            if size == 126:
                if have < 4:
                    break
                size = data[offset + 2] << 8 | data[offset + 3]
                head = 4
                if repair and size == FP and first == FIN | BINARY:
                    # "FP" where a length belongs. A real length of 18,000 is followed by "FPNN".
                    if have < 6:
                        break
                    if data[offset + 4] == 0x4E and data[offset + 5] == 0x4E:
                        size = 126
                        head = 2
            elif size == 127:
                if have < 10:
                    break
                size = int.from_bytes(data[offset + 2 : offset + 10])
                head = 10
            if self._mask_bit:
                head += 4
                if have < head:
                    break
                self._key = bytes(data[offset + head - 4 : offset + head])
            if size > self._max_message:
                # A quest's header is still handed on, so that the quest can be refused by name:
                # always all of it, or the outcome would hang on how the bytes are cut.
                peek = min(PEEK, self._max_message)
                if have < head + peek:
                    break
                self._offset += head
                self._left = size
                self._in_lane = True
                self._opcode = first & 0x0F
                piece = self._take(peek)
                self._fail_size(size)
                return piece
            self._offset += head
            if size == 0:
                return first & 0x0F, b"", True
            self._left = size
            self._in_lane = True
            self._opcode = first & 0x0F
        # Keep the part of a head that has come: the caller's buffer may change.
        self._data = bytes(self._data[self._offset :])
        self._offset = 0
        return None

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order."""
        return self._writer.data_to_send()

    # --- private ---

    @property
    def _wsproto(self) -> Connection:
        if self._wsproto_made is None:
            role = ConnectionType.CLIENT if self._client else ConnectionType.SERVER
            self._wsproto_made = Connection(role)
        return self._wsproto_made

    def _take(self, size: int) -> Piece | None:
        """The next *size* bytes of the current frame's payload: a piece, or wsproto's."""
        start = self._offset
        end = self._offset = start + size
        self._left -= size
        data = self._data
        if not self._in_lane:
            self._feed(bytes(data[start:end]))
            return None
        if start or end < len(data):
            data = memoryview(data)[start:end]
        if self._mask_bit:
            data = self._mask(data, self._key)
            if self._left:
                self._key = turn_key(self._key, size)
        return self._opcode, data, self._left == 0

    def _begin_wsproto(self, have: int) -> bool:
        """Give wsproto the head at the offset, as far as it is there; False if it is not whole.

        It judges each byte at once, so a broken frame is seen as early as without the lane.
        """
        data = self._data
        offset = self._offset
        size = head_size(data[offset + 1])
        head = bytearray(data[offset + self._fed : offset + min(have, size)])
        if self._fed == 0 and not self._text and head[0] & 0x0F == TEXT:
            head[0] += BINARY - TEXT  # taken like a binary message: no check for UTF-8
        self._fed = min(have, size)
        self._feed(bytes(head))
        if self.ended is not None:
            return True
        if have < size:
            return False
        self._fed = 0
        self._offset = offset + size
        self._left = payload_size(data[offset : offset + size])
        self._in_lane = False
        continued = data[offset] & 0x0F == CONTINUATION
        if continued == self._message_open:  # else wsproto refuses it with its first byte
            total = self._message_size + self._left
            if data[offset] & 0x0F <= BINARY and total > self._max_message:
                self._fail_size(total)
        return True

    def _feed(self, data: bytes) -> None:
        """Give wsproto some bytes and take what comes of them, up to the next piece."""
        self._wsproto.receive_data(data)
        for event in self._wsproto.events():
            if isinstance(event, BytesMessage):
                self._take_message(BINARY, event.data, event)
            elif isinstance(event, TextMessage):
                self._take_message(TEXT, event.data.encode(), event)
            elif isinstance(event, CloseConnection):
                self._take_close(event)
            else:  # a ping or a pong
                self._count_control()
                if isinstance(event, Ping) and self.ended is None:
                    self._writer.pong(bytes(event.payload))
            if self._pieces or self.ended is not None:
                return

    def _take_message(self, opcode: int, data: Buffer, event: BytesMessage | TextMessage) -> None:
        if not self._frame_open:
            self._fragments += 1
            if self._fragments > self._max_fragments:
                self.fail(
                    CloseKind.LIMIT,
                    CloseCode.POLICY_VIOLATION,
                    f"a message has more than {self._max_fragments} fragments",
                )
                return
        self._frame_open = not event.frame_finished
        self._message_open = not event.message_finished
        self._message_size += len(data)
        if self._message_size > self._max_message:
            self._fail_size(self._message_size)
            return
        if event.message_finished:
            self._message_size = 0
            self._fragments = 0
        self._pieces.append((opcode, data, event.message_finished))

    def _take_close(self, event: CloseConnection) -> None:
        # wsproto tells of a broken frame as if the peer had closed, but then its state stays.
        if self._wsproto.state not in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED):
            self.fail(CloseKind.PROTOCOL_ERROR, int(event.code), str(event.reason))
            return
        code = None if event.code == CloseCode.NO_STATUS_RCVD else int(event.code)
        said = " ".join(filter(None, (str(code or ""), event.reason)))
        self._end(CloseKind.PEER_CLOSED, f"close frame {said}".rstrip())
        self.close(code)

    def _count_control(self) -> None:
        if self._now - self._controls_since >= 1:
            self._controls_since = self._now
            self._controls = 0
        self._controls += 1
        if self._controls > MAX_CONTROLS:
            self.fail(
                CloseKind.LIMIT,
                CloseCode.POLICY_VIOLATION,
                f"more than {MAX_CONTROLS} control frames in a second",
            )

    def _fail_size(self, size: int) -> None:
        self.fail(
            CloseKind.LIMIT,
            CloseCode.MESSAGE_TOO_BIG,
            f"a message of {size} bytes or more is over the limit of {self._max_message}",
        )

    def _end(self, kind: CloseKind, text: str) -> None:
        self.ended = CloseReason(kind, text)
        self._data = b""
        self._offset = 0
