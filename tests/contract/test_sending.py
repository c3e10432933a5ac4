"""Sending files: what arrives, what is refused, what is told on the way."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import (
    FileNotSent,
    FileRefused,
    FileUnusable,
    LocalProtocolError,
    QuestRefused,
    SendFailed,
)
from rtm_proto.flows.steps import Progress, Stage
from rtm_proto.flows.transfer import MAX_FILE, PIECE, FileSent
from rtm_proto.received import Conversation, FileReceived, FileType
from tests.contract.world import ALICE, BOB, CAROL, Api, Client, next_file, open_world

pytestmark = pytest.mark.anyio

GROUP, ROOM = 71, 72
MAX_UPLOADS = 2  # of one client, at once

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])


async def send(client: Client, kind: Conversation, file: Any, **options: Any) -> FileSent:
    """Send an image to *kind*."""
    match kind:
        case Conversation.P2P:
            return await client.send_file(FileType.IMAGE, BOB, file, **options)
        case Conversation.GROUP:
            return await client.send_group_file(FileType.IMAGE, GROUP, file, **options)
        case _:
            return await client.send_room_file(FileType.IMAGE, ROOM, file, **options)


@SCHEMES
@pytest.mark.parametrize("kind", [Conversation.P2P, Conversation.GROUP, Conversation.ROOM])
async def test_a_file_reaches_who_it_is_for(
    api: Api, scheme: str, kind: Conversation, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(os.urandom(3 * PIECE + 17))
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):
        await alice.quest("addgroupmembers", {"gid": GROUP, "uids": [ALICE, BOB]})
        for client in (alice, bob):
            await client.quest("enterroom", {"rid": ROOM})
        sent = await send(alice, kind, path, custom={"a": [1, None]})
        event = await next_file(bob.events())
        assert world.body(event) == path.read_bytes()
        assert event == FileReceived(
            kind=kind,
            sender=ALICE,
            target={Conversation.P2P: BOB, Conversation.GROUP: GROUP}.get(kind, ROOM),
            mid=sent.mid,
            mtype=FileType.IMAGE,
            mtime=sent.mtime,
            url=event.url,
            size=3 * PIECE + 17,
            surl=None,
            name="photo.jpg",
            ext="jpg",
            custom={"a": [1, None]},
            voice=None,
            msg=event.msg,
            attrs=event.attrs,
        )
        assert (sent.attempts, sent.duplicate) == (1, False)


@pytest.mark.parametrize(
    ("scheme", "route", "host", "port"),
    [
        ("ws", "auto", "fileproxy-gate.test", 13461),
        ("tcp", "proxied", "fileproxy-gate.test", 13461),
        ("tcp", "auto", "127.0.0.1", None),
        ("ws", "direct", "127.0.0.1", None),
        ("ws", "tcp://elsewhere.test:9", "elsewhere.test", 9),
    ],
)
async def test_the_file_takes_the_route_that_was_chosen(
    api: Api, scheme: str, route: str, host: str, port: int | None
) -> None:
    async with open_world(api) as world, world.client(scheme=scheme, file_route=route) as alice:
        await alice.send_file(FileType.FILE, BOB, b"data")
        address = world.dialled[-1]
        assert (address.host, address.port) == (host, port or world.gate.file_address.port)


@SCHEMES
async def test_the_same_mid_again_is_a_duplicate_and_arrives_once(api: Api, scheme: str) -> None:
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):
        first = await alice.send_file(FileType.IMAGE, BOB, b"once")
        again = await alice.send_file(FileType.IMAGE, BOB, b"once", first.mid)
        assert again == FileSent(first.mid, None, 1, duplicate=True)
        marker = await alice.send_file(FileType.IMAGE, BOB, b"behind it")
        events = bob.events()
        assert [(await next_file(events)).mid for _ in range(2)] == [first.mid, marker.mid]


async def test_a_mid_of_ones_own_is_used(api: Api) -> None:
    async with open_world(api) as world, world.client() as alice, world.client(BOB) as bob:
        sent = await alice.send_file(FileType.IMAGE, BOB, b"data", mid=2**63 - 1)
        assert (sent.mid, sent.duplicate) == (2**63 - 1, False)
        assert (await next_file(bob.events())).mid == 2**63 - 1


@SCHEMES
async def test_ten_sends_at_once_take_turns_on_two_links(api: Api, scheme: str) -> None:
    uploading: set[int] = set()
    most = 0

    def note(progress: Progress) -> None:
        nonlocal most
        if progress.stage in (Stage.UPLOADING, Stage.CONFIRMING):
            uploading.add(progress.mid)
        else:
            uploading.discard(progress.mid)
        most = max(most, len(uploading))

    bodies = {bytes([number]) * (PIECE + number) for number in range(10)}
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):

        async def send_one(body: bytes) -> None:
            await alice.send_file(FileType.FILE, BOB, body, progress=note)

        async with anyio.create_task_group() as tasks:
            for body in bodies:
                tasks.start_soon(send_one, body)
        events = bob.events()
        assert {world.body(await next_file(events)) for _ in bodies} == bodies
        assert most == MAX_UPLOADS
        await world.empty(visits=2)  # no file link is kept


@SCHEMES
async def test_the_largest_file_arrives(api: Api, scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(PIECE) * (MAX_FILE // PIECE))
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):
        await alice.send_file(FileType.VIDEO, BOB, path)
        assert world.body(await next_file(bob.events())) == path.read_bytes()


async def test_one_byte_more_is_refused_before_anything_is_sent(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "too-large"
    with path.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    async with open_world(api) as world, world.client() as alice:
        with pytest.raises(FileNotSent) as caught:
            await alice.send_file(FileType.VIDEO, BOB, path)
        assert isinstance(caught.value.cause, FileUnusable)
        for shown in (str(MAX_FILE), str(MAX_FILE + 1), str(path)):
            assert shown in str(caught.value)
        assert len(world.dialled) == 1


async def test_a_gate_with_a_lower_limit_says_so(api: Api) -> None:
    async with open_world(api) as world, world.client(max_file=2 * MAX_FILE) as alice:
        with pytest.raises(FileRefused) as caught:
            await alice.send_file(FileType.VIDEO, BOB, bytes(MAX_FILE + 1))
        assert caught.value.code == Code.FILE_TOO_LARGE
        assert caught.value.cause.__class__ is QuestRefused
        await alice.quest("ping")


@SCHEMES
async def test_an_empty_file_arrives(api: Api, scheme: str) -> None:
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):
        await alice.send_file(FileType.FILE, BOB, b"", name="nothing.txt")
        event = await next_file(bob.events())
        assert (event.size, event.name, world.body(event)) == (0, "nothing.txt", b"")


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
async def test_all_kinds_of_bytes_can_be_sent(api: Api, wrap: Callable[[bytes], Any]) -> None:
    async with open_world(api) as world, world.client() as alice, world.client(BOB) as bob:
        await alice.send_file(FileType.FILE, BOB, wrap(b"some bytes"))
        assert world.body(await next_file(bob.events())) == b"some bytes"


async def test_a_file_of_ones_own_is_sent_from_its_start_and_stays_open(
    api: Api, tmp_path: Path
) -> None:
    path = tmp_path / "own.bin"
    path.write_bytes(b"0123456789")
    async with open_world(api) as world, world.client() as alice, world.client(BOB) as bob:
        with path.open("rb") as file:
            file.seek(7)
            await alice.send_file(FileType.FILE, BOB, file)
            assert not file.closed
        event = await next_file(bob.events())
        assert (world.body(event), event.name) == (b"0123456789", "own.bin")


# --- what cannot be sent ---


class Unreadable(io.BytesIO):
    """A file that may be opened but not read."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise PermissionError(13, "not for you")


