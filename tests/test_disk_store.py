"""The store on a disk: the contract of every store, and what only this one promises."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import pytest

from rtm_proto.disk import DiskStore, database, writer
from rtm_proto.disk.bodies import BODIES, DRAFTS
from rtm_proto.disk.database import APPLICATION, FORMAT
from rtm_proto.disk.store import RESERVE
from rtm_proto.errors import StoreFault
from rtm_proto.gate.store import History, Store, StoredFile, Table, Unread, Used
from rtm_proto.received import Conversation
from tests.disk_model import Disk
from tests.store_contract import NOON, P2P, StoreContract, message, mids, save, stored

# Two PNG-less blocks with one md5 (Wang, Feng, Lai, Yu: "Collisions for Hash Functions", 2004).
COLLIDING = (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70",
    "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd7280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080280d1ec69821bcb6a8839396f965ab6ff72a70",
)


class TestDiskStore(StoreContract):
    @pytest.fixture(autouse=True)
    def in_folder(self, tmp_path: Path) -> None:
        self._folder = tmp_path / "store"

    def new_store(self, **options: Any) -> Store:
        return DiskStore(self._folder, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_store(folder: Path) -> Iterator[Callable[..., DiskStore]]:
    """Opens a store; the one before is closed first, and the last one in the end."""
    with contextlib.ExitStack() as stack:

        def open_store(**options: Any) -> DiskStore:
            stack.close()
            store = DiskStore(folder, **options)
            stack.callback(store.close)
            return store

        yield open_store


Open = Callable[..., DiskStore]


def bodies(folder: Path) -> list[str]:
    return os.listdir(folder / BODIES)


# --- the folder ---


def test_what_was_kept_is_there_when_it_is_opened_again(open_store: Open) -> None:
    store = open_store()
    save(store, 1)
    store.write_body("draft", b"never saved")
    store.save_messages([message(2, waiting=(1002,))])
    store.save_record(Table.MEMBERS, 5, "[1]")
    before = store.kept(0)
    store = open_store()
    assert store.kept(0) == before
    assert store.read_file("key 1", 0, 4) == b"body"
    assert store.find_unread(1002) == (Unread(P2P, 1001),)
    assert store.used() == Used(1, 4, 2)
    with pytest.raises(StoreFault, match="5 bytes came of a file of 16"):
        store.save_file(stored("draft", b"never saved + body"[:16]), [], b" body")


def test_a_folder_that_is_closed_holds_the_database_and_the_bodies(
    open_store: Open, folder: Path
) -> None:
    store = open_store()
    save(store, 1, b"one")
    store.write_body("k", b"a draft")
    assert os.listdir(folder / DRAFTS) != []
    store.close()
    store.close()
    assert sorted(os.listdir(folder)) == ["bodies", "drafts", "gate.db", "lock"]
    assert bodies(folder) == [sha256(b"one").hexdigest()]
    assert (folder / BODIES / bodies(folder)[0]).read_bytes() == b"one"
    assert os.listdir(folder / DRAFTS) == []
    refused: list[Callable[[], object]] = [
        lambda: save(store, 2),
        lambda: store.write_body("k", b"x"),
        lambda: store.save_messages([message(2)]),
        lambda: store.find_file("key 1"),
        lambda: store.delivered(1, 1),
        lambda: store.tidy(0),
    ]
    for call in refused:
        with pytest.raises(StoreFault, match="the store is closed"):
            call()


def test_nobody_else_can_read_what_is_in_it(open_store: Open, folder: Path) -> None:
    before = os.umask(0)
    try:
        store = open_store()
        save(store, 1)
        store.write_body("k", b"draft")
        modes = {
            path.relative_to(folder).parts[0]: stat.S_IMODE(path.stat().st_mode)
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert {"lock", "gate.db", "gate.db-wal", "gate.db-shm", BODIES, DRAFTS} == modes.keys()
        assert {*modes.values()} == {0o600}
        for name in ("", BODIES, DRAFTS):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_the_name_of_a_draft_is_none_that_a_visitor_gave(open_store: Open, folder: Path) -> None:
    store = open_store()
    store.write_body("../../evil", b"x")
    store.write_body("\0", b"x")
    assert sorted(os.listdir(folder / DRAFTS)) == ["1", "2"]
    store.save_file(stored("../../evil", b"x"), [], b"")
    assert store.read_file("../../evil", 0, 1) == b"x"


# --- equal bodies ---


def test_equal_bodies_are_on_the_disk_once(open_store: Open, folder: Path) -> None:
    store = open_store()
    save(store, 1)
    store.write_body("k", b"bo")
    store.save_file(stored("k"), [], b"dy")
    save(store, 2)
    assert store.used() == Used(3, 4, 2)
    assert len(bodies(folder)) == 1 and os.listdir(folder / DRAFTS) == []


def test_a_body_that_is_there_already_needs_no_room_and_no_writing(folder: Path) -> None:
    disk = Disk()
    store = DiskStore(folder, max_bytes=4, make_files=disk.files)
    save(store, 1)
    disk.done.clear()
    save(store, 2)
    assert {*disk.done} == {"free"}
    assert mids(store) == [1, 2]
    store.close()


def test_a_body_that_goes_while_it_is_looked_for_is_written_again(
    open_store: Open, folder: Path
) -> None:
    meanwhile: list[Callable[[], None]] = []

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            cursor = super().execute(sql, *args)  # it has found its row already
            if sql.startswith("SELECT 1 FROM bodies") and meanwhile:
                meanwhile.pop()()
            return cursor

    store = open_store(connection=Slow)
    save(store, 1)
    meanwhile.append(lambda: store.tidy(NOON + 9 * 24 * 3600 * 1000))
    save(store, 2)
    assert store.find_file("key 1") is None
    assert store.read_file("key 2", 0, 4) == b"body"
    assert len(bodies(folder)) == 1 and store.used() == Used(1, 4, 1)


def test_two_files_with_one_md5_are_two_files(open_store: Open) -> None:
    one, other = map(bytes.fromhex, COLLIDING)
    digest = md5(one).hexdigest()
    assert one != other and digest == md5(other).hexdigest()
    store = open_store()
    for key, body in (("one", one), ("other", other)):
        store.save_file(StoredFile(key, len(body), digest, "name", 50), [], body)
    assert store.read_file("one", 0, 128) == one
    assert store.read_file("other", 0, 128) == other
    assert store.used().bytes == 256


# --- one gate to a folder ---


def test_a_second_gate_on_a_folder_does_not_start(open_store: Open, folder: Path) -> None:
    store = open_store()
    text = f"{folder} is in use by another gate, process {os.getpid()}: expected a folder that no"
    with pytest.raises(StoreFault, match=text):
        DiskStore(folder)
    code = f"from rtm_proto.disk import DiskStore; DiskStore({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and text in done.stderr
    save(store, 1)
    store.close()
    again = DiskStore(folder)
    assert mids(again) == [1]
    again.close()


def test_the_lock_of_a_process_that_is_gone_is_nobodys(folder: Path) -> None:
    code = (
        "import os, sys; from rtm_proto.disk import DiskStore\n"
        f"store = DiskStore({str(folder)!r}); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30)
    assert done.returncode == -9
    assert (folder / "lock").read_text().strip().isdigit(), "it still tells who it was"
    DiskStore(folder).close()


# --- a folder that cannot be used ---


def refused(folder: Path) -> str:
    with pytest.raises(StoreFault) as caught:
        DiskStore(folder)
    if folder.is_dir() and (folder / "lock").is_file():  # what was begun is given up
        with pytest.raises(StoreFault) as again:
            DiskStore(folder)
        assert "in use" not in str(again.value)
    return str(caught.value)


def test_a_file_where_the_folder_should_be(folder: Path) -> None:
    folder.write_text("no folder")
    assert refused(folder) == f"{folder}: expected a folder, found a file"


@pytest.mark.parametrize("name", [BODIES, DRAFTS])
def test_a_file_where_a_folder_in_it_should_be(folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / name).write_text("no folder")
    assert refused(folder) == f"{folder / name}: expected a folder, found a file"


def test_a_folder_whose_parent_is_not_there(folder: Path) -> None:
    text = f"{folder / 'deeper'}: expected a folder that can be written to, found: "
    assert refused(folder / "deeper") == f"{text}No such file or directory"


def test_a_folder_that_is_read_only() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        DiskStore(folder).close()
        os.chmod(name, 0o755)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555)
        with as_nobody():
            assert refused(folder) == (
                f"{folder / 'lock'}: expected a folder that can be written to, "
                "found: Permission denied"
            )
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        (folder / "gate.db").chmod(0o444)
        (folder / "lock").chmod(0o666)
        with as_nobody():
            assert refused(folder) == (
                f"{folder / 'gate.db'}: expected a folder that can be written to, "
                "found: Permission denied"
            )


@contextlib.contextmanager
def as_nobody() -> Generator[None]:
    """Root may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_database_that_is_none(folder: Path) -> None:
    folder.mkdir()
    (folder / "gate.db").write_bytes(b"no database at all" * 100)
    assert refused(folder) == (
        f"{folder / 'gate.db'}: expected a gate's database, found: file is not a database"
    )


