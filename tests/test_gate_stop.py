"""A gate that stops: nothing new, what is under way comes to its end, then all are parted from."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.connection import CLOSE_TIMEOUT
from rtm_proto.events import CloseKind
from rtm_proto.flows.transfer import FileSent
from rtm_proto.gate.settings import Port
from rtm_proto.package import Kind, encode_answer, encode_quest
from rtm_proto.payload import EMPTY, decode, encode
from rtm_proto.received import Conversation, FileReceived
from tests.test_gate import AUTH, UPGRADE, Guest, file_guest, file_quest
from tests.world import World

P2P = Conversation.P2P


class Stopping:
    """Lets a world's gate stop, and sees when it has nothing under way any more."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.times = 0
        world.gate.on_drained = self._drained
        world.gate.drain(now=world.now)

    def _drained(self) -> None:
        self.times += 1

    def stop(self) -> None:
        self.world.gate.stop(now=self.world.now)


def test_a_gate_without_visitors_has_nothing_to_wait_for() -> None:
    stopping = Stopping(World())
    assert stopping.times == 1
    stopping.stop()


def test_new_quests_are_refused_on_either_port() -> None:
    world = World()
    guest, file_link = Guest(world), Guest(world, port=Port.FILES)
    guest.ask("auth", dict(AUTH))
    file_link.say(b"FPNN")
    stopping = Stopping(world)
    assert stopping.times == 1
    for method in ("ping", "filetoken", "bye", "nonsense"):
        [answer] = guest.ask(method, {}, 2)
        assert decode(answer.payload) == {"code": Code.SERVER_STOPPING, "ex": "the gate stops"}
    file_link.say(encode_quest(b"sendfile", EMPTY, 3)[4:])
    [answer] = file_link.packages()
    assert decode(answer.payload)["code"] == Code.SERVER_STOPPING
    assert not guest.over() and not file_link.over(), "not before it is told to"


def test_what_asks_of_it_while_it_stops_finds_it_so() -> None:
    world = World()
    Stopping(world)
    watcher = Guest(world, port=Port.WATCH)
    watcher.say(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n")
    assert watcher.said.startswith(b"HTTP/1.1 503 ") and watcher.said.endswith(b"stopping\n")
    operator = Guest(world, port=Port.OPERATOR)
    [answer] = operator.ask("stats", {})
    assert decode(answer.payload)["health"] == "stopping"


@pytest.mark.parametrize("said", [b"", b"GET /files/", b"FPN"])
def test_who_has_not_said_what_it_wants_leaves_at_once(said: bytes) -> None:
    world = World()
    before = Guest(world)
    before.say(said) if said else None
    Stopping(world)
    after = Guest(world, port=Port.FILES)
    for guest in (before, after):
        if guest.visit.kind == "none yet":
            assert guest.over()
            assert (guest.reason().kind, guest.reason().text) == (CloseKind.LOCAL, "the gate stops")
    assert after.over()


def test_a_file_that_is_coming_comes_to_its_end_and_is_told() -> None:
    world = World(piece=1000)
    wire = file_quest(world, bytes(10_000))
    bob = world.log_in(1002)
    guest = file_guest(world, "tcp")
    guest.say(wire[:5000])
    stopping = Stopping(world)
    assert stopping.times == 0
    guest.wait(3)
    guest.say(wire[5000:])
    [answer] = guest.packages()
    assert (answer.kind, answer.status) == (Kind.ANSWER, 0)
    assert stopping.times == 1
    world.settle()
    [event] = bob.received()
    assert isinstance(event, FileReceived) and event.size == 10_000


def test_a_large_file_that_begins_too_late_is_refused_and_its_body_is_nobodys() -> None:
    world = World(piece=1000)
    wire = file_quest(world, bytes(10_000))
    guest = file_guest(world, "tcp")
    guest.say(wire[:4])
    stopping = Stopping(world)
    guest.say(wire[4:])
    [answer] = guest.packages()
    assert decode(answer.payload)["code"] == Code.SERVER_STOPPING
    assert stopping.times == 1
    assert world.gate.held().uploads == 0
    stopping.stop()
    guest.look()
    assert guest.over() and not guest.visit.abrupt


def test_an_answer_that_waits_for_the_store_goes_out() -> None:
    world = World()
    alice = world.log_in(1001)
    world.store_waits = True
    run = world.start(alice, alice.transfer(P2P, 1002).run(), b"x")
    world.settle()
    stopping = Stopping(world)
    world.settle()
    assert stopping.times == 0 and not run.done
    world.store_waits = False
    world.settle()
    assert isinstance(run.result(), FileSent)
    assert stopping.times == 1


def test_a_file_on_its_way_out_is_seen_through() -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    alice.send(P2P, 1002, bytes(200_000))
    [event] = bob.received()
    assert isinstance(event, FileReceived) and event.url is not None
    path = "/" + event.url.split("/", 3)[3]
    reader = Guest(world, port=Port.FILES)
    world.store_waits = True
    reader.visit.receive_data(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), now=world.now)
    stopping = Stopping(world)
    assert stopping.times == 0
    world.store_waits = False
    reader.look()
    assert reader.said.endswith(bytes(1000)) and len(reader.said) > 200_000
    assert reader.over() and stopping.times == 1


