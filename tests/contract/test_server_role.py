"""A server of the project beside its users: what it sends, stores and decides for them."""

from __future__ import annotations

import os
from typing import Any

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import (
    ConnectFailed,
    FileNotSent,
    FileRefused,
    LocalProtocolError,
    LoginFailed,
    QuestRefused,
)
from rtm_proto.flows.transfer import MAX_RECEIVERS, PIECE, FileSent
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.received import Conversation, Disconnected, FileType, KickedOut
from tests.contract.scripted import Peer, Scripts
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    PID,
    SECRET,
    Api,
    Server,
    World,
    next_event,
    next_file,
    open_world,
)

pytestmark = pytest.mark.anyio

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])
TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)

GROUP, ROOM = 71, 72
IMAGE = FileType.IMAGE


async def send(
    server: Server, what: str, file: Any, *, sender: int = ALICE, **options: Any
) -> FileSent:
    """Send an image in one of five ways."""
    match what:
        case "file":
            return await server.send_file(sender, IMAGE, BOB, file, **options)
        case "group file":
            return await server.send_group_file(sender, IMAGE, GROUP, file, **options)
        case "room file":
            return await server.send_room_file(sender, IMAGE, ROOM, file, **options)
        case "files":
            return await server.send_files(sender, IMAGE, [CAROL, BOB], file, **options)
        case _:
            return await server.broadcast_file(sender, IMAGE, file, **options)


SENDS = {
    "file": (Conversation.P2P, BOB),
    "group file": (Conversation.GROUP, GROUP),
    "room file": (Conversation.ROOM, ROOM),
    "files": (Conversation.P2P, BOB),
    "broadcast": (Conversation.BROADCAST, None),
}


@SCHEMES
@pytest.mark.parametrize("what", SENDS)
async def test_a_server_sends_for_a_user_who_is_away(api: Api, scheme: str, what: str) -> None:
    body = os.urandom(2 * PIECE + 5)
    async with (
        open_world(api) as world,
        world.client(BOB, scheme) as bob,
        world.server(scheme) as server,
    ):
        await bob.quest("addgroupmembers", {"gid": GROUP, "uids": [BOB]})
        await bob.quest("enterroom", {"rid": ROOM})
        sent = await send(server, what, body, name="photo.jpg", custom=5)
        assert (sent.attempts, sent.duplicate) == (1, False)
        event = await next_file(bob.events())
        assert world.body(event) == body
        assert (event.kind, event.target) == SENDS[what]
        assert (event.sender, event.mid, event.mtime) == (ALICE, sent.mid, sent.mtime)
        assert (event.name, event.custom, event.mtype) == ("photo.jpg", 5, IMAGE)


@pytest.mark.parametrize("what", SENDS)
async def test_the_same_mid_again_is_a_duplicate_and_arrives_once(api: Api, what: str) -> None:
    async with open_world(api) as world, world.client(BOB) as bob, world.server() as server:
        await bob.quest("addgroupmembers", {"gid": GROUP, "uids": [BOB]})
        await bob.quest("enterroom", {"rid": ROOM})
        first = await send(server, what, b"once")
        again = await send(server, what, b"once", mid=first.mid)
        assert again == FileSent(first.mid, None, 1, duplicate=True)
        marker = await server.send_file(ALICE, IMAGE, BOB, b"behind it")
        events = bob.events()
        assert [(await next_file(events)).mid for _ in range(2)] == [first.mid, marker.mid]


async def test_each_of_several_gets_a_file_once_whoever_had_it_before(api: Api) -> None:
    async with (
        open_world(api) as world,
        world.client(BOB) as bob,
        world.client(CAROL) as carol,
        world.server() as server,
    ):
        first = await server.send_files(ALICE, IMAGE, [BOB], b"data")
        again = await server.send_files(ALICE, IMAGE, [BOB, CAROL], b"data", mid=first.mid)
        assert not again.duplicate
        marker = await server.send_files(ALICE, IMAGE, [BOB, CAROL], b"behind it")
        mids = {first.mid, marker.mid}
        for client in (bob, carol):
            events = client.events()
            assert {(await next_file(events)).mid for _ in range(2)} == mids


async def test_as_many_receivers_as_may_be(api: Api) -> None:
    async with open_world(api) as world, world.client(BOB) as bob, world.server() as server:
        tos = [BOB, *range(2**62, 2**62 + MAX_RECEIVERS - 1)]
        sent = await server.send_files(ALICE, IMAGE, tos, b"data")
        assert (await next_file(bob.events())).mid == sent.mid
        assert len(world.store.messages()) == MAX_RECEIVERS


async def test_a_broadcast_is_not_told_to_its_sender(api: Api) -> None:
    async with (
        open_world(api) as world,
        world.client(ALICE) as alice,
        world.client(BOB) as bob,
        world.client(CAROL) as carol,
        world.server() as server,
    ):
        sent = await server.broadcast_file(ALICE, IMAGE, b"data")
        for client in (bob, carol):
            assert (await next_file(client.events())).mid == sent.mid
        marker = await server.send_file(BOB, IMAGE, ALICE, b"behind it")
        assert (await next_file(alice.events())).mid == marker.mid


