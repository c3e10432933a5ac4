"""Files on disk: what is sent, and where a received file goes.

The one room that touches a disk; it waits for nothing but the disk, so every adapter can share it.
Not loaded by ``import rtm_proto``.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from rtm_proto.errors import FileUnusable
from rtm_proto.flows.steps import SourceOpened
from rtm_proto.link import Buffer


@dataclass(frozen=True, slots=True)
class StreamSource:
    """A file that comes from elsewhere, of a size that is known.

    ``open`` is called for each attempt and gives the file's bytes from its beginning, in pieces of
    any size (an async generator function will do); ``name`` is the file's for the receiver.
    """

    size: int
    open: Callable[[], AsyncIterator[bytes]]
    name: str = ""


LocalSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
FileSource = LocalSource | StreamSource
"""What can be sent: a path, bytes, a binary file that can seek, or a stream of a known size."""


class Source:
    """A file to send; every ``open`` begins at its beginning."""

    def __init__(self, file: LocalSource) -> None:
        self._file = file
        self._stream: BinaryIO | None = None
        self._owned = False

    def open(self) -> SourceOpened:
        """Open it again. Raises OSError, or FileUnusable for what cannot be sent."""
        self.close()
        file = self._file
        if isinstance(file, (bytes, bytearray, memoryview)):
            self._stream, self._owned = io.BytesIO(bytes(file)), True
            return SourceOpened(len(self._stream.getbuffer()), "", "the given bytes")
        if isinstance(file, (str, os.PathLike)):
            return self._open_path(os.fsdecode(file))
        if isinstance(cast("object", file), io.TextIOBase):
            raise FileUnusable(f"a file gives bytes, this one text: open it in 'rb', got {file!r}")
        try:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
        except (AttributeError, ValueError) as exc:  # and io.UnsupportedOperation, which is one
            raise FileUnusable(
                f"a file is a path, bytes or a binary file that can seek, got {file!r}: {exc}"
            ) from exc
        self._stream, self._owned = file, False
        name = getattr(file, "name", "")
        name = name if isinstance(name, str) else ""
        return SourceOpened(size, Path(name).name, name or "the given file")

    def read(self, size: int) -> bytes:
        """At most *size* bytes; none at the end. Raises OSError, FileUnusable."""
        if self._stream is None:
            raise FileUnusable("the file is not open")
        try:
            data = self._stream.read(size)
        except ValueError as exc:  # it was closed meanwhile
            raise FileUnusable(f"the file cannot be read: {exc}") from exc
        if not isinstance(data, bytes):
            raise FileUnusable(f"a file gives bytes, got {type(data).__name__}: open it in 'rb'")
        return data

    def close(self) -> None:
        """Close what was opened here."""
        if self._stream is not None and self._owned:
            self._stream.close()
        self._stream = None

    # --- private ---

    def _open_path(self, path: str) -> SourceOpened:
        try:
            mode = os.stat(path).st_mode
        except ValueError as exc:  # a path with a null character
            raise FileUnusable(f"{path!r} is no path: {exc}") from exc
        if not stat.S_ISREG(mode):  # a FIFO would wait for its writer
            raise FileUnusable(f"{path} is not a regular file")
        self._stream, self._owned = open(path, "rb", buffering=0), True
        size = os.fstat(self._stream.fileno()).st_size
        return SourceOpened(size, Path(path).name, path)


class AnySource:
    """The same for every FileSource, with waiting; it belongs to no runtime."""

    def __init__(self, file: FileSource) -> None:
        self._local = None if isinstance(file, StreamSource) else Source(file)
        self._file = file
        self._pieces: AsyncIterator[bytes] | None = None
        self._rest = memoryview(b"")

    async def open(self) -> SourceOpened:
        """Open it again, from the beginning. Raises OSError, FileUnusable."""
        file = self._file
        if not isinstance(file, StreamSource):
            assert self._local is not None
            return self._local.open()
        await self.aclose()
        if type(file.size) is not int or file.size < 0:
            raise FileUnusable(f"a stream's size is an integer from 0, got {file.size!r}")
        self._pieces = aiter(file.open())
        return SourceOpened(file.size, file.name, file.name or "the given stream")

    async def read(self, size: int) -> bytes:
        """At most *size* bytes; none at the end. Raises OSError, FileUnusable.

        Cancelled, the piece under way may be lost: open it again.
        """
        if self._local is not None:
            return self._local.read(size)
        if self._pieces is None:
            raise FileUnusable("the file is not open")
        while not self._rest:
            try:
                piece: object = await anext(self._pieces)
            except StopAsyncIteration:
                return b""
            except OSError:
                raise
            except Exception as exc:  # whatever the user's own code raises
                raise FileUnusable(f"the stream failed: {type(exc).__name__}: {exc}") from exc
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise FileUnusable(f"a stream gives bytes, got {type(piece).__name__}")
            self._rest = memoryview(piece).cast("B")
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data

    async def aclose(self) -> None:
        """Close what was opened here; what the stream's own end raises is raised."""
        if self._local is not None:
            self._local.close()
        pieces, self._pieces, self._rest = self._pieces, None, memoryview(b"")
        end = getattr(pieces, "aclose", None)
        if end is not None:
            await end()


@dataclass(frozen=True, slots=True)
class Saved:
    """A received file on disk: where, its size in bytes and the md5 of its bytes in hex."""

    path: Path
    size: int
    md5: str
    attempts: int