class Longer(io.BytesIO):
    """A file that grows while it is sent."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or b"more"


class Shorter(io.BytesIO):
    """A file that says that it is longer than it is."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return super().seek(offset, whence) + (10 if whence == os.SEEK_END else 0)


def missing(folder: Path) -> Any:
    return folder / "missing"


def directory(folder: Path) -> Any:
    return str(folder)


def fifo(folder: Path) -> Any:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def closed(folder: Path) -> Any:
    file = io.BytesIO(b"data")
    file.close()
    return file


def just(file: object) -> Callable[[Path], Any]:
    """The same file for every folder."""
    return lambda folder: file


@pytest.mark.parametrize(
    ("make", "cause", "shown"),
    [
        (missing, FileNotFoundError, "missing"),
        (directory, FileUnusable, "not a regular file"),
        (fifo, FileUnusable, "fifo is not a regular file"),
        (closed, FileUnusable, "closed file"),
        (just("nul\0byte"), FileUnusable, "null"),
        (just(Unreadable(b"data")), PermissionError, "not for you"),
        (just(Longer(b"data")), FileUnusable, "more than the announced 4"),
        (just(Shorter(b"data")), FileUnusable, "ended after 4"),
        (just(io.StringIO("text")), FileUnusable, "open it in 'rb'"),
        (just(7), FileUnusable, "a path, bytes or a binary file"),
    ],
)
async def test_a_file_that_cannot_be_sent_is_a_typed_error(
    api: Api, make: Callable[[Path], Any], cause: type[Exception], shown: str, tmp_path: Path
) -> None:
    async with open_world(api) as world, world.client() as alice, world.client(BOB) as bob:
        with pytest.raises(FileNotSent, match=shown) as caught:
            await alice.send_file(FileType.FILE, BOB, make(tmp_path))
        assert isinstance(caught.value.cause, cause)
        assert caught.value.__cause__ is caught.value.cause
        await check_that_sends_go_on(alice, bob)
        await world.empty(visits=2)