def test_a_database_of_something_else(folder: Path) -> None:
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "gate.db")) as other:
        other.execute("CREATE TABLE notes (text)")
    before = (folder / "gate.db").read_bytes()
    assert refused(folder) == (
        f"{folder / 'gate.db'}: expected a gate's database (application_id {APPLICATION:#x}), "
        "found one of something else (0x0)"
    )
    assert (folder / "gate.db").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["gate.db", "lock"]


@pytest.mark.parametrize(
    ("version", "advice"), [(FORMAT + 1, ": it was written by a newer gate"), (0, "")]
)
def test_a_database_of_another_version(folder: Path, version: int, advice: str) -> None:
    DiskStore(folder).close()
    with contextlib.closing(sqlite3.connect(folder / "gate.db")) as newer:
        newer.execute(f"PRAGMA user_version = {version}")
    assert refused(folder) == (
        f"{folder / 'gate.db'}: expected version {FORMAT} of a gate's database, "
        f"found version {version}{advice}"
    )


def test_a_database_that_is_damaged(folder: Path) -> None:
    store = DiskStore(folder)
    store.save_messages([message(mid) for mid in range(1, 400)])
    store.close()
    path = folder / "gate.db"
    path.write_bytes(path.read_bytes()[:6_000])
    assert refused(folder) == (
        f"{path}: expected a gate's database, found: database disk image is malformed"
    )


