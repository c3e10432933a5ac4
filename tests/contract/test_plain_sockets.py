"""The wire on a socket of one's own: writing at once, a kernel that is full, faults, the end."""

from __future__ import annotations

import importlib
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from rtm_proto.connection import Connection
from rtm_proto.desk import Desk, Ticket
from rtm_proto.errors import ConnectionLost
from rtm_proto.events import QuestReceived
from rtm_proto.link import StreamLink
from tests.contract.world import ALICE, PID, USERS, Api, emptied

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
    ),
]

FOREVER = 1e12  # a deadline that no clock reaches
LARGE = b"x" * 3_000_000  # more than a kernel takes at once


class Stage:
    """A wire on one end of a pair of sockets, and the service that has the other one."""

    def __init__(
        self, wires: Any, connection: Connection, sockets: tuple[socket.socket, socket.socket]
    ) -> None:
        ours, self.peer = sockets
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.sock = ours
        self.desk = Desk(connection)
        self.wire = wires.desk_wire(ours, self.desk)
        self.service = Connection(StreamLink())
        self.service.connected(now=0)
        self.quests: list[QuestReceived] = []

    def ask(self, method: str, body: bytes = b"") -> Ticket:
        """A quest; the wire has had its turn."""
        ticket = self.desk.ask(method, {"body": body}, deadline=FOREVER)
        self.wire.turn()
        return ticket

    async def quest(self) -> QuestReceived:
        """The next quest that reaches the service."""
        while not self.quests:
            data = await self.received()
            assert data, "the end came instead"
            self.service.receive_data(data, now=0)
            events = self.service.events()
            self.quests += [event for event in events if isinstance(event, QuestReceived)]
        return self.quests.pop(0)

    async def received(self) -> bytes:
        """What comes out at the other end next."""
        while True:
            with suppress(BlockingIOError):
                return self.peer.recv(65_536)
            await anyio.sleep(0.001)

    def answer(self, quest: QuestReceived) -> None:
        """What the service says."""
        self.service.answer(quest.quest_id, {})
        for piece in self.service.data_to_send():
            self.peer.sendall(piece)


class Filling(Connection):
    """A connection that can be full."""

    filled = False

    @property
    def full(self) -> bool:
        """As it was told."""
        return self.filled


class Noting(socket.socket):
    """A TCP socket that notes what was sent, and when it was told to acknowledge."""

    notes: list[str]

    def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
        """As it does."""
        if (level, option) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK):
            self.notes.append("acknowledge")
        super().setsockopt(level, option, value)

    def send(self, data: Any, flags: int = 0) -> int:
        """As it does."""
        self.notes.append("send")
        return super().send(data, flags)


def noting_pair() -> tuple[Noting, socket.socket]:
    """Two ends of a TCP connection, the first of which notes."""
    near = Noting(socket.AF_INET, socket.SOCK_STREAM)
    near.notes = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near.connect(listening.getsockname())
        far, _ = listening.accept()
    return near, far


def part_of(api: Api, name: str) -> Any:
    """A private module of the adapter."""
    return importlib.import_module(f"{api.serve_gate.__module__.partition('.')[0]}.{name}")


@asynccontextmanager
async def stage(
    api: Api,
    connection: Connection | None = None,
    sockets: tuple[socket.socket, socket.socket] | None = None,
) -> AsyncGenerator[Stage, None]:
    """A wire that runs."""
    wires = part_of(api, "_plain")
    made = Stage(wires, connection or Connection(StreamLink()), sockets or socket.socketpair())
    with made.peer:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.wire.run)
            await until(lambda: made.desk.opening.done)
            yield made
            tasks.cancel_scope.cancel()
        assert made.wire.ended.is_set()
        assert made.sock.fileno() == -1