class Sink:
    """Where a received file goes: written beside, and put in its place when it is whole."""

    def __init__(self, to: str | os.PathLike[str] | None, *, overwrite: bool) -> None:
        """*to*: a path, or a folder (None: the current one) in which the file gets its own name."""
        self._to = Path.cwd() if to is None else Path(to)
        self._overwrite = overwrite
        self._path = self._to
        self._part: Path | None = None
        self._stream: BinaryIO | None = None

    def open(self, name: str) -> None:
        """Open it, empty; *name* is safe to use.

        Raises OSError; FileExistsError unless it may overwrite.
        """
        self.close()
        self._path = self._to / name if self._to.is_dir() else self._to
        self._check_free()
        self._part = self._path.with_name(f".{os.urandom(8).hex()}.part")
        self._stream = open(self._part, "xb", buffering=0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of *data*. Raises OSError."""
        if self._stream is None:
            raise ValueError("the sink is not open")
        rest = memoryview(data)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def finish(self) -> Path:
        """Put the file in its place. Raises OSError; FileExistsError unless it may overwrite."""
        if self._stream is None or self._part is None:
            raise ValueError("the sink is not open")
        self._stream.close()
        self._check_free()
        os.replace(self._part, self._path)
        self._stream = self._part = None
        return self._path

    def close(self) -> None:
        """Throw away what is not finished."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None

    def _check_free(self) -> None:
        if not self._overwrite and os.path.lexists(self._path):
            raise FileExistsError(errno.EEXIST, "the file exists already", str(self._path))


class Writer(Protocol):
    """What a StreamSink's ``open`` gives: an open file of trio or anyio is one."""

    async def write(self, data: bytes, /) -> object:
        """Take all of *data*."""
        ...

    async def aclose(self) -> object:
        """Nothing more will come: the file is whole, or will never be."""
        ...


@dataclass(frozen=True, slots=True)
class StreamSink:
    """A place of one's own for a received file.

    ``open`` is called with the file's safe name, and again, after the writer before was closed,
    when the file has to come from its beginning once more. Only when ``download`` returns is the
    file whole: what it raises, also a cancellation, says that it is not.
    """

    open: Callable[[str], Awaitable[Writer]]


OwnSink = BinaryIO | StreamSink
"""A binary file that is open for writing (from where it stands; it stays open), or a StreamSink."""


class AnySink:
    """The same for every place a file can go to, with waiting; it belongs to no runtime."""

    def __init__(self, to: str | os.PathLike[str] | OwnSink | None, *, overwrite: bool) -> None:
        own = to is None or isinstance(to, (str, os.PathLike))
        self._local = Sink(cast("str | None", to), overwrite=overwrite) if own else None
        self._to = to
        self._start: int | None = None
        self._writer: Writer | None = None

    async def open(self, name: str) -> None:
        """Open it, empty. Raises OSError, FileUnusable, and what a StreamSink's ``open`` raises."""
        if self._local is not None:
            self._local.open(name)
        elif isinstance(self._to, StreamSink):
            await self.aclose()
            self._writer = await self._to.open(name)
        else:
            self._rewind(cast("BinaryIO", self._to))

    async def write(self, data: Buffer) -> None:
        """Write all of *data*. Raises what the place of it raises."""
        if self._local is not None:
            self._local.write(data)
        elif self._writer is not None:
            await self._writer.write(bytes(data))
        else:
            rest = memoryview(data)
            while rest:
                rest = rest[cast("BinaryIO", self._to).write(rest) :]

    async def finish(self) -> Path | None:
        """The file is whole: where on disk it is, if it went to a path. Raises OSError."""
        if self._local is not None:
            return self._local.finish()
        await self.aclose()
        return None

    async def aclose(self) -> None:
        """Throw away what is not finished, where that is ours; close a StreamSink's writer."""
        if self._local is not None:
            self._local.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.aclose()

    def _rewind(self, file: BinaryIO) -> None:
        """Where the file begins; on the second time what was written since is taken back."""
        if isinstance(cast("object", file), io.TextIOBase) or not hasattr(file, "write"):
            raise FileUnusable(
                f"a file goes to a path, a binary file that is open for writing, or a StreamSink; "
                f"got {file!r}"
            )
        if self._start is None:
            self._start = file.tell() if file.seekable() else -1
        elif self._start < 0:
            raise FileUnusable("the file has to come again, and this one cannot go back")
        else:
            file.seek(self._start)
            file.truncate()


@contextmanager
def new_socket_file(path: str) -> Generator[str]:
    """A path to bind a local socket to; it is at *path* at the end, for this user only.

    Until then it is in a folder of its own, where nobody else gets at it. A socket that nobody
    listens at any more is replaced. Raises OSError: where somebody does, where another kind of file
    stands there, and for all that can go wrong on a disk.
    """
    _check_socket_file(path)
    folder = os.path.join(os.path.dirname(path), f".{os.getpid()}")
    new = os.path.join(folder, "s")
    os.mkdir(folder, 0o700)
    try:
        yield new
        os.chmod(new, 0o600)
        os.replace(new, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)
        os.rmdir(folder)


def _check_socket_file(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        try:
            sock.connect(path)
        except OSError:
            return  # nobody listens
    raise OSError(errno.EADDRINUSE, "somebody listens there already", path)
