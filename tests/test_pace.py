"""The pace: so many a second, a burst after a rest, files and calls by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError
from rtm_proto.pace import BURST, CALLS, FILES, Pace


def times(pace: Pace, method: str, *asked: float) -> list[Any]:
    return [pytest.approx(pace.when(method, now=now)) for now in asked]


def test_files_come_once_a_second_after_a_burst() -> None:
    pace = Pace()
    assert times(pace, "filetoken", 10.0, 10.0, 10.0, 10.0) == [10.0, 10.0, 11.0, 12.0]
    assert times(pace, "filetoken", 15.0, 15.0, 15.0) == [15.0, 15.0, 16.0]


def test_calls_come_five_times_a_second_and_files_are_calls() -> None:
    pace = Pace()
    assert times(pace, "anything", 0.0, 0.0, 0.0) == [0.0, 0.0, 0.2]
    assert times(pace, "filetoken", 0.0) == [0.4]
    assert times(pace, "filetoken", 1.0, 1.0) == [1.0, 1.0]


def test_either_may_be_left_alone() -> None:
    assert times(Pace(files=None, calls=None), "filetoken", *[3.0] * 50) == [3.0] * 50
    assert times(Pace(calls=None), "anything", *[3.0] * 50) == [3.0] * 50
    assert times(Pace(files=None, calls=10.0, burst=1), "filetoken", 0.0, 0.0) == [0.0, 0.1]


def test_the_figures_are_the_published_ones() -> None:
    assert (FILES, CALLS, BURST) == (1.0, 5.0, 2)


@pytest.mark.parametrize("wrong", [{"files": 0}, {"calls": -1.0}, {"burst": 0}, {"files": 1e999}])
def test_a_pace_is_above_nothing(wrong: dict[str, float]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(LocalProtocolError, match=f"^{name} is a number above 0, got {value!r}$"):
        Pace(**wrong)  # type: ignore[arg-type]  # the values are the point


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.5, 20), st.integers(1, 5))
def test_no_second_has_more_than_its_share(gaps: list[float], rate: float, burst: int) -> None:
    pace = Pace(files=None, calls=rate, burst=burst)
    now, allowed = 0.0, list[float]()
    for gap in gaps:
        now += gap
        at = pace.when("anything", now=now)
        assert at >= now
        allowed.append(at)
    assert allowed == sorted(allowed)
    for first, start in enumerate(allowed):
        within = [at for at in allowed[first:] if at < start + 1]
        assert len(within) <= rate + burst + 1
