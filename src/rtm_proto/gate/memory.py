"""A store in memory: for tests, demonstrations, and a gate that may forget."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import StoreFault
from .store import (
    HISTORY,
    HISTORY_LIFE,
    ConversationKey,
    History,
    Kept,
    Record,
    Store,
    StoredFile,
    StoredMessage,
    Table,
    Unread,
    Used,
)

MEMORY_BYTES = 256 * 1024 * 1024  # bytes of files that the memory store takes


class MemoryStore(Store):
    """Keeps everything in memory, up to *max_bytes* of files, until the process ends.

    *max_user_bytes*: of the files that one user sent; None is no limit. Of a conversation it keeps
    the newest *history* messages for *history_life* seconds, of a file what a message that is kept
    tells of, or what is no older than that.
    """

    blocking = False

    def __init__(
        self,
        *,
        max_bytes: int = MEMORY_BYTES,
        max_user_bytes: int | None = None,
        history: int = HISTORY,
        history_life: float = HISTORY_LIFE,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_user_bytes = max_user_bytes
        self._max_history = history
        self._life_ms = int(history_life * 1000)
        self._bytes = 0
        self._owned: Counter[int] = Counter()  # bytes of the files of each user
        self._last_id = self._last_mtime = 0  # they outlive their messages
        self._bodies: dict[str, bytearray] = {}  # of files that are still coming
        self._files: dict[str, tuple[StoredFile, bytes]] = {}
        self._records: dict[tuple[Table, int], str] = {}
        self._messages: dict[ConversationKey, deque[StoredMessage]] = {}
        self._waiting: dict[int, dict[int, Unread]] = {}  # by uid and message id

    def kept(self, since: int) -> Kept:
        """Everything that is known, of the messages the newest."""
        messages = self.messages()
        return Kept(
            tuple(Record(*key, value) for key, value in self._records.items()),
            tuple(_found(message) for message in messages if message.mtime >= since),
            self._last_id,
            self._last_mtime,
        )

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
        if file.key in self._files:
            raise StoreFault("it is kept already")
        limit = self._max_user_bytes
        if limit is not None and self._owned[file.owner] + size > limit:
            raise StoreFault(f"no room for {size} bytes: the limit of a user is {limit}")
        self._make_room(size)
        self._owned[file.owner] += size
        self._files[file.key] = (file, bytes(written) + rest)
        self.save_messages(messages)

    def save_messages(self, messages: Sequence[StoredMessage]) -> None:
        """Keep them; of each conversation the oldest one too many is forgotten."""
        for message in messages:
            history = self._messages.setdefault(message.conversation, deque())
            history.append(message)
            self._last_id = max(self._last_id, message.id)
            self._last_mtime = max(self._last_mtime, message.mtime)
            for uid in message.waiting:
                self._waiting.setdefault(uid, {})[message.id] = message.unread
            if len(history) > self._max_history:
                self._forget(history.popleft())

    def save_record(self, table: Table, key: int, value: str | None) -> None:
        """Keep it, or forget it."""
        if value is None:
            self._records.pop((table, key), None)
        else:
            self._records[table, key] = value

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

    def find_history(self, history: History) -> tuple[StoredMessage, ...]:
        """The messages asked for."""
        found: list[StoredMessage] = []
        for message in self._in_order(history):
            if len(found) >= history.count:
                break
            begin, end, mtypes = history.begin, history.end, history.mtypes
            if (
                (begin is None or message.mtime >= begin)
                and (end is None or message.mtime <= end)
                and (mtypes is None or message.mtype in mtypes)
            ):
                found.append(_found(message))
        return tuple(found)

    def find_unread(self, uid: int) -> tuple[Unread, ...]:
        """The conversations with messages that wait, in the order of these."""
        return tuple(dict.fromkeys(self._waiting.get(uid, {}).values()))

    def delivered(self, uid: int, message_id: int) -> None:
        """It waits no more."""
        self._no_more(uid, [message_id])

    def clear_unread(self, uid: int, message_id: int) -> None:
        """Nothing up to there waits any more."""
        self._no_more(uid, [i for i in self._waiting.get(uid, {}) if i <= message_id])

    def tidy(self, wall_ms: int) -> None:
        """Forget what is too old, and the files that nothing tells of any more."""
        oldest = wall_ms - self._life_ms
        for conversation, history in list(self._messages.items()):
            while history and history[0].mtime < oldest:
                self._forget(history.popleft())
            if not history:
                del self._messages[conversation]
        told = {message.file for message in self.messages()}
        for key, (file, body) in list(self._files.items()):
            if file.at < oldest and key not in told:
                del self._files[key]
                self._bytes -= len(body)
                self._owned[file.owner] -= len(body)

    def used(self) -> Used:
        """How much is held."""
        return Used(len(self._files), self._bytes, sum(map(len, self._messages.values())))

    def messages(self) -> list[StoredMessage]:
        """Every message, conversation by conversation, oldest first."""
        return [message for history in self._messages.values() for message in history]

    # --- private ---

    def _in_order(self, history: History) -> Iterator[StoredMessage]:
        kept = self._messages.get(history.conversation, ())
        after = history.after
        if history.newest_first:
            return (m for m in reversed(kept) if after is None or m.id < after)
        return (m for m in kept if after is None or m.id > after)

    def _forget(self, message: StoredMessage) -> None:
        for uid in message.waiting:
            self._no_more(uid, [message.id])

    def _no_more(self, uid: int, message_ids: Sequence[int]) -> None:
        waiting = self._waiting.get(uid, {})
        for message_id in message_ids:
            waiting.pop(message_id, None)
        if not waiting:
            self._waiting.pop(uid, None)

    def _make_room(self, size: int) -> None:
        if self._bytes + size > self._max_bytes:
            raise StoreFault(f"no room for {size} bytes: the limit is {self._max_bytes}")
        self._bytes += size


def _found(message: StoredMessage) -> StoredMessage:
    return replace(message, waiting=()) if message.waiting else message
