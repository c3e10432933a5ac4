"""A gate with the original framework's habits, one by one and all together: our clients stay right.

Each quirk is shown to a stranger that speaks in bytes, then a client does all of its work with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import FileRefused, QuestRefused
from rtm_proto.frames import BINARY, CLOSE, FIN, MASKED, PING, PONG, frame_head, mask_in_python
from rtm_proto.gate.settings import Port
from rtm_proto.package import Kind, encode_quest
from rtm_proto.payload import EMPTY, decode, encode
from rtm_proto.received import Disconnected, FileType, KickedOut
from rtm_proto.testing.scripted import Faults
from rtm_proto.testing.strict import DEAF, DELAY, QUIRKS, TURN, quirks_named, strict_gate
from tests.contract.streams import End
from tests.contract.world import (
    ALICE,
    BOB,
    PID,
    SOON,
    USERS,
    Api,
    Client,
    World,
    next_event,
    next_file,
    open_world,
)
from tests.pair import packages_in

pytestmark = pytest.mark.anyio

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])
EACH = pytest.mark.parametrize("quirk", [*QUIRKS, "all"])

GROUP, ROOM = 5, 6
AUTH = {"pid": PID, "uid": ALICE, "token": USERS[ALICE]}
BODY = os.urandom(100_000)
KEY = b"\x01\x02\x03\x04"
UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
PING_QUEST = encode_quest(b"*ping", EMPTY, 1)


@asynccontextmanager
async def strict(
    api: Api, *quirks: str, faults: Faults | None = None, **options: Any
) -> AsyncGenerator[World, None]:
    """A world whose gate has these quirks."""
    async with open_world(api, make_gate=strict_gate(quirks, faults=faults), **options) as world:
        yield world


# --- our clients ---


@EACH
@SCHEMES
async def test_everything_is_sent_and_received(api: Api, quirk: str, scheme: str) -> None:
    async with (
        strict(api, quirk) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):
        await alice.quest("addgroupmembers", {"gid": GROUP, "uids": [ALICE, BOB]})
        for client in (alice, bob):
            await client.quest("enterroom", {"rid": ROOM})
        sends: Sequence[Callable[[bytes], Awaitable[Any]]] = (
            lambda body: alice.send_file(FileType.IMAGE, BOB, body),
            lambda body: alice.send_group_file(FileType.FILE, GROUP, body),
            lambda body: alice.send_room_file(FileType.AUDIO, ROOM, body),
        )
        events = bob.events()
        for body in (b"", b"small", BODY):
            for send in sends:
                sent = await send(body)
                received = await next_file(events)
                assert (sent.attempts, sent.duplicate) == (1, False)
                assert (received.mid, world.body(received)) == (sent.mid, body)
        assert bob.duplicates == 0


@EACH
@SCHEMES
async def test_many_quests_at_once_get_their_own_answers(api: Api, quirk: str, scheme: str) -> None:
    async with strict(api, quirk) as world, world.client(ALICE, scheme) as alice:
        refused: list[str] = []

        async def ask(number: int) -> None:
            with pytest.raises(QuestRefused) as caught:
                await alice.quest(f"unknown{number}", {})
            refused.append(caught.value.text)
            assert f"unknown{number}" in caught.value.text

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(ask, number)
        assert len(refused) == 40


@EACH
@SCHEMES
async def test_packages_of_every_small_size_arrive(api: Api, quirk: str, scheme: str) -> None:
    """Refusals with a text of each length: one of them makes a frame of 126 bytes."""
    async with strict(api, quirk) as world, world.client(ALICE, scheme) as alice:
        for size in range(1, 120):
            with pytest.raises(QuestRefused) as caught:
                await alice.quest("x" * size, {})
            assert "x" * size in caught.value.text


@EACH
@SCHEMES
async def test_a_kickout_is_told_and_so_is_the_end(api: Api, quirk: str, scheme: str) -> None:
    async with strict(api, quirk) as world, world.client(ALICE, scheme) as alice:
        assert world.gate.kick(ALICE)
        events = alice.events()
        assert isinstance(await next_event(events), KickedOut)
        assert isinstance(await next_event(events), Disconnected)


@EACH
@SCHEMES
async def test_a_refusal_is_told_with_its_code(api: Api, quirk: str, scheme: str) -> None:
    faults = Faults()
    async with strict(api, quirk, faults=faults) as world, world.client(ALICE, scheme) as alice:
        faults.refuse("sendfile", Code.BLOCKED_USER, "x" * 100, times=1)
        with pytest.raises(FileRefused) as caught:
            await alice.send_file(FileType.IMAGE, BOB, BODY)
        assert (caught.value.code, caught.value.text) == (Code.BLOCKED_USER, "x" * 100)
        faults.hang_up("sendfile", after=True)
        sent = await alice.send_file(FileType.IMAGE, BOB, BODY)
        assert (sent.attempts, sent.duplicate) == (2, True)
        assert not faults.unused


@EACH
@SCHEMES
@TIMED
async def test_nobody_takes_an_idle_hour_for_the_end(api: Api, quirk: str, scheme: str) -> None:
    async with strict(api, quirk) as world, world.client(ALICE, scheme) as alice:
        await anyio.sleep(3600)
        await alice.send_file(FileType.IMAGE, BOB, BODY)
        assert [type(event) for event in await taken(alice)] == []


async def taken(client: Client) -> list[Any]:
    """What has come so far."""
    events: list[Any] = []
    with anyio.move_on_after(1):
        async for event in client.events():
            events.append(event)
    return events


@SCHEMES
async def test_who_leaves_is_forgotten(api: Api, scheme: str) -> None:
    async with strict(api, "all") as world:
        for _ in range(5):
            async with world.client(ALICE, scheme):
                pass
        await world.empty()


# --- what a stranger sees of each ---


def frame(payload: bytes, *, first: int = FIN | BINARY) -> bytes:
    """A client's frame."""
    head = frame_head(first & 0x0F, len(payload), KEY)
    return bytes([first]) + head[1:] + mask_in_python(payload, KEY)


