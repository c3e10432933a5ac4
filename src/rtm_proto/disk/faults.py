"""What a disk or a database does to us, as a StoreFault: clear to a client, and without a path."""

from __future__ import annotations

import errno
import sqlite3

from ..errors import StoreFault

FULL = "the disk is full"
FAILED = "the disk failed"

Expected = (StoreFault, OSError, sqlite3.Error, OverflowError)
"""What the calls of a store may run into: the last one is a number beyond int64."""

_BY_ERRNO = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EROFS: "the disk cannot be written to",
    errno.EACCES: "the disk cannot be written to",
    errno.EPERM: "the disk cannot be written to",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
}
_BY_CODE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: FAILED,
    sqlite3.SQLITE_BUSY: "the database is locked by another process",
    sqlite3.SQLITE_LOCKED: "the database is locked by another process",
    sqlite3.SQLITE_READONLY: "the disk cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the database is damaged",
    sqlite3.SQLITE_CONSTRAINT: "it is kept already",
}
_FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def fault_of(exc: Exception) -> StoreFault:
    """The fault that *exc* is: a new one, whose cause it is."""
    if isinstance(exc, StoreFault):
        fault = StoreFault(str(exc))
    elif isinstance(exc, OSError):
        text = _BY_ERRNO.get(exc.errno or 0, FAILED)
        fault = StoreFault(f"{text} ({errno.errorcode.get(exc.errno or 0, 'no errno')})")
    elif isinstance(exc, sqlite3.Error) and (code := _code(exc)) is not None:
        fault = StoreFault(f"{_BY_CODE.get(code & 0xFF, FAILED)} ({exc.sqlite_errorname})")
    elif isinstance(exc, OverflowError):
        fault = StoreFault("a number is outside int64")
    else:
        fault = StoreFault(f"the store failed ({type(exc).__name__})")
    fault.__cause__ = exc
    return fault


def is_fatal(exc: BaseException) -> bool:
    """Whether a database that raised this may have on the disk something else than it says."""
    return isinstance(exc, sqlite3.Error) and ((_code(exc) or 0) & 0xFF) in _FATAL


def _code(exc: sqlite3.Error) -> int | None:
    """SQLite's extended code; there is none where Python itself complains."""
    code: int | None = getattr(exc, "sqlite_errorcode", None)
    return code