def test_a_database_that_lacks_a_table(folder: Path) -> None:
    DiskStore(folder).close()
    with contextlib.closing(sqlite3.connect(folder / "gate.db")) as other:
        other.execute("DROP TABLE totals")
    text = f"{folder}: expected a gate's database, found: no such table: totals"
    assert refused(folder) == text


def test_a_record_of_a_newer_gate_is_not_passed_over(open_store: Open, folder: Path) -> None:
    store = open_store()
    store.save_record(Table.BAN, 1, "1")
    with contextlib.closing(sqlite3.connect(folder / "gate.db")) as other, other:
        other.execute("UPDATE records SET about = 'curfew'")
    with pytest.raises(StoreFault, match=r"records about 'curfew' are of a newer gate"):
        store.kept(0)


def test_a_database_that_somebody_has_locked(folder: Path) -> None:
    DiskStore(folder).close()
    with stalled(folder), pytest.raises(StoreFault, match="nobody else is using, found it locked"):
        DiskStore(folder, patience=0.05)
    DiskStore(folder).close()


def test_a_disk_without_a_write_ahead_log(folder: Path) -> None:
    class Elsewhere(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "= WAL" in sql else sql, *args)

    with pytest.raises(StoreFault, match=r"expected a disk on .*, found one with journal mode"):
        DiskStore(folder, connection=Elsewhere)


