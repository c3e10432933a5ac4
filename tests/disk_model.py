"""A disk that keeps only what was synced, and fails when it is told to.

    create, write        what is in a file; a power cut leaves any of it, or none
    sync                 ... it leaves all of it
    create, rename, remove   the names in a folder; of each that changed, a cut leaves any state
    make_folder              the same of a folder, with what is in it
    sync_folder          ... it leaves the newest

A sync that has failed is one that the kernel forgets (fsyncgate): what it was for is lost by a
power cut, even if the next sync of it is said to have worked.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rtm_proto.disk.files import Files

ENDLESS = 1 << 40  # bytes that are free, where nothing else is said
CUT = "cut"
SHORT = "short write"
NOTHING = "nothing written"
LATE = "renamed, and then EIO"


class PowerCut(OSError):
    """Nothing can be done with the disk any more."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the power is cut")


@dataclass(eq=False)
class _File:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    forgotten: bool = False  # a sync of it has failed


@dataclass
class Disk:
    """What is on it, and what will happen to it.

    ``fates``: at which operation, counted from 0, which errno comes up, or CUT, SHORT, NOTHING or
    LATE. ``done``: the names of the operations that were asked for. ``broken``: those of them that
    give EIO.
    """

    fates: dict[int, int | str] = field(default_factory=dict[int, "int | str"])
    free: int = ENDLESS
    done: list[str] = field(default_factory=list[str])
    broken: set[str] = field(default_factory=set[str])
    names: dict[str, _File | None] = field(default_factory=dict[str, "_File | None"])
    folders: set[str] = field(default_factory=set[str])
    cut_off: bool = False
    _new_folders: set[str] = field(default_factory=set[str])
    _forgotten: set[str] = field(default_factory=set[str])  # names whose sync has failed
    _older: dict[str, list[_File | None]] = field(default_factory=dict[str, "list[_File | None]"])
    _open: dict[int, _File] = field(default_factory=dict[int, _File])
    _opened: int = 0

    def files(self, folder: Path) -> Files:
        """As ``make_files`` of a DiskStore."""
        return ModelFiles(self)

    def in_folder(self, folder: str) -> list[str]:
        """The names in it."""
        start = f"{folder}/"
        return [
            name.removeprefix(start)
            for name, file in self.names.items()
            if file and name.startswith(start)
        ]

    def after_cut(self, chance: random.Random) -> Disk:
        """What comes up when the power is back: what was not synced is there, or not, by chance."""
        lost = {name for name in sorted(self._new_folders) if chance.random() < 0.5}
        disk = Disk(folders=self.folders - lost)
        for name, newest in self.names.items():
            if name.partition("/")[0] in lost:
                continue
            file = chance.choice([*self._older.get(name, []), newest])
            if file is not None:
                data = _left_of(file, chance)
                disk.names[name] = _File(bytearray(data), data)
        return disk

    @contextmanager
    def quietly(self) -> Generator[None]:
        """What is done meanwhile is not counted, and does not fail."""
        fates, done = self.fates, len(self.done)
        self.fates = {}
        try:
            yield
        finally:
            self.fates = fates
            del self.done[done:]

    # --- for ModelFiles ---

    def begin(self, operation: str) -> int | str | None:
        """An operation is asked for; what is to happen to it. Raises OSError."""
        if self.cut_off:
            raise PowerCut
        fate = self.fates.get(len(self.done))
        self.done.append(operation)
        if fate == CUT:
            self.cut_off = True
            raise PowerCut
        if operation in self.broken:
            fate = errno.EIO
        if isinstance(fate, int):
            raise OSError(fate, "told to fail")
        return fate

    def name(self, name: str, file: _File | None) -> None:
        self._older.setdefault(name, []).append(self.names.get(name))
        self._forgotten.discard(name)
        self.names[name] = file

    def open(self, file: _File) -> int:
        self._opened += 1
        self._open[self._opened] = file
        return self._opened

    def opened(self, number: int) -> _File:
        return self._open[number]

    def close(self, number: int) -> None:
        del self._open[number]

    @property
    def still_open(self) -> int:
        """How many files were not closed."""
        return len(self._open)

    def make_folder(self, name: str) -> None:
        if name not in self.folders:
            self.folders.add(name)
            self._new_folders.add(name)

    def keep_names(self, folder: str) -> None:
        if not folder:
            self._new_folders.clear()
        for name in self._unsynced(folder) - self._forgotten:
            del self._older[name]

    def forget_names(self, folder: str) -> None:
        self._forgotten |= self._unsynced(folder)

    def _unsynced(self, folder: str) -> set[str]:
        return {name for name in self._older if name.startswith(f"{folder}/")}


def _left_of(file: _File, chance: random.Random) -> bytes:
    data = bytes(file.data)
    if data == file.synced:
        return data
    cut = chance.randint(0, len(data))
    return chance.choice([file.synced, data, data[:cut], data[:cut] + bytes(len(data) - cut)])


class ModelFiles(Files):
    """The seam between a DiskStore and a Disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(Path())
        self._disk = disk

    def make_folder(self, name: str) -> None:
        self._disk.begin("make_folder")
        self._disk.make_folder(name)

    def create(self, name: str) -> int:
        disk = self._disk
        disk.begin("create")
        assert name.partition("/")[0] in disk.folders
        if disk.names.get(name):
            raise FileExistsError(errno.EEXIST, "it is there already", name)
        file = _File()
        disk.name(name, file)
        return disk.open(file)

    def write(self, file: int, data: memoryview) -> int:
        fate = self._disk.begin("write")
        count = {SHORT: (len(data) + 1) // 2, NOTHING: 0}.get(str(fate), len(data))
        self._disk.opened(file).data += data[:count]
        return count

    def sync(self, file: int) -> None:
        opened = self._disk.opened(file)
        try:
            self._disk.begin("sync")
        except OSError:
            opened.forgotten = True
            raise
        if not opened.forgotten:
            opened.synced = bytes(opened.data)

    def close(self, file: int) -> None:
        self._disk.close(file)
        self._disk.begin("close")

    def rename(self, name: str, to: str) -> None:
        disk = self._disk
        fate = disk.begin("rename")
        file = disk.names[name]
        assert file is not None
        disk.name(to, file)
        disk.name(name, None)
        if fate == LATE:
            raise OSError(errno.EIO, "told to fail late")

    def sync_folder(self, name: str) -> None:
        disk = self._disk
        try:
            disk.begin("sync_folder")
        except OSError:
            disk.forget_names(name)
            raise
        disk.keep_names(name)

    def remove(self, name: str) -> None:
        self._disk.begin("remove")
        if self._disk.names.get(name):
            self._disk.name(name, None)

    def names(self, folder: str) -> Iterator[str]:
        self._disk.begin("names")
        return iter(self._disk.in_folder(folder))

    def read(self, name: str, offset: int, length: int) -> bytes:
        self._disk.begin("read")
        file = self._disk.names.get(name)
        if not file:
            raise FileNotFoundError(errno.ENOENT, "it is not there", name)
        return bytes(file.data[offset : offset + length])

    def free(self) -> int:
        self._disk.begin("free")
        return self._disk.free
