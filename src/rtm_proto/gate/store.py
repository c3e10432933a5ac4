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

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, assert_never

from ..received import Conversation

HISTORY = 500  # messages kept for each conversation (published limit)
HISTORY_LIFE = 7 * 24 * 3600.0  # seconds that they are kept (published limit)


class Table(Enum):
    """What records are about; each has a number as its key, and text as its value."""

    MEMBERS = "members"  # of a group, by gid: JSON array of uids
    LOGIN_TOKEN = "login token"  # of a user, by uid: sha256 of the token, hex
    BLOCKS = "blocks"  # by uid, whom the user blocks: JSON array of uids
    BAN = "ban"  # of a user from the project, by uid: until when, ms since 1970
    GROUP_BANS = "group bans"  # by gid: JSON object, uid to ms since 1970
    ROOM_BANS = "room bans"  # by rid: the same
    LINK_KEY = "link key"  # of the gate, by 0: what links to files are signed with


ConversationKey = tuple[Conversation, int, int]
"""P2P: both users, the smaller uid first; else the gid or rid (0 for a broadcast), and 0."""


def conversation_key(kind: Conversation, sender: int, target: int) -> ConversationKey:
    """The conversation that a message belongs to."""
    if kind is Conversation.P2P:
        return kind, min(sender, target), max(sender, target)
    return kind, target, 0


class Record(NamedTuple):
    """One record: the newest value of a key in a table."""

    table: Table
    key: int
    value: str


def uids_of(value: str) -> frozenset[int]:
    """The users of a record."""
    return frozenset(json.loads(value))


