"""Every operation on the files of bodies, one method each, so that a test can let each one fail.

    create ─► write ... ─► sync ─► close ─► rename ─► sync_folder     (now a power cut spares it)

Names are relative to the store's folder, with ``/`` in them. Each method may raise OSError.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "darwin":
    import fcntl

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class Files:
    """The files in one folder of a real disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_folder(self, name: str) -> None:
        """Make a folder, unless there is one."""
        path = self._folder / name
        if not path.is_dir():
            path.mkdir(FOLDER_MODE)

    def create(self, name: str) -> int:
        """A new file, open for writing."""
        return os.open(self._folder / name, _FLAGS, FILE_MODE)

    def write(self, file: int, data: memoryview) -> int:
        """How many bytes of *data* were written: not always all."""
        return os.write(file, data)

    def sync(self, file: int) -> None:
        """Wait until what was written is on the disk."""
        if sys.platform == "darwin":  # there, fsync leaves it in the drive's own cache
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
        else:
            os.fsync(file)

    def close(self, file: int) -> None:
        """Close it."""
        os.close(file)

    def rename(self, name: str, to: str) -> None:
        """Give a file another name, instead of any file that had it."""
        os.replace(self._folder / name, self._folder / to)

    def sync_folder(self, name: str) -> None:
        """Wait until the names in a folder are on the disk; ``""`` is the store's own."""
        if sys.platform == "win32":  # there a folder cannot be opened; NTFS logs names by itself
            return
        folder = os.open(self._folder / name, os.O_RDONLY)
        try:
            self.sync(folder)
        finally:
            os.close(folder)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._folder / name).unlink(missing_ok=True)

    def names(self, folder: str) -> Iterator[str]:
        """What is in a folder."""
        with os.scandir(self._folder / folder) as entries:
            for entry in entries:
                yield entry.name

    def read(self, name: str, offset: int, length: int) -> bytes:
        """At most *length* bytes from *offset*; fewer only where the file ends."""
        with open(self._folder / name, "rb", buffering=0) as file:
            file.seek(offset)
            parts: list[bytes] = []
            while length and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
            return b"".join(parts)

    def free(self) -> int:
        """How many bytes the disk has left for us."""
        return shutil.disk_usage(self._folder).free
