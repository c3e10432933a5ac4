"""The signs of servers' calls at a gate: right, in time, and once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.errors import PayloadError
from rtm_proto.gate.signs import CLOCK_SKEW, MAX_SIGNS, SIGN_MEMORY, Signs
from rtm_proto.signs import call_sign

PID, SECRET = 11000001, "a project's secret"
WALL = 1_700_000_000_000  # milliseconds
TS = WALL // 1000

salts = itertools.count(1)


def signs(secret: str | None = SECRET, *, bound: int = 1000) -> Signs:
    return Signs(PID, secret, lambda: WALL, bound=bound)


def call(method: str = "filetoken", **changes: Any) -> dict[str, Any]:
    """The params of a good call, but for *changes*; the sign is right for what they say."""
    params = {"pid": PID, "salt": next(salts), "ts": TS, **changes}
    given = {key: value for key, value in params.items() if value is not ...}
    right = call_sign(given["pid"], SECRET, given["salt"], method, given.get("ts"))
    return {**given, "sign": changes.get("sign", right)}


def code(signs: Signs, params: dict[str, Any], method: str = "filetoken", now: float = 5.0) -> int:
    """The code of the refusal, or 0."""
    refusal = signs.refusal(method, params, now=now)
    if refusal is None:
        return 0
    assert refusal[1] and SECRET not in refusal[1]
    return refusal[0]


def test_a_right_sign_is_good() -> None:
    assert code(signs(), call()) == 0


def test_its_case_does_not_matter() -> None:
    params = call()
    assert code(signs(), {**params, "sign": str(params["sign"]).lower()}) == 0


@pytest.mark.parametrize("salt", [0, -1, 2**63 - 1, -(2**63)])
def test_any_int64_is_a_salt(salt: int) -> None:
    assert code(signs(), call(salt=salt)) == 0


@pytest.mark.parametrize("ts", [..., None])
def test_without_a_time_it_may_be_in_the_form_of_2018(ts: object) -> None:
    assert code(signs(), call(ts=ts)) == 0


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_there_are_no_servers(secret: str | None) -> None:
    assert code(signs(secret), call()) == Code.METHOD_FORBIDDEN
    empty = {**call(), "sign": call_sign(PID, "", 7, "filetoken", TS), "salt": 7}
    assert code(signs(secret), empty) == Code.METHOD_FORBIDDEN


@pytest.mark.parametrize("wrong", ["", "0" * 32, "x", "é", "\ud800", "\udcff", "ﬀ" * 16])
def test_a_wrong_sign_is_200002(wrong: str) -> None:
    assert code(signs(), call(sign=wrong)) == Code.BAD_PROJECT_OR_SIGN


def test_a_sign_is_for_one_project_one_method_and_one_time() -> None:
    checked = signs()
    good = call()
    assert code(checked, call(pid=PID + 1)) == Code.BAD_PROJECT_OR_SIGN
    assert code(checked, {**good, "pid": PID + 1}) == Code.BAD_PROJECT_OR_SIGN
    assert code(checked, good, "kickout") == Code.BAD_PROJECT_OR_SIGN
    assert code(checked, {**good, "ts": TS + 1}) == Code.BAD_PROJECT_OR_SIGN
    assert code(checked, {**good, "salt": 0}) == Code.BAD_PROJECT_OR_SIGN
    assert code(checked, {**good, "ts": None}) == Code.BAD_PROJECT_OR_SIGN
    assert code(checked, good) == 0, "asking for something else has used it"


def test_a_salt_of_text_cannot_make_one_form_look_like_the_other() -> None:
    """pid:secret:5:filetoken:T is a sign of today with salt 5; not one of 2018 with a long salt."""
    params = call(salt=5)
    forged = {"pid": PID, "salt": f"5:filetoken:{TS}", "sign": params["sign"]}
    with pytest.raises(PayloadError) as caught:
        signs().refusal("kickout", forged, now=0.0)
    assert caught.value.code == Code.TYPE_CONVERSION


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pid": None}, Code.TYPE_CONVERSION),
        ({"salt": 1.5}, Code.TYPE_CONVERSION),
        ({"salt": 2**63}, Code.TYPE_CONVERSION),
        ({"ts": "1700000000"}, Code.TYPE_CONVERSION),
        ({"sign": 5}, Code.TYPE_CONVERSION),
    ],
)
def test_a_mistyped_parameter_is_named(changes: dict[str, Any], expected: int) -> None:
    with pytest.raises(PayloadError) as caught:
        signs().refusal("filetoken", {**call(), **changes}, now=0.0)
    assert caught.value.code == expected


@pytest.mark.parametrize("key", ["pid", "salt", "sign"])
def test_a_missing_parameter_is_named(key: str) -> None:
    params = call()
    del params[key]
    with pytest.raises(PayloadError, match=key) as caught:
        signs().refusal("filetoken", params, now=0.0)
    assert caught.value.code == Code.KEY_NOT_FOUND


@pytest.mark.parametrize("sense", [1, -1])
def test_a_clock_that_differs_by_more_than_a_quarter_of_an_hour_is_200008(sense: int) -> None:
    skew = int(CLOCK_SKEW)
    assert code(signs(), call(ts=TS + sense * skew)) == 0
    assert code(signs(), call(ts=TS + sense * (skew + 1))) == Code.CLOCK_MISMATCH
    assert code(signs(), call(ts=sense * (2**63 - 1))) == Code.CLOCK_MISMATCH
    assert code(signs(), call(ts=WALL)) == Code.CLOCK_MISMATCH, "milliseconds"


def test_the_limits_are_a_quarter_of_an_hour_twice_that_and_a_million() -> None:
    assert (CLOCK_SKEW, SIGN_MEMORY, MAX_SIGNS) == (900.0, 1800.0, 1_000_000)


@pytest.mark.parametrize("ts", [..., TS, TS + int(CLOCK_SKEW)])
def test_a_sign_is_good_once(ts: object) -> None:
    checked = signs()
    params = call(ts=ts)
    assert code(checked, params, now=100.0) == 0
    for later in (100.0, 1000.0, 100.0 + SIGN_MEMORY):
        assert code(checked, params, now=later) == Code.SAME_SIGN
    lower = {**params, "sign": str(params["sign"]).lower()}
    assert code(checked, lower, now=100.0) == Code.SAME_SIGN


def test_a_repeat_does_not_keep_a_sign_longer() -> None:
    checked = signs()
    params = call()
    assert code(checked, params, now=0.0) == 0
    assert code(checked, params, now=SIGN_MEMORY - 1) == Code.SAME_SIGN
    assert code(checked, params, now=SIGN_MEMORY + 1) == 0


def test_a_refused_call_does_not_use_its_sign() -> None:
    wall = [WALL - 3_600_000]
    checked = Signs(PID, SECRET, lambda: wall[0])
    params = call()
    assert code(checked, params) == Code.CLOCK_MISMATCH
    wall[0] = WALL
    assert code(checked, params) == 0


def test_the_number_of_remembered_signs_has_a_bound_and_the_oldest_goes_first() -> None:
    checked = signs(bound=3)
    said = [call() for _ in range(7)]
    assert [code(checked, params) for params in said] == [0] * 7
    assert [code(checked, params) for params in said[4:]] == [Code.SAME_SIGN] * 3
    assert code(checked, said[0]) == 0


@given(
    st.dictionaries(
        st.sampled_from(["pid", "salt", "ts", "sign", "uid"]),
        st.none() | st.integers(-(2**64), 2**64) | st.floats() | st.text() | st.binary(),
    )
)
def test_nobody_guesses_a_sign(params: dict[str, Any]) -> None:
    try:
        refused = code(signs(), params)
    except PayloadError as fault:
        refused = fault.code
    assert refused in (Code.BAD_PROJECT_OR_SIGN, Code.KEY_NOT_FOUND, Code.TYPE_CONVERSION)