def text_of_uids(uids: Iterable[int]) -> str:
    """Users for a record."""
    return json.dumps(sorted(uids), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is kept; ``key`` names it in its URL and cannot be guessed.

    ``digest``: md5, lower-case hex. ``owner``: the uid that sent it; ``at``: when, in ms since
    1970.
    """

    key: str
    size: int
    digest: str
    name: str
    mtype: int
    owner: int = 0
    at: int = 0


class Unread(NamedTuple):
    """A conversation of which a user has not got everything; ``of``: the other user, or the gid."""

    kind: Conversation
    of: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it is kept; ``target`` is a uid, gid or rid.

    ``id``: above that of every message before it. ``mtime``: ms since 1970, as the receivers see
    it. ``file``: the key of the file that it tells of. ``waiting``: the users that are to get it
    and have not yet; it is unread for them until ``Delivered``. What is looked up does not say who
    waits: it is empty there.
    """

    kind: Conversation
    sender: int
    target: int
    mid: int
    mtype: int
    msg: str
    attrs: str
    mtime: int
    id: int = 0
    file: str | None = None
    waiting: tuple[int, ...] = ()

    @property
    def conversation(self) -> ConversationKey:
        """The one that it belongs to."""
        return conversation_key(self.kind, self.sender, self.target)

    @property
    def unread(self) -> Unread:
        """What those for whom it waits have not got all of."""
        return Unread(self.kind, self.sender if self.kind is Conversation.P2P else self.target)


@dataclass(frozen=True, slots=True)
class History:
    """Which messages of one conversation are asked for, and how many of them.

    ``conversation``: as StoredMessage has it. ``begin`` and ``end``: mtime, both included; None is
    any. ``after``: the id behind which to go on, in the order asked for; None begins at the first.
    ``mtypes``: None is any.
    """

    conversation: ConversationKey
    count: int
    newest_first: bool = False
    begin: int | None = None
    end: int | None = None
    after: int | None = None
    mtypes: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a gate that starts has to know: every record, the newest messages, the last numbers."""

    records: tuple[Record, ...] = ()
    messages: tuple[StoredMessage, ...] = ()
    last_id: int = 0
    last_mtime: int = 0

    def uids(self, table: Table) -> dict[int, frozenset[int]]:
        """The users of each record of a table that has users."""
        return {r.key: uids_of(r.value) for r in self.records if r.table is table}


@dataclass(frozen=True, slots=True)
class Used:
    """How much a store holds: files (as sent; equal ones count each), bytes that they take."""

    files: int
    bytes: int
    messages: int


# --- effects ---


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
class SaveMessages:
    """Keep messages that tell of no file, all or nothing. Gives None."""

    effect_id: int
    messages: tuple[StoredMessage, ...]


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """Keep a value instead of any before; None forgets it. Gives None."""

    effect_id: int
    table: Table
    key: int
    value: str | None = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class MakeThumbnail:
    """Make the small picture of an image. Gives its bytes, or None where there can be none.

    It takes a while: in no store it is for the loop to wait for (``Store.blocks``).
    """

    effect_id: int
    file: StoredFile
    make: Callable[[bytes], bytes | None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindHistory:
    """Look up messages. Gives a tuple of StoredMessage, in the order asked for."""

    effect_id: int
    history: History


@dataclass(frozen=True, slots=True)
class FindUnread:
    """Of which conversations has this user not got everything? Gives a tuple of Unread."""

    effect_id: int
    uid: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """This user has got this message. Gives None. Need not be safe before it is carried out.

    What a power cut undoes of it is told as unread once more.
    """

    effect_id: int
    uid: int
    message_id: int


@dataclass(frozen=True, slots=True)
class ClearUnread:
    """This user knows of everything up to this message. Gives None."""

    effect_id: int
    uid: int
    message_id: int


@dataclass(frozen=True, slots=True)
class FindUsed:
    """How much is held? Gives Used."""

    effect_id: int


@dataclass(frozen=True, slots=True)
class Tidy:
    """Forget what is older than the store keeps, and is wanted no more. Gives None."""

    effect_id: int
    wall_ms: int


Effect = (
    WriteBody
    | DropBody
    | SaveFile
    | SaveMessages
    | SaveRecord
    | FindFile
    | ReadFile
    | MakeThumbnail
    | FindHistory
    | FindUnread
    | Delivered
    | ClearUnread
    | FindUsed
    | Tidy
)
Result = StoredFile | bytes | tuple[StoredMessage, ...] | tuple[Unread, ...] | Used | None


class Store(ABC):
    """Keeps what a gate has promised. Calls may come from several threads if ``blocking``.

    The text of a StoreFault goes to the client that asked: no paths, no addresses in it.
    """

    blocking = True
    """Whether calls may wait for a disk; the adapters then run them in worker threads."""

    def blocks(self, effect: Effect) -> bool:
        """Whether this one is to be carried out in a worker thread."""
        return self.blocking or isinstance(effect, MakeThumbnail)

    def carry_out(self, effect: Effect) -> Result:
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
            case SaveMessages():
                self.save_messages(effect.messages)
                return None
            case SaveRecord():
                self.save_record(effect.table, effect.key, effect.value)
                return None
            case FindFile():
                return self.find_file(effect.key)
            case ReadFile():
                return self.read_file(effect.key, effect.offset, effect.length)
            case MakeThumbnail():
                return effect.make(self.read_file(effect.file.key, 0, effect.file.size))
            case FindHistory():
                return self.find_history(effect.history)
            case FindUnread():
                return self.find_unread(effect.uid)
            case Delivered():
                self.delivered(effect.uid, effect.message_id)
                return None
            case ClearUnread():
                self.clear_unread(effect.uid, effect.message_id)
                return None
            case FindUsed():
                return self.used()
            case Tidy():
                self.tidy(effect.wall_ms)
                return None
            case _:
                assert_never(effect)

    @abstractmethod
    def kept(self, since: int) -> Kept:
        """For a gate that starts; the messages are those with mtime *since* or later.

        Raises StoreFault.
        """

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
    def save_messages(self, messages: Sequence[StoredMessage]) -> None:
        """Keep all or nothing. Raises StoreFault."""

    @abstractmethod
    def save_record(self, table: Table, key: int, value: str | None) -> None:
        """Keep *value* instead of any before; None forgets it. Raises StoreFault."""

    @abstractmethod
    def find_file(self, key: str) -> StoredFile | None:
        """The file with this key. Raises StoreFault."""

    @abstractmethod
    def read_file(self, key: str, offset: int, length: int) -> bytes:
        """*length* bytes of a file from *offset*. Raises StoreFault when they are not there."""

    @abstractmethod
    def find_history(self, history: History) -> tuple[StoredMessage, ...]:
        """At most ``history.count`` messages, in the order asked for. Raises StoreFault."""

    @abstractmethod
    def find_unread(self, uid: int) -> tuple[Unread, ...]:
        """The conversations with messages that wait for this user. Raises StoreFault."""

    @abstractmethod
    def delivered(self, uid: int, message_id: int) -> None:
        """This message waits for this user no more. Raises StoreFault."""

    @abstractmethod
    def clear_unread(self, uid: int, message_id: int) -> None:
        """Nothing up to this message waits for this user any more. Raises StoreFault."""

    @abstractmethod
    def tidy(self, wall_ms: int) -> None:
        """Forget what is older than this store keeps. Raises StoreFault."""

    @abstractmethod
    def used(self) -> Used:
        """How much is held, for figures. Raises StoreFault."""

    def close(self) -> None:  # noqa: B027 (there is nothing to close in memory)
        """Let go of everything. Called once, when no call is under way."""
