"""The same on sockets, with the clock of the machine: ports, TLS, IPv6, downloads."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
import trio
import trustme

from rtm_proto.download import DownloadProgress
from rtm_proto.errors import (
    ConnectFailed,
    DownloadFailed,
    FileNotSent,
    FileUnusable,
    LocalProtocolError,
    LoginFailed,
    StoreFault,
)
from rtm_proto.files import StreamSink
from rtm_proto.flows.transfer import MAX_FILE, PIECE
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import Kept
from rtm_proto.received import Disconnected, FileReceived, FileType
from rtm_trio._wire import MAX_UNSENT
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    PID,
    SOON,
    USERS,
    Api,
    Client,
    GateServer,
    contexts,
    emptied,
    next_event,
    next_file,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
    ),
]

LOCALHOST = "127.0.0.1"
PEM = "-----"


@asynccontextmanager
async def pair(
    api: Api, scheme: str = "ws", *, authority: trustme.CA | None = None, **options: Any
) -> AsyncGenerator[tuple[GateServer, Client, Client], None]:
    """A gate, Alice and Bob; at the end the gate is empty."""
    ours = theirs = None
    if authority is not None:
        ours, theirs = contexts(authority, options.get("host", LOCALHOST))
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours, **options) as gate:
        url = f"{scheme}://{gate.address.authority}"
        async with (
            api.open_client(
                url, pid=PID, uid=ALICE, token=USERS[ALICE], ssl_context=theirs
            ) as alice,
            api.open_client(url, pid=PID, uid=BOB, token=USERS[BOB], ssl_context=theirs) as bob,
        ):
            yield gate, alice, bob
        await emptied(gate)


# --- the whole way ---


@pytest.mark.parametrize("scheme", ["ws", "tcp", "wss", "tcps"])
async def test_a_file_goes_from_disk_to_disk(
    api: Api, scheme: str, authority: trustme.CA, tmp_path: Path
) -> None:
    source = tmp_path / "photo of ü.jpg"
    source.write_bytes(os.urandom(3 * PIECE + 5))
    secure = authority if scheme.endswith("s") and scheme != "ws" else None
    async with pair(api, scheme, authority=secure) as (_, alice, bob):
        sent = await alice.send_file(FileType.IMAGE, BOB, source)
        event = await next_file(bob.events())
        assert event.url is not None
        assert event.url.startswith("https://" if secure else "http://")
        told: list[DownloadProgress] = []
        (tmp_path / "in").mkdir()
        saved = await bob.download(event, tmp_path / "in", progress=told.append)
        assert saved.path == tmp_path / "in" / source.name
        assert saved.path.read_bytes() == source.read_bytes()
        assert saved.md5 == hashlib.md5(source.read_bytes()).hexdigest()
        assert (saved.size, saved.attempts, event.mid) == (3 * PIECE + 5, 1, sent.mid)
        assert told[-1] == DownloadProgress(saved.size, saved.size)
        assert os.listdir(tmp_path / "in") == [source.name]
        again = await alice.send_file(FileType.IMAGE, BOB, source, sent.mid)
        assert again.duplicate


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_groups_and_rooms(api: Api, scheme: str) -> None:
    async with pair(api, scheme) as (_, alice, bob):
        await alice.quest("addgroupmembers", {"gid": 5, "uids": [ALICE, BOB]})
        for client in (alice, bob):
            await client.quest("enterroom", {"rid": 6})
        mids = [
            (await alice.send_group_file(FileType.FILE, 5, b"to the group")).mid,
            (await alice.send_room_file(FileType.FILE, 6, b"to the room")).mid,
        ]
        events = bob.events()
        assert [(await next_file(events)).mid for _ in mids] == mids


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_the_largest_file_goes_from_disk_to_disk(
    api: Api, scheme: str, tmp_path: Path
) -> None:
    body = os.urandom(PIECE) * (MAX_FILE // PIECE)
    async with pair(api, scheme) as (_, alice, bob):
        await alice.send_file(FileType.VIDEO, BOB, body)
        saved = await bob.download(await next_file(bob.events()), tmp_path / "large")
        assert saved.path.read_bytes() == body


async def test_ten_sends_at_once(api: Api) -> None:
    async with pair(api) as (_, alice, bob):

        async def send_one(number: int) -> None:
            await alice.send_file(FileType.FILE, BOB, bytes([number]) * PIECE)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(send_one, number)
        events = bob.events()
        assert len({(await next_file(events)).mid for _ in range(10)}) == 10


@pytest.mark.parametrize("secure", [False, True])
async def test_ipv6(api: Api, authority: trustme.CA, secure: bool, tmp_path: Path) -> None:
    used = authority if secure else None
    scheme = "wss" if secure else "ws"
    async with pair(api, scheme, host="::1", authority=used) as (gate, alice, bob):
        assert gate.url.startswith(f"{scheme}://[::1]:")
        await alice.send_file(FileType.FILE, BOB, b"data")
        event = await next_file(bob.events())
        assert (await bob.download(event, tmp_path / "file")).path.read_bytes() == b"data"


async def test_a_host_with_a_name(api: Api, tmp_path: Path) -> None:
    async with pair(api, host="localhost") as (_, alice, bob):
        await alice.send_file(FileType.FILE, BOB, b"data")
        event = await next_file(bob.events())
        assert (await bob.download(event, tmp_path / "file")).path.read_bytes() == b"data"


# --- downloads that fail ---


@asynccontextmanager
async def received(api: Api, **options: Any) -> AsyncGenerator[FileReceived, None]:
    """A file that waits to be fetched."""
    async with pair(api, **options) as (_, alice, bob):
        await alice.send_file(FileType.FILE, BOB, b"some data", name="file.bin")
        yield await next_file(bob.events())


async def test_what_is_there_is_not_overwritten_unless_asked(api: Api, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"old")
    async with received(api) as event:
        with pytest.raises(FileExistsError, match=r"file\.bin"):
            await api.download(event, tmp_path)
        assert (tmp_path / "file.bin").read_bytes() == b"old"
        await api.download(event, tmp_path, overwrite=True)
        assert (tmp_path / "file.bin").read_bytes() == b"some data"
    assert os.listdir(tmp_path) == ["file.bin"]


async def test_a_download_goes_where_it_is_wanted(api: Api, tmp_path: Path) -> None:
    async def open_beside(name: str) -> anyio.AsyncFile[bytes]:
        return await anyio.open_file(tmp_path / f"{name}.own", "wb")

    async with pair(api) as (_, alice, bob):
        await alice.send_file(FileType.FILE, BOB, b"some data", name="file.bin")
        event = await next_file(bob.events())
        with io.BytesIO() as own:
            done = await bob.download(event, own)
            assert (own.getvalue(), done.name, done.size) == (b"some data", "file.bin", 9)
        done = await bob.download(event, StreamSink(open_beside))
        assert done.md5 == hashlib.md5(b"some data").hexdigest()
        with pytest.raises(FileUnusable, match="a binary file that is open for writing"):
            await bob.download(event, io.StringIO())  # type: ignore[call-overload]
    assert (tmp_path / "file.bin.own").read_bytes() == b"some data"
    assert os.listdir(tmp_path) == ["file.bin.own"]


@pytest.mark.parametrize(
    ("options", "error", "shown"),
    [
        ({"max_size": 8}, DownloadFailed, "over the limit of 8"),
        ({"expected_md5": "0" * 32}, DownloadFailed, "md5"),
        ({"to": "missing/folder/file"}, FileNotFoundError, "missing/folder"),
    ],
)
async def test_a_download_that_fails_leaves_no_file(
    api: Api, options: dict[str, Any], error: type[Exception], shown: str, tmp_path: Path
) -> None:
    async with received(api) as event:
        with pytest.raises(error, match=shown):
            await api.download(event, **{**options, "to": tmp_path / options.get("to", "")})
    assert os.listdir(tmp_path) == []


async def test_a_file_that_is_gone_is_a_404(api: Api, tmp_path: Path) -> None:
    async with received(api) as event:
        assert event.url is not None
        url = event.url.replace(event.url.split("/")[4], "f" * 32)
        with pytest.raises(DownloadFailed, match="404") as caught:
            await api.download(url, tmp_path)
        assert caught.value.status == 404


async def test_a_store_that_cannot_read_is_a_500(api: Api, tmp_path: Path) -> None:
    class Unreadable(MemoryStore):
        def read_file(self, key: str, offset: int, length: int) -> bytes:
            raise StoreFault("no")

    async with received(api, store=Unreadable()) as event:
        with pytest.raises(DownloadFailed, match="500") as caught:
            await api.download(event, tmp_path)
        assert caught.value.status == 500


async def test_a_download_can_be_cancelled_at_any_time(api: Api, tmp_path: Path) -> None:
    async with received(api) as event:
        for rounds in range(1, 200):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel(rounds: int = rounds, scope: Any = scope) -> None:
                        for _ in range(rounds):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    tasks.start_soon(cancel)
                    await api.download(event, tmp_path)
                    tasks.cancel_scope.cancel()
            if not scope.cancelled_caught:
                break
            assert os.listdir(tmp_path) == []
        assert os.listdir(tmp_path) == ["file.bin"]


async def test_an_error_of_the_progress_callback_comes_out_of_a_download(
    api: Api, tmp_path: Path
) -> None:
    error = OSError("mine")

    def fail(progress: DownloadProgress) -> None:
        raise error

    async with received(api) as event:
        with pytest.raises(OSError, match="mine") as caught:
            await api.download(event, tmp_path, progress=fail)
        assert caught.value is error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("url", ["", "ftp://x/y", "http://", "http://user:pw@host/", "file:///x"])
async def test_a_bad_url_is_a_local_error(api: Api, url: str, tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        await api.download(url, tmp_path)
    assert "pw" not in str(caught.value)


async def test_a_server_that_is_not_there_is_a_failed_download(api: Api, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed):
        await api.download(f"http://{LOCALHOST}:{free_port()}/x", tmp_path, 0.5)


@pytest.mark.parametrize(
    "answer", [b"", b"\xff" * 100, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"]
)
async def test_a_server_that_talks_nonsense_is_a_failed_download(
    api: Api, answer: bytes, tmp_path: Path
) -> None:
    async with served(answer) as port:
        with pytest.raises(DownloadFailed):
            await api.download(f"http://{LOCALHOST}:{port}/x", tmp_path / "file", 0.5)
    assert os.listdir(tmp_path) == []


async def test_a_server_that_says_nothing_is_a_failed_download(api: Api, tmp_path: Path) -> None:
    async with served(None) as port:
        with pytest.raises(DownloadFailed, match=r"0\.3 s"):
            await api.download(f"http://{LOCALHOST}:{port}/x", tmp_path / "file", 0.3)


# --- connections that fail ---


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((LOCALHOST, 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def served(answer: bytes | None, *, reset: bool = False) -> AsyncGenerator[int, None]:
    """A port where each first word gets *answer* and then the end; None: nothing at all."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await stream.receive()
                if answer is None:
                    await anyio.sleep_forever()
                else:
                    await stream.send(answer)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
            if reset:
                raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    listener = await anyio.create_tcp_listener(local_host=LOCALHOST)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def log_in(api: Api, url: str, **options: Any) -> None:
    """Log Alice in and out."""
    async with api.open_client(url, pid=PID, uid=ALICE, token=USERS[ALICE], **options):
        pass


