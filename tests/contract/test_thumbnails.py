"""Files read from sockets: several on one stream, small pictures that are made in worker threads,
kinds that are recognised, links that expire."""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import h11
import pytest
from PIL import Image

from rtm_proto.errors import DownloadFailed
from rtm_proto.gate.recognised import recognise
from rtm_proto.gate.thumbnails import make_thumbnail
from rtm_proto.received import FileReceived, FileType
from tests.contract.world import (
    ALICE,
    BOB,
    PID,
    SOON,
    USERS,
    Api,
    Client,
    GateServer,
    emptied,
    next_file,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
    ),
]


def picture(kind: str = "PNG") -> bytes:
    """An image of 800 x 400 pixels."""
    out = io.BytesIO()
    Image.new("RGB", (800, 400), "blue").save(out, kind)
    return out.getvalue()


@asynccontextmanager
async def serving(
    api: Api, **options: Any
) -> AsyncGenerator[tuple[GateServer, Client, Client], None]:
    """A gate, Alice and Bob."""
    options = {"make_thumbnail": make_thumbnail, "recognise": recognise, **options}
    async with api.serve_gate(pid=PID, users=USERS, **options) as gate:
        async with (
            api.open_client(gate.url, pid=PID, uid=ALICE, token=USERS[ALICE]) as alice,
            api.open_client(gate.url, pid=PID, uid=BOB, token=USERS[BOB]) as bob,
        ):
            yield gate, alice, bob
        await emptied(gate)


async def told_of(alice: Client, bob: Client, body: bytes, mtype: int = 50) -> FileReceived:
    """What Bob is told of a file that Alice sends."""
    await alice.send_file(mtype, BOB, body, name="holiday.bin")
    return await next_file(bob.events())


async def test_an_image_is_recognised_and_its_small_picture_read(api: Api, tmp_path: Path) -> None:
    async with serving(api) as (_, alice, bob):
        for kind in ("PNG", "JPEG", "GIF", "WEBP"):
            body = picture(kind)
            received = await told_of(alice, bob, body)
            assert received.mtype == FileType.IMAGE
            assert received.url is not None and received.surl is not None
            small = io.BytesIO()
            await api.download(received.surl, small)
            with Image.open(small) as image:
                assert (image.format, image.size) == ("JPEG", (256, 128))
            whole = io.BytesIO()
            await api.download(received.url, whole)
            assert whole.getvalue() == body


async def test_where_none_can_be_made_the_file_comes_instead(api: Api) -> None:
    body = b"\x89PNG\r\n\x1a\n" + bytes(1000)
    async with serving(api) as (_, alice, bob):
        received = await told_of(alice, bob, body)
        assert received.surl is not None
        out = io.BytesIO()
        await api.download(received.surl, out)
        assert out.getvalue() == body


@pytest.mark.parametrize("count", [1, 5])
async def test_the_gate_goes_on_while_a_picture_is_made(api: Api, count: int) -> None:
    """Also where the store is in memory, and nothing else is done in threads."""
    begun, finish = threading.Event(), threading.Event()

    def slow(data: bytes) -> bytes | None:
        begun.set()
        assert finish.wait(SOON)
        return make_thumbnail(data)

    async with serving(api, make_thumbnail=slow) as (_, alice, bob):
        received = [await told_of(alice, bob, picture() + bytes(n)) for n in range(count)]
        made: list[bytes] = []

        async def read(event: FileReceived) -> None:
            out = io.BytesIO()
            assert event.surl is not None
            await api.download(event.surl, out)
            made.append(out.getvalue())

        async with anyio.create_task_group() as tasks:
            for event in received:
                tasks.start_soon(read, event)
            with anyio.fail_after(SOON):
                await anyio.to_thread.run_sync(begun.wait)
                for _ in range(3):
                    assert await alice.quest("ping", {}) == {}
                assert (await told_of(alice, bob, b"\0")).size == 1
            assert made == []
            finish.set()
        assert len(made) == count and all(data.startswith(b"\xff\xd8") for data in made)


async def test_one_stream_brings_what_is_asked_for_in_turn(api: Api) -> None:
    async with serving(api) as (gate, alice, bob):
        body = picture() + bytes(200_000)
        received = await told_of(alice, bob, body)
        assert received.url is not None and received.surl is not None
        authority = gate.file_address.authority
        paths = [url.partition(authority)[2] for url in (received.url, received.surl, received.url)]
        async with await anyio.connect_tcp(
            gate.file_address.host, gate.file_address.port
        ) as stream:
            for early in (False, True):
                http = h11.Connection(h11.CLIENT)
                heads = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
                if early:
                    await stream.send(b"".join(heads))
                bodies: list[bytes] = []
                for head in heads:
                    if not early:
                        await stream.send(head)
                    http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
                    http.send(h11.EndOfMessage())
                    with anyio.fail_after(SOON):
                        bodies.append(await one_body(http, stream))
                    http.start_next_cycle()
                assert bodies[0] == bodies[2] == body
                assert bodies[1].startswith(b"\xff\xd8")


async def one_body(http: h11.Connection, stream: anyio.abc.ByteStream) -> bytes:
    """The body of the next answer, a 200."""
    body = b""
    while True:
        event = http.next_event()
        match event:
            case h11.Response():
                assert event.status_code == 200
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return body
            case _:
                http.receive_data(await stream.receive())


async def test_a_link_of_a_second_is_soon_too_old(api: Api) -> None:
    async with serving(api, link_life=1.0) as (_, alice, bob):
        received = await told_of(alice, bob, picture())
        assert received.url is not None and received.surl is not None
        await anyio.sleep(2.0)
        for url in (received.url, received.surl):
            with pytest.raises(DownloadFailed, match="410"):
                await api.download(url, io.BytesIO())
            with pytest.raises(DownloadFailed, match="403"):
                await api.download(url.partition("?")[0], io.BytesIO())
