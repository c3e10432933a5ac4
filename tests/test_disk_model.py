"""The store on a disk does what the store in memory does, also when it is started again."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtm_proto.disk import DiskStore
from rtm_proto.errors import StoreFault
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import (
    ClearUnread,
    Delivered,
    DropBody,
    Effect,
    FindFile,
    FindHistory,
    FindUnread,
    History,
    ReadFile,
    SaveFile,
    SaveMessages,
    SaveRecord,
    StoredFile,
    StoredMessage,
    Table,
    Tidy,
    WriteBody,
    conversation_key,
)
from rtm_proto.received import Conversation
from tests.store_contract import DAY, NOON

UIDS = st.integers(1, 4)
KINDS = st.sampled_from(Conversation)
TEXTS = st.text(max_size=3)


class Stores(RuleBasedStateMachine):
    """Two stores that are asked the same."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.options: dict[str, Any] = {}
        self.disk: DiskStore | None = None
        self.memory = MemoryStore()
        self.count = 0  # of messages: their ids, their days and their mids
        self.drafts: list[str] = []
        self.sizes: dict[str, int] = {}

    @initialize(
        history=st.integers(1, 3),
        life=st.integers(1, 5),
        room=st.none() | st.integers(0, 400),
        room_of_user=st.none() | st.integers(0, 200),
    )
    def begin(self, history: int, life: int, room: int | None, room_of_user: int | None) -> None:
        self.options = {
            "history": history,
            "history_life": life * DAY / 1000,
            "max_user_bytes": room_of_user,
            **({} if room is None else {"max_bytes": room}),
        }
        self.memory = MemoryStore(**self.options)
        self._start()

    def _start(self) -> None:
        self.disk = DiskStore(Path(self._folder.name) / "store", **self.options)

    def teardown(self) -> None:
        if self.disk is not None:
            self.disk.close()
        self._folder.cleanup()

    def ask(self, effect: Effect) -> object:
        """Both; what they gave, or why not."""
        assert self.disk is not None
        results: list[object] = []
        for store in (self.disk, self.memory):
            try:
                results.append(store.carry_out(effect))
            except StoreFault as fault:
                results.append(re.sub(r"\d+|(?<=no room).*", "", str(fault)))  # of either limit
        assert results[0] == results[1]
        return results[0]

    def _messages(
        self,
        count: int,
        kind: Conversation,
        who: int,
        to: int,
        waiting: list[int],
        file: str | None,
    ) -> tuple[StoredMessage, ...]:
        made: list[StoredMessage] = []
        for _ in range(count):
            self.count += 1
            mid, at = self.count, NOON + self.count * DAY
            made.append(
                StoredMessage(
                    *(kind, who, to, mid, 40 + mid % 3, "{}", "{}", at),
                    id=mid,
                    file=file,
                    waiting=tuple(waiting),
                )
            )
        return tuple(made)

    def _body(self, size: int) -> bytes:
        """One of its own: equal ones would take less room on the disk."""
        return b"%08d" % self.count + bytes(size)

    @rule(
        size=st.integers(0, 99),
        count=st.integers(0, 2),
        kind=KINDS,
        who=UIDS,
        to=UIDS,
        waiting=st.lists(UIDS, max_size=3),
    )
    def save_file(
        self, size: int, count: int, kind: Conversation, who: int, to: int, waiting: list[int]
    ) -> None:
        self.count += 1
        key, body = f"key {self.count}", self._body(size)
        said = self._messages(count, kind, who, to, waiting, key)
        self.sizes[key] = len(body)
        file = StoredFile(key, len(body), "md5", "name", 50, who, NOON + self.count * DAY)
        self.ask(SaveFile(1, file, said, body))

    @rule(count=st.integers(0, 3), kind=KINDS, who=UIDS, to=UIDS, waiting=st.lists(UIDS))
    def save_messages(
        self, count: int, kind: Conversation, who: int, to: int, waiting: list[int]
    ) -> None:
        file = next(iter(self.sizes), None) if count == 2 else None
        self.ask(SaveMessages(1, self._messages(count, kind, who, to, waiting, file)))

    @rule(size=st.integers(0, 99), again=st.booleans())
    def write_body(self, size: int, again: bool) -> None:
        self.count += 1
        if not (again and self.drafts):
            self.drafts.append(f"key {self.count}")
        self.sizes[self.drafts[0]] = self.sizes.get(self.drafts[0], 0) + 8 + size
        if self.ask(WriteBody(1, self.drafts[0], self._body(size))) is not None:
            self._drop()

    @rule(save=st.booleans(), whole=st.booleans(), who=UIDS)
    def end_body(self, save: bool, whole: bool, who: int) -> None:
        if self.drafts and save:
            key = self.drafts.pop(0)
            size = self.sizes.setdefault(key, 0)
            file = StoredFile(key, size + (not whole), "md5", "name", 50, who, NOON)
            self.ask(SaveFile(1, file, (), b""))
        elif self.drafts:
            self._drop()

    def _drop(self) -> None:
        key = self.drafts.pop(0)
        self.sizes.pop(key, None)
        self.ask(DropBody(1, key))

    @rule(table=st.sampled_from(Table), key=UIDS, value=st.none() | TEXTS)
    def save_record(self, table: Table, key: int, value: str | None) -> None:
        self.ask(SaveRecord(1, table, key, value))

    @rule(uid=UIDS, back=st.integers(0, 9), clear=st.booleans())
    def read(self, uid: int, back: int, clear: bool) -> None:
        effect = ClearUnread if clear else Delivered
        self.ask(effect(1, uid, max(0, self.count - back)))

    @rule(days=st.integers(0, 9))
    def tidy(self, days: int) -> None:
        self.ask(Tidy(1, NOON + (self.count + days) * DAY))

    @rule(offset=st.integers(-1, 120), length=st.integers(0, 120))
    def look_at_files(self, offset: int, length: int) -> None:
        for key in [*self.sizes, "none"]:
            self.ask(FindFile(1, key))
            self.ask(ReadFile(1, key, offset, length))

    @rule(
        kind=KINDS,
        who=UIDS,
        to=UIDS,
        count=st.integers(0, 4),
        newest_first=st.booleans(),
        begin=st.none() | st.integers(0, 12),
        end=st.none() | st.integers(0, 12),
        after=st.none() | st.integers(0, 12),
        mtypes=st.none() | st.frozensets(st.integers(40, 42)),
    )
    def look_at_history(
        self,
        kind: Conversation,
        who: int,
        to: int,
        begin: int | None,
        end: int | None,
        after: int | None,
        **more: Any,
    ) -> None:
        asked = History(
            conversation_key(kind, who, to),
            begin=None if begin is None else NOON + (self.count - begin) * DAY,
            end=None if end is None else NOON + (self.count - end) * DAY,
            after=None if after is None else max(0, self.count - after),
            **more,
        )
        self.ask(FindHistory(1, asked))

    @rule()
    def start_again(self) -> None:
        assert self.disk is not None
        self.disk.close()
        self._start()
        while self.drafts:
            self.memory.drop_body(self.drafts.pop())

    @invariant()
    def they_know_the_same(self) -> None:
        if self.disk is None:
            return
        ours, theirs = self.disk.kept(0), self.memory.kept(0)
        assert sorted(ours.records, key=repr) == sorted(theirs.records, key=repr)
        assert {m.id: m for m in ours.messages} == {m.id: m for m in theirs.messages}
        assert (ours.last_id, ours.last_mtime) == (theirs.last_id, theirs.last_mtime)
        assert self.disk.used() == self.memory.used()
        for uid in range(1, 5):
            self.ask(FindUnread(1, uid))


Stores.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestStores = Stores.TestCase
