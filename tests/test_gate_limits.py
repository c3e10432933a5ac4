"""What a gate takes: the figures, and what cannot be one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rtm_proto.errors import LocalProtocolError
from rtm_proto.gate.limits import RATES, Limits, Rate


def test_the_limits_are_what_was_published() -> None:
    limits = Limits()
    assert (limits.max_file, limits.max_attrs, limits.max_message) == (5_242_880, 2048, 20_480)
    assert (limits.max_rooms, limits.max_groups, limits.max_receivers) == (10, 10_000, 2000)
    assert (limits.max_items, limits.max_history) == (100, 20)


def test_the_limits_of_our_own() -> None:
    limits = Limits()
    assert (limits.max_members, limits.max_blocks) == (2000, 1000)
    assert (limits.max_login_tokens, limits.max_waiting) == (100_000, 4096)
    assert (limits.max_logins, limits.max_failed_logins) == (1, 5)
    assert limits.failed_logins == Rate(0.1, 10)
    assert not limits.lenient_ids


def test_every_rate_but_that_of_failed_logins_is_off() -> None:
    named = [f.name for f in dataclasses.fields(Limits) if "Rate" in str(f.type)]
    assert sorted(named) == sorted(RATES)
    assert [name for name in RATES if getattr(Limits(), name) is not None] == ["failed_logins"]


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("rate", [Rate(0, 1), Rate(-1, 1), Rate(float("inf"), 1), Rate(1, 0)])
def test_what_is_no_rate_is_refused_at_once(name: str, rate: Rate) -> None:
    limits: dict[str, Any] = {name: rate}
    with pytest.raises(LocalProtocolError, match=f"{name} is a number above 0 .*got {rate}"):
        Limits(**limits)


@pytest.mark.parametrize("name", ["max_logins", "max_waiting", "max_history", "max_failed_logins"])
def test_what_would_let_nothing_happen_is_refused_at_once(name: str) -> None:
    limits: dict[str, Any] = {name: 0}
    with pytest.raises(LocalProtocolError, match=f"{name} is at least 1, got 0"):
        Limits(**limits)
    assert getattr(Limits(**{name: 1}), name) == 1  # type: ignore[arg-type]


def test_one_at_once_is_a_rate() -> None:
    assert Limits(user_calls=Rate(0.001, 1)).user_calls == Rate(0.001, 1)


def test_a_rate_says_what_it_is() -> None:
    assert str(Rate(0.5, 3)) == "0.5 a second, 3 at once"
