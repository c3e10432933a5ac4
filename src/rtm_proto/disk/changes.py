"""What the writer's thread does to database and bodies: the jobs, each in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..errors import StoreFault
from ..gate.store import StoredFile, StoredMessage
from . import rows
from .bodies import Bodies, Draft

TIDY_ROWS = 200  # rows that are forgotten at a time, so that whoever saves need not wait long


class Gone(Exception):
    """A body that was there when it was looked for is not there any more."""


class Changes:
    """The changes of one store. Each method is called in a savepoint; sqlite3.Error undoes it."""

    def __init__(self, bodies: Bodies, *, max_user_bytes: int | None, history: int) -> None:
        self._bodies = bodies
        self._max_user_bytes = max_user_bytes
        self._max_history = history

    def save_file(
        self,
        file: StoredFile,
        messages: Sequence[StoredMessage],
        digest: str,
        draft: Draft | None,
        db: sqlite3.Connection,
    ) -> None:
        """Keep a file with the body of this sha256, which is *draft*, or is there.

        Raises StoreFault, Gone where there is neither; OSError.
        """
        self._check_quota(file, db)
        if not known(db, digest):
            if draft is None:
                raise Gone
            self._bodies.place(draft)
            db.execute("INSERT INTO bodies VALUES (?, ?, 0)", (digest, file.size))
        db.execute(rows.SAVE_FILE, rows.row_of_file(file, digest))
        self.save_messages(messages, db)

    def save_messages(self, messages: Sequence[StoredMessage], db: sqlite3.Connection) -> None:
        """Keep them, and forget what is too many in their conversations."""
        db.executemany(rows.SAVE_MESSAGE, map(rows.row_of_message, messages))
        for message in messages:
            if message.waiting:
                db.executemany(rows.SAVE_WAITING, rows.rows_of_waiting(message))
        for conversation in {message.conversation for message in messages}:
            of = rows.row_of_conversation(conversation)
            db.execute(
                f"DELETE FROM messages WHERE {rows.OF} AND id <= (SELECT id FROM messages "
                f"WHERE {rows.OF} ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (*of, *of, self._max_history),
            )

    def forget_messages(self, oldest: int, db: sqlite3.Connection) -> int:
        """Forget TIDY_ROWS messages from before *oldest*, or all of them; how many."""
        statement = (
            "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE mtime < ? LIMIT ?)"
        )
        return db.execute(statement, (oldest, TIDY_ROWS)).rowcount

    def forget_files(self, oldest: int, db: sqlite3.Connection) -> int:
        """The same for files from before *oldest* of which no message tells."""
        statement = """SELECT key, body, size FROM files WHERE at < ? AND NOT EXISTS
            (SELECT 1 FROM messages WHERE file = files.key) LIMIT ?"""
        files = db.execute(statement, (oldest, TIDY_ROWS)).fetchall()
        for _, body, size in files:
            self._bodies.doom(body, size)
        db.executemany("DELETE FROM files WHERE key = ?", [(key,) for key, _, _ in files])
        return len(files)

    # --- private ---

    def _check_quota(self, file: StoredFile, db: sqlite3.Connection) -> None:
        limit = self._max_user_bytes
        if limit is None:
            return
        row = db.execute("SELECT bytes FROM owners WHERE uid = ?", (file.owner,)).fetchone()
        if (row[0] if row else 0) + file.size > limit:
            raise StoreFault(f"no room for {file.size} bytes: the limit of a user is {limit}")


def known(db: sqlite3.Connection, digest: str) -> bool:
    """Whether a body has its row."""
    return bool(db.execute("SELECT 1 FROM bodies WHERE digest = ?", (digest,)).fetchone())


def execute(statement: str, needs: rows.Row, db: sqlite3.Connection) -> None:
    """One statement as a job."""
    db.execute(statement, needs)
