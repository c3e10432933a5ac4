"""How much a gate's stores keep in a second, beside what a sync alone costs on the same disk.

    python -m benchmarks.store                      every row, 2 seconds each
    python -m benchmarks.store --folder /data --seconds 5 --only "5 MiB"

One row for each kind of thing that is kept, with one thread that saves, and with many: the disk
store commits what waits together. A file comes as a gate gives it to its store, in pieces of
64 KiB, and none equals another. ``a sync``: 4 KiB appended to a file and synced, nothing else;
``a body``: a file of 100 bytes made, synced, renamed, and its folder synced, nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from rtm_proto.disk import DiskStore
from rtm_proto.disk.files import Files
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import Store, StoredFile, StoredMessage
from rtm_proto.gate.uploads import PIECE
from rtm_proto.received import Conversation

SAVERS = (1, 16, 64)
SIZES = {"100 bytes": 100, "100 KiB": 100 * 1024, "5 MiB": 5 * 1024 * 1024}
ENDLESS = 1 << 50  # bytes
Save = Callable[[int], None]
"""Keep the thing of this number, of which there is one."""


class Row(NamedTuple):
    """What is measured; ``open`` gives what saves, in a folder."""

    name: str
    size: int  # bytes of a file; 0: there is none
    open: Callable[[Path], AbstractContextManager[Save]]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store")
    parser.add_argument("--folder", help="on which disk (default: where temporary files are)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each figure")
    parser.add_argument("--savers", type=int, nargs="+", default=SAVERS, help="threads")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows with this in their name")
    options = parser.parse_args(argv)
    print("a second      " + "".join(f"{f'{count} at once':>14}" for count in options.savers))
    for row in rows():
        if options.only in row.name:
            figures = [
                measure(row, count, options.seconds, options.folder) for count in options.savers
            ]
            print(f"{row.name:<26}" + "".join(f"{figure:>12}  " for figure in figures), flush=True)
    return 0


def rows() -> Iterator[Row]:
    """All of them."""
    yield Row("a sync", 0, synced)
    yield Row("a body", 0, bodies)
    for name, make in (("disk", disk_store), ("memory", memory_store)):
        yield Row(f"{name}: a message", 0, messages_of(make))
        for words, size in SIZES.items():
            yield Row(f"{name}: {words}", size, files_of(make, size))


def measure(row: Row, savers: int, seconds: float, folder: str | None) -> str:
    """How many in a second, with so many threads; of larger files also the MB."""
    numbers = itertools.count(1)
    stop = threading.Event()

    def work(save: Save) -> int:
        count = 0
        while not stop.is_set():
            save(next(numbers))
            count += 1
        return count

    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        row.open(Path(name)) as save,
    ):
        with ThreadPoolExecutor(savers) as pool:
            began = time.perf_counter()
            counts = [pool.submit(work, save) for _ in range(savers)]
            time.sleep(seconds)
            stop.set()
            done = sum(count.result() for count in counts)
            rate = done / (time.perf_counter() - began)
    megabytes = rate * row.size / 1e6
    return f"{rate:,.0f}" + (f" ({megabytes:,.0f} MB)" if megabytes >= 1 else "")


# --- what saves ---


@contextmanager
def synced(folder: Path) -> Generator[Save]:
    """Each thread with a file of its own."""
    files = Files(folder)
    own = threading.local()
    opened: list[int] = []
    data = memoryview(bytes(4096))

    def save(number: int) -> None:
        if not hasattr(own, "file"):
            own.file = files.create(f"{number}")
            opened.append(own.file)
        files.write(own.file, data)
        files.sync(own.file)

    yield save
    for file in opened:
        files.close(file)


@contextmanager
def bodies(folder: Path) -> Generator[Save]:
    """A file of its own each time."""
    files = Files(folder)
    files.make_folder("bodies")
    data = memoryview(bytes(100))

    def save(number: int) -> None:
        file = files.create(f"{number}")
        files.write(file, data)
        files.sync(file)
        files.close(file)
        files.rename(f"{number}", f"bodies/{number}")
        files.sync_folder("bodies")

    yield save


def disk_store(folder: Path) -> Store:
    """The one on a disk, as it comes."""
    return DiskStore(folder / "store", reserve=0)


def memory_store(folder: Path) -> Store:
    """The one in memory."""
    return Latest()


class Latest(MemoryStore):
    """Forgets a file as soon as it is kept: a benchmark must not fill the memory."""

    def __init__(self) -> None:
        super().__init__(max_bytes=ENDLESS)

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        """As ever."""
        super().save_file(file, messages, rest)
        self._files.pop(file.key)


def messages_of(make: Callable[[Path], Store]) -> Callable[[Path], AbstractContextManager[Save]]:
    """Messages without a file, in 100 conversations."""

    @contextmanager
    def opened(folder: Path) -> Generator[Save]:
        store = make(folder)
        yield lambda number: store.save_messages([message(number)])
        store.close()

    return opened


def files_of(
    make: Callable[[Path], Store], size: int
) -> Callable[[Path], AbstractContextManager[Save]]:
    """Files with a message each."""
    body = os.urandom(size)

    @contextmanager
    def opened(folder: Path) -> Generator[Save]:
        store = make(folder)

        def save(number: int) -> None:
            key = f"{number:032x}"
            first = number.to_bytes(8, "big")
            at = 0
            while size - at > PIECE:
                store.write_body(key, body[at : at + PIECE] if at else first + body[8:PIECE])
                at += PIECE
            rest = body[at:] if at else first + body[8:]
            file = StoredFile(key, size, f"{number:032x}", "name", 50, 1, number)
            store.save_file(file, [message(number, key)], rest)

        yield save
        store.close()

    return opened


def message(number: int, file: str | None = None) -> StoredMessage:
    """One that an absent user is to get."""
    target = 2 + number % 100
    text = '{"url":"http://gate.example:13461/files/0123456789abcdef/name","size":100}'
    return StoredMessage(
        Conversation.P2P, 1, target, number, 50, text, "{}", number, number, file, (target,)
    )


if __name__ == "__main__":
    sys.exit(main())