async def upgraded(world: World, port: Port = Port.FILES) -> End:
    """A stranger whose WebSocket is open."""
    stranger = world.stranger(port=port)
    await stranger.send(UPGRADE)
    said = b""
    with anyio.fail_after(SOON):
        while b"\r\n\r\n" not in said:
            said += await stranger.receive()
    assert said.startswith(b"HTTP/1.1 101 ") and said.endswith(b"\r\n\r\n")
    return stranger


async def answer_to(stranger: End, data: bytes, size: int) -> bytes:
    """The first *size* bytes of what is said to *data*."""
    await stranger.send(data)
    said = b""
    with anyio.fail_after(SOON):
        while len(said) < size:
            said += await stranger.receive()
    assert len(said) == size
    return said


@pytest.mark.parametrize(("quirks", "pong"), [(["empty-pong"], b"\x8a\x00"), ([], b"\x8a\x03abc")])
async def test_a_pong_is_empty(api: Api, quirks: list[str], pong: bytes) -> None:
    async with strict(api, *quirks) as world:
        stranger = await upgraded(world)
        assert await answer_to(stranger, frame(b"abc", first=FIN | PING), len(pong)) == pong
        await stranger.send_eof()
        await stranger.receive_all()
        await stranger.close()
    assert pong[0] & 0x0F == PONG


@pytest.mark.parametrize(("quirks", "said"), [(["no-close-frame"], b""), ([], b"\x88\x02\x03\xe8")])
async def test_a_close_frame_is_not_answered(api: Api, quirks: list[str], said: bytes) -> None:
    async with strict(api, *quirks) as world:
        stranger = await upgraded(world)
        await stranger.send(frame(b"\x03\xe8", first=FIN | CLOSE))
        with anyio.fail_after(SOON):
            assert await stranger.receive_all() == said
        await stranger.close()


@pytest.mark.parametrize("quirks", [["frame-126"], []])
async def test_a_frame_of_126_bytes_lacks_its_length(api: Api, quirks: list[str]) -> None:
    async with strict(api, *quirks) as world:
        stranger = await upgraded(world)
        for size in range(1, 200):
            method = b"y" * size
            await stranger.send(frame(encode_quest(method, EMPTY, 1)))
            said = b""
            with anyio.fail_after(SOON):
                while b"FPNN" not in said or not said.endswith(method):
                    said += await stranger.receive()
            package = said[said.index(b"FPNN") :]
            broken = bool(quirks) and len(package) == 126
            assert (
                said
                == (b"\x82\x7e" if broken else frame_head(BINARY, len(package), None)) + package
            )
            if len(package) > 126:
                break
        else:
            raise AssertionError("no package was larger")
        await stranger.send_eof()
        await stranger.receive_all()
        await stranger.close()


