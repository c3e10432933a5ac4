"""A store in a folder, for one gate at a time.

    folder ─┬─ lock            held by the gate that has the folder open; names its process
            ├─ gate.db (-wal)  what there is: files, messages, who waits, records   (``database``)
            ├─ bodies/<sha256> the bytes of files, each content once                (``bodies``)
            └─ drafts/<n>      files that are still coming

When a call returns, what it kept is on the disk: the body is synced, then its name, then the row.
So a row always has its body, and what a power cut leaves without a row is removed at the next
start. Only what was delivered may be told once more after a power cut.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock

from ..errors import StoreFault
from ..gate.store import (
    HISTORY,
    HISTORY_LIFE,
    History,
    Kept,
    Store,
    StoredFile,
    StoredMessage,
    Table,
    Unread,
    Used,
)
from ..received import Conversation
from . import rows
from .bodies import Bodies, Draft
from .changes import TIDY_ROWS, Changes, Gone, execute, known
from .database import Database
from .faults import Expected, fault_of
from .files import FOLDER_MODE, Files
from .lock import FolderLock
from .writer import Writer

RESERVE = 64 * 1024 * 1024  # bytes of the disk that are left free, for the database to go on
PATIENCE = 2.0  # seconds to wait for another process that has the database locked


class DiskStore(Store):
    """Keeps everything in a folder, which is made if it is not there (its parent has to be).

    *max_bytes*: of all bodies and drafts, equal bodies once; *max_user_bytes*: of the files that
    one user sent, equal ones each; None is no limit. *reserve*: bytes that stay free on the disk.
    Of a conversation the newest *history* messages are kept for *history_life* seconds, of a file
    what a message that is kept tells of, or what is no older than that. *patience*: seconds to
    wait for another process that has the database locked. *make_files* and *connection* are what
    bodies and database are kept with.

    Every call may wait for the disk, and may come from any thread. Raises StoreFault with the
    folder's path where that cannot be used: it is in use by another gate, no folder, not writable,
    of a newer version, or damaged.

    ``missing``: how many bodies were not there when it started, though there are files with them:
    0, unless somebody has removed them.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        max_user_bytes: int | None = None,
        reserve: int = RESERVE,
        history: int = HISTORY,
        history_life: float = HISTORY_LIFE,
        patience: float = PATIENCE,
        make_files: Callable[[Path], Files] = Files,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        path = Path(folder).absolute()
        self._life_ms = int(history_life * 1000)
        self._drafts: dict[str, Draft] = {}  # by the key that the file will have
        self._readers: list[sqlite3.Connection] = []  # those that nobody reads with
        self._readers_lock = Lock()
        self._closed = False
        with contextlib.ExitStack() as stack:
            try:
                made = not path.is_dir()
                if made:
                    path.mkdir(FOLDER_MODE)
                self._lock = FolderLock(path)
                stack.callback(self._lock.release)
                self._database = Database(path, patience=patience, connection=connection)
                self._db = self._database.open()
                stack.callback(self._db.close)
                files = make_files(path)
                self._bodies = Bodies(files, max_bytes=max_bytes, reserve=reserve)
                (kept,) = self._db.execute("SELECT bytes FROM totals").fetchone()
                (rows_kept,) = self._db.execute("SELECT count(*) FROM bodies").fetchone()
                if made:
                    files.sync_folder("..")
                self.missing = rows_kept - self._bodies.start(kept, partial(known, self._db))
            except FileExistsError as exc:
                raise StoreFault(f"{exc.filename}: expected a folder, found a file") from exc
            except OSError as exc:
                raise StoreFault(
                    f"{exc.filename or path}: expected a folder that can be written to, "
                    f"found: {exc.strerror}"
                ) from exc
            except sqlite3.Error as exc:
                raise StoreFault(f"{path}: expected a gate's database, found: {exc}") from exc
            stack.pop_all()
        self._changes = Changes(self._bodies, max_user_bytes=max_user_bytes, history=history)
        self._writer = Writer(
            self._db,
            before_commit=self._bodies.sync,
            settle=lambda db: self._bodies.settle(partial(known, db)),
            leave=self._bodies.leave,
        )

    def __repr__(self) -> str:
        return "<DiskStore>"

    # --- what is kept ---

    def write_body(self, key: str, data: bytes) -> None:
        """Append to a draft, which is forgotten where the disk fails."""
        with _faults():
            self._check_open()
            draft = self._drafts.get(key)
            if draft is None:
                draft = self._drafts[key] = self._bodies.draft()
            try:
                draft.write(data)
            except StoreFault:  # there was no room: nothing was written
                raise
            except BaseException:
                self.drop_body(key)
                raise

    def drop_body(self, key: str) -> None:
        """Forget a draft."""
        draft = self._drafts.pop(key, None)
        if draft is not None:
            draft.discard()

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        """Keep them; a body that is there already is not written again."""
        with _faults(), contextlib.ExitStack() as stack:
            self._check_open()
            draft = self._drafts.pop(file.key, None)
            if draft is not None:
                stack.callback(draft.discard)
            size = len(rest) + (draft.size if draft else 0)
            if size != file.size:
                raise StoreFault(f"{size} bytes came of a file of {file.size}")
            self._bodies.check_disk()
            if draft is None:
                digest = sha256(rest).hexdigest()
                if self._knows(digest):
                    with contextlib.suppress(Gone):
                        self._save(file, messages, digest, None)
                        return
                draft = self._bodies.draft()
                stack.callback(draft.discard)
            draft.write(rest)
            draft.seal()
            self._save(file, messages, draft.digest, draft)

    def save_messages(self, messages: Sequence[StoredMessage]) -> None:
        """Keep them; of each conversation the oldest ones too many are forgotten."""
        with _faults():
            self._bodies.check_disk()
            self._writer.ask(partial(self._changes.save_messages, messages))

    def save_record(self, table: Table, key: int, value: str | None) -> None:
        """Keep it, or forget it."""
        statement = "DELETE FROM records WHERE about = ? AND key = ?"
        needs: rows.Row = (table.value, key)
        if value is not None:
            statement = "INSERT OR REPLACE INTO records (about, key, value) VALUES (?, ?, ?)"
            needs = (*needs, rows.packed(value))
        self._ask(statement, needs)

    def delivered(self, uid: int, message_id: int) -> None:
        """It waits no more; this itself is committed with what comes next, or a second later."""
        statement = "DELETE FROM waiting WHERE uid = ? AND id = ?"
        with _faults():
            self._writer.tell(partial(execute, statement, (uid, message_id)))

    def clear_unread(self, uid: int, message_id: int) -> None:
        """Nothing up to there waits any more."""
        self._ask("DELETE FROM waiting WHERE uid = ? AND id <= ?", (uid, message_id))

    def tidy(self, wall_ms: int) -> None:
        """Forget what is too old, some rows at a time; others save in between."""
        oldest = wall_ms - self._life_ms
        with _faults():
            for forget in (self._changes.forget_messages, self._changes.forget_files):
                while self._writer.ask(partial(forget, oldest)) == TIDY_ROWS:
                    pass
            self._bodies.tidy()

    # --- what is looked up ---

    def kept(self, since: int) -> Kept:
        """Everything that a gate has to know."""
        with self._reader() as db:
            db.execute("BEGIN")  # so that all of it is of one moment
            try:
                statement = "SELECT about, key, value FROM records"
                records = tuple(map(rows.record_of, db.execute(statement)))
                statement = f"SELECT {rows.MESSAGE} FROM messages WHERE mtime >= ? ORDER BY id"
                messages = tuple(map(rows.message_of, db.execute(statement, (since,))))
                last = db.execute("SELECT last_id, last_mtime FROM totals").fetchone()
            finally:
                db.execute("COMMIT")
            return Kept(records, messages, *last)

    def find_file(self, key: str) -> StoredFile | None:
        """The file with this key."""
        with self._reader() as db:
            statement = f"SELECT {rows.FILE} FROM files WHERE key = ?"
            row = db.execute(statement, (rows.packed(key),)).fetchone()
            return None if row is None else rows.file_of(row)

    def read_file(self, key: str, offset: int, length: int) -> bytes:
        """A part of a file."""
        with self._reader() as db:
            statement = "SELECT body, size FROM files WHERE key = ?"
            row = db.execute(statement, (rows.packed(key),)).fetchone()
        if row is None:
            raise StoreFault("no such file")
        body, size = row
        there = max(0, min(length, size - offset)) if offset >= 0 else 0
        if offset < 0 or length != there:
            raise StoreFault(f"{length} bytes at {offset} were asked for, there are {there}")
        with _faults():
            try:
                data = self._bodies.read(body, offset, length)
            except FileNotFoundError as exc:  # forgotten just now, or removed by somebody else
                raise StoreFault("no such file") from exc
            if len(data) != length:
                raise StoreFault(f"the file is damaged: {size} bytes were kept, some are gone")
            return data

    def find_history(self, history: History) -> tuple[StoredMessage, ...]:
        """The messages asked for."""
        with self._reader() as db:
            return tuple(map(rows.message_of, db.execute(*rows.select_history(history))))

    def find_unread(self, uid: int) -> tuple[Unread, ...]:
        """The conversations with messages that wait, in the order of these."""
        with _faults():
            self._writer.flush()
        statement = "SELECT kind, of FROM waiting WHERE uid = ? GROUP BY kind, of ORDER BY min(id)"
        with self._reader() as db:
            return tuple(
                Unread(Conversation[kind], of) for kind, of in db.execute(statement, (uid,))
            )

    def used(self) -> Used:
        """How much is held; equal bodies are counted once, and drafts are counted."""
        with self._reader() as db:
            files, messages = db.execute("SELECT files, messages FROM totals").fetchone()
            return Used(files, self._bodies.taken, messages)

    def close(self) -> None:
        """Commit what was told, forget the drafts, let go of the folder."""
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            stack.callback(self._db.close)  # the last one: it takes the -wal file into the database
            for db in self._readers:
                stack.callback(db.close)
            stack.callback(self._writer.close)
            for key in [*self._drafts]:
                self.drop_body(key)

    # --- private ---

    def _check_open(self) -> None:
        if self._closed:
            raise StoreFault("the store is closed")

    def _save(
        self,
        file: StoredFile,
        messages: Sequence[StoredMessage],
        digest: str,
        draft: Draft | None,
    ) -> None:
        self._writer.ask(partial(self._changes.save_file, file, messages, digest, draft))

    def _ask(self, statement: str, needs: rows.Row) -> None:
        with _faults():
            self._writer.ask(partial(execute, statement, needs))

    @contextmanager
    def _reader(self) -> Generator[sqlite3.Connection]:
        """A connection to read with; the writer never keeps it waiting."""
        with _faults():
            self._check_open()
            with self._readers_lock:
                db = self._readers.pop() if self._readers else None
            if db is None:
                db = self._database.connect(reading=True)
            try:
                yield db
            except BaseException:
                db.close()
                raise
            with self._readers_lock:
                self._readers.append(db)

    def _knows(self, digest: str) -> bool:
        with self._reader() as db:
            return known(db, digest)


@contextmanager
def _faults() -> Generator[None]:
    """Whatever the disk or the database does is a StoreFault."""
    try:
        yield
    except StoreFault:
        raise
    except Expected as exc:
        raise fault_of(exc) from exc
