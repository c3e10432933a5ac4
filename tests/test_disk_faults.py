"""Every call of disk and database fails once: no acknowledgement, and the store lives."""

from __future__ import annotations

import errno
import random
import resource
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rtm_proto.disk import DiskStore
from rtm_proto.disk.bodies import BODIES, DRAFTS
from rtm_proto.disk.faults import fault_of
from rtm_proto.disk.rows import SAVE_MESSAGE
from rtm_proto.errors import FileRefused, StoreFault
from rtm_proto.gate.store import Table, Used
from rtm_proto.received import Conversation
from tests.disk_model import LATE, NOTHING, SHORT, Disk
from tests.store_contract import NOON, message, messages, mids, save, stored
from tests.world import World

LARGE = b"large " * 20_000
OLD = NOON + 8 * 24 * 3600 * 1000  # ms; everything from before is too old then
Step = Callable[[DiskStore], object]


def _save_large(store: DiskStore) -> None:
    file = stored("large", LARGE, at=NOON)
    try:
        store.write_body("large", LARGE[:65_536])
        store.write_body("large", LARGE[65_536:100_000])
        store.save_file(file, [message(2, file="large", waiting=(1002,))], LARGE[100_000:])
    except StoreFault:
        store.drop_body("large")  # as the gate does
        raise


STEPS: list[Step] = [
    lambda store: save(store, 1),
    _save_large,
    lambda store: save(store, 3),  # the same body once more
    lambda store: store.save_messages([message(4, waiting=(1002,))]),
    lambda store: store.save_record(Table.MEMBERS, 1, "[1]"),
    lambda store: store.clear_unread(1002, 2),
    lambda store: store.read_file("large", 70_000, 1_000),
    lambda store: store.kept(0),
    lambda store: store.tidy(OLD),
]


def _run(store: DiskStore, steps: Iterable[Step]) -> list[StoreFault]:
    """Each step until it works; the faults on the way."""
    faults: list[StoreFault] = []
    for step in steps:
        try:
            step(store)
        except StoreFault as fault:
            faults.append(fault)
            step(store)
    return faults


def _operations(folder: Path) -> list[str]:
    """What the steps ask of a disk, in order."""
    disk = Disk()
    store = DiskStore(folder, make_files=disk.files)
    disk.done.clear()
    assert _run(store, STEPS) == []
    store.close()
    return disk.done


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EMFILE, SHORT])
def test_each_operation_on_bodies_fails_once(tmp_path: Path, fault: int | str) -> None:
    """Its step is refused and works the second time; nothing of it is left behind."""
    operations = _operations(tmp_path / "counted")
    assert {"create", "write", "sync", "close", "rename", "sync_folder", "remove", "free"} < {
        *operations
    }
    for at, operation in enumerate(operations):
        disk, folder = Disk(), tmp_path / f"{operation} {at}"
        store = DiskStore(folder, make_files=disk.files)
        disk.fates[len(disk.done) + at] = fault
        faults = _run(store, STEPS[:-1])
        assert len(faults) <= 1
        if fault == SHORT or operation == "remove":
            assert faults == [], "a short write goes on, a file that stays is tried again"
        elif at < operations.index("remove"):
            assert len(faults) == 1, operation
        for said in faults:
            assert str(folder) not in str(said) and "told to" not in str(said)
        with disk.quietly():
            assert mids(store) == [1, 2, 3, 4]
            assert store.read_file("large", 0, len(LARGE)) == LARGE
            assert store.read_file("key 3", 0, 4) == b"body"
        with suppress(StoreFault):
            store.tidy(OLD)
        store.tidy(OLD)
        assert store.used() == Used(0, 0, 0)
        assert disk.in_folder(BODIES) == disk.in_folder(DRAFTS) == []
        save(store, 5)
        store.close()
        assert not disk.still_open
        again = DiskStore(folder, make_files=disk.after_cut(random.Random(at)).files)
        assert again.read_file("key 5", 0, 4) == b"body" and again.missing == 0
        again.close()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (errno.ENOSPC, "the disk is full (ENOSPC)"),
        (errno.EDQUOT, "the disk is full (EDQUOT)"),
        (errno.EIO, "the disk failed (EIO)"),
        (errno.EROFS, "the disk cannot be written to (EROFS)"),
        (errno.EMFILE, "too many files are open (EMFILE)"),
        (99_999, "the disk failed (no errno)"),
    ],
)
def test_a_fault_of_the_disk_has_a_clear_text(tmp_path: Path, fault: int, text: str) -> None:
    disk = Disk()
    store = DiskStore(tmp_path / "store", make_files=disk.files)
    disk.fates[len(disk.done) + 1] = fault
    with pytest.raises(StoreFault) as caught:
        save(store)
    assert str(caught.value) == text
    assert isinstance(caught.value.__cause__, OSError)
    store.close()


