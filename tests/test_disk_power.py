"""The store on a disk that drops what was not synced: nothing that was acknowledged is lost.

The bodies are on a model (``disk_model``), the database on a real disk: SQLite's own word is taken
for what it has synced, and asked whether it was told to. What a cut does to its write-ahead log is
tried by cutting that at every kind of place behind the last commit.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rtm_proto.disk import DiskStore
from rtm_proto.disk.bodies import BODIES, DRAFTS
from rtm_proto.errors import StoreFault
from rtm_proto.gate.store import StoredFile, StoredMessage
from tests.disk_model import CUT, SHORT, Disk, ModelFiles
from tests.store_contract import DAY, NOON, message

CONTENTS = (b"", b"one", b"another", b"a long one " * 20)
FAULTS = (5, 28, SHORT)  # EIO, ENOSPC


class PowerCuts(RuleBasedStateMachine):
    """Save, fail, be cut off, come up again: whatever was acknowledged is there, whole."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.disk = Disk()
        self.kept: dict[str, tuple[StoredFile, StoredMessage, bytes]] = {}
        self.refused: set[str] = set()
        self.drafts: dict[str, bytes] = {}
        self.count = 0
        self.store = self._start()

    def _start(self) -> DiskStore:
        return DiskStore(
            Path(self._folder.name) / "store", make_files=self.disk.files, history=10_000
        )

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()

    def _key(self) -> str:
        self.count += 1
        return f"key {self.count}"

    def _save(self, key: str, written: bytes, rest: bytes) -> None:
        number = int(key.split()[1])
        body = written + rest
        file = StoredFile(key, len(body), "md5", "name", 50, 1001, NOON + number * DAY)
        said = message(number, mtime=file.at, file=key)
        try:
            self.store.save_file(file, [said], rest)
        except StoreFault:
            self.refused.add(key)
        else:
            self.kept[key] = (file, said, body)

    @rule(body=st.sampled_from(CONTENTS))
    def save(self, body: bytes) -> None:
        self._save(self._key(), b"", body)

    @rule(body=st.sampled_from(CONTENTS), again=st.booleans())
    def write(self, body: bytes, again: bool) -> None:
        key = next(iter(self.drafts)) if again and self.drafts else self._key()
        try:
            self.store.write_body(key, body)
        except StoreFault:
            self.store.drop_body(key)
            self.drafts.pop(key, None)
        else:
            self.drafts[key] = self.drafts.get(key, b"") + body

    @precondition(lambda self: self.drafts)
    @rule(rest=st.sampled_from(CONTENTS))
    def save_written(self, rest: bytes) -> None:
        key, written = self.drafts.popitem()
        self._save(key, written, rest)

    @precondition(lambda self: self.drafts)
    @rule()
    def drop(self) -> None:
        self.store.drop_body(self.drafts.popitem()[0])

    @rule(days=st.integers(0, 3))
    def tidy(self, days: int) -> None:
        oldest = NOON + (self.count - days) * DAY
        old = {key for key, (file, _, _) in self.kept.items() if file.at < oldest}
        try:
            self.store.tidy(oldest + 7 * DAY)
        except StoreFault:
            old = {key for key in old if self.store.find_file(key) is None}
        for key in old:
            del self.kept[key]

    @rule(fault=st.sampled_from(FAULTS), after=st.integers(0, 12))
    def fail(self, fault: int | str, after: int) -> None:
        self.disk.fates[len(self.disk.done) + after] = fault

    @rule(after=st.integers(0, 12))
    def cut_soon(self, after: int) -> None:
        self.disk.fates[len(self.disk.done) + after] = CUT

    @rule(chance=st.randoms(use_true_random=False))
    def start_again(self, chance: random.Random) -> None:
        self.disk.fates.clear()
        self.disk.cut_off = True
        disk = self.disk.after_cut(chance)  # before it is closed: that is no part of a cut
        self.store.close()
        self.drafts.clear()
        self.disk = disk
        self.store = self._start()
        self._check()
        self._check_folder()

    @rule()
    def close_and_start_again(self) -> None:
        self.disk.fates.clear()
        if not self.disk.cut_off:
            self.store.close()
            self.drafts.clear()
            assert not self.disk.still_open
            self.store = self._start()
            self._check()
            self._check_folder()

    @invariant()
    def check_while_it_runs(self) -> None:
        if not self.disk.cut_off:
            with self.disk.quietly():
                self._check()

    def _check(self) -> None:
        for key, (file, _, body) in self.kept.items():
            assert self.store.find_file(key) == file
            assert self.store.read_file(key, 0, file.size) == body
        for key in self.refused:
            assert self.store.find_file(key) is None, "it was said not to be kept"
        said = [message for _, message, _ in self.kept.values()]
        found = sorted(self.store.kept(0).messages, key=lambda each: each.id)
        assert found == sorted(said, key=lambda each: each.id)
        assert self.store.used().files == len(self.kept)

    def _check_folder(self) -> None:
        """No orphan, no draft, the room counted right."""
        bodies = {body for _, _, body in self.kept.values()}
        assert self.store.missing == 0
        assert len(self.disk.in_folder(BODIES)) == len(bodies)
        assert self.disk.in_folder(DRAFTS) == []
        assert self.store.used().bytes == sum(map(len, bodies))


