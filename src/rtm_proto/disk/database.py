"""The database: its schema, its settings, and what it says when it cannot be opened.

    bodies    digest, size, uses             one row for each content; ``uses`` counts its files
    files     key, body, size, ...           one for each file as it was sent
    messages  id, conversation, ...          one for each message
    waiting   uid, id, kind, of              whom a message waits for
    records   about, key, value              the newest value of each
    owners    uid, bytes                     of the files of each user
    totals    files, bytes, messages, ...    one row; the last id and mtime outlive their messages

What counts, counts by triggers, in the transaction of what is counted. Text is kept as bytes: what
came in a message need not be valid Unicode. A commit in WAL mode with synchronous=FULL has been
synced to the disk when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ..errors import StoreFault
from .files import FILE_MODE

NAME = "gate.db"
FORMAT = 1  # PRAGMA user_version: of the schema below and of the folder around it
APPLICATION = 0x52544D67  # PRAGMA application_id: "RTMg"
OLDEST_SQLITE = (3, 24, 0)  # it brought ON CONFLICT DO UPDATE
JOURNAL_BYTES = 64 * 1024 * 1024  # that the -wal file keeps once it was longer

SETTINGS = {
    "synchronous": "FULL",
    "fullfsync": "ON",  # of macOS: fsync leaves it in the drive's own cache
    "checkpoint_fullfsync": "ON",
    "journal_size_limit": str(JOURNAL_BYTES),
}

SCHEMA = (
    """CREATE TABLE bodies (
        digest TEXT PRIMARY KEY, size INTEGER NOT NULL, uses INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE files (
        key BLOB PRIMARY KEY, body TEXT NOT NULL, size INTEGER NOT NULL, digest BLOB NOT NULL,
        name BLOB NOT NULL, mtype INTEGER NOT NULL, owner INTEGER NOT NULL, at INTEGER NOT NULL
        ) WITHOUT ROWID""",
    "CREATE INDEX files_at ON files (at)",
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, one INTEGER NOT NULL, other INTEGER NOT NULL,
        sender INTEGER NOT NULL, target INTEGER NOT NULL, mid INTEGER NOT NULL,
        mtype INTEGER NOT NULL, msg BLOB NOT NULL, attrs BLOB NOT NULL, mtime INTEGER NOT NULL,
        file BLOB)""",
    "CREATE INDEX messages_of ON messages (kind, one, other, id)",
    "CREATE INDEX messages_mtime ON messages (mtime)",
    "CREATE INDEX messages_file ON messages (file) WHERE file IS NOT NULL",
    """CREATE TABLE waiting (
        uid INTEGER, id INTEGER, kind TEXT NOT NULL, of INTEGER NOT NULL, PRIMARY KEY (uid, id)
        ) WITHOUT ROWID""",
    "CREATE INDEX waiting_id ON waiting (id)",
    """CREATE TABLE records (
        about TEXT, key INTEGER, value BLOB NOT NULL, PRIMARY KEY (about, key)) WITHOUT ROWID""",
    "CREATE TABLE owners (uid INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)",
    """CREATE TABLE totals (
        files INTEGER NOT NULL, bytes INTEGER NOT NULL, messages INTEGER NOT NULL,
        last_id INTEGER NOT NULL, last_mtime INTEGER NOT NULL)""",
    "INSERT INTO totals VALUES (0, 0, 0, 0, 0)",
    """CREATE TRIGGER body_in AFTER INSERT ON bodies BEGIN
        UPDATE totals SET bytes = bytes + new.size; END""",
    """CREATE TRIGGER body_out AFTER DELETE ON bodies BEGIN
        UPDATE totals SET bytes = bytes - old.size; END""",
    """CREATE TRIGGER file_in AFTER INSERT ON files BEGIN
        UPDATE totals SET files = files + 1;
        UPDATE bodies SET uses = uses + 1 WHERE digest = new.body;
        INSERT INTO owners VALUES (new.owner, new.size)
            ON CONFLICT (uid) DO UPDATE SET bytes = bytes + new.size; END""",
    """CREATE TRIGGER file_out AFTER DELETE ON files BEGIN
        UPDATE totals SET files = files - 1;
        UPDATE bodies SET uses = uses - 1 WHERE digest = old.body;
        DELETE FROM bodies WHERE digest = old.body AND uses = 0;
        UPDATE owners SET bytes = bytes - old.size WHERE uid = old.owner;
        DELETE FROM owners WHERE uid = old.owner AND bytes = 0; END""",
    """CREATE TRIGGER message_in AFTER INSERT ON messages BEGIN
        UPDATE totals SET messages = messages + 1, last_id = max(last_id, new.id),
            last_mtime = max(last_mtime, new.mtime); END""",
    """CREATE TRIGGER message_out AFTER DELETE ON messages BEGIN
        UPDATE totals SET messages = messages - 1;
        DELETE FROM waiting WHERE id = old.id; END""",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


class Database:
    """Makes connections to the database of one folder."""

    def __init__(
        self, folder: Path, *, patience: float, connection: type[sqlite3.Connection]
    ) -> None:
        """*patience*: seconds to wait for another process that has it locked."""
        self._path = folder / NAME
        self._patience = patience
        self._connection = connection

    def open(self) -> sqlite3.Connection:
        """The writer's connection, to a database that has its schema.

        Everything that was in the -wal file is synced into the database itself: what a sync that
        failed has left in the kernel's cache alone would otherwise be taken for kept.

        Raises StoreFault with the path, what was expected and what was found; OSError.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreFault(
                f"expected SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, "
                f"found {sqlite3.sqlite_version}"
            )
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, FILE_MODE))  # its -wal has its mode
        with contextlib.ExitStack() as stack:
            try:
                db = stack.enter_context(contextlib.closing(self.connect()))
                self._prepare(db)
            except sqlite3.Error as exc:
                text = f"{self._path}: expected a gate's database, found: {exc}"
                raise StoreFault(text) from exc
            stack.pop_all()
        return db

    def connect(self, *, reading: bool = False) -> sqlite3.Connection:
        """One more connection; *reading*: it can change nothing. Raises sqlite3.Error."""
        db = sqlite3.connect(
            self._path,
            timeout=self._patience,
            isolation_level=None,  # transactions begin where we say so
            check_same_thread=False,  # a pool gives it to one thread at a time
            factory=self._connection,
        )
        try:
            for name, value in SETTINGS.items():
                db.execute(f"PRAGMA {name} = {value}").fetchone()
            if reading:
                db.execute("PRAGMA query_only = ON")
        except BaseException:
            db.close()
            raise
        return db

    # --- private ---

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._check(db)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreFault(
                f"{self._path}: expected a disk on which SQLite can use a write-ahead log, "
                f"found one with journal mode {mode}"
            )
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(db)
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if busy:
            raise StoreFault(
                f"{self._path}: expected a database that nobody else is using, found it locked"
            )

    def _check(self, db: sqlite3.Connection) -> None:
        """That it is ours, or empty; before anything of it is changed."""
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION and (tables or application):
            raise StoreFault(
                f"{self._path}: expected a gate's database (application_id {APPLICATION:#x}), "
                f"found one of something else ({application:#x})"
            )
        if tables and version != FORMAT:
            advice = ": it was written by a newer gate" if version > FORMAT else ""
            raise StoreFault(
                f"{self._path}: expected version {FORMAT} of a gate's database, "
                f"found version {version}{advice}"
            )


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in SCHEMA:
            db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
