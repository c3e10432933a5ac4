"""Logging in again: what is tried when, and where it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import pytest

from rtm_proto.codes import LOGIN_STOP_CODES, Code
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    LocalProtocolError,
    LoginFailed,
    QuestRefused,
    QuestTimeout,
)
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.login import Login, Welcome
from rtm_proto.flows.relogin import DialMain, FreshToken, Relogin, ReloginPolicy
from rtm_proto.flows.steps import Ask, Now, Pause
from rtm_proto.signs import Signer

LOGIN = Login(1, 2, "old", timeout=20.0)
LOST = ConnectionLost("auth", CloseReason(CloseKind.PEER_CLOSED))

Outcome = dict[str, object] | Exception


@dataclass
class Driver:
    """Answers ``auth`` from a script; each item is an attempt. Counts what it is asked for."""

    script: list[Outcome]
    fresh: list[str | None] = field(default_factory=list[str | None])
    time: float = 100.0
    pauses: list[float] = field(default_factory=list[float])
    tokens: list[object] = field(default_factory=list[object])
    deadlines: list[float] = field(default_factory=list[float])
    fresh_asked: int = 0

    def run(
        self, policy: ReloginPolicy | None = None, random: Callable[[], float] = lambda: 0.5
    ) -> Welcome:
        flow = Relogin(LOGIN, policy or ReloginPolicy(), random=random).run()
        attempts = iter(self.script)
        step = next(flow)
        try:
            while True:
                match step:
                    case Now():
                        step = flow.send(self.time)
                    case Pause(until):
                        self.pauses.append(until - self.time)
                        self.time = until
                        step = flow.send(self.time)
                    case DialMain(deadline):
                        self.deadlines.append(deadline - self.time)
                        outcome = next(attempts)
                        if isinstance(outcome, ConnectFailed):
                            step = flow.throw(outcome)
                        else:
                            self.outcome = outcome
                            step = flow.send(None)
                    case Ask("auth", params, _):
                        self.tokens.append(params["token"])
                        outcome = self.outcome
                        if isinstance(outcome, Exception):
                            step = flow.throw(outcome)
                        else:
                            step = flow.send(outcome)
                    case FreshToken():
                        self.fresh_asked += 1
                        step = flow.send(self.fresh.pop(0) if self.fresh else None)
                    case _:
                        raise AssertionError(f"unexpected {step}")
        except StopIteration as stop:
            welcome: Welcome = stop.value
            return welcome


def test_the_first_attempt_is_at_once_and_may_be_the_last() -> None:
    driver = Driver([{"ok": True, "gate": "other:1"}])
    assert driver.run() == Welcome("other:1")
    assert (driver.pauses, driver.deadlines, driver.tokens) == ([], [20.0], ["old"])


def test_the_pauses_double_up_to_the_longest_with_full_jitter() -> None:
    driver = Driver([*[ConnectFailed("down")] * 7, {"ok": 1}])
    driver.run()
    assert driver.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert list(islice(ReloginPolicy().pauses(lambda: 0.0), 4)) == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "passing",
    [
        ConnectFailed("down"),
        LOST,
        QuestTimeout("auth"),
        QuestRefused("auth", Code.WORK_QUEUE_FULL, "busy"),
        QuestRefused("auth", 987654, "who knows"),
    ],
)
def test_what_may_pass_is_tried_again(passing: Exception) -> None:
    driver = Driver([passing, {"ok": True}])
    assert driver.run() == Welcome(None)
    assert len(driver.deadlines) == 2
    assert driver.fresh_asked == 0


@pytest.mark.parametrize("code", sorted(LOGIN_STOP_CODES - {Code.BAD_LOGIN_TOKEN}))
def test_a_stop_code_stops(code: int) -> None:
    driver = Driver([QuestRefused("auth", code, "no")])
    with pytest.raises(LoginFailed) as caught:
        driver.run()
    assert caught.value.code == code
    assert driver.fresh_asked == 0


WRONG_TOKEN: list[Outcome] = [{"ok": False}, QuestRefused("auth", Code.BAD_LOGIN_TOKEN, "old")]


@pytest.mark.parametrize("wrong", WRONG_TOKEN)
def test_a_wrong_token_is_replaced_by_a_fresh_one_at_once(wrong: Outcome) -> None:
    driver = Driver([wrong, {"ok": True}], ["new"])
    assert driver.run() == Welcome(None)
    assert (driver.tokens, driver.pauses) == (["old", "new"], [])


@pytest.mark.parametrize("wrong", WRONG_TOKEN)
@pytest.mark.parametrize("fresh", [None, "old"])
def test_without_a_fresh_token_it_stops(wrong: Outcome, fresh: str | None) -> None:
    driver = Driver([wrong], [fresh])
    with pytest.raises(LoginFailed):
        driver.run()
    assert (driver.fresh_asked, driver.tokens) == (1, ["old"])


@pytest.mark.parametrize("second", [*WRONG_TOKEN, QuestRefused("auth", Code.BLOCKED_USER, "no")])
def test_a_fresh_token_that_is_refused_stops(second: Outcome) -> None:
    driver = Driver([WRONG_TOKEN[0], second], ["new"])
    with pytest.raises(LoginFailed):
        driver.run()
    assert driver.tokens == ["old", "new"]


@pytest.mark.parametrize("second", [ConnectFailed("down"), LOST])
def test_a_fresh_token_is_kept_for_the_next_attempts(second: Exception) -> None:
    driver = Driver([{"ok": False}, second, {"ok": True}], ["new"])
    assert driver.run() == Welcome(None)
    assert driver.tokens[-1] == "new"
    assert driver.fresh_asked == 1


def test_the_number_of_tries_has_a_limit_where_one_is_given() -> None:
    driver = Driver([ConnectFailed("down")] * 3)
    with pytest.raises(LoginFailed, match="gave up logging in again: down") as caught:
        driver.run(ReloginPolicy(max_tries=3))
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert len(driver.deadlines) == 3


def test_the_time_has_a_limit_where_one_is_given() -> None:
    driver = Driver([ConnectFailed("down")] * 9)
    with pytest.raises(LoginFailed):
        driver.run(ReloginPolicy(max_time=4.0))
    assert driver.time <= 104.0
    assert len(driver.deadlines) == 5


def test_a_policy_of_ones_own_replaces_the_pauses() -> None:
    class EverySecond(ReloginPolicy):
        def pauses(self, random: Callable[[], float]) -> Iterator[float]:
            yield from (1.0, 1.0)

    driver = Driver([ConnectFailed("down")] * 2)
    with pytest.raises(LoginFailed):
        driver.run(EverySecond())
    assert driver.pauses == [1.0, 1.0]


def test_an_attempt_may_begin_as_the_time_ends() -> None:
    driver = Driver([ConnectFailed("down")] * 2)
    with pytest.raises(LoginFailed):
        driver.run(ReloginPolicy(max_time=0.25))
    assert (len(driver.deadlines), driver.time) == (2, 100.25)


def test_a_policy_may_be_as_small_as_this() -> None:
    policy = ReloginPolicy(first_pause=1.0, longest_pause=1.0, max_tries=1, max_time=0.001)
    assert list(policy.pauses(lambda: 0.5)) == [0.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_pause": 0.0},
        {"longest_pause": 0.24},
        {"first_pause": 9.0},
        {"longest_pause": float("inf")},
        {"max_tries": 0},
        {"max_time": 0.0},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError):
        ReloginPolicy(**wrong)  # type: ignore[arg-type]  # the values are the point


# --- one after the other ---------------------------------------------------------------------


def again(relogin: Relogin, now: float) -> list[float]:
    """Log in again at once when somebody is there, at *now*; the pauses before it."""
    pauses: list[float] = []
    flow = relogin.run()
    step = next(flow)
    try:
        while True:
            match step:
                case Now():
                    step = flow.send(now)
                case Pause(until):
                    pauses.append(until - now)
                    now = until
                    step = flow.send(now)
                case Ask():
                    step = flow.send({"ok": True})
                case _:
                    step = flow.send(None)
    except StopIteration:
        return pauses


def test_a_link_that_lives_shortly_is_no_reason_to_hurry() -> None:
    relogin = Relogin(LOGIN, ReloginPolicy(max_tries=4), random=lambda: 0.5)
    assert again(relogin, 100.0) == []
    assert again(relogin, 100.0) == [0.25]
    assert again(relogin, 108.2) == [0.5]
    with pytest.raises(LoginFailed, match=r"again: the link was lost again and again"):
        for _ in range(2):
            again(relogin, 116.0)


def test_a_link_that_has_lived_for_the_longest_pause_is() -> None:
    relogin = Relogin(LOGIN, random=lambda: 0.5)
    assert again(relogin, 100.0) == []
    assert again(relogin, 108.0) == []
    assert again(relogin, 115.9) == [0.25]


def test_a_server_signs_instead_of_logging_in() -> None:
    signer = Signer(11000001, "secret", lambda: 1, lambda: 1_700_000_000_000)
    flow = Relogin(signer, random=lambda: 0.5, timeout=3.0).run()
    step: object = next(flow)
    while isinstance(step, Now):
        step = flow.send(7.0)
    assert step == DialMain(10.0)
    asked = flow.send(None)
    assert isinstance(asked, Ask) and (asked.method, asked.deadline) == ("ping", 10.0)
    assert isinstance(flow.send({}), Now)
    with pytest.raises(StopIteration) as stopped:
        flow.send(8.0)
    assert stopped.value.value == Welcome(None)


@pytest.mark.parametrize("code", [200002, 200021, Code.BAD_LOGIN_TOKEN])
def test_a_server_whose_secret_is_wrong_does_not_go_on(code: int) -> None:
    signer = Signer(11000001, "wrong", lambda: 1, lambda: 1_700_000_000_000)
    flow = Relogin(signer, random=lambda: 0.5).run()
    step: object = next(flow)
    while not isinstance(step, Ask):
        step = flow.send(7.0 if isinstance(step, Now) else None)
    with pytest.raises(LoginFailed) as failed:
        flow.throw(QuestRefused("ping", code, "no"))
    assert failed.value.code == code
