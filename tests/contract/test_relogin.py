"""Logging in again after the link was lost: what is told, what waits, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from rtm_proto.address import Address
from rtm_proto.codes import Code
from rtm_proto.errors import ConnectionLost, FileNotSent, QuestRefused
from rtm_proto.events import CloseKind
from rtm_proto.flows.relogin import LONGEST_PAUSE, RELOGIN, ReloginPolicy
from rtm_proto.received import Disconnected, FileType, KickedOut, MessageReceived, Reconnected
from tests.contract.scripted import TOKEN, Peer, Script, Scripts, params_of
from tests.contract.world import ALICE, BOB, PID, Api, Client, next_event, open_world

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True),
]

MESSAGE = {"from": BOB, "to": ALICE, "mid": 7, "mtype": 30, "msg": "hello", "attrs": ""}


class Gate(Scripts):
    """Scripts, one for each connection; ``closed`` while nobody can connect."""

    closed = False
    dials = 0

    async def connect(self, address: Address) -> Any:
        """A stream, or none."""
        self.dials += 1
        if self.closed:
            await anyio.lowlevel.checkpoint()
            raise ConnectionRefusedError("nobody listens")
        return await super().connect(address)


@asynccontextmanager
async def client_of(
    api: Api, *scripts: Script, **options: Any
) -> AsyncGenerator[tuple[Gate, Client], None]:
    """A client that logs in again, at a gate that does what the scripts say."""
    async with anyio.create_task_group() as tasks:
        gate = Gate(api, tasks, *scripts)
        options = {"relogin": RELOGIN, **options}
        async with gate.client(**options) as client:
            yield gate, client
        tasks.cancel_scope.cancel()


async def hang_up(peer: Peer) -> None:
    """Let the client in, and leave when it says so."""
    await peer.log_in()
    await peer.quest("hang up")


async def serve(peer: Peer) -> None:
    """Let the client in, push a message, and answer everything."""
    await peer.log_in()
    await peer.ask("pushmsg", MESSAGE)
    while True:
        quest = await peer.any_quest()
        await peer.answer(quest, {"you asked": quest.method.decode()})


def let_in(ok: bool, then: Callable[[Peer], Awaitable[None]] | None = None) -> Script:
    """Answer the login with *ok*; the token that came is told by ``tokens``."""

    async def script(peer: Peer) -> None:
        await peer.open()
        quest = await peer.quest("auth")
        tokens.append(str(params_of(quest)["token"]))
        await peer.answer(quest, {"ok": ok})
        await (peer.read_on() if then is None else then(peer))

    return script


tokens: list[str] = []


@pytest.fixture(autouse=True)
def no_tokens() -> None:
    """Each test begins with none."""
    tokens.clear()


async def lose_link(client: Client) -> None:
    """Let the gate hang up."""
    with pytest.raises(ConnectionLost):
        await client.quest("hang up")


async def test_a_lost_link_is_told_and_made_again(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", api.name)
    async with client_of(api, hang_up, serve) as (gate, client):
        await lose_link(client)
        events = client.events()
        lost = await next_event(events)
        assert isinstance(lost, Disconnected) and lost.again
        assert lost.reason.kind is CloseKind.PEER_CLOSED
        assert await next_event(events) == Reconnected()
        assert await client.quest("who are you") == {"you asked": "who are you"}
        assert gate.dials == 2
    assert [record.getMessage() for record in caplog.records] == [
        "the link to tcp://gate.test:13321 is lost, logging in again: closed by the peer",
        "logged in again at tcp://gate.test:13321",
    ]


async def test_what_was_pushed_before_is_a_duplicate_after_it(api: Api) -> None:
    async def push_and_hang_up(peer: Peer) -> None:
        await peer.log_in()
        await peer.ask("pushmsg", MESSAGE)
        await peer.answers(1)

    async with client_of(api, push_and_hang_up, serve) as (_, client):
        events = client.events()
        assert isinstance(await next_event(events), MessageReceived)
        assert isinstance(await next_event(events), Disconnected)
        assert await next_event(events) == Reconnected()
        await client.quest("anything")
        assert client.duplicates == 1


async def test_calls_wait_while_nobody_is_there(api: Api) -> None:
    async with client_of(api, hang_up, serve) as (gate, client):
        gate.closed = True
        await lose_link(client)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(client.quest, "anything")
            await anyio.sleep(5.0)
            gate.closed = False
        assert gate.dials > 3


async def test_calls_fail_at_once_where_that_was_asked_for(api: Api) -> None:
    async with client_of(api, hang_up, serve, wait_for_link=False) as (gate, client):
        gate.closed = True
        await lose_link(client)
        began = anyio.current_time()
        with pytest.raises(ConnectionLost):
            await client.quest("anything")
        assert anyio.current_time() == began


async def test_calls_wait_no_longer_than_their_own_time(api: Api) -> None:
    async with client_of(api, hang_up, serve) as (gate, client):
        gate.closed = True
        await lose_link(client)
        began = anyio.current_time()
        with pytest.raises(ConnectionLost):
            await client.quest("anything", timeout=3.0)
        assert anyio.current_time() == pytest.approx(began + 3.0)
        with pytest.raises(FileNotSent) as failed:
            await client.send_file(FileType.FILE, BOB, b"data", timeout=4.0)
        assert failed.value.stage == "token"
        assert anyio.current_time() == pytest.approx(began + 7.0)


async def test_a_file_is_sent_although_the_link_is_lost_before_its_token(api: Api) -> None:
    async def lose_at_the_token(peer: Peer) -> None:
        await peer.log_in()
        await peer.quest("filetoken")

    async def give_token(peer: Peer) -> None:
        await peer.log_in()
        await peer.answer(await peer.quest("filetoken"), TOKEN)
        await peer.read_on()

    async def take_file(peer: Peer) -> None:
        await peer.open()
        await peer.answer(await peer.quest("sendfile"), {"mtime": 5})
        await peer.read_on()

    async with client_of(api, lose_at_the_token, give_token, take_file) as (_, client):
        sent = await client.send_file(FileType.FILE, BOB, b"data")
        assert (sent.mtime, sent.attempts, sent.duplicate) == (5, 2, False)


async def test_a_gate_that_hangs_up_at_once_is_not_stormed(api: Api) -> None:
    async with client_of(api, Peer.log_in) as (gate, client):
        await anyio.sleep(60.0)
        assert 7 <= gate.dials < 40
        events = client.events()
        told = [await next_event(events) for _ in range(6)]
        assert [type(event) for event in told] == [Disconnected, Reconnected] * 3


async def test_the_policy_has_its_end(api: Api) -> None:
    async with client_of(api, hang_up, relogin=ReloginPolicy(max_tries=3)) as (gate, client):
        gate.closed = True
        await lose_link(client)
        events = client.events()
        told = [event async for event in events]
        assert [type(event) for event in told] == [Disconnected, Disconnected]
        end = told[-1]
        assert isinstance(end, Disconnected) and not end.again
        assert end.reason.kind is CloseKind.LOGIN
        assert "nobody listens" in end.reason.text
        assert gate.dials == 4
        with pytest.raises(ConnectionLost):
            await client.quest("anything")


async def test_without_a_policy_the_link_stays_lost(api: Api) -> None:
    async with client_of(api, hang_up, serve, relogin=None) as (gate, client):
        await lose_link(client)
        (end,) = [event async for event in client.events()]
        assert isinstance(end, Disconnected) and not end.again
        await anyio.sleep(60.0)
        assert gate.dials == 1


async def test_who_is_kicked_out_stays_out(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE, relogin=RELOGIN) as client:
        assert world.gate.kick(ALICE)
        kicked, end = [event async for event in client.events()]
        assert kicked == KickedOut()
        assert isinstance(end, Disconnected) and not end.again
        await anyio.sleep(60.0)
        with pytest.raises(ConnectionLost, match="kicked out"):
            await client.quest("ping")


async def test_an_old_login_token_is_replaced_for_good(api: Api) -> None:
    given = iter(["second", "third"])

    async def fresh_token() -> str:
        await anyio.lowlevel.checkpoint()
        return next(given)

    async def go_on(peer: Peer) -> None:
        await peer.quest("hang up")

    scripts = [let_in(True, go_on), let_in(False), let_in(True, go_on), let_in(True)]
    async with client_of(api, *scripts, token="first", fresh_token=fresh_token) as (_, client):
        for _ in range(2):
            await lose_link(client)
            events = client.events()
            assert isinstance(await next_event(events), Disconnected)
            assert await next_event(events) == Reconnected()
        assert tokens == ["first", "first", "second", "second"]


async def no_token() -> None:
    """The user's own server has none."""


