"""The bytes of files, one file for each content, and the room that they take.

    write ─► drafts/3 ─► seal ─► place ─► bodies/<sha256> ─► sync ─► the row is committed
                              └─► discard

A body is named by the sha256 of its bytes, which is counted while they are written. The protocol's
own digest, md5, would not do: two files can be made to have the same one, and would then be one.
A body whose row was not committed, or is gone, is removed by ``settle``; what a crash leaves of
these is removed by ``sweep``, when the next store starts.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from hashlib import sha256
from threading import Lock

from ..errors import StoreFault
from .files import Files

DRAFTS = "drafts"
BODIES = "bodies"


class Bodies:
    """All bodies of a store. ``place``, ``doom``, ``sync`` and ``settle`` are the writer's."""

    def __init__(self, files: Files, *, max_bytes: int | None, reserve: int) -> None:
        """*max_bytes*: of bodies and drafts; *reserve*: bytes of the disk that stay free."""
        self.files = files
        self.taken = 0  # bytes of bodies, and of drafts
        self._max_bytes = max_bytes
        self._reserve = reserve
        self._lock = Lock()
        self._number = 0  # of the newest draft
        self._unsynced = False  # was a body placed since the last sync?
        self._touched: dict[str, int] = {}  # digests that may have no row, and the room they take
        self._left: list[str] = []  # drafts that could not be removed

    def start(self, bytes_kept: int, known: Callable[[str], bool]) -> int:
        """Make the folders, remove drafts and bodies without a row; how many have one.

        *bytes_kept*: of all bodies that have a row. Raises OSError.
        """
        self.taken = bytes_kept
        for folder in (DRAFTS, BODIES):
            self.files.make_folder(folder)
        self.files.sync_folder("")
        for name in [*self.files.names(DRAFTS)]:
            self.files.remove(f"{DRAFTS}/{name}")
        count = 0
        for name in self.files.names(BODIES):
            if known(name):
                count += 1
            else:
                self.files.remove(f"{BODIES}/{name}")
        return count

    def draft(self) -> Draft:
        """A new one, empty. Raises OSError."""
        with self._lock:
            self._number += 1
            name = f"{DRAFTS}/{self._number}"
        return Draft(self, name, self.files.create(name))

    def read(self, digest: str, offset: int, length: int) -> bytes:
        """A part of a body; less where it ends. Raises OSError."""
        return self.files.read(f"{BODIES}/{digest}", offset, length)

    def check_disk(self, size: int = 0) -> None:
        """Raises StoreFault where the disk has no *size* bytes beside the reserve; OSError."""
        free = self.files.free()
        if free < self._reserve + size:
            raise StoreFault(
                f"the disk is full: {free} bytes are free, {self._reserve} are to stay so"
            )

    def take_room(self, size: int) -> None:
        """Count *size* bytes more. Raises StoreFault where they are too many; OSError."""
        self.check_disk(size)
        with self._lock:
            if self._max_bytes is not None and self.taken + size > self._max_bytes:
                raise StoreFault(f"no room for {size} bytes: the limit is {self._max_bytes}")
            self.taken += size

    def give_room(self, size: int) -> None:
        """Count them no more."""
        with self._lock:
            self.taken -= size

    def place(self, draft: Draft) -> None:
        """Make a sealed draft a body; its row follows, or ``settle`` removes it. Raises OSError."""
        replaced = self._touched.setdefault(draft.digest, 0)  # before: a fault may come too late
        self.files.rename(draft.name, f"{BODIES}/{draft.digest}")
        draft.placed = self._unsynced = True
        self.give_room(replaced)
        self._touched[draft.digest] = draft.size

    def doom(self, digest: str, size: int) -> None:
        """A row that told of this body is about to go."""
        self._touched[digest] = size

    def sync(self) -> None:
        """What was placed is on the disk under its name. Raises OSError."""
        if self._unsynced:
            self._unsynced = False
            self.files.sync_folder(BODIES)

    def settle(self, known: Callable[[str], bool]) -> None:
        """Remove what has no row after all; what cannot be removed now is tried again."""
        for digest, size in [*self._touched.items()]:
            if not known(digest):
                try:
                    self.files.remove(f"{BODIES}/{digest}")
                except OSError:
                    continue
                self.give_room(size)
            del self._touched[digest]

    def remove_draft(self, name: str) -> None:
        """For a draft."""
        try:
            self.files.remove(name)
        except OSError:
            self._left.append(name)

    def tidy(self) -> None:
        """Try again to remove drafts. Raises OSError."""
        while self._left:
            self.files.remove(self._left[-1])
            self._left.pop()

    def leave(self) -> None:
        """What is on the disk is unknown: remove nothing, the next start will sweep."""
        self._touched.clear()
        self._unsynced = False


class Draft:
    """A body that is being written. ``discard`` has to follow, whatever happens."""

    def __init__(self, bodies: Bodies, name: str, file: int) -> None:
        """For ``Bodies.draft``."""
        self.name = name
        self.size = 0
        self.digest = ""  # sha256, lower-case hex; once it is sealed
        self.placed = False
        self._bodies = bodies
        self._hash = sha256()
        self._room = 0
        self._file: int | None = file

    def write(self, data: bytes) -> None:
        """Append *data*. Raises StoreFault, OSError; the draft is good for nothing then."""
        assert self._file is not None
        self._bodies.take_room(len(data))
        self._room += len(data)
        self._hash.update(data)
        rest = memoryview(data)
        while rest:
            count = self._bodies.files.write(self._file, rest)
            if count <= 0:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[count:]
        self.size += len(data)

    def seal(self) -> None:
        """All of it is on the disk. Raises OSError; the draft is good for nothing then.

        It is not synced a second time: after a fault, the kernel may take for written what is not.
        """
        assert self._file is not None
        self._bodies.files.sync(self._file)
        self._close()
        self.digest = self._hash.hexdigest()

    def discard(self) -> None:
        """Forget it, unless it has become a body; what cannot be removed now is tidied later."""
        with contextlib.suppress(OSError):
            self._close()
        if not self.placed:
            self._bodies.remove_draft(self.name)
            self._bodies.give_room(self._room)
            self._room = 0

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._bodies.files.close(file)
