"""What every store of a gate does: one list of scenarios, for whoever says how a store is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from rtm_proto.errors import StoreFault
from rtm_proto.gate.store import (
    ClearUnread,
    Delivered,
    DropBody,
    Effect,
    FindFile,
    FindHistory,
    FindUnread,
    FindUsed,
    History,
    MakeThumbnail,
    ReadFile,
    Record,
    SaveFile,
    SaveMessages,
    SaveRecord,
    Store,
    StoredFile,
    StoredMessage,
    Table,
    Tidy,
    Unread,
    Used,
    WriteBody,
    conversation_key,
    text_of_uids,
)
from rtm_proto.received import Conversation

P2P, GROUP, ROOM, BROADCAST = Conversation
NOON = 1_700_000_000_000  # ms
DAY = 24 * 3600 * 1000  # ms
Make = Callable[..., Store]


def stored(key: str = "k", body: bytes = b"body", *, owner: int = 1001, at: int = 0) -> StoredFile:
    return StoredFile(key, len(body), "digest", "note.txt", 50, owner, at)


def message(
    mid: int = 1,
    kind: Conversation = P2P,
    sender: int = 1001,
    target: int = 1002,
    *,
    mtype: int = 50,
    mtime: int | None = None,
    message_id: int | None = None,
    file: str | None = None,
    waiting: tuple[int, ...] = (),
) -> StoredMessage:
    """The ids go with the mids, and so do the mtimes."""
    return StoredMessage(
        kind=kind,
        sender=sender,
        target=target,
        mid=mid,
        mtype=mtype,
        msg="{}",
        attrs="{}",
        mtime=NOON + mid if mtime is None else mtime,
        id=mid if message_id is None else message_id,
        file=file,
        waiting=waiting,
    )


def save(
    store: Store,
    mid: int = 1,
    body: bytes = b"body",
    *,
    sender: int = 1001,
    target: int = 1002,
) -> str:
    key = f"key {mid}"
    file = stored(key, body, owner=sender, at=NOON + mid)
    store.save_file(file, [message(mid, sender=sender, target=target, file=key)], body)
    return key


def messages(store: Store) -> list[StoredMessage]:
    """All of them, by their ids."""
    return sorted(store.kept(0).messages, key=lambda message: message.id)


def mids(store: Store) -> list[int]:
    return [message.mid for message in messages(store)]


class StoreContract:
    """A subclass has a ``new_store``; the fixture ``make`` closes what came of it."""

    def new_store(self, **options: object) -> Store:
        """A store, empty, with these of its options."""
        raise NotImplementedError

    @pytest.fixture
    def make(self) -> Iterator[Make]:
        made: list[Store] = []

        def make(**options: object) -> Store:
            made.append(self.new_store(**options))
            return made[-1]

        yield make
        for store in made:
            store.close()

    # --- files ---

    def test_a_file_and_its_message_are_kept_together(self, make: Make) -> None:
        store = make()
        store.save_file(stored(at=7), [message(file="k")], b"body")
        assert store.find_file("k") == stored(at=7)
        assert store.read_file("k", 0, 4) == b"body"
        assert messages(store) == [message(file="k")]

    def test_a_part_of_a_file_can_be_read(self, make: Make) -> None:
        store = make()
        key = save(store, body=b"0123456789")
        assert store.read_file(key, 3, 4) == b"3456"
        assert store.read_file(key, 10, 0) == b""

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 5), (3, 2), (4, 1), (99, 1), (-2, 2), (-4, 2), (0, -1)]
    )
    def test_bytes_that_are_not_there_are_a_fault(
        self, make: Make, offset: int, length: int
    ) -> None:
        store = make()
        key = save(store)
        with pytest.raises(StoreFault, match="were asked for, there are"):
            store.read_file(key, offset, length)

    def test_a_file_that_is_not_there_is_none_and_reading_it_a_fault(self, make: Make) -> None:
        store = make()
        for key in ("k", "", "\udcff", "\ud800", "../../etc/passwd", "\0"):
            assert store.find_file(key) is None
            with pytest.raises(StoreFault, match="no such file"):
                store.read_file(key, 0, 0)

    def test_there_is_room_up_to_the_limit_and_then_nothing_is_kept(self, make: Make) -> None:
        store = make(max_bytes=10)
        save(store, 1, b"123456")
        with pytest.raises(StoreFault, match="no room for 5 bytes: the limit is 10"):
            save(store, 2, b"12345")
        assert store.find_file("key 2") is None
        assert mids(store) == [1]
        save(store, 3, b"1234")
        assert mids(store) == [1, 3]
        assert store.used() == Used(2, 10, 2)

    def test_a_user_has_a_limit_of_his_own(self, make: Make) -> None:
        store = make(max_user_bytes=5)
        save(store, 1, b"1234")
        with pytest.raises(StoreFault, match="no room for 2 bytes: the limit of a user is 5"):
            save(store, 2, b"12")
        save(store, 3, b"12345", sender=1002, target=1001)
        save(store, 4, b"1")
        assert mids(store) == [1, 3, 4]
        store.tidy(NOON + 8 * DAY)
        save(store, 5, b"12345")

    def test_equal_files_are_files_of_their_own(self, make: Make) -> None:
        store = make(max_user_bytes=12)
        for mid in (1, 2, 3):
            save(store, mid)
        with pytest.raises(StoreFault, match="of a user"):
            save(store, 4)
        store.save_file(stored("other", owner=5), [], b"body")
        assert [store.read_file(f"key {mid}", 0, 4) for mid in (1, 2, 3)] == [b"body"] * 3
        assert store.used().files == 4
        store.tidy(NOON + 7 * DAY + 2)
        assert store.find_file("key 1") is None and store.find_file("other") is None
        assert store.read_file("key 2", 0, 4) == b"body"
        store.tidy(NOON + 8 * DAY)
        assert store.used() == Used(0, 0, 0)

    def test_a_key_is_given_to_one_file(self, make: Make) -> None:
        store = make()
        save(store, 1)
        with pytest.raises(StoreFault, match="kept already"):
            store.save_file(stored("key 1", b"others"), [message(2)], b"others")
        assert store.read_file("key 1", 0, 4) == b"body"
        assert mids(store) == [1]
        assert store.used() == Used(1, 4, 1)

    def test_a_file_that_comes_in_pieces_is_what_was_written_and_the_rest_behind_it(
        self, make: Make
    ) -> None:
        store = make(max_bytes=10)
        store.write_body("k", b"012")
        store.write_body("other", b"x")
        store.write_body("k", b"345")
        assert store.find_file("k") is None, "it is none before it is saved"
        with pytest.raises(StoreFault, match="no such file"):
            store.read_file("k", 0, 3)
        store.save_file(stored("k", b"01234567"), [message()], b"67")
        assert store.read_file("k", 0, 8) == b"01234567"
        assert messages(store) == [message()]
        store.drop_body("other")
        store.drop_body("other")
        store.drop_body("k")
        assert store.read_file("k", 0, 8) == b"01234567", "only a draft can be dropped"
        save(store, 2, b"89")

    def test_a_file_may_have_come_whole_before_it_is_saved(self, make: Make) -> None:
        store = make()
        for key in ("a", "b"):
            store.write_body(key, b"body")
            store.save_file(stored(key), [], b"")
        assert store.read_file("a", 0, 4) == store.read_file("b", 0, 4) == b"body"

    def test_a_draft_takes_room_until_it_is_dropped(self, make: Make) -> None:
        store = make(max_bytes=10)
        store.write_body("k", b"0123456789")
        for data in (b"x", b"0123456789"):
            with pytest.raises(StoreFault, match="no room"):
                store.write_body("k", data)
        with pytest.raises(StoreFault, match="no room"):
            save(store, 1, b"x")
        assert store.used() == Used(0, 10, 0)
        store.drop_body("k")
        assert store.used() == Used(0, 0, 0)
        save(store, 1, b"0123456789")

    @pytest.mark.parametrize(
        ("written", "rest"), [(b"0123", b"4"), (b"0123", b"456"), (b"", b"01234")]
    )
    def test_a_file_of_another_size_than_announced_is_not_kept(
        self, make: Make, written: bytes, rest: bytes
    ) -> None:
        store = make(max_bytes=6)
        if written:
            store.write_body("k", written)
        with pytest.raises(StoreFault, match="bytes came of a file of 6"):
            store.save_file(stored("k", b"012345"), [message()], rest)
        assert store.find_file("k") is None and messages(store) == []
        save(store, 1, b"012345")

    def test_a_draft_that_cannot_be_kept_is_forgotten(self, make: Make) -> None:
        store = make(max_bytes=6)
        store.write_body("k", b"0123")
        with pytest.raises(StoreFault, match=r"no room for \d bytes: the limit is 6"):
            store.save_file(stored("k", b"0123456"), [], b"456")
        save(store, 1, b"012345")

    def test_a_file_may_have_no_message_or_many(self, make: Make) -> None:
        store = make()
        store.save_file(stored("none", b""), [], b"")
        assert messages(store) == []
        many = [message(5, target=1002 + n, message_id=n + 1) for n in range(3)]
        store.save_file(stored("many"), many, b"body")
        assert messages(store) == many

    # --- messages ---

    def test_a_conversation_keeps_its_newest_messages(self, make: Make) -> None:
        store = make(history=5)
        for mid in range(1, 8):
            store.save_messages([message(mid, waiting=(1002,))])
        store.save_messages([message(mid) for mid in range(8, 11)])
        assert mids(store) == [6, 7, 8, 9, 10]
        assert store.used().messages == 5
        store.clear_unread(1002, 7)
        assert store.find_unread(1002) == ()

    def test_two_users_have_one_conversation_and_others_have_others(self, make: Make) -> None:
        store = make(history=3)
        for mid in (1, 2, 3):
            store.save_messages([message(mid)])
        store.save_messages([message(4, sender=1002, target=1001)])
        store.save_messages([message(5, target=1003)])
        store.save_messages([message(6, GROUP)])
        store.save_messages([message(7, ROOM)])
        store.save_messages([message(8, BROADCAST, target=0)])
        assert mids(store) == [2, 3, 4, 5, 6, 7, 8]

    def test_what_is_looked_up_is_what_was_saved_whatever_stands_in_it(self, make: Make) -> None:
        store = make()
        odd = "\ud83d\ude00 \udcff \ud800 \0 ' \" %"
        least, most = -(2**63), 2**63 - 1
        file = StoredFile(odd, 1, odd, odd, 50, most, most)
        said = StoredMessage(P2P, most, least, most, least, odd, odd, most, most, odd, (least,))
        store.save_file(file, [said], b"x")
        assert store.find_file(odd) == file
        found = store.find_history(History(conversation_key(P2P, most, least), 1))
        assert found == store.kept(most).messages
        assert found == (replace(said, waiting=()),)
        assert store.find_unread(least) == (Unread(P2P, most),)
        store.save_record(Table.BAN, most, odd)
        assert store.kept(0).records == (Record(Table.BAN, most, odd),)

    def test_messages_are_found_by_time_type_and_place(self, make: Make) -> None:
        store = make()
        store.save_messages(
            [message(1), message(2, mtype=40), message(3, sender=1002, target=1001)]
        )
        store.save_messages([message(4, GROUP), message(5), message(6, target=1003)])
        here = conversation_key(P2P, 1002, 1001)

        def find(count: int = 9, **more: object) -> list[int]:
            history = History(here, count, **more)  # type: ignore[arg-type]
            return [message.mid for message in store.find_history(history)]

        assert find() == [1, 2, 3, 5]
        assert find(newest_first=True) == [5, 3, 2, 1]
        assert (find(2), find(0), find(-1)) == ([1, 2], [], [])
        assert find(2, newest_first=True, after=5) == [3, 2]
        assert find(after=2) == [3, 5]
        assert find(begin=NOON + 2, end=NOON + 3) == [2, 3]
        assert find(begin=NOON + 6) == find(end=NOON) == []
        assert find(mtypes=frozenset({40, 41})) == [2]
        assert find(mtypes=frozenset[int]()) == []
        assert find(1, mtypes=frozenset({50}), newest_first=True, end=NOON + 4) == [3]
        assert store.find_history(History(conversation_key(ROOM, 1, 1002), 9)) == ()

    def test_what_waits_is_unread_until_it_is_delivered_or_cleared(self, make: Make) -> None:
        store = make()
        store.save_messages([message(1, GROUP, target=7, waiting=(1002, 1003))])
        store.save_messages([message(2, waiting=(1002, 1002)), message(3, waiting=(1002,))])
        store.save_messages([message(4, sender=1002, target=1001, waiting=(1001,))])
        store.save_messages([message(5, sender=1003, target=1002, waiting=(1002,))])
        group, alice, carol = Unread(GROUP, 7), Unread(P2P, 1001), Unread(P2P, 1003)
        assert store.find_unread(1002) == (group, alice, carol)
        assert store.find_unread(1003) == (group,)
        assert store.find_unread(1001) == (Unread(P2P, 1002),)
        store.delivered(1002, 2)
        assert store.find_unread(1002) == (group, alice, carol)
        store.delivered(1002, 3)
        store.delivered(1002, 3)
        store.delivered(9999, 1)
        assert store.find_unread(1002) == (group, carol)
        store.clear_unread(1002, 4)
        assert store.find_unread(1002) == (carol,)
        store.clear_unread(1002, 99)
        assert store.find_unread(1002) == ()
        assert store.find_unread(1003) == (group,)
        assert all(message.waiting == () for message in messages(store))

    # --- what a gate that starts has to know ---

    def test_a_record_is_its_newest_value(self, make: Make) -> None:
        store = make()
        store.save_record(Table.MEMBERS, 5, text_of_uids({1, 2}))
        store.save_record(Table.MEMBERS, 5, text_of_uids({2, 3}))
        store.save_record(Table.MEMBERS, 6, text_of_uids(()))
        store.save_record(Table.BLOCKS, 5, text_of_uids({4}))
        assert store.kept(0).uids(Table.MEMBERS) == {5: frozenset({2, 3}), 6: frozenset()}
        store.save_record(Table.MEMBERS, 5, None)
        store.save_record(Table.MEMBERS, 7, None)
        assert store.kept(0).uids(Table.MEMBERS) == {6: frozenset()}
        assert store.kept(0).uids(Table.BLOCKS) == {5: frozenset({4})}

    def test_only_the_newest_messages_are_told_at_a_start(self, make: Make) -> None:
        store = make()
        store.save_messages([message(mid, waiting=(1,)) for mid in (1, 2, 3)])
        assert [message.mid for message in store.kept(NOON + 2).messages] == [2, 3]
        assert store.kept(NOON + 4).messages == ()

    def test_the_last_numbers_outlive_their_messages(self, make: Make) -> None:
        """A gate goes on with them where its clock has stepped back meanwhile."""
        store = make(history=1)
        store.save_messages([message(8, mtime=NOON + 2 * DAY)])
        store.save_messages([message(9, mtime=NOON)])
        assert [message.mid for message in store.kept(0).messages] == [9]
        store.tidy(NOON + 30 * DAY)
        kept = store.kept(0)
        assert (kept.messages, kept.last_id, kept.last_mtime) == ((), 9, NOON + 2 * DAY)

    # --- what is forgotten ---

    def test_what_is_too_old_is_forgotten(self, make: Make) -> None:
        store = make(history_life=24 * 3600.0)
        for mid, body in enumerate((b"one", b"two!", b"three"), 1):
            at = NOON + mid * DAY
            said = message(mid, mtime=at, waiting=(1002,), file=f"key {mid}")
            store.save_file(stored(f"key {mid}", body, at=at), [said], body)
        store.save_file(stored("alone", b"alone", at=NOON + DAY), [], b"alone")
        store.tidy(NOON + 2 * DAY)
        assert mids(store) == [1, 2, 3], "a day old is not too old"
        store.tidy(NOON + 2 * DAY + 1)
        assert mids(store) == [2, 3]
        assert store.used() == Used(2, 9, 2)
        assert store.find_file("key 1") is None and store.find_file("alone") is None
        assert store.find_unread(1002) == (Unread(P2P, 1001),)
        store.tidy(NOON + 9 * DAY)
        assert store.find_unread(1002) == ()
        assert store.used() == Used(0, 0, 0)

    def test_a_file_of_which_a_message_tells_is_kept_with_it(self, make: Make) -> None:
        store = make(history=1)
        store.save_file(stored(at=NOON), [message(1, file="k")], b"body")
        store.save_messages([message(2, GROUP, mtime=NOON + 5 * DAY, file="k")])
        store.tidy(NOON + 8 * DAY)
        assert mids(store) == [2]
        assert store.read_file("k", 0, 4) == b"body"
        store.save_messages([message(3, GROUP, mtime=NOON + 6 * DAY)])
        assert store.find_file("k") is not None, "only tidying forgets files"
        store.tidy(NOON + 8 * DAY)
        assert store.find_file("k") is None

    def test_many_are_forgotten_at_once(self, make: Make) -> None:
        store = make(history=1_000)
        store.save_messages([message(mid) for mid in range(1, 502)])
        store.tidy(NOON + 7 * DAY + 501)
        assert mids(store) == [501]

    # --- the whole interface ---

    def test_every_effect_is_a_call_of_the_store(self, make: Make) -> None:
        store = make(max_bytes=20)
        here = conversation_key(P2P, 1001, 1002)
        effects: list[tuple[Effect, object]] = [
            (SaveFile(1, stored(), (message(),), b"body"), None),
            (SaveRecord(2, Table.MEMBERS, 5, "[1]"), None),
            (FindFile(3, "k"), stored()),
            (FindFile(4, "other"), None),
            (ReadFile(5, "k", 1, 2), b"od"),
            (MakeThumbnail(5, stored(), bytes.upper), b"BODY"),
            (WriteBody(6, "draft", b"th"), None),
            (SaveFile(7, stored("draft", b"that"), (), b"at"), None),
            (ReadFile(8, "draft", 0, 4), b"that"),
            (WriteBody(9, "dropped", b"body"), None),
            (DropBody(10, "dropped"), None),
            (FindFile(11, "dropped"), None),
            (WriteBody(12, "in its room", b"body"), None),
            (SaveMessages(13, (message(2, waiting=(5, 6)), message(3, waiting=(6,)))), None),
            (FindHistory(14, History(here, 9, after=1)), (message(2), message(3))),
            (FindUnread(15, 5), (Unread(P2P, 1001),)),
            (Delivered(16, 5, 2), None),
            (FindUnread(17, 5), ()),
            (ClearUnread(18, 6, 2), None),
            (FindUnread(19, 6), (Unread(P2P, 1001),)),
            (FindUsed(20), Used(2, 12, 3)),
            (Tidy(20, NOON + 7 * DAY + 3), None),
            (FindHistory(21, History(here, 9)), (message(3),)),
        ]
        for effect, result in effects:
            assert store.carry_out(effect) == result, effect
        assert store.kept(0).uids(Table.MEMBERS) == {5: frozenset({1})}
        with pytest.raises(StoreFault):
            store.carry_out(ReadFile(6, "other", 0, 1))
