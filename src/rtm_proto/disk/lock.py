"""One gate to a folder: a lock that ends with the process, in a file that names it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from ..errors import StoreFault
from .files import FILE_MODE

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = "lock"
_BEHIND = 1_000  # where Windows locks a byte: behind the pid, which has to stay readable


class FolderLock:
    """Held from its making until ``release``, or until the process ends in whatever way."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreFault, which names the folder and the process that has it; OSError."""
        self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            _lock(self._file)
        except OSError as exc:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreFault(
                f"{folder} is in use by another gate, process {holder or 'unknown'}: "
                "expected a folder that no gate has open"
            ) from exc
        try:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, b"%d\n" % os.getpid())
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others have the folder; the file stays."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def _lock(file: int) -> None:
    """Raises OSError when somebody else holds it."""
    if sys.platform == "win32":
        os.lseek(file, _BEHIND, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
