"""The store's interface, and the store in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import RtmError, StoreFault
from rtm_proto.gate.store import (
    HISTORY,
    MEMORY_BYTES,
    DropBody,
    Effect,
    FindFile,
    MemoryStore,
    ReadFile,
    SaveFile,
    SaveMembers,
    Store,
    StoredFile,
    StoredMessage,
    WriteBody,
)
from rtm_proto.received import Conversation


def stored(key: str = "k", body: bytes = b"body") -> StoredFile:
    return StoredFile(key, len(body), "digest", "note.txt", 50)


def message(
    mid: int = 1,
    kind: Conversation = Conversation.P2P,
    sender: int = 1001,
    target: int = 1002,
) -> StoredMessage:
    return StoredMessage(kind, sender, target, mid, 50, "{}", "{}", 1_700_000_000_000 + mid)


def save(
    store: Store,
    mid: int = 1,
    body: bytes = b"body",
    *,
    sender: int = 1001,
    target: int = 1002,
) -> str:
    key = f"key {mid}"
    store.save_file(stored(key, body), [message(mid, sender=sender, target=target)], body)
    return key


def test_a_file_and_its_message_are_kept_together() -> None:
    store = MemoryStore()
    key = save(store)
    assert store.find_file(key) == stored(key)
    assert store.read_file(key, 0, 4) == b"body"
    assert store.messages() == [message()]


def test_a_part_of_a_file_can_be_read() -> None:
    store = MemoryStore()
    key = save(store, body=b"0123456789")
    assert store.read_file(key, 3, 4) == b"3456"
    assert store.read_file(key, 10, 0) == b""


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 5), (3, 2), (4, 1), (99, 1), (-2, 2), (-4, 2), (0, -1)]
)
def test_bytes_that_are_not_there_are_a_fault(offset: int, length: int) -> None:
    store = MemoryStore()
    key = save(store)
    with pytest.raises(StoreFault):
        store.read_file(key, offset, length)


def test_a_file_that_is_not_there_is_none_and_reading_it_a_fault() -> None:
    store = MemoryStore()
    assert store.find_file("k") is None
    with pytest.raises(StoreFault, match="no such file"):
        store.read_file("k", 0, 0)
    assert issubclass(StoreFault, RtmError)


def test_there_is_room_up_to_the_limit_and_then_nothing_is_kept() -> None:
    store = MemoryStore(max_bytes=10)
    save(store, 1, b"123456")
    with pytest.raises(StoreFault, match="no room for 5 bytes: the limit is 10"):
        save(store, 2, b"12345")
    assert store.find_file("key 2") is None
    assert len(store.messages()) == 1
    save(store, 3, b"1234")
    assert len(store.messages()) == 2


def test_a_conversation_keeps_its_newest_messages() -> None:
    store = MemoryStore()
    for mid in range(HISTORY + 5):
        save(store, mid, b"")
    assert [said.mid for said in store.messages()] == list(range(5, HISTORY + 5))


def test_two_users_have_one_conversation_and_others_have_others() -> None:
    store = MemoryStore()
    for mid in range(HISTORY):
        save(store, mid, b"", sender=1001, target=1002)
    save(store, 10_001, b"", sender=1002, target=1001)
    save(store, 10_002, b"", sender=1001, target=1003)
    store.save_file(stored("g", b""), [message(10_003, Conversation.GROUP, 1001, 1002)], b"")
    store.save_file(stored("r", b""), [message(10_004, Conversation.ROOM, 1001, 1002)], b"")
    kept = [said.mid for said in store.messages()]
    assert 0 not in kept and kept[-4:] == [10_001, 10_002, 10_003, 10_004]
    assert len(kept) == HISTORY + 3


def test_the_membership_of_a_group_is_kept_whole() -> None:
    store = MemoryStore()
    store.save_members(5, frozenset({1, 2}))
    store.save_members(5, frozenset({2, 3}))
    store.save_members(6, frozenset())
    assert store.groups() == {5: frozenset({2, 3}), 6: frozenset()}
    store.groups().clear()
    assert len(store.groups()) == 2


def test_a_file_that_comes_in_pieces_is_what_was_written_and_the_rest_behind_it() -> None:
    store = MemoryStore(max_bytes=10)
    store.write_body("k", b"012")
    store.write_body("other", b"x")
    store.write_body("k", b"345")
    assert store.find_file("k") is None, "it is none before it is saved"
    with pytest.raises(StoreFault, match="no such file"):
        store.read_file("k", 0, 3)
    store.save_file(stored("k", b"01234567"), [message()], b"67")
    assert store.read_file("k", 0, 8) == b"01234567"
    assert store.messages() == [message()]
    store.drop_body("other")
    store.drop_body("other")
    store.drop_body("k")
    assert store.read_file("k", 0, 8) == b"01234567", "only a draft can be dropped"
    save(store, 2, b"89")


def test_a_draft_takes_room_until_it_is_dropped() -> None:
    store = MemoryStore(max_bytes=10)
    store.write_body("k", b"0123456789")
    for data in (b"x", b"0123456789"):
        with pytest.raises(StoreFault, match="no room"):
            store.write_body("k", data)
    with pytest.raises(StoreFault, match="no room"):
        save(store, 1, b"x")
    store.drop_body("k")
    save(store, 1, b"0123456789")


@pytest.mark.parametrize(("written", "rest"), [(b"0123", b"4"), (b"0123", b"456"), (b"", b"01234")])
def test_a_file_of_another_size_than_announced_is_not_kept(written: bytes, rest: bytes) -> None:
    store = MemoryStore(max_bytes=6)
    if written:
        store.write_body("k", written)
    with pytest.raises(StoreFault, match="bytes came of a file of 6"):
        store.save_file(stored("k", b"012345"), [message()], rest)
    assert store.find_file("k") is None and store.messages() == []
    save(store, 1, b"012345")


def test_a_draft_that_cannot_be_kept_is_forgotten() -> None:
    store = MemoryStore(max_bytes=6)
    store.write_body("k", b"0123")
    with pytest.raises(StoreFault, match="no room for 7"):
        store.save_file(stored("k", b"0123456"), [], b"456")
    save(store, 1, b"012345")


def test_a_file_may_have_no_message_or_many() -> None:
    store = MemoryStore()
    store.save_file(stored("none", b""), [], b"")
    assert store.messages() == []
    many = [message(5, target=target) for target in (1002, 1003, 1004)]
    store.save_file(stored("many"), many, b"body")
    assert store.messages() == many


def test_the_limits_are_the_published_500_messages_and_256_mib() -> None:
    assert (HISTORY, MEMORY_BYTES) == (500, 268_435_456)


def test_every_effect_is_a_call_of_the_store() -> None:
    store = MemoryStore(max_bytes=12)
    effects: list[tuple[Effect, object]] = [
        (SaveFile(1, stored(), (message(),), b"body"), None),
        (SaveMembers(2, 5, frozenset({1})), None),
        (FindFile(3, "k"), stored()),
        (FindFile(4, "other"), None),
        (ReadFile(5, "k", 1, 2), b"od"),
        (WriteBody(6, "draft", b"bo"), None),
        (SaveFile(7, stored("draft"), (), b"dy"), None),
        (ReadFile(8, "draft", 0, 4), b"body"),
        (WriteBody(9, "dropped", b"body"), None),
        (DropBody(10, "dropped"), None),
        (FindFile(11, "dropped"), None),
        (WriteBody(12, "in its room", b"body"), None),
    ]
    for effect, result in effects:
        assert store.carry_out(effect) == result
    assert store.groups() == {5: frozenset({1})}
    with pytest.raises(StoreFault):
        store.carry_out(ReadFile(6, "other", 0, 1))


def test_the_store_in_memory_waits_for_nothing_and_others_may() -> None:
    assert Store.blocking and not MemoryStore.blocking


def test_no_repr_shows_what_is_in_a_file() -> None:
    assert "secret" not in repr(SaveFile(1, stored(), (message(),), b"secret"))
    assert "secret" not in repr(WriteBody(1, "k", b"secret"))


@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(0, 60))
def test_the_limit_holds_whatever_is_kept(bodies: list[bytes], limit: int) -> None:
    store = MemoryStore(max_bytes=limit)
    kept: list[bytes] = []
    for mid, body in enumerate(bodies, 1):
        try:
            save(store, mid, body)
        except StoreFault:
            assert sum(map(len, kept)) + len(body) > limit
        else:
            kept.append(body)
    assert sum(map(len, kept)) <= limit
    assert len(store.messages()) == len(kept)
