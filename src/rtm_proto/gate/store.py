"""What a gate keeps, and the interface of whatever keeps it.

The pure part asks with effects and says nothing to anybody until a store has carried them out:

    decision ──► Effect ──► store.carry_out(effect) ──► result ──► answer, pushes
                                                   └──► StoreFault ──► refusal

A large file comes piece by piece: WriteBody after WriteBody with the key that the file will have,
then SaveFile with what was not written yet, or DropBody. An effect on a body is only asked for
when the one before it was carried out. Bodies that are not saved end with the process.

A store of your own subclasses :class:`Store`. When ``carry_out`` returns, what it was asked to
keep is as safe as the store can make it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from ..errors import StoreFault
from ..received import Conversation

HISTORY = 500  # messages kept for each conversation (published limit)
MEMORY_BYTES = 256 * 1024 * 1024  # bytes of files that the memory store takes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is kept; ``key`` names it in its URL and cannot be guessed."""

    key: str
    size: int
    digest: str
    name: str
    mtype: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it is kept; ``target`` is a uid, gid or rid."""

    kind: Conversation
    sender: int
    target: int
    mid: int
    mtype: int
    msg: str
    attrs: str
    mtime: int


@dataclass(frozen=True, slots=True)
class WriteBody:
    """Take the next bytes of a file that is still coming. Gives None."""

    effect_id: int
    key: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DropBody:
    """Forget what was written of a file that will not come. Gives None."""

    effect_id: int
    key: str


@dataclass(frozen=True, slots=True)
class SaveFile:
    """Keep a file and the messages that tell of it, all or nothing. Gives None.

    The file is what was written with its key, and ``rest`` behind it. A file that was only
    uploaded has no message, one for several users has one for each.
    """

    effect_id: int
    file: StoredFile
    messages: tuple[StoredMessage, ...]
    rest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SaveMembers:
    """Keep the whole membership of a group. Gives None."""

    effect_id: int
    gid: int
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class FindFile:
    """Look up a file. Gives a StoredFile, or None."""

    effect_id: int
    key: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read a part of a file. Gives its bytes."""

    effect_id: int
    key: str
    offset: int
    length: int


Effect = WriteBody | DropBody | SaveFile | SaveMembers | FindFile | ReadFile


class Store(ABC):
    """Keeps what a gate has promised. Calls may come from several threads if ``blocking``.

    The text of a StoreFault goes to the client that asked: no paths, no addresses in it.
    """

    blocking = True
    """Whether calls may wait for a disk; the adapters then run them in worker threads."""

    def carry_out(self, effect: Effect) -> StoredFile | bytes | None:
        """Do what *effect* says and give what it says. Raises StoreFault."""
        match effect:
            case WriteBody():
                self.write_body(effect.key, effect.data)
                return None
            case DropBody():
                self.drop_body(effect.key)
                return None
            case SaveFile():
                self.save_file(effect.file, effect.messages, effect.rest)
                return None
            case SaveMembers():
                self.save_members(effect.gid, effect.members)
                return None
            case FindFile():
                return self.find_file(effect.key)
            case ReadFile():
                return self.read_file(effect.key, effect.offset, effect.length)
            case _:
                assert_never(effect)

    @abstractmethod
    def write_body(self, key: str, data: bytes) -> None:
        """Take the next bytes of the file that will have this key. Raises StoreFault.

        They need not be safe before ``save_file``. After a fault ``drop_body`` follows.
        """

    @abstractmethod
    def drop_body(self, key: str) -> None:
        """Forget what was written for this key, if anything was. Raises StoreFault."""

    @abstractmethod
    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        """Keep all or nothing; the file is what was written for its key, and *rest* behind it.

        Raises StoreFault, also where that is not ``file.size`` bytes; what was written is forgotten
        then.
        """

    @abstractmethod
    def save_members(self, gid: int, members: frozenset[int]) -> None:
        """Keep the whole membership of a group, instead of any before. Raises StoreFault."""

    @abstractmethod
    def find_file(self, key: str) -> StoredFile | None:
        """The file with this key. Raises StoreFault."""

    @abstractmethod
    def read_file(self, key: str, offset: int, length: int) -> bytes:
        """*length* bytes of a file from *offset*. Raises StoreFault when they are not there."""

    @abstractmethod
    def groups(self) -> dict[int, frozenset[int]]:
        """Every group with its members, for a gate that starts. Raises StoreFault."""

    @abstractmethod
    def messages(self) -> list[StoredMessage]:
        """Every message that is kept, for a gate that starts. Raises StoreFault."""


class MemoryStore(Store):
    """Keeps everything in memory, up to *max_bytes* of files; for tests and demonstrations."""

    blocking = False

    def __init__(self, *, max_bytes: int = MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bodies: dict[str, bytearray] = {}  # of files that are still coming
        self._files: dict[str, tuple[StoredFile, bytes]] = {}
        self._groups: dict[int, frozenset[int]] = {}
        self._messages: dict[tuple[object, ...], deque[StoredMessage]] = {}

    def write_body(self, key: str, data: bytes) -> None:
        """Take some bytes; StoreFault when there is no room."""
        self._make_room(len(data))
        self._bodies.setdefault(key, bytearray()).extend(data)

    def drop_body(self, key: str) -> None:
        """Forget them."""
        self._bytes -= len(self._bodies.pop(key, b""))

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        """Keep them; StoreFault when there is no room."""
        written = self._bodies.get(file.key, b"")
        self.drop_body(file.key)
        size = len(written) + len(rest)
        if size != file.size:
            raise StoreFault(f"{size} bytes came of a file of {file.size}")
        self._make_room(size)
        self._files[file.key] = (file, bytes(written) + rest)
        for message in messages:
            conversation: tuple[object, ...] = (message.kind, message.target)
            if message.kind is Conversation.P2P:
                pair = sorted((message.sender, message.target))
                conversation = (message.kind, *pair)
            history = self._messages.setdefault(conversation, deque(maxlen=HISTORY))
            history.append(message)

    def save_members(self, gid: int, members: frozenset[int]) -> None:
        """Keep the membership."""
        self._groups[gid] = members

    def find_file(self, key: str) -> StoredFile | None:
        """The file with this key."""
        return self._files[key][0] if key in self._files else None

    def read_file(self, key: str, offset: int, length: int) -> bytes:
        """A part of a file."""
        if key not in self._files:
            raise StoreFault("no such file")
        part = self._files[key][1][offset : offset + length]
        if offset < 0 or len(part) != length:
            raise StoreFault(f"{length} bytes at {offset} were asked for, there are {len(part)}")
        return part

    def groups(self) -> dict[int, frozenset[int]]:
        """Every group with its members."""
        return dict(self._groups)

    def messages(self) -> list[StoredMessage]:
        """Every message, conversation by conversation."""
        return [message for history in self._messages.values() for message in history]

    def _make_room(self, size: int) -> None:
        if self._bytes + size > self._max_bytes:
            raise StoreFault(f"no room for {size} bytes: the limit is {self._max_bytes}")
        self._bytes += size
