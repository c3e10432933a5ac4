"""A server's small flows: each signed quest, and what its answers mean."""

from __future__ import annotations

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
)
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.server import get_token, introduce, kick_out
from rtm_proto.flows.steps import Ask, Flow, Now
from rtm_proto.signs import Signer

SIGNER = Signer(11000001, "secret", lambda: 7, lambda: 1_700_000_000_000)
LOST = ConnectionLost("ping", CloseReason(CloseKind.PEER_RESET, "gone"))
LATE = QuestTimeout("ping")
START = 50.0


def play(flow: Flow[Any], answer: object) -> tuple[Ask, Any]:
    """The one quest of *flow*, and what it gives for *answer*."""
    step = next(flow)
    if isinstance(step, Now):
        step = flow.send(START)
    assert isinstance(step, Ask)
    try:
        if isinstance(answer, Exception):
            flow.throw(answer)
        else:
            flow.send(answer)
    except StopIteration as stop:
        return step, stop.value
    raise AssertionError("another step")


def test_a_server_makes_itself_known_with_a_signed_ping() -> None:
    ask, given = play(introduce(SIGNER, deadline=9.0), {})
    assert ask == Ask("ping", SIGNER.signed("ping", {}), 9.0)
    assert given is None


def test_a_gate_that_knows_no_ping_of_a_server_is_fine() -> None:
    play(introduce(SIGNER, deadline=9.0), QuestRefused("ping", Code.UNKNOWN_METHOD, "no"))


@pytest.mark.parametrize(
    "code", [Code.BAD_PROJECT_OR_SIGN, Code.SAME_SIGN, Code.CLOCK_MISMATCH, Code.METHOD_FORBIDDEN]
)
def test_a_server_that_is_refused_learns_the_code(code: int) -> None:
    with pytest.raises(LoginFailed, match="refused the server") as caught:
        play(introduce(SIGNER, deadline=9.0), QuestRefused("ping", code, "no"))
    assert caught.value.code == code


@pytest.mark.parametrize("cause", [LOST, LATE])
def test_a_gate_that_does_not_answer_has_no_code(cause: QuestError) -> None:
    with pytest.raises(LoginFailed) as caught:
        play(introduce(SIGNER, deadline=9.0), cause)
    assert caught.value.code is None and caught.value.__cause__ is cause


@pytest.mark.parametrize("token", ["a token", b"a token"])
def test_a_server_gets_a_login_token(token: str | bytes) -> None:
    ask, given = play(get_token(SIGNER, 5, 2.0), {"token": token})
    assert ask == Ask("gettoken", SIGNER.signed("gettoken", {"uid": 5}), START + 2.0)
    assert given == "a token"


@pytest.mark.parametrize("answer", [{}, {"token": 5}])
def test_an_answer_without_a_token_is_20009(answer: dict[str, object]) -> None:
    with pytest.raises(QuestRefused, match="bad answer: token") as caught:
        play(get_token(SIGNER, 5, 2.0), answer)
    assert caught.value.code == 20009


def test_a_server_ends_a_login() -> None:
    ask, given = play(kick_out(SIGNER, 5, 2.0), {})
    assert ask == Ask("kickout", SIGNER.signed("kickout", {"uid": 5}), START + 2.0)
    assert given is None


@pytest.mark.parametrize("flow", [get_token, kick_out])
@pytest.mark.parametrize("cause", [LOST, LATE, QuestRefused("x", 200010, "no")])
def test_why_it_failed_is_told_as_it_is(flow: Any, cause: QuestError) -> None:
    with pytest.raises(type(cause)) as caught:
        play(flow(SIGNER, 5, 2.0), cause)
    assert caught.value is cause


@pytest.mark.parametrize("flow", [get_token, kick_out])
@pytest.mark.parametrize(
    ("uid", "timeout", "said"),
    [("5", 2.0, "^uid "), (True, 2.0, "^uid "), (2**63, 2.0, "^uid "), (5, 0, "^a timeout ")],
)
def test_a_wrong_argument_is_a_local_error(flow: Any, uid: Any, timeout: float, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        play(flow(SIGNER, uid, timeout), {})