@pytest.mark.parametrize(
    ("fates", "text"),
    [
        ([SHORT, errno.ENOSPC], "the disk is full"),
        ([NOTHING], "the disk failed"),
        ([errno.EIO], "the disk failed"),
    ],
)
def test_a_draft_that_was_written_in_part_is_good_for_nothing(
    tmp_path: Path, fates: list[int | str], text: str
) -> None:
    disk = Disk()
    store = DiskStore(tmp_path / "store", make_files=disk.files)
    store.write_body("k", b"12")
    disk.fates.update(enumerate(fates, len(disk.done) + 1))  # before it looks what is free
    with pytest.raises(StoreFault, match=text):
        store.write_body("k", b"34")
    with pytest.raises(StoreFault, match="0 bytes came of a file of 2"):
        store.save_file(stored("k", b"12"), [], b"")
    assert store.used() == Used(0, 0, 0) and disk.in_folder(DRAFTS) == []
    store.close()


def test_a_name_that_was_given_before_the_fault_is_taken_back(tmp_path: Path) -> None:
    disk = Disk()
    store = DiskStore(tmp_path / "store", make_files=disk.files)
    disk.fates = dict.fromkeys(range(len(disk.done), len(disk.done) + 9), LATE)
    with pytest.raises(StoreFault, match="the disk failed"):
        save(store, 1)
    assert disk.in_folder(BODIES) == disk.in_folder(DRAFTS) == []
    assert store.used() == Used(0, 0, 0)
    disk.fates.clear()
    save(store, 2)
    assert store.used() == Used(1, 4, 1)
    store.close()


def test_some_of_the_disk_stays_free(tmp_path: Path) -> None:
    disk = Disk(free=1_000)
    store = DiskStore(tmp_path / "store", make_files=disk.files, reserve=900)
    save(store, 1, b"x" * 100)
    text = "the disk is full: 1000 bytes are free, 900 are to stay so"
    for refused in (
        lambda: save(store, 2, b"x" * 101),
        lambda: store.write_body("k", b"x" * 101),
    ):
        with pytest.raises(StoreFault, match=text):
            refused()
    disk.free = 899
    with pytest.raises(StoreFault, match="the disk is full: 899 bytes are free"):
        store.save_messages([message(3)])
    with pytest.raises(StoreFault, match="the disk is full"):
        save(store, 4, b"x" * 100)
    store.save_record(Table.BAN, 1, "1")
    store.clear_unread(1002, 9)
    store.tidy(OLD)
    assert store.used() == Used(0, 0, 0)
    store.close()


# --- the database ---


class Faulty(sqlite3.Connection):
    """Fails at one statement of the writer, before it does it or after; ``said``: all of them."""

    said: list[str] = []  # noqa: RUF012 - one for a test
    at: Sequence[int | str] = ()  # which ones, counted from 0; or those of these words
    code = 0
    after = False

    def _fail(self) -> None:
        exc = sqlite3.OperationalError("told to fail")
        exc.sqlite_errorcode, exc.sqlite_errorname = self.code, f"code {self.code}"
        raise exc

    def _run(
        self, run: Callable[..., sqlite3.Cursor], sql: str, args: tuple[object, ...]
    ) -> sqlite3.Cursor:
        cls = type(self)
        cls.said.append(sql)
        failing = len(cls.said) - 1 in cls.at or sql in cls.at
        if failing and not self.after:
            self._fail()
        cursor = run(sql, *args)
        if failing:
            self._fail()
        return cursor

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
        return self._run(super().execute, sql, args)

    def executemany(self, sql: str, *args: object) -> sqlite3.Cursor:
        return self._run(super().executemany, sql, args)


