"""Message ids: making them, and telling the ones that were seen."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError
from rtm_proto.mids import FILTER_BOUND, FILTER_WINDOW, MidFilter, MidGenerator, check_mid
from rtm_proto.payload import INT64_MAX

YEAR_2024 = 1_700_000_000_000  # milliseconds


class Clock:
    """Milliseconds that a test sets."""

    def __init__(self, ms: int = YEAR_2024) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


# --- making ----------------------------------------------------------------------------------


def test_a_mid_is_the_time_and_a_counter() -> None:
    clock = Clock()
    mids = MidGenerator(clock, 0x1234)
    assert [mids.next() for _ in range(3)] == [
        (YEAR_2024 << 16) + counter for counter in (0x1234, 0x1235, 0x1236)
    ]
    clock.ms += 1
    assert mids.next() == ((YEAR_2024 + 1) << 16) + 0x1234


def test_a_mid_is_never_0() -> None:
    assert MidGenerator(Clock(0), 0).next() == 1


@pytest.mark.parametrize("start", [0, 0xFFFF, 0x10000, -1, 2**80])
def test_only_the_lowest_bits_of_the_start_count(start: int) -> None:
    assert MidGenerator(Clock(), start).next() == (YEAR_2024 << 16) + (start & 0xFFFF)


@given(
    times=st.lists(st.integers(-(10**9), 2**47 - 2) | st.integers(0, 5), min_size=1),
    start=st.integers(0, 0xFFFF),
)
def test_mids_increase_whatever_the_clock_does(times: list[int], start: int) -> None:
    clock = Clock()
    mids = MidGenerator(clock, start)
    last = 0
    for clock.ms in times:
        mid = mids.next()
        assert last < mid <= INT64_MAX
        last = mid


def test_more_mids_in_a_millisecond_than_the_counter_has_room_for_still_increase() -> None:
    mids = MidGenerator(Clock(), 0xFFFE)
    made = [mids.next() for _ in range(70_000)]
    assert made == list(range(made[0], made[0] + 70_000))


def test_a_clock_that_is_too_far_ahead_does_no_lasting_harm() -> None:
    clock = Clock(2**48)
    mids = MidGenerator(clock, 0)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="the clock is too far ahead"):
            mids.next()
    clock.ms = YEAR_2024
    assert mids.next() == YEAR_2024 << 16


def test_the_last_mid_of_all_is_the_last() -> None:
    mids = MidGenerator(Clock(INT64_MAX >> 16), 0xFFFF)
    assert mids.next() == INT64_MAX
    with pytest.raises(LocalProtocolError):
        mids.next()


@pytest.mark.parametrize("mid", [0, 1, INT64_MAX])
def test_a_mid_of_the_callers_own_is_honoured(mid: int) -> None:
    assert check_mid(mid) == mid


@pytest.mark.parametrize("mid", [-1, INT64_MAX + 1, True, 1.0, "1", None, b"1"])
def test_anything_else_is_no_mid(mid: object) -> None:
    with pytest.raises(LocalProtocolError, match="a mid is 0"):
        check_mid(mid)  # type: ignore[arg-type]


# --- filtering -------------------------------------------------------------------------------


def test_what_was_seen_within_the_window_is_a_duplicate() -> None:
    seen = MidFilter()
    assert not seen.seen("a", now=0)
    assert not seen.seen("b", now=0)
    assert seen.seen("a", now=FILTER_WINDOW)
    assert not seen.seen("b", now=FILTER_WINDOW + 0.001)
    assert FILTER_WINDOW == 1200


def test_each_sight_starts_the_window_anew() -> None:
    seen = MidFilter(window=10)
    assert [seen.seen("a", now=now) for now in (0, 9, 18, 27, 38)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_looking_changes_nothing() -> None:
    seen = MidFilter(window=10)
    assert not seen.known("a", now=0)
    assert len(seen) == 0
    seen.seen("a", now=0)
    assert [seen.known("a", now=now) for now in (5, 10, 10.1, 0)] == [True, True, False, True]
    assert not seen.seen("a", now=10.1)


def test_a_key_outlives_as_many_others_as_the_bound_says() -> None:
    seen = MidFilter(bound=3)
    for key in ("a", "b", "c", "a", "d", "e"):
        seen.seen(key, now=0)
    assert [seen.known(key, now=0) for key in "ade"] == [True, True, True]
    for key in ("f", "g", "h", "i"):
        seen.seen(key, now=0)
    assert [seen.known(key, now=0) for key in "afghi"] == [False, True, True, True, True]


def test_a_clock_that_steps_back_neither_repeats_nor_forgets() -> None:
    seen = MidFilter(window=10)
    seen.seen("a", now=1_000_000)
    assert seen.seen("a", now=0)
    assert not seen.seen("b", now=1)
    assert seen.known("a", now=5) and seen.known("b", now=5)


@pytest.mark.parametrize(("window", "bound"), [(10.0, 0), (-1.0, 5), (0.0, 0)])
def test_a_filter_without_room_remembers_nothing(window: float, bound: int) -> None:
    seen = MidFilter(window=window, bound=bound)
    for _ in range(3):
        assert [seen.seen(key, now=0) for key in "aab"] == [False] * 3
        assert not seen.known("a", now=0)
        assert len(seen) <= 2


@given(
    sights=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=60),
    window=st.integers(0, 12),
    bound=st.integers(1, 6),
)
def test_the_filter_is_a_list_that_is_looked_through(
    sights: list[tuple[int, int]], window: int, bound: int
) -> None:
    """What it must know: the last keys within the window; what it may know: twice as many."""
    seen = MidFilter(window=window, bound=bound)
    model: list[tuple[int, int]] = []  # every key and its last sight, the longest ago first
    now = 0
    for key, pause in sights:
        now += pause
        for other, last in model:
            recent = model.index((other, last)) >= len(model) - bound - 1
            if now - last > window:
                assert not seen.known(other, now=now)
            elif recent:
                assert seen.known(other, now=now)
        expected = seen.known(key, now=now)
        assert seen.seen(key, now=now) == expected
        assert seen.known(key, now=now)
        model = [(other, last) for other, last in model if other != key] + [(key, now)]
        assert len(seen) <= 2 * bound


def test_a_full_filter_is_small_and_stays_so() -> None:
    seen = MidFilter()
    tracemalloc.start()
    try:
        for n in range(30_000):
            seen.seen(("to", 1001, 1002, (YEAR_2024 << 16) + n), now=float(n) / 1e6)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(seen) == 2 * FILTER_BOUND == 20_000
    assert used / FILTER_BOUND < 500  # bytes for each mid: 5 MB at the most
    for later in (2, 3):
        for number in range(100):
            seen.seen(("later", later, number), now=later * FILTER_WINDOW + number)
    assert len(seen) == 200
