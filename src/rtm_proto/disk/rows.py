"""Values as rows, and back. Text is kept as bytes, whatever stands in it."""

from __future__ import annotations

from typing import Any

from ..errors import StoreFault
from ..gate.store import ConversationKey, History, Record, StoredFile, StoredMessage, Table
from ..received import Conversation

FILE = "key, size, digest, name, mtype, owner, at"
MESSAGE = "kind, sender, target, mid, mtype, msg, attrs, mtime, id, file"
SAVE_FILE = f"INSERT INTO files (body, {FILE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SAVE_MESSAGE = f"INSERT INTO messages (one, other, {MESSAGE}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
SAVE_WAITING = "INSERT OR IGNORE INTO waiting (uid, id, kind, of) VALUES (?, ?, ?, ?)"
OF = "kind = ? AND one = ? AND other = ?"  # of a conversation
TABLES = {table.value: table for table in Table}

Row = tuple[Any, ...]


def packed(text: str) -> bytes:
    """Text of any kind, also with lone surrogates, as bytes that give it back."""
    return text.encode("utf-8", "surrogatepass")


def unpacked(data: bytes) -> str:
    """The text of ``packed``."""
    return data.decode("utf-8", "surrogatepass")


def row_of_file(file: StoredFile, body: str) -> Row:
    """For SAVE_FILE; *body*: what its body is named."""
    texts = packed(file.key), packed(file.digest), packed(file.name)
    return (body, texts[0], file.size, texts[1], texts[2], file.mtype, file.owner, file.at)


def file_of(row: Row) -> StoredFile:
    """A file of the columns FILE."""
    key, size, digest, name, mtype, owner, at = row
    return StoredFile(unpacked(key), size, unpacked(digest), unpacked(name), mtype, owner, at)


def row_of_conversation(conversation: ConversationKey) -> Row:
    """For OF."""
    kind, one, other = conversation
    return (kind.name, one, other)


def row_of_message(message: StoredMessage) -> Row:
    """For SAVE_MESSAGE."""
    kind, one, other = row_of_conversation(message.conversation)
    return (
        *(one, other, kind, message.sender, message.target, message.mid, message.mtype),
        *(packed(message.msg), packed(message.attrs), message.mtime, message.id),
        None if message.file is None else packed(message.file),
    )


def rows_of_waiting(message: StoredMessage) -> list[Row]:
    """For SAVE_WAITING."""
    kind, of = message.unread
    return [(uid, message.id, kind.name, of) for uid in message.waiting]


def message_of(row: Row) -> StoredMessage:
    """A message of the columns MESSAGE; nobody waits for it."""
    kind, sender, target, mid, mtype, msg, attrs, mtime, message_id, file = row
    return StoredMessage(
        Conversation[kind],
        sender,
        target,
        mid,
        mtype,
        unpacked(msg),
        unpacked(attrs),
        mtime,
        message_id,
        None if file is None else unpacked(file),
    )


def record_of(row: Row) -> Record:
    """A record. Raises StoreFault for one of a newer gate: a ban must not be passed over."""
    about, key, value = row
    if about not in TABLES:
        raise StoreFault(f"records about {about!r} are of a newer gate: this one knows {[*TABLES]}")
    return Record(TABLES[about], key, unpacked(value))


def select_history(history: History) -> tuple[str, Row]:
    """The SELECT for it, and what it needs."""
    tests, needs = [OF], [*row_of_conversation(history.conversation)]
    for test, value in (
        ("id < ?" if history.newest_first else "id > ?", history.after),
        ("mtime >= ?", history.begin),
        ("mtime <= ?", history.end),
    ):
        if value is not None:
            tests.append(test)
            needs.append(value)
    if history.mtypes is not None:
        tests.append(f"mtype IN ({','.join('?' * len(history.mtypes))})")
        needs += history.mtypes
    order = "DESC" if history.newest_first else "ASC"
    needs.append(max(history.count, 0))
    where = " AND ".join(tests)
    return f"SELECT {MESSAGE} FROM messages WHERE {where} ORDER BY id {order} LIMIT ?", (*needs,)