PowerCuts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPowerCuts = PowerCuts.TestCase


@pytest.mark.parametrize("body", [b"small", b"large " * 50_000])
def test_a_cut_at_every_operation_of_a_save_leaves_all_or_nothing(
    tmp_path: Path, body: bytes
) -> None:
    """All of what was acknowledged before, and of this one nothing without an acknowledgement."""
    place = 0
    while True:
        disk, folder = Disk(), tmp_path / str(place)
        store = DiskStore(folder, make_files=disk.files)
        before = StoredFile("before", 6, "md5", "name", 50)
        store.save_file(before, [message(1)], b"before")
        disk.fates[len(disk.done) + place] = CUT
        acknowledged = True
        try:
            for at in range(0, len(body) - 1, 65_536):
                store.write_body("k", body[at : min(at + 65_536, len(body) - 1)])
            store.save_file(StoredFile("k", len(body), "md5", "name", 50), [message(2)], body[-1:])
        except StoreFault:
            acknowledged = False
        reached = disk.cut_off
        for seed in range(8):
            after = disk.after_cut(random.Random(seed))
            copy = tmp_path / f"{place} {seed}"
            shutil.copytree(folder, copy)
            again = DiskStore(copy, make_files=after.files)
            assert again.read_file("before", 0, 6) == b"before"
            assert (again.find_file("k") is not None) == acknowledged
            assert len(again.kept(0).messages) == 1 + acknowledged
            if acknowledged:
                assert again.read_file("k", 0, len(body)) == body
            assert (again.missing, again.used().bytes) == (0, 6 + acknowledged * len(body))
            assert after.in_folder(DRAFTS) == []
            again.close()
        store.close()
        if not reached:
            break
        place += 1
    assert place > 6, "there were cuts"


def test_the_database_syncs_each_commit(tmp_path: Path) -> None:
    asked: list[str] = []

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            asked.append(sql)
            return super().execute(sql, *args)  # type: ignore[arg-type]

        def close(self) -> None:
            values = [super(Watched, self).execute(f"PRAGMA {name}").fetchone()[0] for name in told]
            assert values == ["wal", 2, 1, 1], "2 is FULL"
            super().close()

    told = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
    store = DiskStore(tmp_path / "store", connection=Watched)
    asked.clear()
    store.save_messages([message(1)])
    assert asked[0] == "BEGIN IMMEDIATE" and "COMMIT" in asked
    store.close()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_write_ahead_log_that_is_cut_behind_a_commit_has_that_commit(data: st.DataObject) -> None:
    """A power cut leaves of what SQLite was writing any part, and perhaps zeros or rubbish."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        store = DiskStore(folder)
        sizes = [0]
        for mid in range(1, 7):
            body = b"%d" % mid * mid
            file = StoredFile(str(mid), len(body), "md5", "name", 50)
            store.save_file(file, [message(mid, waiting=(1002,))], body)
            sizes.append((folder / "gate.db-wal").stat().st_size)
        last = data.draw(st.integers(1, 6), label="last commit that was synced")
        after = data.draw(st.integers(sizes[last], sizes[6]), label="bytes left of the log")
        rubbish = data.draw(st.sampled_from([b"", bytes(3000), b"\xa5" * 3000]), label="behind it")
        copy = Path(name) / "copy"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm"))
        log = (folder / "gate.db-wal").read_bytes()
        (copy / "gate.db-wal").write_bytes(log[:after] + rubbish)
        again = DiskStore(copy)
        found = [said.mid for said in again.kept(0).messages]
        assert found[:last] == [*range(1, last + 1)]
        assert found == [*range(1, len(found) + 1)], "the commits behind it are there in order"
        for mid in found:
            assert again.read_file(str(mid), 0, mid) == b"%d" % mid * mid
        assert again.missing == 0 and again.used().messages == len(found)
        assert len(again.find_unread(1002)) == 1
        again.close()
        store.close()


class Careless(ModelFiles):
    """Says that it has done what it was told to leave out."""

    left_out = ""

    def sync(self, file: int) -> None:
        if self.left_out != "sync":
            super().sync(file)

    def sync_folder(self, name: str) -> None:
        if self.left_out != "sync_folder":
            super().sync_folder(name)

    def remove(self, name: str) -> None:
        if self.left_out != "remove":
            super().remove(name)


@pytest.mark.parametrize("left_out", ["sync", "sync_folder", "remove"])
def test_the_model_finds_what_is_left_out(left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of the proof: a store that does less than it has to is found out."""
    monkeypatch.setattr(Careless, "left_out", left_out)
    monkeypatch.setattr(Disk, "files", lambda disk, folder: Careless(disk))  # pyright: ignore
    once = settings(max_examples=200, database=None, phases=[Phase.generate], deadline=None)
    with pytest.raises((AssertionError, StoreFault)):
        run_state_machine_as_test(PowerCuts, settings=once)