@TIMED
@pytest.mark.parametrize("quirks", [["out-of-order"], []])
async def test_answers_overtake_each_other(api: Api, quirks: list[str]) -> None:
    async with strict(api, *quirks) as world:
        stranger = world.stranger()
        quests = [encode_quest(b"nothing", EMPTY, seq) for seq in range(1, 6)]
        started = anyio.current_time()
        await stranger.send(b"".join(quests))
        said = b""
        while said.count(b"FPNN") < 5:
            said += await stranger.receive()
        order = [2, 1, 4, 3, 5] if quirks else [1, 2, 3, 4, 5]
        assert [package.seq for package in packages_in(said)] == order
        took = anyio.current_time() - started
        assert took == pytest.approx(TURN if quirks else 0, abs=0.001)
        await stranger.send_eof()
        await stranger.receive_all()
        await stranger.close()


@TIMED
@pytest.mark.parametrize("quirks", [["late-packages"], []])
async def test_a_small_package_behind_another_is_late(api: Api, quirks: list[str]) -> None:
    """A push behind an answer, as the measurements of the original have it."""
    late = DELAY if quirks else 0.0
    faults = Faults()
    async with strict(api, *quirks, faults=faults) as world, world.client(BOB) as bob:
        events = bob.events()
        with anyio.fail_after(100):
            faults.push(BOB, "pushone")
            await anext(events)
            for _ in range(3):  # nothing but pushes, which Bob answers: nothing is late
                started = anyio.current_time()
                faults.push(BOB, "pushone")
                await anext(events)
                assert anyio.current_time() - started == pytest.approx(0, abs=0.001)
        stranger = world.stranger()
        await stranger.send(encode_quest(b"auth", encode(AUTH), 1))
        assert await stranger.receive()
        started = anyio.current_time()
        faults.push(ALICE, "pushone")
        assert await stranger.receive()
        assert anyio.current_time() - started == pytest.approx(late, abs=0.001)
        faults.push(ALICE, "pushtwo")
        await anyio.sleep(0.01)
        await stranger.send(PING_QUEST)  # carries the acknowledgement
        assert await stranger.receive()
        assert anyio.current_time() - started == pytest.approx(late + 0.01, abs=0.001)
        await stranger.send_eof()
        await stranger.receive_all()
        await stranger.close()


@TIMED
@pytest.mark.parametrize("quirks", [["abrupt-close"], []])
async def test_an_end_is_abrupt(api: Api, quirks: list[str]) -> None:
    """Without the quirk the gate waits for the visitor's end; with it, what comes is lost."""
    async with strict(api, *quirks) as world:
        stranger = world.stranger()
        await stranger.send(encode_quest(b"bye", EMPTY, 1))
        with anyio.fail_after(SOON):
            [answer] = packages_in(await stranger.receive_all())
        assert (answer.kind, answer.seq) == (Kind.ANSWER, 1)
        await anyio.sleep(0.01)
        assert world.gate.visits == (0 if quirks else 1)
        await stranger.close()


@pytest.mark.parametrize(
    "upgrade",
    [
        UPGRADE.replace(b"Upgrade: websocket", b"upgrade: websocket"),
        UPGRADE.replace(b"Connection:", b"connection:"),
        UPGRADE.replace(b"Connection: Upgrade", b"Connection: upgrade"),
        UPGRADE.replace(b"Sec-WebSocket-Key", b"Sec-Websocket-Key"),
        UPGRADE.replace(b"Sec-WebSocket-Version", b"Sec-Websocket-Version"),
    ],
)
async def test_an_upgrade_has_to_be_spelled_well(api: Api, upgrade: bytes) -> None:
    for quirks, status in ((["case-sensitive"], b"500"), ([], b"101")):
        async with strict(api, *quirks) as world:
            stranger = world.stranger(port=Port.FILES)
            await stranger.send(upgrade)
            await stranger.send_eof()
            with anyio.fail_after(SOON):
                said = await stranger.receive_all()
            assert said.startswith(b"HTTP/1.1 " + status)
            assert (b'{"code":20004,' in said) == (status == b"500")
            await stranger.close()