@pytest.mark.parametrize("scheme", ["ws", "tcp", "wss", "tcps"])
async def test_a_port_where_nobody_listens(api: Api, scheme: str) -> None:
    port = free_port()
    with pytest.raises(ConnectFailed, match=f"{scheme}://{LOCALHOST}:{port}"):
        await log_in(api, f"{scheme}://{LOCALHOST}:{port}")


async def test_a_host_that_does_not_exist(api: Api) -> None:
    with pytest.raises(ConnectFailed, match=r"nowhere\.invalid"):
        await log_in(api, "ws://nowhere.invalid", login_timeout=5)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("scheme", ["ws", "tcp", "wss", "tcps"])
@pytest.mark.parametrize("answer", [b"", b"\xff" * 1000])
async def test_a_port_where_something_else_answers(
    api: Api, scheme: str, answer: bytes, reset: bool
) -> None:
    async with served(answer, reset=reset) as port:
        with pytest.raises((ConnectFailed, LoginFailed)):
            await log_in(api, f"{scheme}://{LOCALHOST}:{port}")


@pytest.mark.parametrize("scheme", ["ws", "tcp", "wss", "tcps"])
async def test_a_port_where_nothing_answers(api: Api, scheme: str) -> None:
    async with served(None) as port:
        with pytest.raises((ConnectFailed, LoginFailed)):
            await log_in(api, f"{scheme}://{LOCALHOST}:{port}", login_timeout=0.1)


