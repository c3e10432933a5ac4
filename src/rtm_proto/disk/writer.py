"""The one thread that writes to the database: what waits is committed together.

    ask ──┐                ┌─ job, in a savepoint of its own: one that fails, fails alone
    ask ──┼─► one batch ───┼─ job
    tell ─┘                └─ job ─► before_commit ─► COMMIT, one sync ─► settle ─► all return

While a batch is synced the next one gathers, so that the cost of a sync is shared by all who wait.
What was told and not asked waits for nobody: it is committed with the next batch, or LAZY seconds
later.

A commit that the database could not carry out for an I/O error may be on the disk or not, and
whoever syncs again may be told that all is well while it is not (fsyncgate, 2018). So the writer
takes nothing more then: what is kept can be read, and a restart finds out what is there.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, NamedTuple, TypeVar

from ..errors import StoreFault
from .faults import Expected, fault_of, is_fatal

LAZY = 1.0  # seconds that a job which nobody waits for may stay undone
MAX_LAZY = 1_000  # of these jobs, until they are a batch of their own

Result = TypeVar("Result")


class _Asked(NamedTuple):
    job: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


class Writer:
    """Runs from its making until ``close``."""

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        before_commit: Callable[[], None],
        settle: Callable[[sqlite3.Connection], None],
        leave: Callable[[], None],
    ) -> None:
        """*before_commit* may raise OSError, and nothing of the batch is kept.

        *settle*: a batch has ended, well or not. *leave*: it is unknown how one has ended.
        """
        self._db = db
        self._before_commit = before_commit
        self._settle = settle
        self._leave = leave
        self._bell = Condition()
        self._asked: list[_Asked] = []
        self._urgent = False  # does somebody wait for one of them?
        self._busy = False  # with a batch that was taken from them
        self._refusal: str | None = None  # why it takes nothing more
        self._closing = False
        self._thread = Thread(target=self._run, name="rtm store writer", daemon=True)
        self._thread.start()

    def ask(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do *job*, and give what it gave when that is on the disk.

        Raises StoreFault, and whatever else *job* raised.
        """
        result: Result = self._put(job, lazy=False).result()
        return result

    def tell(self, job: Callable[[sqlite3.Connection], object]) -> None:
        """Do *job* soon. Raises StoreFault, of what came before."""
        self._put(job, lazy=True)

    def flush(self) -> None:
        """Come back when all that was told is done. Raises StoreFault."""
        with self._bell:
            waits = self._busy or bool(self._asked)
        if waits:
            self.ask(_nothing)

    def close(self) -> None:
        """Do what was asked and told, then end."""
        with self._bell:
            self._closing = True
            self._bell.notify()
        self._thread.join()

    # --- private ---

    def _put(self, job: Callable[[sqlite3.Connection], object], *, lazy: bool) -> Future[Any]:
        done: Future[Any] = Future()
        with self._bell:
            if self._refusal is not None:
                raise StoreFault(self._refusal)
            if self._closing:
                raise StoreFault("the store is closed")
            self._asked.append(_Asked(job, done))
            self._urgent = self._urgent or not lazy or len(self._asked) >= MAX_LAZY
            self._bell.notify()
        return done

    def _run(self) -> None:
        while batch := self._next():
            self._carry_out(batch)

    def _next(self) -> list[_Asked]:
        """What is to be committed together; nothing at the end."""
        with self._bell:
            self._busy = False
            until: float | None = None
            while not (self._urgent or self._closing):
                if self._asked and until is None:
                    until = time.monotonic() + LAZY
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._bell.wait(left)
            batch, self._asked, self._urgent = self._asked, [], False
            self._busy = bool(batch)
            return batch

    def _carry_out(self, batch: list[_Asked]) -> None:
        db = self._db
        failed: list[Exception | None]
        results: list[Any] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            failed = [self._one(asked.job, results) for asked in batch]
            self._before_commit()
            db.execute("COMMIT")
        except Exception as exc:
            self._undo(exc)
            failed = [_told(exc) for _ in batch]
            results = [None] * len(batch)
        if self._refusal is None:
            with contextlib.suppress(*Expected):  # it is tried again after the next batch
                self._settle(db)
        else:
            self._leave()
        for asked, fault, result in zip(batch, failed, results, strict=True):
            if fault is None:
                asked.done.set_result(result)
            else:
                asked.done.set_exception(fault)

    def _one(
        self, job: Callable[[sqlite3.Connection], object], results: list[Any]
    ) -> Exception | None:
        """A job on its own, its result, and its fault; raises what ends the whole batch."""
        db = self._db
        db.execute("SAVEPOINT job")
        try:
            results.append(job(db))
        except Exception as exc:
            if is_fatal(exc) or not db.in_transaction:  # SQLite itself has rolled all of it back
                raise
            db.execute("ROLLBACK TO job")
            db.execute("RELEASE job")
            results.append(None)
            return _told(exc)
        db.execute("RELEASE job")
        return None

    def _undo(self, exc: Exception) -> None:
        """The batch was not committed."""
        fatal = is_fatal(exc)
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            fatal = True
        if fatal:
            with self._bell:
                fault = fault_of(exc)
                self._refusal = f"nothing more is kept until the gate is started again: {fault}"
                stranded, self._asked = self._asked, []
            for asked in stranded:
                asked.done.set_exception(StoreFault(self._refusal))


def _told(exc: Exception) -> Exception:
    """What the one who asked is told; a fault of our own is told as it is."""
    return fault_of(exc) if isinstance(exc, Expected) else exc


def _nothing(db: sqlite3.Connection) -> None:
    """For whoever waits for what came before."""