async def check_that_sends_go_on(alice: Client, bob: Client) -> None:
    """The next file is the next that Bob gets."""
    sent = await alice.send_file(FileType.FILE, BOB, b"the next one")
    assert (await next_file(bob.events())).mid == sent.mid


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"mtype": 39}, "mtype is 40 to 50, got 39"),
        ({"mtype": 51}, "got 51"),
        ({"mtype": True}, "got True"),
        ({"mtype": "40"}, "got '40'"),
        ({"to": 2**63}, "to is an int64"),
        ({"to": -(2**63) - 1}, "to is an int64"),
        ({"to": "bob"}, "got 'bob'"),
        ({"to": None}, "got None"),
        ({"mid": -1}, "a mid is 0"),
        ({"mid": 2**63}, "a mid is 0"),
        ({"mid": "1"}, "a mid is 0"),
        ({"timeout": 0}, "seconds above 0, got 0"),
        ({"timeout": -1.0}, "got -1.0"),
        ({"timeout": math.nan}, "got nan"),
        ({"timeout": math.inf}, "got inf"),
        ({"timeout": "20"}, "got '20'"),
        ({"custom": object()}, "JSON"),
        ({"name": "x" * 2048}, "2048"),
    ],
)
async def test_bad_arguments_are_told_before_anything_is_sent(
    api: Api, wrong: dict[str, Any], shown: str
) -> None:
    async with open_world(api) as world, world.client() as alice:
        with pytest.raises(FileNotSent, match=shown) as caught:
            good: dict[str, Any] = {"mtype": 40, "to": BOB, "file": b"data"}
            await alice.send_file(**{**good, **wrong})
        assert isinstance(caught.value.cause, LocalProtocolError)
        assert (caught.value.stage, len(world.dialled)) == ("check", 1)


@pytest.mark.parametrize(
    ("cmd", "targets", "shown"),
    [
        ("sendfile", {}, "needs to, got no target"),
        ("sendfile", {"to": 1, "gid": 2}, "needs to, got to, gid"),
        ("sendfile", {"rid": 1}, "needs to, got rid"),
        ("sendgroupfile", {"to": 1}, "needs gid, got to"),
        ("sendroomfile", {"rid": 2**63}, "rid is an int64"),
        ("sendfiles", {"tos": []}, "not empty"),
        ("sendfiles", {"tos": [1, "2"]}, "tos is an int64"),
        ("send", {"to": 1}, "cmd is one of"),
        ("sendfile", {"to": 1, "timeout": 0}, "seconds above 0"),
    ],
)
async def test_a_file_token_needs_exactly_its_target(
    api: Api, cmd: str, targets: dict[str, Any], shown: str
) -> None:
    async with open_world(api) as world, world.client() as alice:
        with pytest.raises(LocalProtocolError, match=shown):
            await alice.file_token(cmd, **targets)


