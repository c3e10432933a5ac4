"""Places at a gate: how many streams there may be, in all and from one address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.gate.places import Places, origin

V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).map(str)
ADDRESSES = st.one_of(st.none(), st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), V4, V6)


def test_one_address_has_so_many_places_and_no_more() -> None:
    places = Places(most=100, most_per_address=2)
    assert places.take("10.0.0.1") is None
    assert places.take("10.0.0.1") is None
    assert places.take("10.0.0.1") == "all 2 places of one address are taken"
    assert places.take("10.0.0.2") is None
    places.leave("10.0.0.1")
    assert places.take("10.0.0.1") is None


def test_all_together_have_so_many_places_and_no_more() -> None:
    places = Places(most=3, most_per_address=2)
    for address in ("10.0.0.1", None, "10.0.0.2"):
        assert places.take(address) is None
    assert places.take("10.0.0.3") == "all 3 places are taken"
    assert places.take(None) == "all 3 places are taken"
    places.leave(None)
    assert places.take("10.0.0.3") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("fd00::1", "fd00::ffff:1", True),  # one /64
        ("fd00::1", "fd00:0:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("a socket", "a socket", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (origin(one) == origin(other)) is same


def test_nobody_has_no_address() -> None:
    assert origin(None) is origin("") is None


@given(st.lists(ADDRESSES, max_size=60))
def test_who_came_in_and_left_leaves_nothing(addresses: list[str | None]) -> None:
    places = Places(most=40, most_per_address=3)
    inside = [address for address in addresses if places.take(address) is None]
    assert places.taken == len(inside) <= 40
    for address in inside:
        places.leave(address)
    assert (places.taken, len(places)) == (0, 0)