@pytest.mark.parametrize("scheme", ["wss", "tcps"])
async def test_a_certificate_that_is_not_trusted(
    api: Api, scheme: str, authority: trustme.CA
) -> None:
    ours, theirs = contexts(authority)
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
        url = f"{scheme}://{gate.address.authority}"
        with pytest.raises(ConnectFailed, match="certificate verify failed") as caught:
            await log_in(api, url)
        assert PEM not in str(caught.value)
        await log_in(api, url, ssl_context=theirs)
        await emptied(gate)


async def test_a_certificate_of_another_host(api: Api, authority: trustme.CA) -> None:
    ours, theirs = contexts(authority, "other.example")
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
        with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1"):
            await log_in(api, gate.url, ssl_context=theirs)


async def test_a_client_without_tls_at_a_gate_with_it(api: Api, authority: trustme.CA) -> None:
    ours, _ = contexts(authority)
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
        for scheme in ("ws", "tcp"):
            with pytest.raises((ConnectFailed, LoginFailed)):
                await log_in(api, f"{scheme}://{gate.address.authority}")
        await emptied(gate)


async def test_a_client_with_tls_at_a_gate_without_it(api: Api, authority: trustme.CA) -> None:
    _, theirs = contexts(authority)
    async with api.serve_gate(pid=PID, users=USERS) as gate:
        with pytest.raises(ConnectFailed):
            await log_in(api, f"wss://{gate.address.authority}", ssl_context=theirs)
        await emptied(gate)