async def test_a_file_token_names_the_file_gate(api: Api) -> None:
    async with open_world(api) as world, world.client() as alice:
        for cmd, target in (("sendfile", "to"), ("sendgroupfile", "gid"), ("sendroomfile", "rid")):
            options: dict[str, Any] = {target: 5}
            token = await alice.file_token(cmd, **options)
            assert token.endpoint == world.gate.file_address.authority and token.token
        with pytest.raises(QuestRefused):
            await alice.file_token("broadcastfile")


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Conversation.GROUP, Code.NOT_GROUP_MEMBER), (Conversation.ROOM, Code.NOT_IN_ROOM)],
)
async def test_what_the_gate_refuses_is_told_with_its_code(
    api: Api, kind: Conversation, code: int
) -> None:
    async with open_world(api) as world, world.client() as alice:
        with pytest.raises(FileRefused) as caught:
            await send(alice, kind, b"data")
        assert (caught.value.code, caught.value.stage) == (code, "confirming")
        with pytest.raises(FileRefused) as caught:
            await alice.send_file(FileType.FILE, ALICE, b"data")
        assert caught.value.code == Code.SEND_TO_ONESELF
        await alice.quest("ping")


@pytest.mark.parametrize(
    ("method", "timeout"), [("ping", 0), ("ping", math.nan), ("", 5), ("m" * 256, 5)]
)
async def test_a_bad_quest_is_a_local_error(api: Api, method: str, timeout: float) -> None:
    async with open_world(api) as world, world.client() as alice:
        with pytest.raises(LocalProtocolError):
            await alice.quest(method, timeout=timeout)
        with pytest.raises(LocalProtocolError):
            await alice.quest("ping", {"of no kind": object()})
        await alice.quest("ping")


# --- what is told on the way ---


@SCHEMES
async def test_progress_is_told_in_order(api: Api, scheme: str) -> None:
    told: list[Progress] = []
    size = 2 * PIECE + 1
    async with open_world(api) as world, world.client(ALICE, scheme) as alice:
        sent = await alice.send_file(FileType.FILE, BOB, bytes(size), progress=told.append)
    assert [(one.stage, one.sent) for one in told] == [
        (Stage.TOKEN, 0),
        (Stage.CONNECTING, 0),
        (Stage.UPLOADING, 0),
        (Stage.UPLOADING, PIECE),
        (Stage.UPLOADING, 2 * PIECE),
        (Stage.UPLOADING, size),
        (Stage.CONFIRMING, size),
        (Stage.DONE, size),
    ]
    assert {(one.mid, one.total, one.attempt) for one in told} == {(sent.mid, size, 1)}


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.CHECK])
@pytest.mark.parametrize(
    "error", [KeyError("mine"), OSError("mine"), LocalProtocolError("mine"), SystemExit(3)]
)
async def test_an_error_of_the_progress_callback_comes_out_as_itself(
    api: Api, stage: Stage, error: BaseException
) -> None:
    def fail(progress: Progress) -> None:
        if progress.stage is stage:
            raise error

    async with (
        open_world(api) as world,
        world.client(ALICE) as alice,
        world.client(CAROL) as carol,
        world.client(BOB) as bob,
    ):
        with pytest.raises(type(error)) as caught:
            await alice.send_file(FileType.FILE, CAROL, b"data", progress=fail)
        assert caught.value is error
        await check_that_sends_go_on(alice, bob)
        await world.empty(visits=3)
        await carol.quest("ping")


async def test_a_failed_send_says_which_mid_it_was(api: Api) -> None:
    async with open_world(api) as world, world.client() as alice:
        with pytest.raises(SendFailed) as caught:
            await alice.send_file(FileType.FILE, ALICE, b"data", 77)
        assert caught.value.mid == 77
        with pytest.raises(SendFailed) as caught:
            await alice.send_file(FileType.FILE, ALICE, b"data")
        assert caught.value.mid > 0 and str(caught.value.mid) in str(caught.value)
