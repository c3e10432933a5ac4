"""The ledger by itself: each promise, broken by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtm_proto.errors import ConnectFailed, FileNotSent, FileRefused, OutcomeUnknown, QuestRefused
from rtm_proto.flows.transfer import FileSent
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import Delivered, SaveFile, StoredFile, StoredMessage
from rtm_proto.received import Conversation, FileReceived
from rtm_proto.simulation import CALM, Violation, Weather
from rtm_proto.simulation.clock import Clock
from rtm_proto.simulation.ledger import Ledger, Message, Presence, Sending
from rtm_proto.simulation.trace import Trace
from rtm_proto.simulation.weather import Sky

MID = 4711
BODY = b"hello"


def begun(weather: Weather | None = None) -> tuple[Ledger, Message, Sending, Clock]:
    """1001 has begun to send five bytes to 1002, within 5 s."""
    clock = Clock()
    sky = Sky(Weather(calm=False) if weather is None else weather)
    ledger = Ledger(clock, sky, Trace(clock), {})
    message = ledger.new_message(1001, Conversation.P2P, 1002, MID, BODY)
    return ledger, message, ledger.began(message, 5.0, odd=False), clock


def saving(name: str = "m1-1.bin", mid: int = MID, body: bytes = BODY) -> SaveFile:
    stored = StoredMessage(
        Conversation.P2P, 1001, 1002, mid, 50, "{}", "{}", 99, id=5, waiting=(1002,)
    )
    return SaveFile(1, StoredFile("key", len(body), "", name, 50), (stored,), body)


def arrived(name: str = "m1-1.bin", **changes: object) -> FileReceived:
    event = FileReceived(
        kind=Conversation.P2P,
        sender=1001,
        target=1002,
        mid=MID,
        mtype=50,
        mtime=99,
        url=None,
        size=len(BODY),
        surl=None,
        name=name,
        ext=None,
        custom=None,
        voice=None,
        msg="",
        attrs="",
    )
    return replace(event, **changes)  # type: ignore[arg-type]


def stored(ledger: Ledger) -> None:
    effect = saving()
    ledger.asked_to_store(effect)
    ledger.stored(effect)
    ledger.store_answers(effect, None)


def sent(**changes: object) -> FileSent:
    return replace(FileSent(MID, 99, 1, False), **changes)  # type: ignore[arg-type]


def not_sent() -> FileNotSent:
    return FileNotSent(mid=MID, stage="token", cause=ConnectFailed("no"))


def refused(code: int) -> FileRefused:
    return FileRefused(mid=MID, stage="token", cause=QuestRefused("filetoken", code, "no"))


def test_a_file_that_is_stored_told_and_read_keeps_every_promise() -> None:
    ledger, _, sending, _ = begun()
    ledger.presences[1002] = Presence(1002)
    stored(ledger)
    ledger.ended(sending, sent())
    ledger.received(1002, arrived())
    ledger.settle(lost={})
    assert (ledger.deliveries, ledger.outcomes) == (1, {"FileSent": 1})


def test_an_event_that_was_read_is_not_owed_again() -> None:
    ledger, _, sending, _ = begun()
    ledger.presences[1002] = Presence(1002)
    stored(ledger)
    ledger.ended(sending, sent())
    ledger.received(1002, arrived())
    ledger.store_answers(saving(), None)
    ledger.settle(lost={})
    assert ledger.deliveries == 1


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (saving(name="other"), "nobody sent"),
        (saving(mid=MID + 1), "is to be stored as"),
        (saving(body=b"hellp"), "other bytes"),
    ],
)
def test_only_what_was_sent_is_to_be_stored(effect: SaveFile, text: str) -> None:
    ledger, *_ = begun()
    with pytest.raises(Violation, match=text):
        ledger.asked_to_store(effect)


def test_a_file_that_is_not_as_long_as_it_says_is_never_to_be_stored() -> None:
    ledger, message, *_ = begun()
    ledger.began(message, 5.0, odd=True)
    with pytest.raises(Violation, match="no such bytes"):
        ledger.asked_to_store(saving(name="m1-2.bin"))


def test_a_mid_or_a_message_is_stored_once() -> None:
    ledger, message, *_ = begun()
    stored(ledger)
    ledger.began(message, 5.0, odd=False)
    with pytest.raises(Violation, match="mid 4711 is stored twice"):
        ledger.stored(saving(name="m1-2.bin"))
    with pytest.raises(Violation, match="message 1 is stored twice"):
        ledger.stored(saving(name="m1-2.bin", mid=MID + 1))


@pytest.mark.parametrize("outcome", [not_sent(), refused(200022)])
def test_what_was_not_sent_is_not_stored_before_nor_later(
    outcome: FileNotSent | FileRefused,
) -> None:
    ledger, _, sending, _ = begun()
    ledger.ended(sending, outcome)
    with pytest.raises(Violation, match="is stored, and was"):
        ledger.stored(saving())
    ledger, _, sending, _ = begun()
    stored(ledger)
    with pytest.raises(Violation, match="and is stored"):
        ledger.ended(sending, outcome)


def test_what_is_unknown_may_be_stored() -> None:
    ledger, _, sending, _ = begun()
    unknown = OutcomeUnknown(mid=MID, stage="confirming", cause=ConnectFailed("no"))
    ledger.ended(sending, unknown)
    ledger.stored(saving())
    with pytest.raises(Violation, match="ends twice"):
        ledger.ended(sending, unknown)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (sent(mid=MID + 1), "ends with mid 4712"),
        (sent(mtime=98), "mtime 98, stored 99"),
    ],
)
def test_success_is_told_as_it_is(outcome: FileSent, text: str) -> None:
    ledger, _, sending, _ = begun()
    stored(ledger)
    with pytest.raises(Violation, match=text):
        ledger.ended(sending, outcome)


def test_success_is_stored_and_by_this_sending_unless_it_is_a_duplicate() -> None:
    ledger, message, sending, _ = begun()
    with pytest.raises(Violation, match="is not stored"):
        ledger.ended(sending, sent())
    stored(ledger)
    again = ledger.began(message, 5.0, odd=False)
    with pytest.raises(Violation, match="by a later sending"):
        ledger.ended(again, sent())
    again = ledger.began(message, 5.0, odd=False)
    ledger.ended(again, sent(duplicate=True, mtime=None))


def test_a_call_ends_at_its_deadline_at_the_latest() -> None:
    ledger, _, sending, clock = begun()
    clock.after(5.1, lambda: None)
    clock.step()
    with pytest.raises(Violation, match=r"0\.099 s after its deadline"):
        ledger.ended(sending, not_sent())
    with pytest.raises(Violation, match="bye ends"):
        ledger.call_ended("bye", clock.now - 1)
    ledger.closed = True  # it is over: nothing counts any more
    ledger.ended(sending, not_sent())
    ledger.call_ended("bye", clock.now - 1)


def test_a_call_that_never_ends_is_missed_when_all_is_over() -> None:
    ledger, *_ = begun()
    with pytest.raises(Violation, match="has never ended"):
        ledger.settle(lost={})


def test_in_a_calm_nothing_fails_or_takes_two_attempts() -> None:
    ledger, _, sending, _ = begun(CALM)
    with pytest.raises(Violation, match="failed in a calm"):
        ledger.ended(sending, not_sent())
    ledger, _, sending, _ = begun(CALM)
    stored(ledger)
    with pytest.raises(Violation, match="more than it should"):
        ledger.ended(sending, sent(attempts=2))


def test_a_refusal_has_a_reason() -> None:
    ledger, message, sending, _ = begun()
    with pytest.raises(Violation, match="refused with 200010 for no reason"):
        ledger.ended(sending, refused(200010))
    again = ledger.began(message, 5.0, odd=False)
    ledger.code_given(200010)
    ledger.ended(again, refused(200010))


def test_a_token_is_used_once_and_never_told() -> None:
    ledger, _, sending, _ = begun()
    ledger.token_issued("s3cr3t")
    ledger.attempts(b"... s3cr3t ...", sending)
    with pytest.raises(Violation, match="a second attempt"):
        ledger.attempts(b"... s3cr3t ...", sending)
    text = FileNotSent(mid=MID, stage="token", cause=ConnectFailed("with s3cr3t"))
    with pytest.raises(Violation, match="a token is in the error"):
        ledger.ended(sending, text)


@pytest.mark.parametrize(
    ("uid", "event", "text"),
    [
        (1002, arrived(name="other"), "nobody sent"),
        (1001, arrived(), "back to its sender"),
        (1002, arrived(mid=1), "other than it was sent"),
        (1003, arrived(), "it is for"),
    ],
)
def test_only_who_is_meant_reads_what_was_sent(uid: int, event: FileReceived, text: str) -> None:
    ledger, *_ = begun()
    stored(ledger)
    with pytest.raises(Violation, match=text):
        ledger.received(uid, event)


def test_nobody_reads_what_is_not_stored_nor_anything_twice() -> None:
    ledger, *_ = begun()
    with pytest.raises(Violation, match="it is not stored"):
        ledger.received(1002, arrived())
    stored(ledger)
    ledger.received(1002, arrived())
    with pytest.raises(Violation, match="seen twice"):
        ledger.received(1002, arrived())


def test_who_was_there_gets_it_or_is_told_of_the_loss() -> None:
    ledger, _, sending, _ = begun()
    presence = ledger.presences[1002] = Presence(1002)
    stored(ledger)
    ledger.ended(sending, sent())
    with pytest.raises(Violation, match=r"1002 was there, and never got messages \[1\]"):
        ledger.settle(lost={})
    ledger.settle(lost={1002: 1})
    presence.good = False
    ledger.settle(lost={})


def test_a_store_that_comes_back_has_what_it_kept() -> None:
    ledger, *_ = begun()
    effect = saving()
    ledger.stored(effect)
    store = MemoryStore()
    with pytest.raises(Violation, match="the store has lost it"):
        ledger.gate_started(store)
    store.carry_out(effect)
    ledger.gate_started(store)


# --- unread ---


def kept() -> tuple[Ledger, MemoryStore]:
    """The file is stored, and nobody has said that it was delivered."""
    ledger, *_ = begun()
    effect, store = saving(), MemoryStore()
    ledger.asked_to_store(effect)
    store.carry_out(effect)
    ledger.stored(effect)
    return ledger, store


def test_a_message_waits_for_whom_it_is_for() -> None:
    ledger, *_ = begun()
    effect = saving()
    [message] = effect.messages
    for waiting in ((), (1001,), (1002, 1003)):
        with pytest.raises(Violation, match=r"does not wait for \[1002\]"):
            ledger.asked_to_store(replace(effect, messages=(replace(message, waiting=waiting),)))
    ledger.asked_to_store(effect)


def test_what_is_not_delivered_is_unread() -> None:
    ledger, store = kept()
    ledger.check_store(store)
    store.delivered(1002, 5)
    with pytest.raises(Violation, match="message 1 is neither delivered to 1002 nor unread"):
        ledger.check_store(store)
    ledger.stored(Delivered(9, 1002, 5))
    ledger.check_store(store)
    ledger.stored(Delivered(9, 1002, 5))
    ledger.stored(Delivered(9, 1003, 5))


def test_only_what_was_read_is_told_to_be_delivered() -> None:
    for read in (False, True):
        ledger, _ = kept()
        ledger.store_answers(saving(), None)
        ledger.stored(Delivered(9, 1002, 5))
        sending = ledger.messages[0].sendings[0]
        ledger.ended(sending, FileSent(MID, 99, 1, False))
        if read:
            ledger.received(1002, arrived())
            ledger.settle(lost={})
            continue
        with pytest.raises(Violation, match=r"messages \[1\] were told to be delivered to 1002"):
            ledger.settle(lost={})
        ledger.settle(lost={1002: 1})