@pytest.mark.parametrize("scheme", ["ws", "tcp", "wss", "tcps"])
async def test_the_end_of_a_gate_is_told(api: Api, scheme: str, authority: trustme.CA) -> None:
    ours, theirs = contexts(authority) if scheme in ("wss", "tcps") else (None, None)
    stop = anyio.Event()

    async def run_gate(*, task_status: anyio.abc.TaskStatus[GateServer]) -> None:
        async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
            task_status.started(gate)
            await stop.wait()

    async with anyio.create_task_group() as tasks:
        gate: GateServer = await tasks.start(run_gate)
        async with api.open_client(
            f"{scheme}://{gate.address.authority}",
            pid=PID,
            uid=ALICE,
            token=USERS[ALICE],
            ssl_context=theirs,
            relogin=None,
        ) as alice:
            stop.set()
            assert isinstance(await next_event(alice.events()), Disconnected)
            with pytest.raises(FileNotSent):
                await alice.send_file(FileType.FILE, BOB, b"data")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_file_gate_that_ends_inside_the_file(api: Api, reset: bool) -> None:
    async with served(b"", reset=reset) as port:
        async with (
            api.serve_gate(pid=PID, users=USERS, endpoint=f"{LOCALHOST}:{port}") as gate,
            api.open_client(
                f"tcp://{gate.address.authority}", pid=PID, uid=ALICE, token=USERS[ALICE]
            ) as alice,
        ):
            with pytest.raises(FileNotSent):
                await alice.send_file(FileType.FILE, BOB, bytes(MAX_FILE), timeout=0.9)
            await alice.quest("ping")


