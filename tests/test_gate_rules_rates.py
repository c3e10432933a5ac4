"""How often somebody may ask a gate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.gate.actions import Refusal
from rtm_proto.gate.limits import Limits, Rate
from rtm_proto.gate.rules.rates import CALLS, MAX_BUCKETS, Buckets, Rates


def taken(buckets: Buckets, key: object, now: float) -> bool:
    """Whether one could be had; it is taken then."""
    if buckets.empty(key, now=now):
        return False
    buckets.take(key, now=now)
    return True


def test_after_a_rest_a_burst_may_come_and_then_one_at_a_time() -> None:
    buckets = Buckets(Rate(2.0, 3))
    assert [taken(buckets, "a", 10.0) for _ in range(4)] == [True, True, True, False]
    assert [taken(buckets, "a", now) for now in (10.4, 10.5, 10.6, 11.0)] == [
        False,
        True,
        False,
        True,
    ]
    assert [taken(buckets, "a", 20.0) for _ in range(4)] == [True, True, True, False]


def test_everybody_has_a_bucket() -> None:
    buckets = Buckets(Rate(1.0, 1))
    assert taken(buckets, "a", 0.0) and taken(buckets, "b", 0.0)
    assert not taken(buckets, "a", 0.5)


def test_a_full_bucket_takes_no_memory() -> None:
    buckets = Buckets(Rate(1.0, 5))
    for number in range(100):
        buckets.take(number, now=0.0)
    assert len(buckets) == 100
    buckets.take("late", now=1.0)
    assert len(buckets) == 1


def test_the_number_of_buckets_has_a_bound_and_the_oldest_goes_first() -> None:
    buckets = Buckets(Rate(0.001, 1), bound=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, now=0.0)
    assert len(buckets) == 2
    assert [buckets.empty(key, now=0.0) for key in ("a", "b", "c")] == [True, False, True]
    assert MAX_BUCKETS == 100_000


@given(
    st.floats(0.01, 1000),
    st.integers(1, 20),
    st.lists(st.floats(0, 100), max_size=100),
)
def test_never_more_than_the_burst_and_what_has_flown_in(
    per_second: float, burst: int, gaps: list[float]
) -> None:
    buckets = Buckets(Rate(per_second, burst))
    now, began, given_out = 1000.0, 1000.0, 0
    for gap in gaps:
        now += gap / per_second
        given_out += taken(buckets, 0, now)
        assert given_out <= burst + (now - began) * per_second + 1e-6


@given(st.floats(0.01, 1000), st.integers(1, 20))
def test_who_keeps_to_the_rate_is_never_refused(per_second: float, burst: int) -> None:
    buckets = Buckets(Rate(per_second, burst))
    assert all(taken(buckets, 0, 1000.0 + n * (1 + 1e-6) / per_second) for n in range(200))


def test_a_refusal_names_the_limit() -> None:
    rates = Rates(Limits(user_calls=Rate(5, 2)))
    rates.spend(("user_calls", 1), now=0.0)
    rates.spend(("user_calls", 1), now=0.0)
    with pytest.raises(Refusal, match="over the limit user_calls: 5 a second, 2 at once") as caught:
        rates.spend(("user_calls", 1), now=0.0)
    assert caught.value.code == Code.RATE_LIMIT
    assert len(rates) == 1


def test_what_is_refused_for_one_rate_is_not_counted_for_another() -> None:
    rates = Rates(Limits(user_calls=Rate(1, 1), all_calls=Rate(1, 2)))
    rates.spend(("user_calls", 1), ("all_calls", 0), now=0.0)
    for _ in range(5):
        with pytest.raises(Refusal, match="user_calls"):
            rates.spend(("user_calls", 1), ("all_calls", 0), now=0.0)
    rates.spend(("user_calls", 2), ("all_calls", 0), now=0.0)
    with pytest.raises(Refusal, match="all_calls"):
        rates.spend(("user_calls", 3), ("all_calls", 0), now=0.0)
    rates.check("user_calls", 3, now=0.0)


def test_a_rate_that_is_off_refuses_nothing() -> None:
    rates = Rates(Limits(failed_logins=None))
    for _ in range(1000):
        rates.spend(("user_calls", 1), ("failed_logins", 1), now=0.0)
    assert len(rates) == 0


def test_whether_calls_are_counted_is_known() -> None:
    assert not Rates(Limits(user_files=Rate(1, 1))).of_calls
    for name in CALLS:
        assert Rates(Limits(**{name: Rate(1, 1)})).of_calls  # type: ignore[arg-type]