@pytest.mark.parametrize(
    "upgrade",
    [
        UPGRADE,
        UPGRADE.replace(b"websocket\r\nConn", b"WebSocket\r\nConn"),
        UPGRADE.replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
        UPGRADE.replace(b"Connection: Upgrade", b"Connection: x;Upgrade"),
        UPGRADE.replace(b"Host: gate", b"host: gate"),
    ],
)
async def test_what_is_spelled_well_is_taken(api: Api, upgrade: bytes) -> None:
    async with strict(api, "case-sensitive") as world:
        stranger = world.stranger(port=Port.FILES)
        await stranger.send(upgrade)
        with anyio.fail_after(SOON):
            said = await stranger.receive()
        expected = b"HTTP/1.1 400 " if b";" in upgrade else b"HTTP/1.1 101 "
        assert said.startswith(expected)
        await stranger.close()


@TIMED
@pytest.mark.parametrize("quirks", [["swallow-early"], []])
async def test_what_comes_before_the_101_is_swallowed(api: Api, quirks: list[str]) -> None:
    async with strict(api, *quirks) as world:
        stranger = world.stranger(port=Port.FILES)
        await stranger.send(UPGRADE + frame(PING_QUEST))
        await anyio.sleep(DEAF / 2)
        await stranger.send(frame(encode_quest(b"*ping", EMPTY, 2)))
        await anyio.sleep(0.1)
        await stranger.send(frame(encode_quest(b"*ping", EMPTY, 3)))
        await anyio.sleep(0.1)
        await stranger.send_eof()
        said = await stranger.receive_all()
        assert said.count(b"FPNN") == (1 if quirks else 3)
        assert said.startswith(b"HTTP/1.1 101 ")
        await stranger.close()


@pytest.mark.parametrize("cut", [1, 5, 1000])
@pytest.mark.parametrize("quirks", [["no-fragments"], []])
async def test_fragments_end_the_connection(api: Api, quirks: list[str], cut: int) -> None:
    whole = frame(b"", first=FIN | PING) + frame(PING_QUEST)
    fragments = frame(PING_QUEST[:9], first=BINARY) + frame(PING_QUEST[9:], first=FIN)
    async with strict(api, *quirks) as world:
        stranger = await upgraded(world)
        for data in (whole, fragments, whole):
            for start in range(0, len(data), cut):
                try:
                    await stranger.send(data[start : start + cut])
                except OSError:
                    break
        with anyio.fail_after(SOON):
            await stranger.send_eof()
            said = await stranger.receive_all()
        assert said.count(b"FPNN") == (1 if quirks else 3)
        await stranger.close()
    assert frame(b"")[1] == MASKED


@pytest.mark.parametrize(
    ("attrs", "code"),
    [
        ({"rtm": {"sign": "x"}}, Code.ATTRS_LACK_SIGN_OR_EXT),
        ({"sign": "x"}, Code.ATTRS_LACK_SIGN_OR_EXT),
        ({"rtm": {"sign": "x"}, "ext": "a"}, Code.ATTRS_LACK_SIGN_OR_EXT),
        ({"rtm": {"sign": "x", "ext": ""}}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ({"rtm": {"sign": "x", "ext": None}}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ({"sign": "x", "ext": "a"}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ([], Code.ATTRS_LACK_SIGN_OR_EXT),
    ],
)
async def test_an_ext_is_demanded(api: Api, attrs: object, code: int) -> None:
    quest = {
        "pid": PID,
        "from": ALICE,
        "to": BOB,
        "mtype": 40,
        "mid": 1,
        "token": "none",
        "attrs": json.dumps(attrs),
        "file": b"",
    }
    async with strict(api, "ext-demanded") as world:
        stranger = world.stranger(port=Port.FILES)
        with anyio.fail_after(SOON):
            await stranger.send(encode_quest(b"sendfile", encode(quest), 1))
            [answer] = packages_in(await stranger.receive())
            assert decode(answer.payload)["code"] == code
            await stranger.send(encode_quest(b"sendfile", encode({"attrs": 5}), 2))
            [answer] = packages_in(await stranger.receive())
            assert decode(answer.payload)["code"] != Code.ATTRS_LACK_SIGN_OR_EXT
        await stranger.close()


# --- their names ---


def test_quirks_have_names() -> None:
    assert quirks_named([]) == frozenset()
    assert quirks_named(["empty-pong"]) == {"empty-pong"}
    assert quirks_named(["all"]) == quirks_named(["empty-pong", "all"]) == set(QUIRKS)
    with pytest.raises(
        ValueError, match=r"no quirk is called pong, upside-down: there are empty-pong"
    ):
        quirks_named(["upside-down", "empty-pong", "pong"])
    with pytest.raises(ValueError, match="no quirk is called x"):
        strict_gate(["x"])
