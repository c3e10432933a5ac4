"""The published codes: none is missing, and each says when to try again."""

from __future__ import annotations

import pytest

from rtm_proto.codes import LOGIN_STOP_CODES, RETRY, Code, Retry, describe, retry

# FPNN's codes as the framework 1.3.1 has them; RTM's as the documents and client libraries do.
PUBLISHED = {
    *range(10001, 10013),
    *range(20001, 20016),
    30001,
    30002,
    100001,
    *range(200001, 200009),
    *range(200010, 200013),
    *range(200020, 200028),
    *range(200030, 200036),
    *range(200040, 200050),
    *range(200050, 200058),
    200060,
    200061,
    200062,
    200070,
    200099,
    200999,
}

AGAIN = {
    Retry.UNKNOWN: {20001, 20002, 20003, 20008, 200099, 200999},
    Retry.NEW_CONNECTION: {20007, 20012, 20014},
    Retry.AFTER_PAUSE: {20011, 200010},
    Retry.NEW_TOKEN: {200003, 200006},
    Retry.AFTER_LOGIN: {200022},
    Retry.USER_ACTION: {200040, 200041},
    Retry.DELIVERED: {200053},
}


def test_every_published_code_is_named() -> None:
    assert {int(code) for code in Code} == PUBLISHED


@pytest.mark.parametrize("code", sorted(PUBLISHED))
def test_every_published_code_has_a_meaning(code: int) -> None:
    meaning = describe(code)
    assert meaning != "unknown code"
    assert meaning == meaning.strip().rstrip(".")


@pytest.mark.parametrize("code", [0, -5, 1, 10013, 200009, 2**63])
def test_a_code_that_nobody_published_is_no_error(code: int) -> None:
    assert describe(code) == "unknown code"
    assert retry(code) is Retry.NEVER


@pytest.mark.parametrize("code", sorted(PUBLISHED))
def test_only_what_can_succeed_is_tried_again(code: int) -> None:
    classes = [kind for kind, members in AGAIN.items() if code in members]
    assert retry(code) is (classes[0] if classes else Retry.NEVER)


def test_the_retry_table_has_no_entry_that_says_never() -> None:
    assert Retry.NEVER not in RETRY.values()
    assert set(RETRY) == {code for members in AGAIN.values() for code in members}


def test_a_login_is_not_repeated_where_the_gate_means_no() -> None:
    assert {
        20013, 200001, 200002, 200021, 200024, 200025, 200026, 200027, 200049,
    } == LOGIN_STOP_CODES  # fmt: skip


def test_what_ends_a_login_is_never_retried() -> None:
    assert {retry(code) for code in LOGIN_STOP_CODES} == {Retry.NEVER}
