"""WebSocket frames (RFC 6455, section 5.2): their heads, and masking.

      0          1          2 ..              2, 4 or 10   + 4 where masked
    +----------+----------+------------------+------------+- - - - -+
    | FIN RSV  | MASK     | length 16 or 64  | mask key   | payload |
    | opcode   | length 7 | bits, if 126/127 | (client's) |         |
    +----------+----------+------------------+------------+- - - - -+

A masked payload is xored with the key, repeated: ``mask(mask(data, key), key) == data``. The C
routine of the `websockets` package does it where that is installed (the extra ``speed``), Python
where it is not: 0.1 or 1 us for 512 bytes, 1 or 54 us for 64 KiB.

``FrameWriter`` writes what goes out: one frame per message, whole or in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct

from .errors import LocalProtocolError
from .link import Buffer

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

FIN = 0x80  # the first byte: the message ends with this frame
MASKED = 0x80  # the second byte: a mask key follows
MAX_CONTROL = 125  # bytes of payload in a control frame; RFC 6455, section 5.5
MAX_CLOSE_TEXT = 123  # bytes: a control frame less the close code
WHOLE_FRAME = 16_384  # bytes of payload: up to this, a frame goes out as one buffer
KEYS_AT_ONCE = 64  # mask keys that are drawn together

Mask = Callable[[Buffer, bytes], bytes]
"""The buffer xored with the four bytes of the key, repeated; the buffer itself stays as it is."""

_SMALL = Struct("!BB4s")
_MEDIUM = Struct("!BBH")
_LARGE = Struct("!BBQ")
_INT_XOR_UNTIL = 256  # bytes: above this, translating is the faster way (measured)
_XOR = [bytes(a ^ b for a in range(256)) for b in range(256)]


def mask_in_python(data: Buffer, key: bytes) -> bytes:
    """*data* xored with the 4 bytes of *key*, without C."""
    size = len(data)
    if size <= _INT_XOR_UNTIL:
        keys = (key * ((size + 3) >> 2))[:size]
        number = int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")
        return number.to_bytes(size, "little")
    masked = bytearray(data)
    for i in range(4):
        masked[i::4] = masked[i::4].translate(_XOR[key[i]])
    return bytes(masked)


def best_mask() -> Mask:
    """The fastest routine that is installed."""
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        return mask_in_python
    return apply_mask


def mask_keys(entropy: Callable[[int], bytes]) -> Callable[[], bytes]:
    """Keys of 4 bytes, one at each call; *entropy* gives that many random bytes (``os.urandom``).

    Many are drawn at once: a call of the system for each would cost more than the masking.
    """

    def keys() -> Iterator[bytes]:
        while True:
            drawn = entropy(4 * KEYS_AT_ONCE)
            for at in range(0, len(drawn), 4):
                yield drawn[at : at + 4]

    return keys().__next__


def turn_key(key: bytes, size: int) -> bytes:
    """The key for what follows *size* bytes that were masked with *key*."""
    turn = size & 3
    return key[turn:] + key[:turn] if turn else key


def frame_head(opcode: int, size: int, key: bytes | None) -> bytes:
    """The head of an unfragmented frame with *size* bytes of payload, in its shortest form.

    *key* is the mask key (4 bytes) that a client has to use, None for a server.
    """
    masked = 0 if key is None else MASKED
    if size < 126:
        head = bytes((FIN | opcode, masked | size))
    elif size < 65_536:
        head = _MEDIUM.pack(FIN | opcode, masked | 126, size)
    else:
        head = _LARGE.pack(FIN | opcode, masked | 127, size)
    return head if key is None else head + key


def head_size(second: int) -> int:
    """How many bytes the head takes, by its second byte: 2 to 14."""
    length = second & 0x7F
    extended = 2 if length == 126 else 8 if length == 127 else 0
    return 2 + extended + (4 if second & MASKED else 0)


def payload_size(head: Buffer) -> int:
    """The payload length that a whole frame head announces, in bytes."""
    length = head[1] & 0x7F
    if length == 126:
        return int.from_bytes(head[2:4])
    if length == 127:
        return int.from_bytes(head[2:10])
    return length


def close_payload(code: int | None, text: str = "") -> bytes:
    """The payload of a close frame: empty without a code; *text* is cut to 123 bytes of UTF-8."""
    if code is None:
        return b""
    cut = text.encode(errors="replace")[:MAX_CLOSE_TEXT].decode(errors="ignore")
    return code.to_bytes(2) + cut.encode()


class FrameWriter:
    """Writes frames, masked with keys from *mask_key* (a client) or unmasked (None, a server).

    A control frame may not stand inside another frame: the latest pong and the close wait until a
    frame that is sent in pieces is whole. After the close, frames are dropped.
    """

    def __init__(self, mask_key: Callable[[], bytes] | None, mask: Mask) -> None:
        """*mask_key* gives 4 random bytes at each call, one for each frame."""
        self.closed = False
        self._mask_key = mask_key
        self._mask = mask
        self._out: list[Buffer] = []
        self._left = 0  # bytes to come of a frame sent in pieces
        self._key = b""  # its mask key, turned to the next byte
        self._pong: bytes | None = None
        self._close: bytes | None = None

    @property
    def in_frame(self) -> bool:
        """Whether a frame sent in pieces has begun and is not whole."""
        return self._left > 0

    def write(self, opcode: int, payload: Buffer) -> None:
        """One whole frame. The payload is copied if it is masked or small, else used as it is.

        Raises LocalProtocolError inside a frame sent in pieces.
        """
        if self._left:
            self._refuse()
        if self.closed:
            return
        size = len(payload)
        if self._mask_key is None:
            head = frame_head(opcode, size, None)
        else:
            key = self._mask_key()
            payload = self._mask(payload, key)
            if size < 126:
                self._out.append(_SMALL.pack(FIN | opcode, MASKED | size, key) + payload)
                return
            head = frame_head(opcode, size, key)
        if size <= WHOLE_FRAME:
            self._out.append(head + payload)
        else:
            self._out += (head, payload)

    def begin(self, opcode: int, size: int) -> None:
        """Begin a frame with *size* bytes of payload; ``write_piece`` brings them."""
        if self._left:
            self._refuse()
        if self.closed:
            return
        key = None if self._mask_key is None else self._mask_key()
        self._key = key or b""
        self._left = size
        self._out.append(frame_head(opcode, size, key))

    def write_piece(self, piece: Buffer) -> None:
        """The next bytes of the frame that has begun; a server's are not copied.

        Raises LocalProtocolError where the frame has no room for them.
        """
        size = len(piece)
        if self.closed and not self._left:
            return
        if size > self._left:
            raise LocalProtocolError(f"the frame has room for {self._left} more bytes, got {size}")
        if size == 0:
            return
        if self._mask_key is None:
            self._out.append(piece)
        else:
            self._out.append(self._mask(piece, self._key))
            self._key = turn_key(self._key, size)
        self._left -= size
        if self._left == 0:
            self._write_held()

    def pong(self, payload: bytes) -> None:
        """Answer a ping. Only the latest need be answered: RFC 6455, section 5.5.3."""
        if self._left:
            self._pong = payload
        else:
            self.write(PONG, payload)

    def close(self, code: int | None, text: str) -> None:
        """The close frame, once."""
        if self.closed:
            return
        if self._left:
            self._close = close_payload(code, text)
        else:
            self.write(CLOSE, close_payload(code, text))
        self.closed = True

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order."""
        out, self._out = self._out, []
        return out

    def _refuse(self) -> None:
        raise LocalProtocolError(
            f"a frame sent in pieces is not whole yet: {self._left} bytes are missing"
        )

    def _write_held(self) -> None:
        closed, self.closed = self.closed, False
        if self._pong is not None:
            self.write(PONG, self._pong)
            self._pong = None
        if self._close is not None:
            self.write(CLOSE, self._close)
            self._close = None
        self.closed = closed
