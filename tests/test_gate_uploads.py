"""Large quests at the gate, alone: what is refused when, what the store gets, what is held."""

from __future__ import annotations

from hashlib import md5
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.events import QuestBegun, QuestPiece, QuestReceived
from rtm_proto.gate.decisions import BODY_LIFE, Body, Visitor
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import DropBody, WriteBody
from rtm_proto.gate.tokens import TOKEN_LIFE
from rtm_proto.gate.uploads import BODY_TIMEOUT, MAX_UNPROVEN, Uploads
from rtm_proto.gate.uploads import PIECE as WHOLE_PIECE
from rtm_proto.payload import Params, encode
from rtm_proto.payload_reader import MAX_COLLECTED
from tests.feeding import cut_up
from tests.fuzz.footprint import footprint

PIECE = 16
TOKEN = {"token": "t"}
FAULT = StoreFault("no space left")
BAD = b"\x82\xa4file\xc4\x28" + bytes(40) + b"\xc1"  # a file of 40 bytes, then no msgpack


def payload(size: int, before: Params = TOKEN, after: Params | None = None) -> bytes:
    """A map with a file of *size* bytes."""
    return encode({**before, "file": body(size), **(after or {})})


def body(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


class Drafts(MemoryStore):
    """A store whose drafts can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: dict[str, bytes] = {}
        self.dropped: list[str] = []

    def write_body(self, key: str, data: bytes) -> None:
        self.drafts[key] = self.drafts.get(key, b"") + data

    def drop_body(self, key: str) -> None:
        assert key not in self.dropped
        self.dropped.append(key)
        self.drafts.pop(key, None)


class Desk:
    """Uploads with a check, and a store that works when it is told to."""

    def __init__(self, *, unproven: set[object] | None = None, piece: int = PIECE) -> None:
        self.visitor = Visitor("somebody")
        self.refusals: dict[str, tuple[int, str]] = {}  # by method, or by a key that stands before
        self.checked: list[tuple[str, Params, int, float]] = []
        self.store = Drafts()
        self.waiting: list[WriteBody | DropBody] = []
        self.refused: list[tuple[int, int, str]] = []
        self.whole: list[QuestReceived] = []
        self.now = 0.0
        self.made = 0
        self.unproven: set[object] = set() if unproven is None else unproven
        self.uploads = Uploads(
            self.visitor,
            check=self.check,
            make_key=self.make_key,
            effect_id=self.make_id,
            unproven=self.unproven,
            piece=piece,
        )

    def check(
        self, method: str, params: Params, size: int, *, now: float
    ) -> tuple[int, str] | None:
        self.checked.append((method, params, size, now))
        return next((self.refusals[key] for key in (method, *params) if key in self.refusals), None)

    def make_key(self) -> str:
        self.made += 1
        return f"key {self.made}"

    def make_id(self) -> int:
        self.made += 1
        return -self.made

    def begin(self, quest_id: int = 1, method: str = "sendfile") -> None:
        self.uploads.begun(QuestBegun(quest_id, method, 1000), now=self.now)
        self.look()

    def piece(self, data: bytes, left: int = 1, quest_id: int = 1) -> None:
        self.uploads.piece(QuestPiece(quest_id, data, left), now=self.now)
        self.look()

    def send(self, data: bytes, step: int = 7, quest_id: int = 1) -> None:
        """A quest from its beginning to its end; before each piece the store catches up."""
        self.begin(quest_id)
        for at in range(0, len(data), step):
            self.work()
            part = data[at : at + step]
            self.piece(part, len(data) - at - len(part), quest_id)

    def look(self) -> None:
        uploads = self.uploads
        for refusal in uploads.refused:
            assert refusal.visitor is self.visitor
            self.refused.append((refusal.quest_id, refusal.code, refusal.text))
        self.waiting += uploads.effects
        self.whole += uploads.whole
        uploads.refused, uploads.effects, uploads.whole = [], [], []

    def work(self, fault: StoreFault | None = None) -> None:
        """The store does all that waits for it, one by one; each write has this *fault*."""
        while self.waiting:
            self.work_once(fault)

    def work_once(self, fault: StoreFault | None = None) -> None:
        effect = self.waiting.pop(0)
        if fault is None or isinstance(effect, DropBody):
            self.store.carry_out(effect)
        if isinstance(effect, WriteBody):
            self.uploads.written(effect.key, fault, now=self.now)
        self.look()

    def file(self, place: int = 0) -> bytes:
        """The body of a quest that came whole, as it is kept and as it came."""
        kept = self.whole[place].params["file"]
        assert isinstance(kept, Body)
        data = bytes(self.store.drafts.get(kept.key, b"")) + kept.rest
        assert (kept.size, kept.digest) == (len(data), md5(data).hexdigest())
        assert kept.written == len(data) - len(kept.rest)
        return data

    def codes(self) -> list[int]:
        return [code for _, code, _ in self.refused]

    def full(self) -> bool:
        """Whether nothing should be read now."""
        return self.uploads.full

    def held(self) -> int:
        """Bytes of bodies in memory."""
        return self.uploads.held


# --- what goes well ---


def test_the_limits_are_what_is_written_of_them() -> None:
    assert (WHOLE_PIECE, BODY_TIMEOUT, MAX_UNPROVEN) == (65_536, 30.0, 16)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 200])
@pytest.mark.parametrize("step", [1, 7, PIECE, 1000])
def test_a_body_comes_whole_and_what_is_over_a_piece_is_in_the_store(size: int, step: int) -> None:
    desk = Desk()
    desk.send(payload(size, after={"attrs": "{}"}), step)
    desk.work()
    [quest] = desk.whole
    assert (quest.quest_id, quest.method) == (1, "sendfile")
    assert desk.file() == body(size)
    assert quest.params == {**TOKEN, "file": quest.params["file"], "attrs": "{}"}
    kept = quest.params["file"]
    assert isinstance(kept, Body) and len(kept.rest) < PIECE
    assert not desk.refused and not desk.waiting
    assert len(desk.uploads) == 0 and not desk.full() and not desk.unproven
    assert desk.uploads.next_timeout() is None


@pytest.mark.parametrize("order", [*permutations(["pid", "token", "file", "attrs"])])
def test_the_keys_may_stand_in_any_order(order: tuple[str, ...]) -> None:
    params: dict[str, object] = {"pid": 1, "token": "t", "file": body(50), "attrs": "{}"}
    desk = Desk()
    desk.send(encode({key: params[key] for key in order}))
    desk.work()
    assert desk.file() == body(50)
    assert {**desk.whole[0].params, "file": body(50)} == params
    before = dict.fromkeys(order[: order.index("file")])
    assert [(set(params), size) for _, params, size, _ in desk.checked] == [
        (set(), 0),
        (set(before), 50),
    ]
    assert not desk.unproven


def test_a_file_as_str_is_the_same() -> None:
    desk = Desk()
    desk.send(encode(TOKEN).replace(b"\x81", b"\x82") + b"\xa4file\xda\0\x32" + body(50))
    desk.work()
    assert desk.file() == body(50)


@pytest.mark.parametrize("value", [None, 5, {"file": b"x" * 50}])
def test_without_a_large_value_the_quest_is_whole_all_the_same(value: object) -> None:
    """Whoever decides on it says what is wrong."""
    desk = Desk()
    desk.send(encode({**TOKEN, "file": value}))
    [quest] = desk.whole
    assert quest.params == {**TOKEN, "file": value}
    assert desk.waiting == []


@given(st.integers(0, 120), st.booleans(), st.data())
def test_how_the_bytes_are_cut_does_not_matter(
    size: int, proven: bool, choices: st.DataObject
) -> None:
    data = payload(size, TOKEN if proven else {}, {} if proven else TOKEN)
    desk = Desk()
    desk.begin()
    left = len(data)
    for part in choices.draw(cut_up(data)):
        if part:
            left -= len(part)
            desk.piece(part, left)
            if choices.draw(st.booleans()):
                desk.work()
    desk.work()
    assert desk.file() == body(size)


# --- what is refused, and when ---


def test_a_method_is_refused_before_a_byte_of_its_payload() -> None:
    desk = Desk()
    desk.refusals["auth"] = (20004, "no")
    desk.begin(method="auth")
    assert desk.refused == [(1, 20004, "no")]
    assert desk.checked == [("auth", {}, 0, 0.0)]
    for at, byte in enumerate(payload(50)):
        desk.piece(bytes([byte]), at)
    assert len(desk.refused) == 1 and not desk.waiting and not desk.whole
    assert desk.held() == 0


def test_a_token_is_refused_before_a_byte_of_the_file() -> None:
    desk = Desk()
    desk.refusals["token"] = (200003, "token")
    data = payload(50)
    start = data.index(body(50))
    desk.begin()
    desk.piece(data[: start - 1])
    assert desk.refused == []
    desk.piece(data[start - 1 : start])
    assert desk.refused == [(1, 200003, "token")]
    assert desk.checked[1:] == [("sendfile", TOKEN, 50, 0.0)]
    desk.piece(data[start:], 0)
    assert not desk.waiting and not desk.whole


def test_a_refusal_takes_what_came_of_the_file_with_it() -> None:
    desk = Desk()
    desk.refusals["token"] = (200003, "token")
    desk.begin()
    desk.piece(payload(50), 0)
    assert desk.codes() == [200003]
    assert desk.held() == 0 and not desk.whole and not desk.waiting


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_how_it_is_cut_does_not_matter_for_what_is_refused(steps: int) -> None:
    """A bad token, then a fault behind the file: it is the token that is told."""
    desk = Desk()
    desk.refusals["token"] = (200003, "token")
    data = b"\x83\xa5token\xa1t" + BAD[1:]
    desk.begin()
    for at in range(0, len(data), steps):
        desk.piece(data[at : at + steps], len(data) - at - len(data[at : at + steps]))
    assert desk.codes() == [200003]


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_what_is_wrong_before_the_file_is_told_first(steps: int) -> None:
    desk = Desk()
    desk.refusals["a"] = (200003, "never")
    data = b"\x83\xa1a\xd4\x80x" + BAD[1:]  # an ext of the type -128, which msgpack refuses
    desk.begin()
    for at in range(0, len(data), steps):
        desk.piece(data[at : at + steps], len(data) - at - len(data[at : at + steps]))
    [(_, code, text)] = desk.refused
    assert code == Code.INVALID_PACKAGE and "not msgpack" in text


def test_a_payload_that_ends_early_is_refused_and_its_draft_dropped() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(50)[:-3], 0)
    desk.work()
    [(_, code, text)] = desk.refused
    assert code == Code.INVALID_PACKAGE and "3 bytes of file are missing" in text
    assert desk.store.drafts == {}


def test_what_is_too_much_beside_the_file_is_too_large() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(encode({"attrs": "x" * MAX_COLLECTED}))
    assert desk.codes() == [Code.FILE_TOO_LARGE]


def test_a_fault_behind_the_file_drops_the_draft_once_the_store_is_done_with_it() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(BAD[:30])
    [write] = desk.waiting
    assert isinstance(write, WriteBody) and len(write.data) == PIECE
    desk.piece(BAD[30:], 0)
    assert desk.codes() == [Code.INVALID_PACKAGE]
    assert desk.waiting == [write], "one effect on a body at a time"
    assert desk.full(), "it counts until the store is done with it"
    desk.work()
    assert desk.store.drafts == {}
    assert not desk.full() and desk.held() == 0


def test_a_refused_body_is_not_kept_nor_another_begun_while_the_store_is_at_it() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(BAD[:30])
    assert desk.held() == 22
    desk.piece(BAD[30:], 5)
    assert desk.codes() == [Code.INVALID_PACKAGE]
    assert desk.full() and desk.held() == PIECE
    desk.work()
    assert not desk.full() and desk.held() == 0


def test_a_refusal_between_two_writes_drops_the_draft_at_once() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(BAD[:30])
    desk.work()
    assert desk.store.drafts == {"key 1": bytes(PIECE)}
    desk.piece(b"", 0)
    assert desk.codes() == [Code.INVALID_PACKAGE]
    assert [type(effect) for effect in desk.waiting] == [DropBody]
    desk.work()
    assert desk.store.drafts == {}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_store_that_fails_is_a_refusal_and_the_draft_is_dropped(number: int) -> None:
    desk = Desk()
    desk.begin()
    data = payload(60)
    for at in range(0, len(data), 20):
        number -= bool(desk.waiting)
        desk.work(FAULT if number == 0 else None)
        if desk.refused:
            break
        desk.piece(data[at : at + 20], len(data) - at - len(data[at : at + 20]))
    desk.work(FAULT)
    assert desk.refused == [(1, Code.WORK_QUEUE_FULL, "not stored: no space left")]
    assert desk.store.drafts == {} and desk.whole == []
    assert len(desk.uploads) == 0 and not desk.full()


def test_a_refused_draft_that_failed_too_is_dropped_all_the_same() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(BAD[:30])
    desk.piece(BAD[30:], 0)
    desk.work_once(FAULT)
    assert [type(effect) for effect in desk.waiting] == [DropBody]
    assert desk.codes() == [Code.INVALID_PACKAGE]


# --- a store that is slow ---


def test_no_more_is_read_while_a_piece_waits_behind_the_one_that_is_written() -> None:
    desk = Desk()
    data = payload(100)
    start = data.index(body(100))
    desk.begin()
    desk.piece(data[: start + PIECE])
    assert not desk.full() and desk.held() == PIECE
    desk.piece(data[start + PIECE : start + 2 * PIECE - 1])
    assert not desk.full()
    desk.piece(data[start + 2 * PIECE - 1 : start + 2 * PIECE])
    assert desk.full() and desk.held() == 2 * PIECE
    [write] = desk.waiting
    desk.work()
    assert not desk.full() and desk.held() == 0
    desk.piece(data[start + 2 * PIECE :], 0)
    desk.work()
    assert desk.file() == body(100)
    assert isinstance(write, WriteBody)


def test_a_whole_body_waits_for_the_store_and_nothing_is_read_meanwhile() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(PIECE + 3), 0)
    assert desk.full() and desk.whole == []
    desk.work()
    assert not desk.full()
    assert desk.file() == body(PIECE + 3)


def test_a_body_that_comes_at_once_goes_to_the_store_at_once() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(5 * PIECE + 3), 0)
    [write] = desk.waiting
    assert isinstance(write, WriteBody) and write.data == body(5 * PIECE)
    desk.work()
    assert desk.file() == body(5 * PIECE + 3)


def test_two_quests_behind_each_other_both_come_whole() -> None:
    desk = Desk()
    desk.begin(1)
    desk.piece(payload(40), 0, 1)
    desk.begin(2)
    desk.piece(payload(50), 0, 2)
    desk.begin(3)
    desk.piece(payload(5), 0, 3)
    assert desk.full()
    desk.work()
    assert [quest.quest_id for quest in desk.whole] == [3, 1, 2]
    assert sorted(len(desk.file(place)) for place in range(3)) == [5, 40, 50]


def test_bodies_behind_each_other_are_not_collected() -> None:
    """Who obeys ``full`` holds one body, however many are sent and whatever becomes of them."""
    desk = Desk()
    most = 0
    for number, data in enumerate([payload(90), BAD, payload(90, {}), payload(90)] * 20, 1):
        if desk.full():
            desk.work()
        desk.begin(number)
        for at in range(0, len(data), PIECE):
            if desk.full():
                desk.work()
            part = data[at : at + PIECE]
            desk.piece(part, len(data) - at - len(part), number)
            most = max(most, desk.held())
            assert len([each for each in desk.waiting if isinstance(each, WriteBody)]) <= 1
    assert most < 3 * PIECE


def test_a_body_in_single_bytes_costs_no_more_than_one_in_large_pieces() -> None:
    desk = Desk(piece=65_536)
    desk.begin()
    for byte in payload(65_000):
        desk.piece(bytes([byte]))
    assert desk.held() == 65_000
    assert footprint(desk.uploads) < 100_000


# --- who leaves ---


def test_who_leaves_before_anything_was_written_leaves_nothing() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(50, {})[:20])
    assert len(desk.unproven) == 1
    desk.uploads.left()
    desk.look()
    assert not desk.waiting and not desk.refused
    assert len(desk.uploads) == 0 and not desk.unproven and desk.held() == 0


@pytest.mark.parametrize("fault", [None, FAULT])
def test_who_leaves_while_the_store_is_at_it_leaves_a_draft_that_is_dropped_after_it(
    fault: StoreFault | None,
) -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(50), 0)
    assert desk.full()
    [write] = desk.waiting
    desk.uploads.left()
    desk.look()
    assert desk.waiting == [write]
    assert not desk.full(), "so that the rest of the stream can be read to its end"
    if fault is None:
        desk.work()
    else:
        desk.work_once(fault)
        [drop] = desk.waiting
        assert drop == DropBody(drop.effect_id, write.key)
    assert not desk.whole and not desk.refused
    assert desk.store.drafts == {}


def test_who_leaves_between_two_writes_leaves_a_draft_that_is_dropped_at_once() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(50)[:40])
    desk.work()
    desk.uploads.left()
    desk.look()
    desk.work()
    assert desk.store.drafts == {}


# --- bodies whose token comes behind them ---


def test_so_many_bodies_are_taken_whose_token_was_not_seen() -> None:
    unproven: set[object] = set()
    desks = [Desk(unproven=unproven) for _ in range(MAX_UNPROVEN + 1)]
    for desk in desks:
        desk.begin()
        assert not unproven or len(unproven) <= MAX_UNPROVEN
        desk.piece(payload(10, {"pid": 1}, TOKEN)[:20])
    assert len(unproven) == MAX_UNPROVEN
    [(_, code, text)] = desks[-1].refused
    assert code == Code.WORK_QUEUE_FULL and str(MAX_UNPROVEN) in text
    proven = Desk(unproven=unproven)
    proven.send(payload(10))
    assert len(proven.whole) == 1, "who shows the token first is not held up"
    first = desks[0]
    first.piece(payload(10, {"pid": 1}, TOKEN)[20:], 0)
    assert len(first.whole) == 1 and len(unproven) == MAX_UNPROVEN - 1
    desks[1].uploads.left()
    desks[2].piece(b"\xc1" * 40)
    assert len(unproven) == MAX_UNPROVEN - 3


def test_a_refused_head_takes_no_place() -> None:
    desk = Desk()
    desk.refusals["pid"] = (200031, "too large")
    desk.begin()
    desk.piece(payload(10, {"pid": 1}, TOKEN)[:20])
    assert desk.codes() == [200031] and not desk.unproven


# --- silence ---


def test_a_body_that_brings_no_byte_is_refused_after_30_seconds() -> None:
    desk = Desk()
    assert not desk.uploads.handle_timeout(now=1e9)
    data = payload(100)
    desk.begin()
    assert desk.uploads.next_timeout() == BODY_TIMEOUT
    desk.now = 10.0
    desk.piece(data[:50])
    desk.work()
    assert desk.uploads.next_timeout() == 10 + BODY_TIMEOUT
    assert not desk.uploads.handle_timeout(now=9.9 + BODY_TIMEOUT)
    assert desk.uploads.handle_timeout(now=10 + BODY_TIMEOUT)
    desk.look()
    [(_, code, text)] = desk.refused
    assert code == Code.INVALID_CONNECTION and "30 s" in text
    desk.work()
    assert desk.store.drafts == {}
    assert desk.uploads.next_timeout() is None
    assert not desk.uploads.handle_timeout(now=1e9)


def test_silence_counts_from_the_beginning_of_a_quest() -> None:
    desk = Desk()
    desk.now = 100.0
    desk.begin()
    assert desk.uploads.next_timeout() == 100 + BODY_TIMEOUT
    assert not desk.uploads.handle_timeout(now=99.9 + BODY_TIMEOUT)
    assert desk.uploads.handle_timeout(now=100 + BODY_TIMEOUT)


def test_whoever_waits_for_the_store_is_not_silent() -> None:
    desk = Desk()
    desk.begin()
    desk.piece(payload(100)[:40])
    desk.piece(payload(100)[40:70])
    assert desk.full()
    assert desk.uploads.next_timeout() is None
    assert not desk.uploads.handle_timeout(now=1000)
    desk.now = 500.0
    desk.work()
    assert desk.uploads.next_timeout() == 500 + BODY_TIMEOUT


@pytest.mark.parametrize(
    ("before", "after", "limit"),
    [(TOKEN, {}, BODY_LIFE), ({}, TOKEN, TOKEN_LIFE), ({}, {}, TOKEN_LIFE)],
)
def test_a_body_that_trickles_has_its_end(before: Params, after: Params, limit: float) -> None:
    desk = Desk()
    data = payload(10_000, before, after)
    desk.begin()
    desk.piece(data[:100])
    at = 100
    while desk.uploads.handle_timeout(now=desk.now) is None:
        desk.work()
        desk.piece(data[at : at + 1])
        at += 1
        desk.now += 10.0
    assert desk.now == limit
    desk.look()
    [(_, code, text)] = desk.refused
    assert code == Code.INVALID_CONNECTION and "too slowly" in text
    desk.work()
    assert desk.store.drafts == {} and not desk.unproven


# --- anything, in any order ---

DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 60)),
        st.tuples(st.sampled_from(["work", "fail", "leave", "wait"]), st.just(0)),
    ),
    max_size=40,
)
QUESTS = st.lists(
    st.sampled_from(
        [payload(0), payload(5), payload(40), payload(90, {}, TOKEN), payload(90)[:-4], BAD]
    ),
    max_size=5,
)


@settings(max_examples=200)
@given(QUESTS, DOINGS)
def test_every_quest_ends_once_and_every_draft_is_taken_or_dropped(
    quests: list[bytes], doings: list[tuple[str, int]]
) -> None:
    desk = Desk()
    stream = [(number, data, at) for number, data in enumerate(quests, 1) for at in (0,)]
    left = False
    begun: set[int] = set()

    def go_on(size: int) -> None:
        while stream and size and not left:
            number, data, at = stream.pop(0)
            if number not in begun:
                begun.add(number)
                desk.begin(number)
            part = data[at : at + size]
            desk.piece(part, len(data) - at - len(part), number)
            size -= len(part)
            if at + len(part) < len(data):
                stream.insert(0, (number, data, at + len(part)))

    for what, size in doings:
        if what == "send":
            if not desk.full():
                go_on(size)
        elif what == "work":
            desk.work()
        elif what == "fail" and desk.waiting:
            desk.work_once(FAULT)
        elif what == "leave" and not left:
            left = True
            desk.uploads.left()
            desk.look()
        elif what == "wait":
            desk.now += 10
            desk.uploads.handle_timeout(now=desk.now)
            desk.look()
        assert desk.held() < 2 * PIECE + 120
        keys = [effect.key for effect in desk.waiting]
        assert len(keys) == len({*keys}), "one effect on a body at a time"
    while stream and not left:
        desk.work()
        go_on(10)
    if not left:
        desk.work()
        ended = [number for number, _, _ in desk.refused]
        ended += [quest.quest_id for quest in desk.whole]
        assert sorted(ended) == sorted(begun) == [*range(1, len(quests) + 1)]
    desk.uploads.left()
    desk.look()
    desk.work()
    taken = {each.key for quest in desk.whole if isinstance(each := quest.params["file"], Body)}
    assert {*desk.store.drafts} <= taken
    assert len(desk.uploads) == desk.held() == 0
    assert not desk.unproven and not desk.full()
    for place in range(len(desk.whole)):
        desk.file(place)