# --- gates ---


async def test_a_port_in_use_is_an_os_error(api: Api) -> None:
    async with api.serve_gate(pid=PID, users=USERS) as gate:
        for taken in (
            {"port": gate.address.port},
            {"file_port": gate.address.port},
            {"port": free_port(), "file_port": gate.file_address.port},
        ):
            with pytest.raises(OSError, match="in use"):
                async with api.serve_gate(pid=PID, users=USERS, **taken):
                    raise AssertionError("bound")


async def test_a_store_that_cannot_be_read_is_told_and_binds_nothing(api: Api) -> None:
    class Unreadable(MemoryStore):
        def kept(self, since: int) -> Kept:
            raise StoreFault("no disk")

    port = free_port()
    with pytest.raises(StoreFault, match="no disk"):
        async with api.serve_gate(pid=PID, users=USERS, port=port, store=Unreadable()):
            raise AssertionError("served")
    async with api.serve_gate(pid=PID, users=USERS, port=port):
        pass


async def test_a_gate_takes_the_ports_that_it_is_given(api: Api) -> None:
    one, two = free_port(), free_port()
    async with api.serve_gate(pid=PID, users=USERS, port=one, file_port=two) as gate:
        assert (gate.address.port, gate.file_address.port) == (one, two)
        await log_in(api, gate.url)


async def test_a_gate_that_ends_drops_whoever_is_there(api: Api, authority: trustme.CA) -> None:
    """Also who is in the middle of a handshake."""
    ours, _ = contexts(authority)
    for context in (None, ours):
        async with api.serve_gate(pid=PID, users=USERS, ssl_context=context) as gate:
            strangers = [
                await anyio.connect_tcp(LOCALHOST, port)
                for port in (gate.address.port, gate.file_address.port)
                for _ in range(3)
            ]
            for stranger, data in zip(strangers, [b"G", b"F", b"\x16\x03\x01"] * 2, strict=True):
                await stranger.send(data)
            await anyio.sleep(0.02)
        for stranger in strangers:
            with (
                anyio.fail_after(SOON),
                pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)),
            ):
                await stranger.receive()
            await stranger.aclose()


async def test_a_gate_lives_through_bad_tls(api: Api, authority: trustme.CA) -> None:
    ours, theirs = contexts(authority)
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
        for data in (b"", b"\x16", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(600)):
            async with await anyio.connect_tcp(LOCALHOST, gate.address.port) as stranger:
                if data:
                    await stranger.send(data)
        await log_in(api, gate.url, ssl_context=theirs)
        await emptied(gate)


async def test_an_old_tls_is_refused(api: Api, authority: trustme.CA) -> None:
    ours, theirs = contexts(authority)
    ours.minimum_version = ssl.TLSVersion.TLSv1_3
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
        with pytest.raises(ConnectFailed):
            await log_in(api, gate.url, ssl_context=theirs)


async def test_the_kernel_takes_little_more_of_a_body_than_it_can_send(api: Api) -> None:
    sockets: list[socket.socket] = []

    async def connect(address: Any) -> Any:
        if api.name == "rtm_trio":
            stream: Any = await trio.open_tcp_stream(address.host, address.port)
            sockets.append(stream.socket)
        else:
            stream = await anyio.connect_tcp(address.host, address.port)
            sockets.append(stream.extra(anyio.abc.SocketAttribute.raw_socket))
        return stream

    async with pair(api) as (gate, *_):
        url = f"ws://{gate.address.authority}"
        token = USERS[CAROL]
        async with api.open_client(url, pid=PID, uid=CAROL, token=token, connect=connect):
            limit = sockets[-1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert limit == MAX_UNSENT
