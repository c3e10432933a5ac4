"""The parts of the simulation by themselves, and the ends that a story can have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rtm_proto.simulation import CALM, Simulation, Verdict, Weather
from rtm_proto.simulation.chance import Chance
from rtm_proto.simulation.clock import START, WALL, Clock, WallClock
from rtm_proto.simulation.network import GIVES_UP, Stream
from rtm_proto.simulation.scenario import Scenario
from rtm_proto.simulation.tasks import Bell, Task, sleep_until
from rtm_proto.simulation.trace import Trace
from rtm_proto.simulation.weather import Sky

# --- chance, clock, trace ---


def test_the_draws_of_a_seed_are_the_same_on_every_python() -> None:
    chance = Chance(2026)
    drawn = (chance.integer(0, 999), chance.one_of("abcdef"), chance.bytes(4).hex())
    assert drawn == (119, "d", "8306d03b")
    assert chance.bytes(0) == b""
    assert [chance.happens(share) for share in (0.0, 1.0)] == [False, True]
    assert all(2.0 <= chance.between(2.0, 3.0) <= 3.0 for _ in range(100))
    assert {chance.integer(1, 3) for _ in range(100)} == {1, 2, 3}


def test_what_is_due_at_the_same_time_happens_in_the_order_it_was_asked_for() -> None:
    clock, seen = Clock(), list[str]()
    clock.after(1.0, lambda: seen.append("b"))
    clock.soon(lambda: seen.append("a"))
    clock.at(START + 1.0, lambda: seen.append("c"))
    clock.after(0.5, lambda: seen.append("never")).cancel()
    clock.at(START - 5.0, lambda: seen.append("at once"))
    while clock.step():
        pass
    assert seen == ["a", "at once", "b", "c"]
    assert (clock.now, clock.steps) == (START + 1.0, 4)


def test_a_wall_clock_goes_with_the_clock_and_jumps() -> None:
    clock = Clock()
    wall = WallClock(clock)
    clock.after(1.5, lambda: wall.jump(-1_000_000))
    assert wall.ms() == WALL
    clock.step()
    assert wall.ms() == WALL + 1500 - 1_000_000


def test_a_trace_keeps_its_last_lines_and_the_digest_of_all() -> None:
    clock = Clock()
    short, whole = Trace(clock, keep=2), Trace(clock, keep=None)
    for trace in (short, whole):
        for what in ("one", "two", "three"):
            trace.say("who", what)
    assert short.lines() == whole.lines()[1:] and len(whole.lines()) == 3
    assert short.digest() == whole.digest()
    whole.bytes(b"x")
    assert short.digest() != whole.digest()


# --- tasks ---


def test_a_task_waits_for_a_time_or_a_bell_whichever_is_first() -> None:
    clock, bell, seen = Clock(), Bell(), list[tuple[float, bool]]()

    async def work() -> None:
        seen.append((clock.now - START, await bell.wait(clock.now + 1.0)))
        seen.append((clock.now - START, await bell.wait(clock.now + 9.0)))
        seen.append((clock.now - START, await bell.wait()))
        await sleep_until(clock.now + 1.0)

    task = Task(clock, work())
    clock.after(3.0, bell.ring)
    clock.after(3.0, bell.ring)
    while clock.step():
        pass
    assert seen == [(0.0, False), (1.0, True), (3.0, True)]
    assert task.done.rung and clock.now == START + 4.0


def test_a_task_that_is_cancelled_tidies_up_and_never_goes_on() -> None:
    clock, bell, seen = Clock(), Bell(), list[str]()

    async def work() -> None:
        try:
            await bell.wait()
            seen.append("went on")
        finally:
            seen.append("tidied up")

    task = Task(clock, work())
    clock.step()
    bell.ring()
    task.cancel()
    task.cancel()
    while clock.step():
        pass
    assert seen == ["tidied up"] and task.done.rung


# --- streams ---


class Pair:
    """A stream whose ends write down what comes."""

    def __init__(self, weather: Weather = CALM) -> None:
        self.clock = Clock()
        trace = Trace(self.clock)
        self.stream = Stream(self.clock, Chance(1), Sky(weather), trace, "stream")
        self.client: list[object] = []
        self.gate: list[object] = []
        for end, seen in ((self.stream.client, self.client), (self.stream.gate, self.gate)):
            end.listen(
                on_data=seen.append,
                on_eof=lambda seen=seen: seen.append("eof"),  # type: ignore[misc]
                on_taken=lambda seen=seen: seen.append("taken"),  # type: ignore[misc]
                on_reset=seen.append,
            )

    def settle(self) -> None:
        """Let everything happen."""
        while self.clock.step():
            pass


def test_bytes_arrive_in_order_and_then_the_end() -> None:
    pair = Pair(Weather(split=1.0, jitter=3.0))
    written = [bytes([n]) * 50 for n in range(20)]
    for data in written:
        assert pair.stream.client.write(data)
    pair.stream.client.finish()
    pair.settle()
    *parts, end = pair.gate
    assert b"".join(part for part in parts if isinstance(part, bytes)) == b"".join(written)
    assert len(parts) > len(written) and end == "eof" and pair.client == []


def test_a_reader_that_stops_makes_the_writer_wait() -> None:
    pair = Pair(Weather(capacity=100))
    pair.stream.up.pause()
    assert pair.stream.client.write(b"x" * 100)
    assert not pair.stream.client.write(b"y")
    pair.stream.client.finish()
    pair.settle()
    assert (pair.gate, pair.client) == ([], [])
    pair.stream.up.resume()
    assert pair.gate == [b"x" * 100, b"y", "eof"] and pair.client == ["taken"]


def test_a_cut_lets_exactly_so_many_bytes_pass_and_tells_both_ends() -> None:
    pair = Pair()
    pair.stream.up.cut_after = 3
    pair.stream.client.write(b"12345")
    pair.settle()
    assert (pair.gate, pair.client) == ([b"123", "cut"], ["cut"])
    assert pair.stream.client.write(b"6") and pair.stream.client.closed


def test_a_half_open_stream_tells_nobody_until_the_transport_gives_up() -> None:
    pair = Pair()
    broken: list[bool] = []
    pair.stream.on_broken = lambda: broken.append(True)
    pair.stream.die()
    pair.stream.die()
    pair.stream.reset("too late")
    assert broken == [True]
    assert pair.stream.client.write(b"1") and pair.stream.client.write(b"2")
    assert not pair.stream.gate.write(b"x" * 100_000)
    pair.settle()
    assert (pair.client, pair.gate) == (["nobody acknowledges"],) * 2
    assert pair.clock.now == START + GIVES_UP


@pytest.mark.parametrize("told", [True, False])
def test_a_process_that_is_gone_is_told_or_not(told: bool) -> None:
    pair = Pair()
    pair.stream.client.write(b"on its way")
    pair.stream.vanish(told=told)
    pair.settle()
    assert (pair.client, pair.gate) == (["reset"] if told else [], [])


def test_an_end_that_is_dropped_is_an_end_or_a_reset_at_the_other() -> None:
    seen: set[object] = set()
    for seed in range(20):
        pair = Pair()
        Chance(seed)
        for _ in range(seed):  # so that the draw differs
            pair.stream.client.write(b"x")
        pair.stream.client.drop()
        pair.stream.client.drop()
        pair.settle()
        assert pair.client == []
        seen.update(what for what in pair.gate if isinstance(what, str))
    assert seen <= {"eof", "reset"} and seen


# --- the ends of a story ---


def told(act: Callable[[Scenario], Awaitable[None]], *, max_steps: int = 20_000) -> Verdict:
    """A story whose act is *act*, a coroutine function."""

    class Story(Scenario):
        async def act(self) -> None:
            await act(self)

    return Simulation(1, weather=CALM, scenario=Story, users=2, max_steps=max_steps).run()


def test_a_story_that_goes_on_for_ever_is_a_violation() -> None:
    async def wait(story: Scenario) -> None:
        await Bell().wait()

    verdict = told(wait, max_steps=2000)
    assert verdict.violation is not None and verdict.violation.startswith("it never ends")


def test_a_story_in_which_nothing_happens_any_more_is_a_violation() -> None:
    async def leave_and_wait(story: Scenario) -> None:
        for user in story.users:
            await user.online.wait()
            await user.leave()
        await Bell().wait()

    verdict = told(leave_and_wait)
    assert verdict.violation == "nothing happens any more, and not everything is done"


def test_what_the_core_raises_is_a_violation() -> None:
    async def stumble(story: Scenario) -> None:
        raise ZeroDivisionError("somewhere in the core")

    verdict = told(stumble)
    assert verdict.violation == "ZeroDivisionError was raised: somewhere in the core"
    assert isinstance(verdict.fault, ZeroDivisionError)


def test_a_user_who_is_never_online_again_is_a_violation() -> None:
    async def lose_one(story: Scenario) -> None:
        story.users[1].leaving = True
        await story.users[0].online.wait()
        await sleep_until(story.world.clock.now + 1.0)
        stream = next(iter(story.service.streams))
        stream.reset("for good")
        story.users[0].leaving = True

    verdict = told(lose_one)
    assert verdict.violation is not None and "is not online 120 s" in verdict.violation
