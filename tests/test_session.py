"""The session alone: packages in, events and packages out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.errors import LocalProtocolError
from rtm_proto.events import (
    Answered,
    CloseKind,
    CloseReason,
    Dropped,
    Event,
    Lost,
    OnewayReceived,
    QuestBegun,
    QuestPiece,
    QuestReceived,
    Refused,
    TimedOut,
)
from rtm_proto.package import (
    FLAG_JSON,
    FLAG_MSGPACK,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
)
from rtm_proto.payload import EMPTY, Params, decode, decode_json, encode
from rtm_proto.session import MAX_ABANDONED, MAX_BAD_PACKAGES, MAX_IN_HAND, Session
from tests.pair import packages_in

REASON = CloseReason(CloseKind.PEER_CLOSED)


def quest(
    method: bytes = b"hello",
    payload: bytes = EMPTY,
    *,
    seq: int = 7,
    flag: int = FLAG_MSGPACK,
    version: int = 1,
) -> Package:
    return Package(Kind.TWOWAY, version, flag, 0, seq, method, payload)


def oneway(method: bytes = b"hello", payload: bytes = EMPTY, flag: int = FLAG_MSGPACK) -> Package:
    return Package(Kind.ONEWAY, 1, flag, 0, 0, method, payload)


def answer(
    seq: int, payload: bytes = EMPTY, *, status: int = 0, flag: int = FLAG_MSGPACK
) -> Package:
    return Package(Kind.ANSWER, 1, flag, status, seq, b"", payload)


def take(session: Session) -> list[Event]:
    events, session.events = session.events, []
    return events


def sent(session: Session) -> list[Package]:
    return packages_in(b"".join(session.packages()))


def errors(session: Session) -> list[tuple[int, object]]:
    """The seq and code of each refusal that was sent."""
    found: list[tuple[int, object]] = []
    for package in sent(session):
        assert package.kind == Kind.ANSWER and package.status == 1
        read = decode_json if package.flag == FLAG_JSON else decode
        params = read(package.payload)
        assert list(params) == ["code", "ex"] and isinstance(params["ex"], str)
        found.append((package.seq, params["code"]))
    return found


# --- your quests -----------------------------------------------------------------------------


def test_a_quest_is_one_package_and_its_answer_ends_it() -> None:
    session = Session()
    first = session.quest("hello", {"a": 1})
    second = session.quest("hello", {})
    assert session.packages() == [
        encode_quest(b"hello", b"\x81\xa1a\x01", first),
        encode_quest(b"hello", EMPTY, second),
    ]
    assert (first, second, session.pending) == (1, 2, 2)
    assert session.receive(answer(second, b"\x81\xa1b\x02")) == second
    assert session.receive(answer(first)) == first
    assert take(session) == [Answered(second, {"b": 2}), Answered(first, {})]
    assert session.pending == 0


@pytest.mark.parametrize(
    ("payload", "status", "outcome"),
    [
        (encode({"code": 200027, "ex": "invalid token"}), 1, Refused(1, 200027, "invalid token")),
        (encode({"code": -5, "ex": ""}), 255, Refused(1, -5, "")),
        (encode({"code": 2**63, "ex": "?"}), 1, Refused(1, 2**63, "?")),
        (encode({"ex": "no code"}), 1, Refused(1, Code.UNKNOWN, "no code")),
        (encode({"code": "200027"}), 1, Refused(1, Code.UNKNOWN, "")),
        (encode({"code": True}), 1, Refused(1, Code.UNKNOWN, "")),
        (encode({"code": 1, "ex": None}), 1, Refused(1, 1, "")),
        (encode({"code": 1, "ex": 200027}), 1, Refused(1, 1, "200027")),
        (encode({"code": 1, "ex": b"as bin"}), 1, Refused(1, 1, "as bin")),
        (b"\x82\xa4code\x01\xa2ex\xa2\xffx", 1, Refused(1, 1, "\ufffdx")),
        (encode({"code": 1, "ex": "a", "raiser": "b"}), 1, Refused(1, 1, "a")),
        (EMPTY, 1, Refused(1, Code.UNKNOWN, "")),
        (b"\xc1", 1, Refused(1, Code.UNKNOWN, "")),
        (b"", 1, Refused(1, Code.UNKNOWN, "")),
        (encode({"code": 1, "ex": "a"}), 0, Answered(1, {"code": 1, "ex": "a"})),
    ],
)
def test_the_status_alone_decides_what_an_answer_is(
    payload: bytes, status: int, outcome: Event
) -> None:
    session = Session()
    session.quest("hello", {})
    session.receive(answer(1, payload, status=status))
    assert take(session) == [outcome]


@pytest.mark.parametrize(
    ("payload", "flag"),
    [
        (b"", FLAG_MSGPACK),
        (b"", FLAG_JSON),
        (b"\xc1", FLAG_MSGPACK),
        (b"\xa5infos", FLAG_MSGPACK),
        (b"[1]", FLAG_JSON),
        (b"{", FLAG_JSON),
    ],
)
def test_an_answer_that_cannot_be_read_fails_its_quest_only(payload: bytes, flag: int) -> None:
    session = Session()
    first, second = session.quest("one", {}), session.quest("two", {})
    session.receive(answer(first, payload, flag=flag))
    (outcome,) = take(session)
    assert isinstance(outcome, Refused)
    assert (outcome.quest_id, outcome.code) == (first, Code.INVALID_PACKAGE_CORE)
    assert "cannot be read" in outcome.text
    assert session.bad_packages == 1
    assert session.receive(answer(second)) == second


def test_an_answer_in_json_is_read() -> None:
    session = Session()
    session.quest("hello", {})
    session.receive(answer(1, b'{"a": 1}', flag=FLAG_JSON))
    assert take(session) == [Answered(1, {"a": 1})]


def test_a_second_answer_and_one_to_nobody_are_dropped() -> None:
    session = Session()
    session.quest("hello", {})
    session.receive(answer(1))
    take(session)
    for seq in (1, 0, 0xFFFFFFFF):  # 0: the JavaScript SDK answers one-way quests with it
        assert session.receive(answer(seq, b"\xc1")) is None
        assert take(session) == [Dropped(f"an answer with the unknown seq {seq}")]
    assert session.bad_packages == 0


def test_the_answer_to_a_quest_that_was_given_up_is_dropped() -> None:
    session = Session()
    forgotten, expired = session.quest("one", {}), session.quest("two", {})
    session.packages()
    assert session.forget(forgotten)
    session.expire(expired)
    assert take(session) == [TimedOut(expired)]
    assert session.receive(answer(forgotten)) is None
    assert session.receive(answer(expired)) is None
    assert take(session) == [Dropped("a late answer, seq 1"), Dropped("a late answer, seq 2")]


def test_what_has_ended_cannot_end_again() -> None:
    session = Session()
    session.quest("hello", {})
    session.receive(answer(1))
    take(session)
    assert not session.forget(1)
    session.expire(1)
    session.lose(REASON)
    assert take(session) == []


def test_a_quest_given_up_before_it_left_is_taken_back() -> None:
    session = Session()
    first = session.quest("one", {})
    session.oneway("two", {})
    third = session.quest("three", {})
    assert session.forget(first)
    session.expire(third)
    assert session.waiting == len(encode_oneway(b"two", EMPTY))
    assert session.packages() == [encode_oneway(b"two", EMPTY)]
    assert take(session) == [TimedOut(third)]
    session.receive(answer(first))
    assert take(session) == [Dropped("an answer with the unknown seq 1")]


def test_the_limits_are_what_is_written_of_them() -> None:
    assert (MAX_IN_HAND, MAX_BAD_PACKAGES, MAX_ABANDONED) == (64, 16, 4096)


def test_what_waits_to_leave_is_measured() -> None:
    session = Session()
    assert (session.waiting, session.largest) == (0, 0)
    session.quest("hello", {})
    session.oneway("a longer method", {})
    sizes = [len(encode_quest(b"hello", EMPTY, 1)), len(encode_oneway(b"a longer method", EMPTY))]
    assert (session.waiting, session.largest) == (sum(sizes), max(sizes))
    assert [len(package) for package in session.packages()] == sizes
    assert session.waiting == 0


def test_a_number_is_not_used_while_an_answer_to_it_may_come() -> None:
    session = Session(max_seq=5)
    abandoned, pending, done = (session.quest("hello", {}) for _ in range(3))
    session.ping()
    session.packages()
    session.forget(abandoned)
    session.receive(answer(done))
    assert session.quest("hello", {}) == 5
    session.receive(answer(5))
    assert session.quest("hello", {}) == done  # not 0, nor one of those that wait
    session.receive(answer(abandoned))
    session.receive(answer(4))
    assert [session.quest("hello", {}) for _ in range(3)] == [4, 5, abandoned]
    assert session.receive(answer(pending)) == pending


def test_what_was_given_up_is_remembered_up_to_a_bound() -> None:
    session = Session()
    for _ in range(MAX_ABANDONED + 1):
        session.quest("hello", {})
        session.packages()
        session.forget(session.quest("hello", {}) - 1)
    session.packages()
    session.receive(answer(1))
    session.receive(answer(3))
    assert take(session) == [
        Dropped("an answer with the unknown seq 1"),
        Dropped("a late answer, seq 3"),
    ]


def test_the_answer_to_a_ping_of_our_own_is_no_event() -> None:
    session = Session()
    session.ping()
    assert session.pending == 0
    assert session.packages() == [encode_quest(b"*ping", EMPTY, 1)]
    assert session.receive(answer(1, encode({"ts": 1}))) is None
    session.ping()
    session.receive(answer(2, b"\xc1", status=1))
    assert take(session) == []
    assert session.quest("hello", {}) == 3


def test_a_head_goes_elsewhere_and_counts_as_a_quest() -> None:
    session = Session()
    quest_id, head = session.quest_head("sendfile", 100)
    assert session.packages() == []
    assert packages_in(head + bytes(100)) == [quest(b"sendfile", bytes(100), seq=quest_id)]
    assert session.pending == 1
    session.forget(quest_id)
    session.receive(answer(quest_id))
    assert take(session) == [Dropped("a late answer, seq 1")]


def test_every_quest_is_lost_with_the_connection() -> None:
    session = Session()
    session.quest("one", {})
    session.quest_head("two", 10)
    session.receive(quest())
    take(session)
    session.lose(REASON)
    assert take(session) == [Lost(1, REASON), Lost(2, REASON)]
    assert (session.pending, session.owed, session.waiting) == (0, 0, 0)
    assert session.packages() == []


BAD_METHODS = ["", "x" * 256, "\u00e4" * 128, "\ud800"]
BAD_PARAMS: list[Params] = [
    {1: 2},  # type: ignore[dict-item]
    {"a": 2**64},
    {"a": -(2**63) - 1},
    {"a": object()},
    {"a": "\ud800"},
]


NOT_TO_BE_SAID: list[tuple[str, Params]] = [
    *((method, {}) for method in BAD_METHODS),
    *(("hello", params) for params in BAD_PARAMS),
]


@pytest.mark.parametrize(("method", "params"), NOT_TO_BE_SAID)
def test_what_cannot_be_said_changes_nothing(method: str, params: Params) -> None:
    session = Session()
    with pytest.raises(LocalProtocolError):
        session.quest(method, params)
    with pytest.raises(LocalProtocolError):
        session.oneway(method, params)
    if method != "hello":
        with pytest.raises(LocalProtocolError):
            session.quest_head(method, 10)
    unchanged(session)


def test_a_payload_may_be_one_byte() -> None:
    session = Session()
    quest_id, head = session.quest_head("hello", 1)
    assert head + EMPTY == encode_quest(b"hello", EMPTY, quest_id)


@pytest.mark.parametrize("psize", [0, -1])
def test_a_payload_is_never_empty(psize: int) -> None:
    session = Session()
    with pytest.raises(LocalProtocolError, match="at least 1 byte"):
        session.quest_head("sendfile", psize)
    unchanged(session)


def test_what_is_too_large_to_send_changes_nothing() -> None:
    session = Session(max_package=100)
    text = "x" * 100
    with pytest.raises(LocalProtocolError, match=r"a package of 126 bytes is over .* of 100"):
        session.quest("hello", {"a": text})
    with pytest.raises(LocalProtocolError, match=r"over the limit of 100"):
        session.oneway("hello", {"a": text})
    for psize in (83, 100, 101, 2**32, 2**70):
        with pytest.raises(LocalProtocolError, match=r"over the limit of 100"):
            session.quest_head("he", psize)
    unchanged(session)
    session.quest_head("he", 82)
    session.receive(quest())
    (received,) = take(session)
    assert isinstance(received, QuestReceived)
    with pytest.raises(LocalProtocolError, match=r"over the limit of 100"):
        session.answer(received.quest_id, {"a": text})
    with pytest.raises(LocalProtocolError, match=r"over the limit of 100"):
        session.refuse(received.quest_id, 1, text)
    assert (session.owed, session.packages()) == (1, [])
    session.refuse(received.quest_id, Code.UNKNOWN, "")
    assert errors(session) == [(7, Code.UNKNOWN)]


def unchanged(session: Session) -> None:
    """*session* is as new."""
    assert (session.pending, session.owed, session.waiting) == (0, 0, 0)
    assert (session.packages(), take(session)) == ([], [])
    assert session.quest("hello", {}) == 1
    session.receive(answer(1))
    session.packages()
    take(session)


# --- the peer's quests -----------------------------------------------------------------------


def received(session: Session, package: Package) -> int:
    session.receive(package)
    (event,) = take(session)
    assert isinstance(event, QuestReceived)
    return event.quest_id


@pytest.mark.parametrize("version", [0, 1, 2, 255])
@pytest.mark.parametrize("extra", [0, 0x20, 0x10, 0x0F])
def test_a_quest_is_answered_in_its_own_kind(version: int, extra: int) -> None:
    session = Session()
    package = quest(b"hello", b"\x81\xa1a\x01", version=version, flag=FLAG_MSGPACK | extra)
    session.receive(package)
    assert take(session) == [QuestReceived(1, "hello", {"a": 1})]
    session.answer(1, {"b": 2})
    version = version if version < 2 else 1
    assert session.packages() == [encode_answer(b"\x81\xa1b\x02", 7, version=version)]
    assert session.owed == 0


def test_a_quest_in_json_is_answered_in_json() -> None:
    session = Session()
    quest_id = received(session, quest(payload=b'{"a":1}', flag=FLAG_JSON | 0x01))
    session.answer(quest_id, {"b": [1, "\u00e4", None]})
    (package,) = sent(session)
    assert (package.flag, package.status) == (FLAG_JSON, 0)
    assert decode_json(package.payload) == {"b": [1, "\u00e4", None]}
    session.refuse(received(session, quest(payload=b"{}", flag=FLAG_JSON)), 200001, "no")
    assert errors(session) == [(7, 200001)]


@pytest.mark.parametrize("value", [b"bytes", float("nan")])
def test_what_only_json_cannot_carry_is_no_fault_of_ours(value: object) -> None:
    session = Session()
    session.answer(received(session, quest(payload=b"{}", flag=FLAG_JSON)), {"a": value})
    assert errors(session) == [(7, Code.JSON_CONVERSION)]
    assert session.owed == 0


def test_a_quest_is_answered_once() -> None:
    session = Session()
    quest_id = received(session, quest())
    session.answer(quest_id, {})
    with pytest.raises(LocalProtocolError, match="no answer is owed to quest 1"):
        session.answer(quest_id, {})
    with pytest.raises(LocalProtocolError, match="no answer is owed to quest 1"):
        session.refuse(quest_id, 1, "")
    with pytest.raises(LocalProtocolError, match="no answer is owed to quest 99"):
        session.answer(99, {})
    assert len(session.packages()) == 1


@pytest.mark.parametrize("params", BAD_PARAMS)
@pytest.mark.parametrize("flag", [FLAG_MSGPACK, FLAG_JSON])
def test_an_answer_that_cannot_be_said_leaves_it_owed(params: Params, flag: int) -> None:
    session = Session()
    payload = EMPTY if flag == FLAG_MSGPACK else b"{}"
    quest_id = received(session, quest(payload=payload, flag=flag))
    with pytest.raises(LocalProtocolError):
        session.answer(quest_id, params)
    for code, text in (("1", ""), (1.5, ""), (1, None), (1, b"")):
        with pytest.raises(LocalProtocolError, match="an error has an int and a text"):
            session.refuse(quest_id, code, text)  # type: ignore[arg-type]
    assert (session.owed, session.packages()) == (1, [])
    session.answer(quest_id, {})
    assert session.owed == 0


def test_the_peer_may_use_a_number_twice() -> None:
    session = Session()
    ids = [received(session, quest(seq=seq)) for seq in (0, 5, 5, 0xFFFFFFFF)]
    assert len(set(ids)) == 4
    for quest_id in reversed(ids):
        session.answer(quest_id, {"id": quest_id})
    assert [package.seq for package in sent(session)] == [0xFFFFFFFF, 5, 5, 0]


def test_the_numbers_of_both_sides_do_not_meet() -> None:
    session = Session()
    mine = session.quest("mine", {})
    theirs = received(session, quest(b"theirs", seq=mine))
    session.packages()
    session.answer(theirs, {})
    assert session.pending == 1
    assert session.receive(answer(mine)) == mine
    assert session.owed == 0


def test_more_quests_than_can_be_in_hand_are_refused() -> None:
    session = Session()
    for seq in range(MAX_IN_HAND):
        session.receive(quest(seq=seq))
    assert len(take(session)) == session.owed == MAX_IN_HAND == 64
    session.receive(quest(seq=1000))
    assert (take(session), errors(session)) == ([], [(1000, Code.WORK_QUEUE_FULL)])
    session.receive(quest(b"*ping", seq=1001))  # whoever is busy is still alive
    session.receive(oneway())
    assert take(session) == [OnewayReceived("hello", {})]
    session.packages()
    session.answer(1, {})
    session.packages()
    received(session, quest(seq=1002))


def test_a_quest_that_comes_while_stopping_is_refused() -> None:
    session = Session()
    mine = session.quest("mine", {})
    session.packages()
    theirs = received(session, quest(seq=1))
    session.stop_code = Code.SERVER_STOPPING
    session.receive(quest(seq=2))
    session.receive(oneway(b"push"))
    assert take(session) == [Dropped("a one-way push that came while closing")]
    session.receive(answer(mine))
    assert take(session) == [Answered(mine, {})]
    refusal = encode({"code": int(Code.SERVER_STOPPING), "ex": "closing"})
    assert session.packages() == [encode_answer(refusal, 2, status=1)]
    session.answer(theirs, {})
    assert session.owed == 0


def test_a_quest_that_could_not_be_received_whole_is_refused_by_its_number() -> None:
    session = Session()
    session.refuse_seq(0xFFFFFFFF, Code.FILE_TOO_LARGE, "too large")
    assert errors(session) == [(0xFFFFFFFF, Code.FILE_TOO_LARGE)]


def test_a_oneway_quest_is_never_answered() -> None:
    session = Session()
    session.receive(oneway(payload=b"\x81\xa1a\x01"))
    assert take(session) == [OnewayReceived("hello", {"a": 1})]
    assert (session.owed, session.packages()) == (0, [])


BAD_PACKAGES = [  # fpnn.md, section 8
    (b"hello", EMPTY, 0x00, Code.NOT_SUPPORTED),
    (b"hello", EMPTY, 0xC0, Code.NOT_SUPPORTED),
    (b"hello", EMPTY, 0x0F, Code.NOT_SUPPORTED),
    (b"*ping", EMPTY, 0xC0, Code.NOT_SUPPORTED),
    (b"", EMPTY, 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"", 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"\xc1", 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"\x81\xa1a", 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"\x93\x01\x02\x03", 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"\xa5hello", 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"\x81\xa1a" + b"\x91" * 50 + b"\x01", 0x80, Code.INVALID_PACKAGE),
    (b"hello", b"{", 0x40, Code.JSON_CONVERSION),
    (b"hello", b"[]", 0x40, Code.JSON_CONVERSION),
    (b"hello", b"", 0x40, Code.JSON_CONVERSION),
    (b"hello", b'{"a":NaN}', 0x40, Code.JSON_CONVERSION),
]


@pytest.mark.parametrize(("method", "payload", "flag", "code"), BAD_PACKAGES)
def test_a_malformed_quest_is_refused_and_counted(
    method: bytes, payload: bytes, flag: int, code: Code
) -> None:
    session = Session()
    session.receive(quest(method, payload, flag=flag))
    assert (errors(session), take(session)) == ([(7, code)], [])
    session.receive(oneway(method, payload, flag))
    (event,) = take(session)
    assert isinstance(event, Dropped) and "malformed" in event.text
    assert (session.packages(), session.bad_packages, session.owed) == ([], 2, 0)


@pytest.mark.parametrize("method", [b"\xff\xfe", b"hell\xf6"])
def test_a_method_that_is_no_text_is_unknown(method: bytes) -> None:
    session = Session()
    session.receive(quest(method))
    assert errors(session) == [(7, Code.UNKNOWN_METHOD)]
    session.receive(oneway(method))
    assert take(session) == [Dropped("a one-way quest whose method is not UTF-8")]
    assert session.bad_packages == 0


@pytest.mark.parametrize("method", ["\x00", "h\u00e4llo", "*unknown", "*", "x" * 255])
def test_any_other_text_is_a_method(method: str) -> None:
    session = Session()
    session.receive(quest(method.encode()))
    assert take(session) == [QuestReceived(1, method, {})]


@pytest.mark.parametrize("payload", [EMPTY, b"", b"\xc1", b"\x81", b"garbage"])
@pytest.mark.parametrize("flag", [FLAG_MSGPACK, FLAG_JSON])
def test_a_ping_is_answered_whatever_is_in_it(payload: bytes, flag: int) -> None:
    session = Session(wall_ms=lambda: 1_700_000_000_123)
    session.receive(quest(b"*ping", payload, flag=flag, version=0))
    (package,) = sent(session)
    assert (package.status, package.seq, package.flag, package.version) == (0, 7, flag, 0)
    read = decode_json if flag == FLAG_JSON else decode
    assert read(package.payload) == {"ts": 1_700_000_000_123}
    assert (take(session), session.bad_packages) == ([], 0)


def test_a_ping_is_answered_without_a_clock_too() -> None:
    session = Session()
    session.receive(quest(b"*ping"))
    assert session.packages() == [encode_answer(EMPTY, 7)]


def test_the_other_built_in_methods() -> None:
    session = Session()
    session.receive(quest(b"*status", b""))
    (package,) = sent(session)
    assert (package.status, decode(package.payload)) == (0, {"status": True})
    for method in (b"*infos", b"*tune", b"*key"):
        session.receive(quest(method))
        assert errors(session) == [(7, Code.FORBIDDEN)]
    for method in (b"*ping", b"*status", b"*infos", b"*tune", b"*key"):
        session.receive(oneway(method, b""))
        assert take(session) == [Dropped(f"a one-way {method.decode()}")]
    assert (session.packages(), session.bad_packages) == ([], 0)


@given(
    st.lists(
        st.builds(
            Package,
            kind=st.sampled_from(list(Kind)),
            version=st.integers(0, 255),
            flag=st.sampled_from([0x80, 0x40]) | st.integers(0, 255),
            status=st.integers(0, 255),
            seq=st.integers(0, 9) | st.integers(0, 2**32 - 1),
            method=st.sampled_from([b"hello", b"*ping", b"*key", b""]) | st.binary(max_size=255),
            payload=st.sampled_from([EMPTY, b"{}", b""])
            | st.binary(max_size=99)
            | st.dictionaries(
                st.sampled_from(["code", "ex", "a"]),
                st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8")),
            ).map(encode),
        )
    )
)
def test_each_package_has_one_consequence(packages: list[Package]) -> None:
    session = Session(max_in_hand=3)
    for method in ("one", "two", "three"):
        session.quest(method, {})
    session.ping()
    session.packages()
    ended: set[int] = set()
    ping_answered = False
    for package in packages:
        ended_id = session.receive(package)
        events, out = take(session), sent(session)
        if ended_id is not None:
            assert ended_id not in ended and len(events) == 1 and not out
            ended.add(ended_id)
        elif package.kind == Kind.ANSWER and package.seq == 4 and not ping_answered:
            ping_answered = True
            assert not events and not out
        else:
            assert len(events) + len(out) == 1
        if package.kind != Kind.TWOWAY:
            assert not out
        for reply in out:
            assert reply.kind == Kind.ANSWER and reply.seq == package.seq
            assert reply.flag in (FLAG_MSGPACK, FLAG_JSON) and reply.version in (0, 1)
        assert session.owed <= 3
    assert session.pending == 3 - len(ended)


# --- the peer's large quests -----------------------------------------------------------------

LARGE = encode({"file": b"0123456789"})


def parts(package: bytes, *cuts: int) -> list[Package]:
    """A package in parts: its head, then the payload cut at *cuts*."""
    splitter = Splitter(whole_to=1)
    places = [0, *cuts, len(package)]
    pieces = [package[start:end] for start, end in itertools.pairwise(places)]
    return [part for piece in pieces for part in splitter.feed(piece)]


def test_a_quest_that_comes_in_parts_begins_and_then_its_pieces_come() -> None:
    session = Session()
    first, second, third = parts(encode_quest(b"sendfile", LARGE, 7), 30)
    session.receive(first)
    assert take(session) == [QuestBegun(1, "sendfile", len(LARGE))]
    assert session.owed == 1
    session.receive(second)
    session.receive(third)
    size = len(second.payload)
    assert take(session) == [
        QuestPiece(1, LARGE[:size], len(LARGE) - size),
        QuestPiece(1, LARGE[size:], 0),
    ]
    session.answer(1, {"mtime": 5})
    assert [package.seq for package in sent(session)] == [7]
    assert session.owed == 0


@pytest.mark.parametrize("when", [1, 2])
def test_what_still_comes_of_a_refused_quest_is_dropped(when: int) -> None:
    session = Session()
    pieces = parts(encode_quest(b"sendfile", LARGE, 7), 30, 31)
    for package in pieces[:when]:
        session.receive(package)
    take(session)
    session.refuse(1, 200003, "no")
    for package in pieces[when:]:
        session.receive(package)
    assert take(session) == []
    assert errors(session) == [(7, 200003)]
    for package in parts(encode_quest(b"sendfile", LARGE, 7)):
        session.receive(package)
    assert take(session) == [QuestBegun(2, "sendfile", len(LARGE)), QuestPiece(2, LARGE, 0)]


def test_a_quest_that_never_begins_has_no_pieces() -> None:
    refused: list[tuple[Session, bytes, int]] = [
        (Session(), encode_quest(b"\xff", LARGE, 7), Code.UNKNOWN_METHOD),
        (Session(max_in_hand=0), encode_quest(b"a", LARGE, 7), Code.WORK_QUEUE_FULL),
        (Session(), encode_quest(b"a", LARGE, 7, flag=0x20), Code.NOT_SUPPORTED),
        (Session(), encode_quest(b"a", b'{"a":1}', 7, flag=FLAG_JSON), Code.INVALID_PACKAGE),
        (Session(), encode_quest(b"", LARGE, 7), Code.INVALID_PACKAGE),
        (Session(), encode_quest(b"*key", LARGE, 7), Code.FORBIDDEN),
    ]
    closing = Session()
    closing.stop_code = Code.SERVER_STOPPING
    refused.append((closing, encode_quest(b"a", LARGE, 7), Code.SERVER_STOPPING))
    for session, data, code in refused:
        for package in parts(data, len(data) - 3):
            session.receive(package)
        assert take(session) == []
        assert errors(session) == [(7, code)]
        assert session.owed == 0


def test_the_pieces_of_a_refused_quest_are_not_taken_for_those_of_the_one_before_it() -> None:
    session = Session(max_in_hand=1)
    for package in parts(encode_quest(b"sendfile", LARGE, 7), 30):
        session.receive(package)
    take(session)
    for package in parts(encode_quest(b"sendfile", LARGE, 8), 30):
        session.receive(package)
    assert take(session) == []
    assert errors(session) == [(8, Code.WORK_QUEUE_FULL)]
    assert session.owed == 1


def test_a_large_built_in_quest_is_answered_and_nobody_hears_of_it() -> None:
    session = Session()
    for package in parts(encode_quest(b"*ping", LARGE, 7), 25):
        session.receive(package)
    assert take(session) == []
    assert sent(session) == [answer(7)]


def test_a_large_one_way_quest_is_malformed_once() -> None:
    session = Session()
    for package in parts(encode_oneway(b"tell", LARGE), 18, 20):
        session.receive(package)
    [event] = take(session)
    assert isinstance(event, Dropped)
    assert f"a payload of {len(LARGE)} bytes is only taken in msgpack" in event.text
    assert session.bad_packages == 1


@pytest.mark.parametrize("status", [0, 1])
def test_a_large_answer_cannot_be_read_and_ends_its_quest_once(status: int) -> None:
    session = Session()
    seq = session.quest("hello", {})
    first, *rest = parts(encode_answer(LARGE, seq, status=status), 20)
    assert session.receive(first) == seq
    for package in rest:
        assert session.receive(package) is None
    [event] = take(session)
    assert isinstance(event, Refused)
    assert event.code == (Code.UNKNOWN if status else Code.INVALID_PACKAGE_CORE)
    assert (session.pending, session.bad_packages) == (0, 1)


def test_a_large_late_answer_is_dropped_once() -> None:
    session = Session()
    seq = session.quest("hello", {})
    session.packages()
    session.forget(seq)
    for package in parts(encode_answer(LARGE, seq), 20):
        session.receive(package)
    assert take(session) == [Dropped(f"a late answer, seq {seq}")]


def test_whole_quests_may_come_before_and_behind_a_large_one() -> None:
    session = Session()
    large = parts(encode_quest(b"sendfile", LARGE, 8), 30)
    for package in (quest(), *large, quest()):
        session.receive(package)
    small = QuestReceived(1, "hello", {})
    first, *between, last = take(session)
    assert (first, last) == (small, QuestReceived(3, "hello", {}))
    assert [type(event) for event in between] == [QuestBegun, QuestPiece, QuestPiece]


def test_a_connection_that_is_lost_has_no_more_pieces() -> None:
    session = Session()
    first, *rest = parts(encode_quest(b"sendfile", LARGE, 7), 30)
    session.receive(first)
    session.lose(REASON)
    take(session)
    for package in rest:
        session.receive(package)
    assert take(session) == []


def test_a_piece_does_not_show_what_is_in_it() -> None:
    assert "secret" not in repr(QuestPiece(1, b"secret", 0))