def _faulty(code: int, *, after: bool = False) -> type[Faulty]:
    return type("Faulty", (Faulty,), {"said": [], "code": code, "after": after})


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
def test_each_statement_fails_once_and_the_store_lives(tmp_path: Path, code: int) -> None:
    counted = _faulty(0)
    store = DiskStore(tmp_path / "counted", connection=counted)
    start = len(counted.said)
    _run(store, STEPS)
    statements = counted.said[start:]
    store.close()
    assert {"BEGIN IMMEDIATE", "COMMIT", "SAVEPOINT job", "RELEASE job"} < {*statements}
    for at in range(len(statements)):
        disk, failing, folder = Disk(), _faulty(code), tmp_path / str(at)
        store = DiskStore(folder, make_files=disk.files, connection=failing)
        failing.at = [len(failing.said) + at]
        _run(store, STEPS)
        assert store.used().files == 0 and store.find_file("large") is None
        save(store, 5)
        assert disk.in_folder(DRAFTS) == [] and len(disk.in_folder(BODIES)) == 1
        store.close()
        again = DiskStore(folder, make_files=disk.after_cut(random.Random(at)).files)
        assert again.read_file("key 5", 0, 4) == b"body" and again.missing == 0
        again.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_commit_that_fails_on_the_disk_is_the_last_one(tmp_path: Path, after: bool) -> None:
    """Whether it is on the disk or not, nobody can say: what its rows may need stays."""
    disk, failing = Disk(), _faulty(sqlite3.SQLITE_IOERR | 4 << 8, after=after)  # IOERR_FSYNC
    folder = tmp_path / "store"
    store = DiskStore(folder, make_files=disk.files, connection=failing)
    save(store, 1, b"first")
    failing.at = ["COMMIT"]
    with pytest.raises(StoreFault, match="the disk failed"):
        save(store, 2, b"second")
    refusals: list[Step] = [
        lambda store: save(store, 3),
        lambda store: store.save_messages([message(4)]),
        lambda store: store.save_record(Table.MEMBERS, 1, "[1]"),
        lambda store: store.delivered(1002, 1),
    ]
    for refused in refusals:
        with pytest.raises(StoreFault, match="nothing more is kept until the gate is started"):
            refused(store)
    assert store.read_file("key 1", 0, 5) == b"first", "what is kept can be read"
    assert store.find_unread(1002) == ()
    assert len(disk.in_folder(BODIES)) == 2, "a row that comes up again would need it"
    store.close()
    disk = disk.after_cut(random.Random(1))
    again = DiskStore(folder, make_files=disk.files)
    assert again.missing == 0
    assert len(disk.in_folder(BODIES)) == 1 + after
    assert mids(again) == ([1, 2] if after else [1])
    if after:
        assert again.read_file("key 2", 0, 6) == b"second"
    save(again, 5)
    again.close()


@pytest.mark.parametrize(
    ("code", "at", "text"),
    [
        (sqlite3.SQLITE_CORRUPT, [SAVE_MESSAGE], "the database is damaged"),
        (sqlite3.SQLITE_IOERR, ["SAVEPOINT job"], "the disk failed"),
        (sqlite3.SQLITE_IOERR, ["BEGIN IMMEDIATE"], "the disk failed"),
        (sqlite3.SQLITE_FULL, ["COMMIT", "ROLLBACK"], "the disk is full"),
    ],
)
def test_a_database_that_nobody_can_rely_on_takes_nothing_more(
    tmp_path: Path, code: int, at: list[int | str], text: str
) -> None:
    failing = _faulty(code)
    store = DiskStore(tmp_path / "store", connection=failing)
    save(store, 1)
    failing.at = at
    with pytest.raises(StoreFault, match=text):
        save(store, 2)
    failing.at = ()
    with pytest.raises(StoreFault, match=f"nothing more is kept until .* again: {text}"):
        save(store, 3)
    store.close()
    again = DiskStore(tmp_path / "store")
    assert mids(again) == [1] and again.missing == 0
    again.close()


def test_a_batch_that_sqlite_itself_has_rolled_back_is_refused_whole(tmp_path: Path) -> None:
    """It may do so where the disk is full (https://www.sqlite.org/lang_transaction.html)."""

    class RollsBack(_faulty(sqlite3.SQLITE_FULL)):  # type: ignore[misc]
        def _fail(self) -> None:
            self.rollback()
            super()._fail()

    store = DiskStore(tmp_path / "store", connection=RollsBack)
    RollsBack.at = [SAVE_MESSAGE]
    with pytest.raises(StoreFault, match="the disk is full"):
        save(store, 1)
    RollsBack.at = ()
    save(store, 2)
    assert mids(store) == [2] and store.used().files == 1
    store.close()


