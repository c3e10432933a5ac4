"""What the store of a gate is asked for, and who waits for it."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import Answer, Asked, Refusal, Refuse, Visitor
from rtm_proto.gate.rules.keeping import Keeping
from rtm_proto.gate.store import Effect, FindHistory, FindUnread, History, Result, SaveRecord, Table
from rtm_proto.received import Conversation

ASKED = Asked(Visitor("v"), 7, "some", {}, 0.0)


def nothing() -> None:
    pass


def test_what_follows_is_said_when_the_store_is_done() -> None:
    keeping = Keeping(bound=9)
    results: list[tuple[Result, float]] = []
    effect = FindUnread(keeping.next_id(), 5)
    keeping.ask(ASKED, effect, lambda result, now: results.append((result, now)))
    assert (keeping.effects, len(keeping), [*keeping.under_way()]) == ([effect], 1, [effect])
    keeping.carried_out(effect, (), None, now=3.0)
    assert (results, len(keeping), keeping.actions) == ([((), 3.0)], 0, [])


def test_ids_strictly_increase() -> None:
    keeping = Keeping(bound=9)
    assert [keeping.next_id() for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (FindUnread(1, 5), "not read: no luck"),
        (FindHistory(1, History((Conversation.P2P, 1, 2), 5)), "not read: no luck"),
        (SaveRecord(1, Table.BAN, 5, "5"), "not stored: no luck"),
    ],
)
def test_a_store_that_fails_is_told_of(effect: Effect, text: str) -> None:
    keeping = Keeping(bound=9)
    keeping.ask(ASKED, effect, lambda result, now: pytest.fail("it did not work"))
    keeping.carried_out(effect, None, StoreFault("no luck"), now=0.0)
    assert keeping.actions == [Refuse(ASKED.visitor, 7, Code.WORK_QUEUE_FULL, text)]


def test_an_effect_that_nobody_waits_for_says_nothing() -> None:
    keeping = Keeping(bound=9)
    for fault in (None, StoreFault("no luck")):
        keeping.carried_out(FindUnread(99, 5), None, fault, now=0.0)
    assert keeping.actions == []


def test_more_than_may_wait_are_refused_with_20011() -> None:
    keeping = Keeping(bound=2)
    effects = [FindUnread(keeping.next_id(), 5) for _ in range(3)]
    for effect in effects[:2]:
        keeping.ask(ASKED, effect, lambda result, now: None)
    with pytest.raises(Refusal, match="the store is at 2 quests, the limit is 2") as caught:
        keeping.ask(ASKED, effects[2], lambda result, now: None, holds=["a"])
    assert caught.value.code == Code.WORK_QUEUE_FULL
    assert keeping.effects == effects[:2] and keeping.free("a")
    keeping.carried_out(effects[0], None, None, now=0.0)
    keeping.ask(ASKED, effects[2], lambda result, now: None)


@pytest.mark.parametrize("fault", [None, StoreFault("no luck")])
def test_a_record_is_changed_once_at_a_time(fault: StoreFault | None) -> None:
    keeping = Keeping(bound=9)
    kept: list[int] = []
    keeping.save(ASKED, Table.BAN, 5, "9", lambda: kept.append(1), answer={"a": 1})
    assert not keeping.free((Table.BAN, 5)) and keeping.free((Table.BAN, 6))
    with pytest.raises(Refusal, match="ban 5 is being stored: try again") as caught:
        keeping.save(ASKED, Table.BAN, 5, "8", nothing)
    assert caught.value.code == Code.WORK_QUEUE_FULL
    keeping.save(ASKED, Table.BAN, 6, "8", nothing)
    [first, second] = keeping.effects
    assert first == SaveRecord(first.effect_id, Table.BAN, 5, "9")
    assert kept == []
    keeping.carried_out(first, None, fault, now=0.0)
    assert kept == ([] if fault else [1])
    keeping.save(ASKED, Table.BAN, 5, None, nothing)
    keeping.carried_out(second, None, None, now=0.0)
    said = keeping.actions
    assert isinstance(said[0], Refuse) if fault else said[0] == Answer(ASKED.visitor, 7, {"a": 1})
    assert said[1] == Answer(ASKED.visitor, 7, {})


@pytest.mark.parametrize("fault", [None, StoreFault("no luck")])
def test_what_is_forgotten_nobody_waits_for(fault: StoreFault | None) -> None:
    keeping = Keeping(bound=1)
    keeping.forget(Table.BAN, 5)
    [effect] = keeping.effects
    assert effect == SaveRecord(effect.effect_id, Table.BAN, 5, None)
    assert not keeping.free((Table.BAN, 5))
    keeping.carried_out(effect, None, fault, now=0.0)
    assert keeping.free((Table.BAN, 5)) and keeping.actions == [] and len(keeping) == 0
