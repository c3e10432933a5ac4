"""Many deadlines in one heap, against a plain dictionary."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.deadlines import REBUILD_ABOVE, Deadlines

TIMES = st.floats(0, 100)
KEYS = st.integers(0, 9)


def test_without_deadlines_nothing_is_due() -> None:
    deadlines: Deadlines[str] = Deadlines()
    assert len(deadlines) == 0
    assert deadlines.next() is None
    assert deadlines.due(1e9) == []


def test_what_is_due_comes_out_once_and_earliest_first() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key, when in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        deadlines.set(key, when)
    assert deadlines.next() == 1.0
    assert deadlines.due(0.5) == []
    assert deadlines.due(2.0) == ["early", "middle"]
    assert deadlines.due(2.0) == []
    assert len(deadlines) == 1
    assert deadlines.next() == 3.0


def test_equal_times_keep_the_order_in_which_they_were_set() -> None:
    deadlines: Deadlines[object] = Deadlines()
    keys = [object(), object(), object()]  # which cannot be compared
    for key in keys:
        deadlines.set(key, 1.0)
    assert deadlines.due(1.0) == keys


def test_a_deadline_that_is_set_again_holds_only_its_last_time() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.set("a", 5.0)
    assert deadlines.next() == 5.0
    assert deadlines.due(4.0) == []
    deadlines.set("a", 2.0)
    assert deadlines.due(4.0) == ["a"]
    assert deadlines.due(9.0) == []


def test_a_dropped_deadline_never_comes_and_dropping_twice_is_fine() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.set("b", 2.0)
    deadlines.drop("a")
    deadlines.drop("a")
    deadlines.drop("never set")
    assert deadlines.next() == 2.0
    assert deadlines.due(9.0) == ["b"]


def test_a_key_that_was_dropped_can_be_set_again_at_the_same_time() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.drop("a")
    deadlines.set("a", 1.0)
    assert deadlines.due(1.0) == ["a"]
    assert deadlines.due(1.0) == []


def test_one_deadline_moved_very_often_is_due_once() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("other", 0.5)
    for step in range(10 * REBUILD_ABOVE):
        deadlines.set("keepalive", float(step))
    assert deadlines.next() == 0.5
    assert deadlines.due(1e9) == ["other", "keepalive"]


def test_many_deadlines_set_again_are_still_due_earliest_first() -> None:
    deadlines: Deadlines[int] = Deadlines()
    times = {key: float((37 * key + 5) % 128) for key in range(128)}
    earliest = 128.0
    for _ in range(3):
        for key, when in times.items():
            deadlines.set(key, when)
            earliest = min(earliest, when)
            assert deadlines.next() == earliest
    assert deadlines.due(128.0) == sorted(times, key=lambda key: times[key])


def test_deadlines_set_again_and_again_take_no_more_memory() -> None:
    deadlines: Deadlines[str] = Deadlines()
    tracemalloc.start()
    try:
        for step in range(10_000):
            deadlines.set("keepalive", float(step))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 32 * 1024


class Compared(float):
    """A time that counts how often it is compared."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return float(self) == other

    __hash__ = float.__hash__


def test_setting_one_of_many_takes_a_logarithm_of_comparisons() -> None:
    deadlines: Deadlines[int] = Deadlines()
    Compared.times = 0
    count = 1024
    for key in range(count):
        deadlines.set(key, Compared(-key))
    assert Compared.times <= count * 2 * 10


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), KEYS, TIMES),
            st.tuples(st.just("drop"), KEYS, st.just(0.0)),
            st.tuples(st.just("due"), st.just(0), TIMES),
        ),
        max_size=300,
    )
)
def test_it_does_what_a_dictionary_does(steps: list[tuple[str, int, float]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    times: dict[int, float] = {}
    for what, key, when in steps:
        if what == "set":
            deadlines.set(key, when)
            times[key] = when
        elif what == "drop":
            deadlines.drop(key)
            times.pop(key, None)
        else:
            due = deadlines.due(when)
            assert [times[each] for each in due] == sorted(times[each] for each in due)
            assert set(due) == {each for each in times if times[each] <= when}
            for each in due:
                del times[each]
        assert len(deadlines) == len(times)
        assert deadlines.next() == min(times.values(), default=None)
