"""Links: bytes on the wire <-> whole packages. The one pluggable room.

    transport bytes ─► receive_data ─► packages()          (Package objects, in order)
    transport bytes ◄─ data_to_send ◄─ send_package / begin_package + send_piece

A link of your own subclasses :class:`Link`. It does no I/O, has no clock and raises nothing for
what the peer does: a fault is told by ``ended``, after the packages that came before it.
TLS is not a link: it belongs to the transport below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from .errors import FramingError, LocalProtocolError
from .events import CloseKind, CloseReason
from .package import MAX_PACKAGE, Package, Splitter

Buffer = bytes | bytearray | memoryview


class Link(ABC):
    """Bytes on the wire <-> whole packages.

    ``is_open``  packages can pass (a link with a handshake is not open at once)
    ``ended``    why nothing more will arrive, or None; set at most once, never cleared
    ``fault``    the framing fault behind ``ended``, where there was one
    """

    def __init__(self) -> None:
        self.is_open = False
        self.ended: CloseReason | None = None
        self.fault: FramingError | None = None
        self._out: list[Buffer] = []
        self._packages: list[Package] = []
        self._left = 0  # bytes still to come of a package sent in pieces

    # --- what you want said ---

    @abstractmethod
    def start(self) -> None:
        """The transport is up: begin the handshake, or be open at once."""

    def send_package(self, package: bytes) -> None:
        """One whole package. Not between ``begin_package`` and the last of its pieces."""
        self._check_idle()
        self._send_whole(package)

    def begin_package(self, size: int, head: bytes) -> None:
        """Begin a package of *size* bytes in all with *head*; ``send_piece`` brings the rest."""
        self._check_idle()
        if len(head) > size:
            raise LocalProtocolError(f"a package of {size} bytes cannot begin with {len(head)}")
        self._left = size - len(head)
        self._send_begin(size, head)

    def send_piece(self, piece: Buffer) -> None:
        """The next bytes of the package that has begun.

        The buffer is not copied where that can be avoided: leave it alone until it is written.
        """
        if len(piece) > self._left:
            raise LocalProtocolError(
                f"the package has room for {self._left} more bytes, got {len(piece)}"
            )
        if len(piece):
            self._left -= len(piece)
            self._send_more(piece, last=self._left == 0)

    @property
    def in_package(self) -> bool:
        """Whether a package sent in pieces has begun and is not whole."""
        return self._left > 0

    def ping(self) -> bool:
        """Send a sign of life below the package layer, if the link has one and now is the time."""
        return False

    @abstractmethod
    def close(self, reason: CloseReason) -> None:
        """Say goodbye as far as the link has a way to; *reason* is ours."""

    def set_max_package(self, size: int) -> None:  # noqa: B027
        """From now on take packages of *size* bytes from the peer, header included.

        A link without a limit of its own may leave this out.
        """

    def set_max_whole(self, size: int) -> None:  # noqa: B027
        """From now on give packages over *size* bytes in parts, as they arrive (see ``Package``).

        A link that leaves this out gives every package whole.
        """

    # --- what happened ---

    @abstractmethod
    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came from the transport."""

    @abstractmethod
    def receive_eof(self) -> None:
        """The transport will bring no more bytes."""

    # --- what comes of it ---

    def packages(self) -> list[Package]:
        """Take the packages that have arrived, and the parts of large ones."""
        packages, self._packages = self._packages, []
        return packages

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order."""
        out, self._out = self._out, []
        return out

    # --- for subclasses ---

    @abstractmethod
    def _send_whole(self, package: bytes) -> None: ...

    @abstractmethod
    def _send_begin(self, size: int, head: bytes) -> None: ...

    @abstractmethod
    def _send_more(self, piece: Buffer, *, last: bool) -> None: ...

    def _check_idle(self) -> None:
        if self._left:
            raise LocalProtocolError(
                f"a package sent in pieces is not whole yet: {self._left} bytes are missing"
            )

    def _end(self, kind: CloseKind, text: str = "") -> None:
        if self.ended is None:
            self.ended = CloseReason(kind, text)

    def _end_with(self, fault: FramingError) -> None:
        self.fault = fault
        self._end(CloseKind.LIMIT if fault.limit else CloseKind.PROTOCOL_ERROR, str(fault))


class StreamLink(Link):
    """FPNN packages one behind the other on a byte stream: what raw TCP and TLS carry."""

    def __init__(self, *, max_package: int = MAX_PACKAGE) -> None:
        """*max_package*: the largest package taken from the peer, in bytes, header included."""
        super().__init__()
        self._splitter = Splitter(max_package)

    def start(self) -> None:
        """Open at once: there is no handshake."""
        self.is_open = True

    def set_max_package(self, size: int) -> None:
        """Change the limit."""
        self._splitter.limit = size

    def set_max_whole(self, size: int) -> None:
        """Give packages over *size* bytes in parts."""
        self._splitter.whole_to = size

    def close(self, reason: CloseReason) -> None:
        """Nothing to say: the end of the stream is the goodbye."""
        self._end(reason.kind, reason.text)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Cut *data* into packages."""
        if self.ended is not None:
            return
        self._packages += self._splitter.feed(data)
        if self._splitter.fault is not None:
            self._end_with(self._splitter.fault)

    def receive_eof(self) -> None:
        """The peer's end of the stream: in order between packages, a fault inside one."""
        pending = self._splitter.pending
        self._end(
            CloseKind.PEER_CLOSED,
            f"inside a package, after {pending} bytes of it" if pending else "",
        )

    def _send_whole(self, package: bytes) -> None:
        self._out.append(package)

    def _send_begin(self, size: int, head: bytes) -> None:
        self._out.append(head)

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._out.append(piece)