async def until(true: Any) -> None:
    """Wait for it."""
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110 - there is no bell for all of them
            await anyio.sleep(0.001)


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What ``two.example`` resolves to; to be filled in."""
    found: list[Any] = []
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> list[Any]:
        return found if host in ("two.example", b"two.example") else real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield found


# --- acknowledging ---

acknowledging = pytest.mark.skipif(
    not hasattr(socket, "TCP_QUICKACK"), reason="this system has no TCP_QUICKACK"
)


@acknowledging
async def test_what_came_is_acknowledged_at_once(api: Api) -> None:
    near, far = noting_pair()
    async with stage(api, sockets=(near, far)) as it:
        for _ in range(2):
            it.ask("one")
            quest = await it.quest()
            near.notes.clear()
            it.answer(quest)
            await until(lambda: near.notes)
            assert near.notes == ["acknowledge"]


@acknowledging
async def test_what_is_sent_next_acknowledges_as_well(api: Api) -> None:
    near, far = noting_pair()
    rung = part_of(api, "_streams").rung
    async with stage(api, sockets=(near, far)) as it:

        async def ask_on() -> None:
            for _ in range(20):
                ticket = it.ask("one")
                await rung(ticket)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_on)
            for number in range(20):
                quest = await it.quest()
                assert near.notes == ["send"] * (number + 1)
                it.answer(quest)
        await until(lambda: near.notes[-1] == "acknowledge")


# --- writing ---


async def test_a_single_quest_is_written_in_the_turn_that_asks(api: Api) -> None:
    async with stage(api) as it:
        ticket = it.ask("one")
        assert it.peer.recv(1000)  # without a chance for any other task
        assert not ticket.done


async def test_many_quests_are_written_together_and_answered(api: Api) -> None:
    async with stage(api) as it:
        tickets = [it.ask(f"m{number}") for number in range(20)]
        assert it.peer.recv(1000, socket.MSG_PEEK)  # the first did not wait for the others
        for ticket in tickets:
            quest = await it.quest()
            assert quest.method == ticket.method
            it.answer(quest)
        await until(lambda: all(ticket.done for ticket in tickets))


async def test_what_a_full_kernel_leaves_follows_in_order(api: Api) -> None:
    async with stage(api) as it:
        first = it.ask("first", LARGE)
        second = it.ask("second")
        for ticket in (first, second):
            quest = await it.quest()
            assert quest.method == ticket.method
            assert quest.params["body"] == (LARGE if ticket is first else b"")
            it.answer(quest)
        await until(lambda: first.done and second.done)


async def test_flush_waits_for_the_kernel(api: Api) -> None:
    async with stage(api) as it:
        ticket = it.ask("large", LARGE)
        with anyio.move_on_after(0.05) as scope:
            await it.wire.flush(ticket)
        assert scope.cancelled_caught
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.wire.flush, ticket)
            assert (await it.quest()).params["body"] == LARGE
        await it.wire.flush(ticket)  # nothing is left to wait for


async def test_a_full_machine_stops_the_reading(api: Api) -> None:
    connection = Filling(StreamLink())
    async with stage(api, connection) as it:
        tickets = [it.ask("one")]
        connection.filled = True
        it.answer(await it.quest())
        await until(lambda: tickets[0].done)  # one look is taken
        tickets.append(it.ask("two"))
        it.answer(await it.quest())
        await anyio.sleep(0.05)
        assert not tickets[1].done
        connection.filled = False
        it.wire.turn()
        await until(lambda: tickets[1].done)


# --- ends ---


async def test_what_the_peer_said_is_read_after_a_write_fails(api: Api) -> None:
    async with stage(api) as it:
        first = it.ask("first")
        quest = await it.quest()
        it.peer.shutdown(socket.SHUT_RD)
        second = it.ask("second")  # this write fails
        await anyio.sleep(0.05)
        assert not first.done
        it.answer(quest)
        it.peer.close()
        await until(lambda: second.done)
        assert first.result() == {}
        with pytest.raises(ConnectionLost):
            second.result()
        await it.wire.ended.wait()


async def test_a_peer_that_says_nothing_after_a_failed_write_is_given_up(api: Api) -> None:
    async with stage(api) as it:
        it.peer.shutdown(socket.SHUT_RD)
        ticket = it.ask("first")
        with anyio.fail_after(5):
            await it.wire.flush(ticket)
            await it.wire.ended.wait()
        with pytest.raises(ConnectionLost, match="pipe"):
            ticket.result()


async def test_a_reset_ends_the_quests(api: Api) -> None:
    async with stage(api) as it:
        ticket = it.ask("large", LARGE)
        it.peer.close()
        await until(lambda: ticket.done)
        with pytest.raises(ConnectionLost):
            ticket.result()
        await it.wire.ended.wait()


async def test_the_last_bytes_get_out_and_the_peer_ends_its_side(api: Api) -> None:
    async with stage(api) as it:
        it.desk.connection.send_oneway("last", {"body": LARGE})
        it.desk.connection.close(now=anyio.current_time())
        it.wire.turn()
        size = 0
        while data := await it.received():
            size += len(data)
        assert size > len(LARGE)
        assert not it.wire.ended.is_set()
        it.peer.close()
        with anyio.fail_after(1):
            await it.wire.ended.wait()


async def test_a_peer_that_does_not_end_its_side_is_left(api: Api) -> None:
    async with stage(api) as it:
        it.desk.connection.close(now=anyio.current_time())
        before = anyio.current_time()
        it.wire.turn()
        await it.wire.ended.wait()
        assert 1.9 < anyio.current_time() - before < 4


async def test_a_deadline_passes_while_the_kernel_is_full(api: Api) -> None:
    async with stage(api) as it:
        it.ask("large", LARGE)
        late = it.desk.ask("late", {}, deadline=anyio.current_time() + 0.05)
        it.wire.turn()
        await until(lambda: late.done)


async def test_a_turn_after_the_end_is_harmless(api: Api) -> None:
    async with stage(api) as it:
        it.peer.close()
        await it.wire.ended.wait()
        it.wire.turn()
        await it.wire.flush(Ticket(1, "late"))


# --- connecting ---


@pytest.mark.parametrize("dead", ["refuses", "is silent"])
async def test_the_next_address_is_tried(api: Api, dead: str, two_addresses: list[Any]) -> None:
    async with api.serve_gate(pid=PID, users=USERS) as gate:
        with socket.socket() as other, socket.socket() as filler, socket.socket() as more:
            other.bind(("127.0.0.1", 0))
            if dead == "is silent":
                other.listen(0)
                for sock in (filler, more):
                    sock.setblocking(False)
                    sock.connect_ex(other.getsockname())
            for place in (other.getsockname(), ("127.0.0.1", gate.address.port)):
                two_addresses.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", place))
            async with api.open_client(
                "ws://two.example:80", pid=PID, uid=ALICE, token=USERS[ALICE]
            ):
                pass
        await emptied(gate)
