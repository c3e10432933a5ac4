"""What a simulation sees at its edges: faults of a gate or a user, streams and wires that are over.

Each violation that no planted fault leads to is brought about here by a story of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from rtm_proto.address import Address
from rtm_proto.codes import Code
from rtm_proto.connection import MAX_UNSENT, Connection
from rtm_proto.errors import ConnectFailed, ConnectionLost, StoreFault
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.steps import Dial, Finish, Flow, Hand, Now
from rtm_proto.flows.transfer import FileSent, Transfer
from rtm_proto.gate.decisions import Refuse
from rtm_proto.gate.gate import Held
from rtm_proto.gate.store import Effect, Result, SaveFile
from rtm_proto.gate.visit import Visit
from rtm_proto.link import StreamLink
from rtm_proto.payload import Params
from rtm_proto.received import Conversation
from rtm_proto.simulation import (
    CALM,
    Parts,
    SimulatedGate,
    SimulatedStore,
    Simulation,
    Verdict,
    Violation,
    Weather,
)
from rtm_proto.simulation.chance import Chance
from rtm_proto.simulation.clock import Clock
from rtm_proto.simulation.network import Stream
from rtm_proto.simulation.scenario import Scenario
from rtm_proto.simulation.service import FILE_PORT, HOST
from rtm_proto.simulation.tasks import Bell, sleep_until
from rtm_proto.simulation.trace import Trace
from rtm_proto.simulation.user import MAX_PENDING
from rtm_proto.simulation.weather import Sky
from rtm_proto.simulation.wire import Wire

Act = Callable[[Scenario], Awaitable[None]]


def told(act: Act, *, weather: Weather = CALM, **options: Any) -> Verdict:
    """A story of two users, whose act is *act*."""

    class Story(Scenario):
        async def act(self) -> None:
            await act(self)

    return Simulation(1, weather=weather, scenario=Story, users=2, keep=None, **options).run()


async def all_online(story: Scenario) -> None:
    while not all(user.online.rung for user in story.users):  # it is a new bell each time
        await sleep_until(story.world.clock.now + 0.25)


# --- what a gate may not hold --------------------------------------------------------------------


class LyingGate(SimulatedGate):
    """Says that it holds more than it does."""

    def more(self, held: Held) -> Held:
        raise NotImplementedError

    def held(self) -> Held:
        return self.more(super().held())


class ManyLogins(LyingGate):
    def more(self, held: Held) -> Held:
        return replace(held, decisions=replace(held.decisions, logins=1000))


class ManyTokens(LyingGate):
    def more(self, held: Held) -> Held:
        return replace(held, decisions=replace(held.decisions, tokens=1000))


class FullVisit(Visit):
    @property
    def unsent(self) -> int:
        return MAX_UNSENT + 1


class FullVisits(SimulatedGate):
    visit_class = FullVisit


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (ManyLogins, "more is logged in or entered than there are users"),
        (ManyTokens, "more tokens than were ever issued"),
        (FullVisits, f"holds {MAX_UNSENT + 1} unsent bytes"),
    ],
)
def test_a_gate_that_holds_too_much_is_a_violation(gate: type[SimulatedGate], text: str) -> None:
    verdict = Simulation(1, weather=CALM, make_gate=gate).run()
    assert verdict.violation is not None and text in verdict.violation


def test_a_stream_that_never_ends_at_the_gate_is_a_violation() -> None:
    async def leave_one(story: Scenario) -> None:
        await all_online(story)
        wire, stream, _ = wire_on(Connection(StreamLink()))
        story.service.streams[stream] = wire

    verdict = told(leave_one)
    assert verdict.violation is not None
    assert verdict.violation.startswith("something is still under way")


def test_nothing_is_stored_for_a_gate_that_is_gone() -> None:
    async def crash(story: Scenario) -> None:
        await all_online(story)
        story.service.crash()
        story.service.carry_out_effects()
        assert story.service.gate is None and story.service.under_way == 0

    assert told(crash, weather=Weather(calm=False)).violation is None


def test_a_body_that_was_coming_goes_with_the_process() -> None:
    store = SimulatedStore(max_bytes=10)
    store.write_body("key", b"0123456789")
    with pytest.raises(StoreFault):
        store.write_body("other", b"x")
    store.crash()
    store.write_body("other", b"0123456789")


def test_each_stream_is_shown_before_a_byte_has_passed() -> None:
    seen: list[str] = []

    async def look(story: Scenario) -> None:
        await all_online(story)
        story.service.on_stream = lambda stream: seen.append(stream.name)
        await story.service.dial(Address("tcp", HOST, FILE_PORT), 2000.0, "somebody")
        raise Violation("seen enough")

    assert told(look).violation == "seen enough"
    assert seen == ["somebody.3"]


def test_a_store_that_fails_is_told_and_the_file_is_sent_again() -> None:
    class FailingOnce(SimulatedStore):
        failed = False

        def carry_out(self, effect: Effect) -> Result:
            if isinstance(effect, SaveFile) and not self.failed:
                self.failed = True
                raise StoreFault("no space left")
            return super().carry_out(effect)

    outcomes: list[object] = []

    async def send(story: Scenario) -> None:
        await all_online(story)
        sender, reader = story.users
        message = sender.new_message(Conversation.P2P, reader.uid, b"body")
        outcomes.append(await sender.send(message))

    verdict = told(send, weather=Weather(calm=False), make_store=FailingOnce)
    assert verdict.violation is None
    [outcome] = outcomes
    assert isinstance(outcome, FileSent) and outcome.attempts == 2 and not outcome.duplicate
    assert verdict.deliveries == 1


def test_a_push_comes_once_more_only_to_whom_the_gate_still_sees() -> None:
    async def send(story: Scenario) -> None:
        await all_online(story)
        sender, reader = story.users
        story.world.ledger.presences[reader.uid].visit = None
        await sender.send(sender.new_message(Conversation.P2P, reader.uid, b"body"))
        await sleep_until(story.world.clock.now + 15.0)

    verdict = told(send, weather=Weather(calm=False, doubled=1.0))
    assert verdict.violation is None and verdict.deliveries == 1
    assert not any("once more" in line for line in verdict.trace)


# --- what a user may not do, and what users are told ---------------------------------------------


class Unwilling(SimulatedGate):
    """Lets nobody into a room."""

    def take(self, visit: Visit, quest_id: int, method: str, params: Params, *, now: float) -> None:
        if method == "enterroom":
            visit.answer(Refuse(visit.visitor, quest_id, Code.UNKNOWN, "no"), now=now)
        else:
            super().take(visit, quest_id, method, params, now=now)


def test_a_call_that_fails_in_a_calm_is_a_violation() -> None:
    verdict = Simulation(1, weather=CALM, make_gate=Unwilling).run()
    assert verdict.violation is not None
    assert verdict.violation.startswith("enterroom failed in a calm")


class Silent(SimulatedGate):
    """Has something else to do than to answer."""

    def take(self, visit: Visit, quest_id: int, method: str, params: Params, *, now: float) -> None:
        if method != "whoami":
            super().take(visit, quest_id, method, params, now=now)


def test_a_user_who_asks_without_end_is_a_violation() -> None:
    async def ask(story: Scenario) -> None:
        await all_online(story)
        for _ in range(MAX_PENDING + 1):
            story.world.start(story.users[0].quest("whoami", {}))  # type: ignore[arg-type]
        await sleep_until(story.world.clock.now + 4.0)

    verdict = told(ask, make_gate=Silent)
    assert verdict.violation is not None and "holds too much" in verdict.violation


def test_a_user_who_was_never_connected_just_leaves() -> None:
    async def leave(story: Scenario) -> None:
        first, second = story.users
        await first.leave()
        assert not await first.quest("whoami", {})
        await first.move("enterroom")
        await second.online.wait()
        raise Violation("seen enough")

    assert told(leave).violation == "seen enough"


class Kicking(SimulatedGate):
    """Ends the first login in the moment in which it is good."""

    kicked = False

    def take(self, visit: Visit, quest_id: int, method: str, params: Params, *, now: float) -> None:
        super().take(visit, quest_id, method, params, now=now)
        if method == "auth" and not self.kicked and visit.visitor.uid is not None:
            self.kicked = True
            self.kick(visit.visitor.uid, now=now)


def test_a_login_that_is_over_when_it_is_told_was_never_online() -> None:
    async def wait(story: Scenario) -> None:
        await all_online(story)

    verdict = told(wait, weather=Weather(calm=False), make_gate=Kicking)
    assert verdict.violation is None
    assert sum("is offline" in line for line in verdict.trace) == 3
    assert sum("is online" in line for line in verdict.trace) == 2


def test_steps_out_of_order_are_told_to_the_flow() -> None:
    seen: list[object] = []

    class Confused(Transfer):
        def run(self) -> Flow[FileSent]:
            try:
                yield Hand(b"before a link")
            except ConnectionLost as exc:
                seen.append(exc.method)
            now: float = yield Now()
            yield Dial(Address("tcp", HOST, FILE_PORT), now + 5.0)
            seen.append((yield Hand(b"before a quest")))
            seen.append((yield Finish()))
            raise self.given_up(ConnectFailed("enough"))

    async def send(story: Scenario) -> None:
        await all_online(story)
        sender, reader = story.users
        await sender.send(sender.new_message(Conversation.P2P, reader.uid, b"body"))
        raise Violation("seen enough")

    verdict = told(send, weather=Weather(calm=False), parts=Parts(transfer=Confused))
    assert verdict.violation == "seen enough"
    assert seen == ["file quest", False, None]


def test_a_connection_that_a_user_leaves_behind_is_a_violation() -> None:
    async def leave_one(story: Scenario) -> None:
        await all_online(story)
        story.users[0].connections.append(Connection(StreamLink()))

    verdict = told(leave_one)
    assert verdict.violation is not None and "still has <Connection NEW" in verdict.violation


def test_what_is_raised_when_all_is_over_is_not_told_again() -> None:
    async def stumble(story: Scenario) -> None:
        async def late() -> None:
            try:
                await Bell().wait()
            finally:
                raise Violation("too late")

        story.world.start(late())
        await sleep_until(story.world.clock.now + 1.0)
        raise Violation("the first")

    assert told(stumble).violation == "the first"


# --- streams and wires that are over -------------------------------------------------------------


def test_an_end_that_nobody_listens_at_takes_and_tells_nothing() -> None:
    clock = Clock()
    stream = Stream(clock, Chance(1), Sky(CALM), Trace(clock), "stream")
    assert stream.client.write(b"x" * 100_000) is False
    while clock.step():
        pass
    stream.reset("reset")
    stream.client.drop()
    stream.client.finish()
    while clock.step():
        pass
    assert stream.client.closed and stream.gate.closed


def wire_on(connection: Connection) -> tuple[Wire, Stream, Clock]:
    clock = Clock()
    stream = Stream(clock, Chance(1), Sky(CALM), Trace(clock), "stream")
    wire = Wire(clock, Chance(1), Sky(CALM), stream.client, connection, lambda now: None)
    return wire, stream, clock


def test_a_wire_that_has_ended_is_flushed_at_once() -> None:
    connection = Connection(StreamLink())
    wire, *_ = wire_on(connection)
    wire.start()
    connection.abort(CloseReason(CloseKind.LOCAL))
    bell = Bell()
    wire.flush(bell)
    assert wire.ended.rung and bell.rung
    wire.flush(again := Bell())
    assert again.rung


def test_a_wire_that_never_began_can_be_killed() -> None:
    wire, *_ = wire_on(Connection(StreamLink()))
    wire.kill()
    assert wire.ended.rung


def test_a_connection_that_was_closed_before_it_began_only_parts() -> None:
    connection = Connection(StreamLink())
    connection.close(now=1000.0)
    wire, _, clock = wire_on(connection)
    wire.start()
    assert not wire.ended.rung
    while clock.step():
        pass
    assert wire.ended.rung