def test_those_who_wait_behind_a_batch_that_is_the_last_are_told_so(tmp_path: Path) -> None:
    failing = _faulty(sqlite3.SQLITE_IOERR, after=True)
    store = DiskStore(tmp_path / "store", connection=failing, patience=30.0)
    failing.at = ["BEGIN IMMEDIATE"]
    other = sqlite3.connect(tmp_path / "store" / "gate.db", isolation_level=None)
    with ThreadPoolExecutor(4) as pool:
        other.execute("BEGIN IMMEDIATE")
        first = pool.submit(save, store, 1)
        while "BEGIN IMMEDIATE" not in failing.said[-1:]:  # it is with the writer
            time.sleep(0.001)
        behind = [pool.submit(store.save_messages, [message(mid)]) for mid in (2, 3)]
        while len(store._writer._asked) < 2:  # pyright: ignore[reportPrivateUsage]
            time.sleep(0.001)
        other.execute("ROLLBACK")
    other.close()
    assert str(first.exception()).startswith("the disk failed")
    for each in behind:
        assert str(each.exception()).startswith("nothing more is kept until the gate is started")
    store.close()


def test_a_fault_that_sqlite_has_no_code_for_has_a_text_too() -> None:
    assert (
        str(fault_of(sqlite3.ProgrammingError("closed"))) == "the store failed (ProgrammingError)"
    )


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    """The kernel lets no file of this process grow beyond *size* bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_kernel_cuts_a_body_short(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    save(store, 1)
    with files_of_at_most(100_000), pytest.raises(StoreFault, match="the disk is full"):
        save(store, 2, LARGE)
    save(store, 3, LARGE)
    assert mids(store) == [1, 3] and store.read_file("key 3", 0, len(LARGE)) == LARGE
    assert len([*(tmp_path / "store" / BODIES).iterdir()]) == 2
    assert [*(tmp_path / "store" / DRAFTS).iterdir()] == []
    store.close()


def test_the_kernel_cuts_a_commit_short(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    save(store, 1)
    log = (tmp_path / "store" / "gate.db-wal").stat().st_size
    with files_of_at_most(log + 2_000), pytest.raises(StoreFault):
        save(store, 2, b"second")
    assert store.find_file("key 2") is None
    store.close()
    again = DiskStore(tmp_path / "store")
    assert mids(again) == [1] and again.read_file("key 1", 0, 4) == b"body"
    assert len([*(tmp_path / "store" / BODIES).iterdir()]) == 1
    save(again, 3)
    again.close()


def test_the_kernel_does_not_let_the_lock_be_written(tmp_path: Path) -> None:
    with files_of_at_most(0), pytest.raises(StoreFault, match="found: File too large"):
        DiskStore(tmp_path / "store")
    DiskStore(tmp_path / "store").close()


# --- the gate over it ---


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_an_upload_gets_its_refusal_and_the_next_one_goes_through(
    tmp_path: Path, body: bytes
) -> None:
    disk = Disk()
    store = DiskStore(tmp_path / "store", make_files=disk.files)
    world = World(store=store)
    alice, bob = world.log_in(1001), world.log_in(1002)
    for kind in ("create", "write", "sync", "close", "rename", "sync_folder"):
        disk.broken = {kind}
        with pytest.raises(FileRefused, match=r"not stored: the disk failed \(EIO\)"):
            alice.send(Conversation.P2P, 1002, kind.encode() + body)
        disk.broken = set()
        assert bob.received() == []
        sent = alice.send(Conversation.P2P, 1002, kind.encode() + body)
        assert [getattr(event, "mid", None) for event in bob.received()] == [sent.mid]
        assert disk.in_folder(DRAFTS) == []
    assert store.used().files == len(disk.in_folder(BODIES)) == 6
    store.close()


def test_a_gate_that_starts_again_knows_the_mids_and_who_has_not_got_what(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    world = World(store=store)
    alice = world.log_in(1001)
    sent = alice.send(Conversation.P2P, 1002, LARGE, mid=7)
    store.close()
    world.store = store = DiskStore(tmp_path / "store")
    world.restart()
    alice, bob = world.log_in(1001), world.log_in(1002)
    again = alice.send(Conversation.P2P, 1002, LARGE, mid=7)
    assert (sent.duplicate, again.duplicate, bob.received()) == (False, True, [])
    assert mids(store) == [7] and store.used().files == 1
    store.close()


def test_a_gate_whose_clock_has_stepped_back_goes_on_from_the_last_mtime(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    world = World(store=store)
    before = world.log_in(1001).send(Conversation.P2P, 1002, b"before", mid=1)
    store.close()
    world.wall_offset -= 3_600_000
    world.store = store = DiskStore(tmp_path / "store")
    world.restart()
    alice = world.log_in(1001)
    after = alice.send(Conversation.P2P, 1002, b"after", mid=2)
    assert before.mtime is not None and after.mtime == before.mtime + 1
    assert [m.mid for m in messages(store)] == [1, 2], "the ids go on too"
    assert alice.send(Conversation.P2P, 1002, b"before", mid=1).duplicate
    store.close()
