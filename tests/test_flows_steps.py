"""Steps: what they show of themselves, and what they share."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.errors import LocalProtocolError
from rtm_proto.flows.steps import Ask, Begin, Hand, Progress, ProgressInbox, Stage, check_timeout


def test_the_stages_of_a_send_and_their_names() -> None:
    assert [stage.value for stage in Stage] == [
        "check",
        "token",
        "connecting",
        "uploading",
        "confirming",
        "done",
    ]


def test_no_step_shows_a_token_or_a_piece_of_a_file() -> None:
    steps = (
        Ask("sendfile", {"token": "secret"}, 5.0),
        Begin("sendfile", b"secret", 6, 5.0),
        Hand(b"secret"),
    )
    assert [repr(step) for step in steps] == [
        "Ask(method='sendfile', deadline=5.0)",
        "Begin(method='sendfile', psize=6, deadline=5.0)",
        "Hand()",
    ]


@pytest.mark.parametrize("timeout", [1e-9, 0.5, 1, 20.0, 1e300])
def test_a_timeout_is_seconds_above_0(timeout: float) -> None:
    assert check_timeout(timeout) == timeout


@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan"), float("inf"), True, "20", None])
def test_anything_else_is_no_timeout(timeout: Any) -> None:
    with pytest.raises(LocalProtocolError, match="a timeout is seconds above 0, got"):
        check_timeout(timeout)


def step(stage: Stage, sent: int = 0, attempt: int = 1) -> Progress:
    return Progress(7, stage, sent, 100, attempt)


def test_progress_waits_every_stage_and_the_newest_bytes() -> None:
    inbox = ProgressInbox()
    for progress in (
        step(Stage.TOKEN),
        step(Stage.UPLOADING, 0),
        step(Stage.UPLOADING, 50),
        step(Stage.UPLOADING, 50, attempt=2),
        step(Stage.UPLOADING, 100, attempt=2),
        step(Stage.DONE, 100, attempt=2),
    ):
        inbox.put(progress)
    inbox.end()
    told: list[Progress] = []
    while not inbox.over:
        taken = inbox.take()
        assert taken is not None
        told.append(taken)
    assert told == [
        step(Stage.TOKEN),
        step(Stage.UPLOADING, 50),
        step(Stage.UPLOADING, 100, attempt=2),
        step(Stage.DONE, 100, attempt=2),
    ]
    assert inbox.take() is None


def test_progress_is_over_once_it_has_ended_and_all_was_taken() -> None:
    inbox = ProgressInbox()
    assert not inbox.over
    inbox.put(step(Stage.TOKEN))
    inbox.take()
    assert not inbox.over
    inbox.put(step(Stage.DONE))
    inbox.end()
    assert not inbox.over
    inbox.take()
    assert inbox.over


def test_progress_rings_for_whoever_waits() -> None:
    inbox = ProgressInbox()
    inbox.put(step(Stage.TOKEN))
    rung: list[bool] = []
    inbox.bell = lambda: rung.append(inbox.over)
    inbox.put(step(Stage.DONE))
    assert (inbox.over, rung) == (False, [False])
    assert inbox.take() == step(Stage.TOKEN)
    assert inbox.take() == step(Stage.DONE)
    inbox.end()
    assert rung == [False, True]