@SCHEMES
async def test_a_user_and_a_server_store_a_file_of_which_nobody_is_told(
    api: Api, scheme: str
) -> None:
    body = os.urandom(2 * PIECE + 5)
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
        world.server(scheme) as server,
    ):
        uploads = [
            await alice.upload_file(IMAGE, body, name="a.jpg"),
            await server.upload_file(BOB, IMAGE, body),
        ]
        for uploaded in uploads:
            assert (uploaded.size, uploaded.attempts) == (len(body), 1)
            key = uploaded.url.split("/")[4]
            assert world.store.read_file(key, 0, len(body)) == body
        assert uploads[0].url.endswith("/a.jpg") and uploads[0].url != uploads[1].url
        assert world.store.messages() == []
        marker = await alice.send_file(IMAGE, BOB, b"behind it")
        assert (await next_file(bob.events())).mid == marker.mid


async def test_an_upload_is_told_of_on_the_way_and_can_be_too_large(api: Api) -> None:
    stages: list[str] = []
    async with open_world(api) as world, world.client(max_file=10) as alice:
        await alice.upload_file(
            IMAGE, b"0123456789", progress=lambda told: stages.append(told.stage.value)
        )
        assert stages[0] == "token" and stages[-1] == "done"
        with pytest.raises(FileNotSent):
            await alice.upload_file(IMAGE, b"0123456789a")


@pytest.mark.parametrize("what", SENDS)
async def test_nobody_sends_from_a_sender_who_is_no_id(api: Api, what: str) -> None:
    async with open_world(api) as world, world.server() as server:
        wrong: Any = "1001"
        with pytest.raises(FileNotSent) as caught:
            await send(server, what, b"data", sender=wrong)
        assert isinstance(caught.value.cause, LocalProtocolError)
        with pytest.raises(LocalProtocolError):
            await server.file_token(wrong, "broadcastfile")


async def test_a_server_gets_file_tokens_for_every_send(api: Api) -> None:
    async with open_world(api) as world, world.server() as server:
        tokens = [
            await server.file_token(ALICE, "sendfile", to=BOB),
            await server.file_token(ALICE, "sendgroupfile", gid=GROUP),
            await server.file_token(ALICE, "sendroomfile", rid=ROOM),
            await server.file_token(ALICE, "sendfiles", [BOB, CAROL]),
            await server.file_token(ALICE, "broadcastfile"),
            await server.file_token(ALICE, "uploadfile"),
        ]
        assert len({token.token for token in tokens}) == 6
        assert {token.endpoint for token in tokens} == {world.gate.file_address.authority}
        with pytest.raises(LocalProtocolError, match="needs tos"):
            await server.file_token(ALICE, "sendfiles", to=BOB)


async def test_a_user_gets_no_token_for_what_servers_send(api: Api) -> None:
    async with open_world(api) as world, world.client() as alice:
        assert (await alice.file_token("uploadfile")).token
        for cmd, tos in (("sendfiles", [BOB]), ("broadcastfile", None)):
            with pytest.raises(QuestRefused) as caught:
                await alice.file_token(cmd, tos)
            assert caught.value.code == Code.METHOD_FORBIDDEN


# --- users ---


async def test_a_user_logs_in_with_the_token_that_the_server_got(api: Api) -> None:
    async with open_world(api) as world, world.server() as server:
        token = await server.get_token(9009)
        async with world.client(9009, token=token) as dave:
            sent = await server.send_file(ALICE, IMAGE, 9009, b"data")
            assert (await next_file(dave.events())).mid == sent.mid
        newer = await server.get_token(9009)
        with pytest.raises(LoginFailed):
            async with world.client(9009, token=token):
                raise AssertionError("logged in with the old one")
        async with world.client(9009, token=newer):
            pass


async def test_a_server_kicks_a_user_out(api: Api) -> None:
    async with open_world(api) as world, world.server() as server, world.client(BOB) as bob:
        await server.kick_out(BOB)
        events = bob.events()
        assert isinstance(await next_event(events), KickedOut)
        assert isinstance(await next_event(events), Disconnected)
        await server.kick_out(BOB)


async def test_any_quest_of_a_server_is_signed(api: Api) -> None:
    async with open_world(api) as world, world.server() as server:
        answer = await server.quest("gettoken", {"uid": 5})
        assert set(answer) == {"token"}
        assert await server.quest("ping") == {}
        with pytest.raises(QuestRefused) as caught:
            await server.quest("nonsense")
        assert caught.value.code == Code.UNKNOWN_METHOD


# --- coming and going ---


async def refusal(world: World, **options: Any) -> int | None:
    with pytest.raises(LoginFailed) as caught:
        async with world.server(**options):
            raise AssertionError("it was let in")
    assert SECRET not in str(caught.value)
    return caught.value.code


