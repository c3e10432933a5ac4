"""The store's interface: its effects, and its values. What stores do is in store_contract."""

from __future__ import annotations

import pytest

from rtm_proto.errors import RtmError, StoreFault
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import (
    HISTORY,
    HISTORY_LIFE,
    Kept,
    MakeThumbnail,
    Record,
    SaveFile,
    SaveRecord,
    Store,
    Table,
    Unread,
    WriteBody,
    conversation_key,
    text_of_uids,
    uids_of,
)
from rtm_proto.received import Conversation
from tests.store_contract import BROADCAST, GROUP, P2P, ROOM, StoreContract, message, stored


class TestInterface(StoreContract):
    """Every effect, on a store that needs nothing."""

    def new_store(self, **options: object) -> Store:
        return MemoryStore(**options)  # type: ignore[arg-type]


class Waiting(MemoryStore):
    blocking = True


def test_the_limits_are_the_published_500_messages_for_7_days() -> None:
    assert (HISTORY, HISTORY_LIFE) == (500, 604_800)


def test_a_store_may_wait_and_its_faults_are_ours() -> None:
    assert Store.blocking
    thumbnail = MakeThumbnail(1, stored(), bytes.upper)
    for store, waits in ((MemoryStore(), False), (Waiting(), True)):
        assert store.blocks(WriteBody(1, "k", b"")) is waits
        assert store.blocks(thumbnail), "that takes a while in any store"
    assert issubclass(StoreFault, RtmError)


def test_no_repr_shows_what_is_in_a_file_or_a_record() -> None:
    assert "secret" not in repr(SaveFile(1, stored(), (message(),), b"secret"))
    assert "secret" not in repr(WriteBody(1, "k", b"secret"))
    assert "secret" not in repr(SaveRecord(1, Table.LOGIN_TOKEN, 1, "secret"))


@pytest.mark.parametrize(
    ("kind", "sender", "target", "key", "of"),
    [
        (P2P, 1001, 1002, (P2P, 1001, 1002), 1001),
        (P2P, 1002, 1001, (P2P, 1001, 1002), 1002),
        (GROUP, 1002, 7, (GROUP, 7, 0), 7),
        (ROOM, 1002, 7, (ROOM, 7, 0), 7),
        (BROADCAST, 1002, 0, (BROADCAST, 0, 0), 0),
    ],
)
def test_two_users_or_a_target_have_a_conversation(
    kind: Conversation, sender: int, target: int, key: tuple[object, ...], of: int
) -> None:
    assert conversation_key(kind, sender, target) == key
    assert message(1, kind, sender, target).conversation == key
    assert message(1, kind, sender, target).unread == Unread(kind, of)


def test_the_users_of_a_record_are_text_in_order() -> None:
    assert text_of_uids({3, 1, 2}) == "[1,2,3]" and text_of_uids(()) == "[]"
    assert uids_of("[1,2,3]") == frozenset({1, 2, 3})
    kept = Kept((Record(Table.MEMBERS, 5, "[1]"), Record(Table.BLOCKS, 6, "[2]")))
    assert kept.uids(Table.MEMBERS) == {5: frozenset({1})}
