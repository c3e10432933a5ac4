"""Lists of users in a quest."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import PayloadError
from rtm_proto.gate.actions import Refusal
from rtm_proto.gate.rules.lists import named_users, receivers


def test_users_are_named_in_any_order_and_as_often_as_one_likes() -> None:
    assert named_users({"uids": [3, 1, 3]}, "uids", 3) == {1, 3}
    assert receivers({"tos": [3, 1, 2]}, 3) == [3, 1, 2]


@pytest.mark.parametrize(
    ("uids", "expected", "text"),
    [
        ([], Code.EMPTY_PARAMETER, "tos is empty: at least one user was expected"),
        ([1, 2, 3, 4], Code.TOO_MANY_ITEMS, "4 users in tos, the limit is 3"),
        ([1, 2, 1], Code.INVALID_PARAMETER, "a user stands in tos more than once"),
    ],
)
def test_a_wrong_list_is_refused(uids: list[int], expected: int, text: str) -> None:
    with pytest.raises(Refusal, match=text) as caught:
        receivers({"tos": uids}, 3)
    assert caught.value.code == expected


@pytest.mark.parametrize("params", [{}, {"tos": None}, {"tos": 5}, {"tos": ["5"]}])
def test_what_is_no_list_is_a_fault_of_the_payload(params: dict[str, object]) -> None:
    with pytest.raises(PayloadError):
        receivers(params, 3)