def test_who_leaves_is_waited_for_no_more() -> None:
    world = World(piece=1000)
    wire = file_quest(world, bytes(10_000))
    guest = file_guest(world, "tcp")
    guest.say(wire[:5000])
    stopping = Stopping(world)
    assert stopping.times == 0
    guest.hang_up()
    assert stopping.times == 1


def test_everybody_is_parted_from_politely_with_the_answers_to_pushes_in() -> None:
    world = World()
    guest = Guest(world)
    guest.say(UPGRADE)
    guest.said = b""
    asking, other = Guest(world), Guest(world)
    asking.ask("auth", dict(AUTH))
    asking.wait(20)
    [ping] = asking.packages()
    stopping = Stopping(world)
    stopping.stop()
    for each in (guest, asking, other):
        each.look()
    assert guest.said == b"\x88\x10\x03\xe8the gate stops" and guest.over(), "a close frame"
    assert not asking.over(), "it may still answer"
    asking.say(encode_answer(EMPTY, ping.seq))
    assert asking.over() and not asking.visit.abrupt


def test_who_does_not_answer_is_not_waited_for_long() -> None:
    world = World()
    asking = Guest(world)
    asking.ask("auth", dict(AUTH))
    asking.wait(20)
    Stopping(world).stop()
    asking.wait(CLOSE_TIMEOUT)
    assert asking.over()


def test_what_is_not_done_in_time_is_dropped() -> None:
    world = World(piece=1000)
    wire = file_quest(world, bytes(10_000))
    guest = file_guest(world, "tcp")
    guest.say(wire[:5000])
    stopping = Stopping(world)
    stopping.stop()
    guest.wait(CLOSE_TIMEOUT)
    assert guest.over()
    world.settle()
    assert (world.gate.held().visits, world.gate.held().uploads) == (0, 0)


def test_those_who_run_the_gate_stay_to_its_end() -> None:
    world = World()
    local = [Guest(world, port=port) for port in (Port.WATCH, Port.OPERATOR)]
    stopping = Stopping(world)
    stopping.stop()
    assert not any(guest.over() for guest in local)


def test_a_download_that_takes_too_long_is_dropped() -> None:
    world = World()
    reader = Guest(world, port=Port.FILES)
    world.store_waits = True
    path = f"/files/{'0' * 32}"
    reader.visit.receive_data(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), now=world.now)
    stopping = Stopping(world)
    assert stopping.times == 0
    stopping.stop()
    assert reader.over() and reader.visit.abrupt
    assert stopping.times == 1


def test_stopping_twice_is_stopping_once() -> None:
    world = World()
    Guest(world).ask("auth", dict(AUTH))
    stopping = Stopping(world)
    world.gate.drain(now=world.now)
    assert stopping.times == 1


def test_a_quest_before_the_login_is_refused_too() -> None:
    world = World()
    guest = Guest(world)
    guest.say(b"FPNN")
    Stopping(world)
    guest.say(encode_quest(b"auth", encode(AUTH), 1)[4:])
    [answer] = guest.packages()
    assert decode(answer.payload)["code"] == Code.SERVER_STOPPING
    assert guest.visit.visitor.uid is None