def test_an_sqlite_that_is_too_old(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OLDEST_SQLITE", (99, 0, 0))
    assert refused(folder).startswith("expected SQLite 99.0.0 or newer, found 3.")


def test_a_schema_that_cannot_be_made_is_not_half_made(folder: Path) -> None:
    class Full(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if "TRIGGER" in sql:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *args)

    with pytest.raises(StoreFault, match=r"gate.db: expected .* found: database or disk is full"):
        DiskStore(folder, connection=Full)
    DiskStore(folder).close()


# --- what a crash, or somebody else, has left ---


def test_what_nobody_tells_of_is_swept_at_a_start(open_store: Open, folder: Path) -> None:
    save(open_store(), 1)
    open_store().close()
    (folder / BODIES / ("a" * 64)).write_bytes(b"an orphan")
    (folder / BODIES / "not ours").write_bytes(b"an orphan")
    (folder / DRAFTS / "7").write_bytes(b"a draft")
    store = open_store()
    assert (len(bodies(folder)), os.listdir(folder / DRAFTS)) == (1, [])
    assert (store.missing, store.used().bytes) == (0, 4)


def test_a_body_that_somebody_has_removed_is_counted(open_store: Open, folder: Path) -> None:
    store = open_store()
    save(store, 1, b"removed")
    save(store, 2, b"kept")
    save(store, 3, b"cut short")
    (folder / BODIES / sha256(b"removed").hexdigest()).unlink()
    (folder / BODIES / sha256(b"cut short").hexdigest()).write_bytes(b"cut")
    store = open_store()
    assert store.missing == 1
    assert store.read_file("key 2", 0, 4) == b"kept"
    with pytest.raises(StoreFault, match="no such file"):
        store.read_file("key 1", 0, 7)
    with pytest.raises(StoreFault, match="the file is damaged: 9 bytes were kept, some are gone"):
        store.read_file("key 3", 0, 9)


def test_a_draft_that_could_not_be_removed_is_tidied_later(folder: Path) -> None:
    disk = Disk()
    store = DiskStore(folder, make_files=disk.files)
    disk.broken = {"remove"}
    store.write_body("k", b"draft")
    store.drop_body("k")
    assert store.used().bytes == 0 and disk.in_folder(DRAFTS) == ["1"]
    with pytest.raises(StoreFault, match="EIO"):
        store.tidy(0)
    disk.broken = set()
    store.tidy(0)
    assert disk.in_folder(DRAFTS) == []
    store.close()


# --- batches ---


@contextlib.contextmanager
def stalled(folder: Path) -> Generator[None]:
    """Somebody else has the database locked."""
    with contextlib.closing(sqlite3.connect(folder / "gate.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_all_who_wait_are_committed_together(folder: Path) -> None:
    disk, said = Disk(), list[str]()

    class Counted(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            said.append(sql)
            return super().execute(sql, *args)

    store = DiskStore(folder, make_files=disk.files, connection=Counted, max_user_bytes=50)
    save(store, 1000, sender=2)
    said.clear()
    disk.done.clear()
    with ThreadPoolExecutor(40) as pool:
        with stalled(folder):
            first = pool.submit(store.save_messages, [message(99)])
            while "BEGIN IMMEDIATE" not in said:  # this one is with the writer
                time.sleep(0.001)
            saves = [pool.submit(save, store, mid, b"%05d" % mid, sender=1) for mid in range(1, 21)]
            taken = pool.submit(save, store, 1000, b"the key of another", sender=3)
            texts = [pool.submit(store.save_messages, [message(mid)]) for mid in range(21, 31)]
            while len(store._writer._asked) < 31:  # pyright: ignore[reportPrivateUsage]
                time.sleep(0.001)
        faults = [str(each.exception()) for each in saves if each.exception() is not None]
    assert len(faults) == 10 and {*faults} == {"no room for 5 bytes: the limit of a user is 50"}
    assert str(taken.exception()).startswith("it is kept already")
    assert [each.result() for each in texts] == [None] * 10
    assert first.result() is None
    assert said.count("COMMIT") == 2 and disk.done.count("sync_folder") == 1
    assert len(mids(store)) == 22
    assert len(disk.in_folder(BODIES)) == 11 and disk.in_folder(DRAFTS) == []
    assert store.used() == Used(11, 54, 22)
    store.close()


def test_reading_does_not_wait_for_who_writes(folder: Path) -> None:
    store = DiskStore(folder, patience=30.0)
    save(store, 1)
    with ThreadPoolExecutor(1) as pool, stalled(folder):
        writing = pool.submit(save, store, 2)
        assert store.find_file("key 1") is not None
        assert store.read_file("key 1", 0, 4) == b"body"
        assert mids(store) == [1] and store.used().files == 1
        assert len(store.find_history(History((Conversation.P2P, 1001, 1002), 9))) == 1
        assert not writing.done()
    store.close()


def test_a_database_that_somebody_locks_is_a_refusal_and_no_more(folder: Path) -> None:
    store = DiskStore(folder, patience=0.05)
    save(store, 1)
    text = "the database is locked by another process"
    with stalled(folder):
        for call in (lambda: save(store, 2), lambda: store.save_messages([message(3)])):
            with pytest.raises(StoreFault, match=text):
                call()
    assert len(bodies(folder)) == 1
    save(store, 4, b"another")
    assert mids(store) == [1, 4]
    store.close()


def test_what_was_delivered_is_not_waited_for(folder: Path) -> None:
    store = DiskStore(folder, patience=30.0)
    store.save_messages([message(1, waiting=(1002, 1003))])
    with stalled(folder):
        store.delivered(1002, 1)
    assert store.find_unread(1002) == ()
    store.delivered(1003, 1)
    store.close()
    again = DiskStore(folder)
    assert again.find_unread(1003) == ()
    again.close()


def test_who_asks_what_is_unread_waits_for_what_is_being_committed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LAZY", 0.0)
    said: list[str] = []

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            said.append(sql)
            return super().execute(sql, *args)

    store = DiskStore(folder, connection=Watched, patience=30.0)
    store.save_messages([message(1, waiting=(1002,))])
    said.clear()
    with ThreadPoolExecutor(1) as pool, stalled(folder):
        store.delivered(1002, 1)
        while "BEGIN IMMEDIATE" not in said:  # it is with the writer
            time.sleep(0.001)
        unread = pool.submit(store.find_unread, 1002)
        while not (unread.done() or store._writer._asked):  # pyright: ignore[reportPrivateUsage]
            time.sleep(0.001)
    assert unread.result() == ()
    store.close()


@pytest.mark.parametrize("bound", ["LAZY", "MAX_LAZY"])
def test_what_was_delivered_is_committed_soon(
    folder: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, or where it is much; without anybody who asks for it."""
    monkeypatch.setattr(writer, "LAZY", 0.05 if bound == "LAZY" else 1e6)
    monkeypatch.setattr(writer, "MAX_LAZY", 2)
    store = DiskStore(folder)
    store.save_messages([message(1, waiting=(1, 2))])
    store.delivered(1, 1)
    if bound == "MAX_LAZY":
        store.delivered(2, 1)
    left = 1 if bound == "LAZY" else 0
    with contextlib.closing(sqlite3.connect(folder / "gate.db")) as other:
        while other.execute("SELECT count(*) FROM waiting").fetchone()[0] > left:
            time.sleep(0.005)
    store.close()


def test_a_fault_of_our_own_is_told_as_it_is(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(AttributeError):
        store.save_messages([object()])  # type: ignore[list-item]
    save(store, 1)
    with pytest.raises(StoreFault, match="a number is outside int64"):
        store.save_messages([message(2**63)])
    with pytest.raises(StoreFault, match="a number is outside int64"):
        store.find_unread(2**63)
    with pytest.raises(StoreFault, match="it is kept already"):
        store.save_messages([message(2), message(1)])
    assert mids(store) == [1]


# --- many, and large ---


def test_many_threads_may_ask_at_once(open_store: Open) -> None:
    store = open_store()

    def work(number: int) -> int:
        key, body = f"key {number}", b"%d" % (number % 7) * 1000
        store.write_body(key, body[:300])
        file = stored(key, body, owner=number)
        sent = message(number, sender=number, target=9, file=key, waiting=(9,))
        store.save_file(file, [sent], body[300:])
        store.delivered(9, number)
        assert Unread(P2P, number) not in store.find_unread(9)
        assert store.read_file(key, 0, len(body)) == body
        return len(store.find_history(History(sent.conversation, 9)))

    def tidy(number: int) -> int:
        store.tidy(number)
        return 1

    with ThreadPoolExecutor(16) as pool:
        tidied = pool.map(tidy, range(20))
        assert [*pool.map(work, range(1, 101))] == [1] * 100
        assert [*tidied] == [1] * 20
    assert store.find_unread(9) == ()
    assert store.used() == Used(100, 7_000, 100)


def test_bodies_come_and_go_while_others_keep_the_same(open_store: Open, folder: Path) -> None:
    """What is forgotten by one is kept for the other, however they meet."""
    store = open_store(history_life=0.0)
    stop = threading.Event()

    def tidy() -> None:
        while not stop.is_set():
            store.tidy(NOON)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(40):
            body = b"%d" % chance.randrange(3) * 100
            old, new = f"old {seed} {number}", f"new {seed} {number}"
            store.save_file(stored(old, body, at=NOON - 1), [], body)
            store.save_file(stored(new, body, at=NOON), [], body)
            assert store.read_file(new, 0, 100) == body

    with ThreadPoolExecutor(9) as pool:
        tidying = pool.submit(tidy)
        try:
            assert [*pool.map(work, range(8))] == [None] * 8
        finally:
            stop.set()
        tidying.result()
    store.tidy(NOON)
    assert len(bodies(folder)) == 3 and store.used() == Used(320, 300, 0)
    store.tidy(NOON + 1)
    assert bodies(folder) == [] and store.used() == Used(0, 0, 0)


def test_a_large_file_is_never_whole_in_memory(open_store: Open) -> None:
    store = open_store()
    piece, pieces = bytes(range(256)) * 1024, 64
    tracemalloc.start()
    try:
        for _ in range(pieces):
            store.write_body("k", piece)
        size = pieces * len(piece)
        store.save_file(StoredFile("k", size, "md5", "name", 50), [message(1)], b"")
        for at in range(0, size, len(piece)):
            assert store.read_file("k", at, len(piece)) == piece
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 16 * 1024 * 1024 and most < 1024 * 1024


def test_it_waits_for_a_disk_and_leaves_some_of_it_free(open_store: Open) -> None:
    store = open_store()
    assert store.blocking and repr(store) == "<DiskStore>"
    assert RESERVE == 64 * 1024 * 1024