async def test_a_server_with_a_wrong_secret_is_not_let_in(api: Api) -> None:
    async with open_world(api) as world:
        assert await refusal(world, secret="wrong") == Code.BAD_PROJECT_OR_SIGN


async def test_a_gate_without_a_secret_takes_no_servers(api: Api) -> None:
    async with open_world(api, secret=None) as world:
        assert await refusal(world) == Code.METHOD_FORBIDDEN


@pytest.mark.parametrize("wrong", [{"secret": ""}, {"secret": None}, {"login_timeout": 0}])
async def test_wrong_arguments_are_found_before_anybody_is_called(
    api: Api, wrong: dict[str, Any]
) -> None:
    async with open_world(api) as world:
        with pytest.raises(LocalProtocolError):
            async with world.server(**wrong):
                raise AssertionError("it was let in")
        assert world.dialled == []


async def test_a_server_is_no_user_and_no_user_is_a_server(api: Api) -> None:
    async with open_world(api) as world, world.server() as server, world.client() as alice:
        assert (server.pid, str(PID) in repr(server)) == (PID, True)
        assert SECRET not in repr(server)
        with pytest.raises(QuestRefused) as caught:
            await server.quest("enterroom", {"rid": ROOM})
        assert caught.value.code == Code.NOT_LOGGED_IN
        with pytest.raises(QuestRefused) as caught:
            await alice.quest("gettoken", {"uid": BOB})
        assert caught.value.code == Code.METHOD_FORBIDDEN


@TIMED
@SCHEMES
async def test_a_server_that_says_nothing_for_long_is_still_there(api: Api, scheme: str) -> None:
    async with open_world(api) as world, world.server(scheme) as server:
        await anyio.sleep(600)
        await server.get_token(5)


@TIMED
async def test_a_gate_that_never_answers_the_server_is_left_in_time(api: Api) -> None:
    async def mute(peer: Peer) -> None:
        await peer.open()
        await peer.read_on()

    async with anyio.create_task_group() as tasks:
        scripts = Scripts(api, tasks, mute)
        started = anyio.current_time()
        with pytest.raises(LoginFailed, match="did not answer"):
            async with api.open_server(
                "tcp://gate.test", pid=PID, secret=SECRET, login_timeout=3, connect=scripts.connect
            ):
                raise AssertionError("it was let in")
        assert anyio.current_time() - started == pytest.approx(3, abs=0.001)


async def test_a_gate_that_knows_no_ping_of_a_server_lets_it_in(api: Api) -> None:
    async def plain(peer: Peer) -> None:
        await peer.open()
        ping = await peer.quest("ping")
        await peer.refuse(ping, Code.UNKNOWN_METHOD)
        await peer.answer(await peer.quest("gettoken"), {"token": "a token"})
        await peer.read_on()

    async with anyio.create_task_group() as tasks:
        scripts = Scripts(api, tasks, plain)
        async with api.open_server(
            "tcp://gate.test", pid=PID, secret=SECRET, connect=scripts.connect
        ) as server:
            assert await server.get_token(5) == "a token"


async def test_a_gate_that_nobody_reaches(api: Api) -> None:
    async def unreachable(address: object) -> Any:
        raise OSError(111, "refused")

    with pytest.raises(ConnectFailed):
        async with api.open_server("tcp://gate.test", pid=PID, secret=SECRET, connect=unreachable):
            raise AssertionError("connected")


async def test_a_server_leaves_by_an_exception_as_itself(api: Api) -> None:
    async with open_world(api) as world:
        with pytest.raises(KeyError, match="mine"):
            async with world.server():
                raise KeyError("mine")


async def test_a_cancelled_send_of_a_server_harms_no_other(api: Api) -> None:
    async with open_world(api) as world, world.client(BOB) as bob, world.server() as server:
        with anyio.CancelScope() as scope:
            await server.send_file(
                ALICE, IMAGE, BOB, bytes(5 * PIECE), progress=lambda told: scope.cancel()
            )
        assert scope.cancelled_caught
        sent = await server.send_file(ALICE, IMAGE, BOB, b"data")
        assert (await next_file(bob.events())).mid == sent.mid


async def test_many_calls_at_once_each_with_a_sign_of_its_own(api: Api) -> None:
    async with open_world(api) as world, world.server("ws") as server:
        tokens: set[str] = set()

        async def get(uid: int) -> None:
            tokens.add(await server.get_token(uid))

        async with anyio.create_task_group() as tasks:
            for uid in range(1, 61):
                tasks.start_soon(get, uid)
        assert len(tokens) == 60


@TIMED
async def test_a_full_gate_refuses_an_upload_in_the_end(api: Api) -> None:
    async with open_world(api, store=MemoryStore(max_bytes=3)) as world, world.client() as alice:
        with pytest.raises(FileRefused) as caught:
            await alice.upload_file(IMAGE, b"data")
        assert caught.value.code == Code.WORK_QUEUE_FULL
