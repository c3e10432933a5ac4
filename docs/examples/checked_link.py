"""A link of one's own: each package in a frame that says its length and has a checksum.

    0          4               4+size     8+size
    +----------+---------------+----------+
    | size u32 | package       | crc  u32 |
    +----------+---------------+----------+

Both numbers are big-endian. Frames follow each other without a gap.
"""

from zlib import crc32

from rtm_proto import CloseKind, CloseReason, Code, Link, Package, Splitter
from rtm_proto.errors import FramingError
from rtm_proto.link import Buffer
from rtm_proto.package import MAX_PACKAGE


class CheckedLink(Link):
    """Packages on a byte stream, given out once their checksum is right; the same at both ends."""

    def __init__(self, *, max_package: int = MAX_PACKAGE) -> None:
        """*max_package*: the largest package taken from the peer, in bytes."""
        super().__init__()
        self._limit = max_package
        self._buffer = bytearray()  # at most a frame of that size, and one buffer
        self._crc = 0  # of the package that is being sent in pieces

    def start(self) -> None:
        """Open at once: there is no handshake."""
        self.is_open = True

    def close(self, reason: CloseReason) -> None:
        """Nothing to say: the end of the stream is the goodbye."""
        self._end(reason.kind, reason.text)

    def set_max_package(self, size: int) -> None:
        """Change the limit."""
        self._limit = size

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Cut *data* into frames; a fault comes behind the packages before it."""
        if self.ended is not None:
            return
        self._buffer += data
        try:
            while (package := self._next_package()) is not None:
                self._packages.append(package)
        except FramingError as fault:
            self._buffer.clear()
            self._end_with(fault)

    def receive_eof(self) -> None:
        """The peer's end of the stream, in order where no frame has begun."""
        rest = len(self._buffer)
        self._end(CloseKind.PEER_CLOSED, f"inside a frame, after {rest} bytes of it" * bool(rest))

    # --- private ---

    def _send_whole(self, package: bytes) -> None:
        self._out += [_u32(len(package)), package, _u32(crc32(package))]

    def _send_begin(self, size: int, head: bytes) -> None:
        self._out += [_u32(size), head]
        self._crc = crc32(head)
        if len(head) == size:  # it is whole: no piece will follow
            self._out.append(_u32(self._crc))

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._out.append(piece)
        self._crc = crc32(piece, self._crc)
        if last:
            self._out.append(_u32(self._crc))

    def _next_package(self) -> Package | None:
        """The package in the first frame, once that is whole. Raises FramingError."""
        buffer = self._buffer
        size = int.from_bytes(buffer[:4], "big")
        if len(buffer) >= 4 and size > self._limit:
            text = f"a package of {size} bytes is over the limit of {self._limit}"
            raise FramingError(text, Code.INVALID_PACKAGE, limit=True)
        if len(buffer) < 8 + size:
            return None
        body, crc = bytes(buffer[4 : 4 + size]), bytes(buffer[4 + size : 8 + size])
        del buffer[: 8 + size]
        if crc != _u32(crc32(body)):
            text = f"the checksum is {crc.hex()}, it should be {crc32(body):08x}"
            raise FramingError(text, Code.INVALID_PACKAGE)
        splitter = Splitter(self._limit)
        packages = splitter.feed(body)
        if splitter.fault is not None:
            raise splitter.fault
        if len(packages) != 1 or splitter.pending:
            raise FramingError("a frame has one package, and nothing else", Code.INVALID_PACKAGE)
        return packages[0]


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