async def broken() -> str:
    """The user's own server cannot be reached."""
    raise KeyError("no such user")


async def empty() -> str:
    """The user's own server gives what is no token."""
    return ""


@pytest.mark.parametrize("fresh_token", [None, no_token, empty])
async def test_without_a_good_token_nothing_is_tried_again(api: Api, fresh_token: Any) -> None:
    scripts = [hang_up, let_in(False)]
    async with client_of(api, *scripts, fresh_token=fresh_token) as (gate, client):
        await lose_link(client)
        *_, end = [event async for event in client.events()]
        assert isinstance(end, Disconnected) and not end.again
        assert end.reason.kind is CloseKind.LOGIN and "get a new one" in end.reason.text
        await anyio.sleep(60.0)
        assert gate.dials == 2


async def test_a_user_who_cannot_get_a_token_is_asked_again(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    policy = ReloginPolicy(max_tries=3)
    scripts = [hang_up, let_in(False)]
    async with client_of(api, *scripts, fresh_token=broken, relogin=policy) as (gate, client):
        await lose_link(client)
        *_, end = [event async for event in client.events()]
        assert isinstance(end, Disconnected) and not end.again
        assert "no fresh login token: 'no such user'" in end.reason.text
        assert gate.dials == 4
    told = [record.getMessage() for record in caplog.records]
    assert told[:3] == ["fresh_token failed"] * 3
    assert len(told) == 4 and told[3].startswith("not logged in again at tcp://gate.test:13321")


async def test_a_code_that_will_not_pass_ends_it(api: Api) -> None:
    async def blacklisted(peer: Peer) -> None:
        await peer.open()
        await peer.refuse(await peer.quest("auth"), Code.LOGIN_DENIED)
        await peer.read_on()

    async with client_of(api, hang_up, blacklisted) as (gate, client):
        await lose_link(client)
        *_, end = [event async for event in client.events()]
        assert isinstance(end, Disconnected) and "200024" in end.reason.text
        assert gate.dials == 2


async def test_a_forgotten_login_is_renewed_and_the_call_repeated(api: Api) -> None:
    async def forget(peer: Peer) -> None:
        await peer.log_in()
        for _ in range(2):
            await peer.refuse(await peer.any_quest(), Code.NOT_LOGGED_IN)
        await peer.read_on()

    async with client_of(api, forget, serve) as (gate, client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.quest, "one")
            tasks.start_soon(client.quest, "two")
        assert gate.dials == 2


async def test_a_call_that_is_refused_again_is_refused(api: Api) -> None:
    async def forget(peer: Peer) -> None:
        await peer.log_in()
        await peer.refuse(await peer.any_quest(), Code.NOT_LOGGED_IN)
        await peer.read_on()

    async with client_of(api, forget) as (gate, client):
        with pytest.raises(QuestRefused, match="200022"):
            await client.quest("one")
        assert gate.dials == 2


async def test_leaving_does_not_wait_for_a_login(api: Api) -> None:
    async def say_nothing(peer: Peer) -> None:
        await peer.open()
        await peer.read_on()

    for script in (say_nothing, Peer.read_on):
        async with client_of(api, hang_up, script) as (gate, client):
            await lose_link(client)
            await anyio.sleep(1.0)
            assert gate.dials == 2
            began = anyio.current_time()
        assert anyio.current_time() - began <= 4.0


async def test_leaving_in_a_pause_leaves_nothing(api: Api) -> None:
    async with client_of(api, hang_up) as (gate, client):
        gate.closed = True
        await lose_link(client)
        await anyio.sleep(10 * LONGEST_PAUSE)
        dials = gate.dials
        began = anyio.current_time()
    assert anyio.current_time() == began
    assert gate.dials == dials


async def test_who_waits_for_the_link_can_be_cancelled(api: Api) -> None:
    async with client_of(api, hang_up, serve) as (gate, client):
        gate.closed = True
        await lose_link(client)
        with anyio.move_on_after(2.0) as waiting:
            await client.quest("anything")
        assert waiting.cancelled_caught
        gate.closed = False
        assert await client.quest("more") == {"you asked": "more"}


async def test_a_server_comes_back_too(api: Api) -> None:
    async def answer_once(peer: Peer) -> None:
        await peer.open()
        await peer.answer(await peer.quest("ping"), {})
        await peer.answer(await peer.quest("gettoken"), {"token": "a login token"})

    async with anyio.create_task_group() as tasks:
        gate = Gate(api, tasks, answer_once)
        async with api.open_server(
            "tcp://gate.test", pid=PID, secret="secret", connect=gate.connect
        ) as server:
            for _ in range(3):
                assert await server.get_token(ALICE) == "a login token"
                await anyio.sleep(2 * LONGEST_PAUSE)
            assert gate.dials >= 3
        tasks.cancel_scope.cancel()
