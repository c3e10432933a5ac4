"""The login flow: what is asked, and what each answer means."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import (
    ConnectionLost,
    LocalProtocolError,
    LoginFailed,
    QuestError,
    QuestRefused,
    QuestTimeout,
    RtmError,
)
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.login import LOGIN_TIMEOUT, VERSION_TEXT, Login, Welcome, log_in
from rtm_proto.flows.steps import Ask, Now

SECRET = "a-login-token"
LOGIN = Login(11000001, 1001, SECRET)


def answered(answer: object, login: Login = LOGIN) -> Welcome:
    """What logging in comes to, once ``auth`` is answered so."""
    flow = log_in(login)
    assert next(flow) == Now()
    assert isinstance(flow.send(500.0), Ask)
    try:
        if isinstance(answer, Exception):
            flow.throw(answer)
        else:
            flow.send(answer)
    except StopIteration as stop:
        welcome = stop.value
        assert isinstance(welcome, Welcome)
        return welcome
    raise AssertionError("one quest is enough")


def asked(login: Login) -> Ask:
    flow = log_in(login)
    next(flow)
    ask = flow.send(500.0)
    assert isinstance(ask, Ask)
    return ask


def test_a_login_is_one_quest_with_a_deadline_of_its_own() -> None:
    assert asked(LOGIN) == Ask(
        "auth",
        {"pid": 11000001, "uid": 1001, "token": SECRET, "version": VERSION_TEXT},
        520.0,
    )
    assert asked(Login(1, 1, "t", timeout=3)).deadline == 503.0
    assert LOGIN_TIMEOUT == 20.0
    largest = 2**63 - 1
    assert asked(Login(largest, largest, "t")).params["uid"] == largest


def test_a_login_may_have_to_keep_somebody_elses_deadline() -> None:
    flow = log_in(LOGIN, deadline=501.5)
    next(flow)
    ask = flow.send(500.0)
    assert isinstance(ask, Ask) and ask.deadline == 501.5


def test_the_version_is_a_name_and_a_version() -> None:
    assert VERSION_TEXT == f"rtm-proto-{version('rtm-proto')}"


def test_attrs_and_language_are_sent_where_they_are_given() -> None:
    params = asked(Login(1, 2, "t", {"device": "phone"}, "en")).params
    assert params["attrs"] == {"device": "phone"} and params["lang"] == "en"
    assert "attrs" not in asked(Login(1, 2, "t", {}, None)).params


@pytest.mark.parametrize("ok", [True, 1])
def test_true_and_1_let_you_in(ok: object) -> None:
    assert answered({"ok": ok}) == Welcome(None)


@pytest.mark.parametrize("ok", [False, 0, None, 2, -1, 1.0, "true", "1", b"1", [1], {}])
def test_nothing_else_lets_you_in(ok: object) -> None:
    with pytest.raises(LoginFailed, match="token of user 1001 is wrong") as caught:
        answered({"ok": ok})
    assert caught.value.code is None


def test_no_ok_at_all_does_not_let_you_in() -> None:
    with pytest.raises(LoginFailed):
        answered({})


@pytest.mark.parametrize(
    ("gate", "told"), [("other:13321", "other:13321"), ("", None), (5, None), (None, None)]
)
def test_the_gate_that_the_answer_names_is_told(gate: object, told: str | None) -> None:
    assert answered({"ok": True, "gate": gate}) == Welcome(told)


def test_who_is_logged_in_already_is_in() -> None:
    assert answered(QuestRefused("auth", 200023, "again")) == Welcome(None)


@pytest.mark.parametrize("code", [c for c in Code if c is not Code.ALREADY_LOGGED_IN] + [0, -7])
def test_every_other_refusal_keeps_its_code(code: int) -> None:
    refusal = QuestRefused("auth", code, "no")
    with pytest.raises(LoginFailed) as caught:
        answered(refusal)
    assert caught.value.code == code
    assert caught.value.__cause__ is refusal
    assert str(code) in str(caught.value)


@pytest.mark.parametrize(
    "cause",
    [
        QuestTimeout("auth"),
        ConnectionLost("auth", CloseReason(CloseKind.PEER_CLOSED, "bye")),
        QuestError("some other end", "auth"),
    ],
)
def test_no_answer_is_a_failed_login_without_a_code(cause: QuestError) -> None:
    with pytest.raises(LoginFailed) as caught:
        answered(cause)
    assert caught.value.code is None
    assert caught.value.__cause__ is cause
    assert str(cause) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"pid": 0}, "^pid is an integer from 1"),
        ({"pid": -1}, "pid is an integer from 1"),
        ({"pid": True}, "pid is an integer from 1"),
        ({"uid": 0}, "^uid is an integer from 1"),
        ({"uid": 2**63}, "uid is an integer from 1"),
        ({"uid": "1001"}, "got '1001'"),
        ({"uid": 1001.0}, "got 1001.0"),
        ({"token": ""}, "text that is not empty"),
        ({"token": b"secret"}, "text that is not empty"),
        ({"token": None}, "text that is not empty"),
        ({"token": "secret\ud800"}, "text that is not empty"),
        ({"token": "secret\udfff"}, "text that is not empty"),
        ({"lang": 5}, "lang is text, got 5"),
        ({"attrs": {"a": 1}}, "a map of text to text"),
        ({"attrs": {1: "a"}}, "a map of text to text"),
        ({"attrs": {"a": "\udcff"}}, "a map of text to text"),
        ({"attrs": [("a", "b")]}, "a map of text to text"),
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": -1}, "seconds above 0"),
        ({"timeout": float("nan")}, "seconds above 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"timeout": "20"}, "seconds above 0"),
        ({"timeout": True}, "seconds above 0"),
        ({"timeout": None}, "seconds above 0"),
    ],
)
def test_a_wrong_argument_is_found_before_anybody_is_asked(
    wrong: dict[str, Any], says: str
) -> None:
    arguments: dict[str, Any] = {"pid": 1, "uid": 1, "token": "t", **wrong}
    with pytest.raises(LocalProtocolError, match=says) as caught:
        Login(**arguments)
    assert isinstance(caught.value, RtmError)
    assert "secret" not in str(caught.value)


def test_the_login_token_is_shown_nowhere() -> None:
    assert SECRET not in repr(LOGIN)
    assert SECRET not in repr(asked(LOGIN))
    with pytest.raises(LoginFailed) as caught:
        answered({"ok": False})
    assert SECRET not in str(caught.value)


def test_leaving_in_the_middle_ends_the_flow() -> None:
    flow = log_in(LOGIN)
    next(flow)
    flow.send(0.0)
    flow.close()
    with pytest.raises(StopIteration):
        next(flow)
