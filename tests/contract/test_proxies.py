"""Through proxies on sockets: HTTP and SOCKS5, friendly, slow and hostile."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
import trustme
from anyio.streams.buffered import BufferedByteReceiveStream

from rtm_proto.connection import Connection
from rtm_proto.errors import (
    ConnectFailed,
    DownloadFailed,
    FileNotSent,
    LocalProtocolError,
)
from rtm_proto.events import Answered, QuestReceived
from rtm_proto.flows.transfer import PIECE
from rtm_proto.link import StreamLink
from rtm_proto.proxies import Proxy
from rtm_proto.received import Disconnected, FileType, Reconnected
from tests.contract.test_sockets import LOCALHOST, free_port, log_in, served
from tests.contract.world import (
    ALICE,
    BOB,
    PID,
    SECRET,
    SOON,
    USERS,
    Api,
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

KINDS = pytest.mark.parametrize("kind", ["http", "socks5"])
SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp", "wss", "tcps"])
LOGIN = "us:p%20w"  # as a URL has it
BASIC = b64encode(b"us:p w")
REFUSED = {"http": "403 Forbidden", "socks5": "connection not allowed by ruleset"}
UNREACHED = {"http": "502 Bad Gateway", "socks5": "connection refused"}

Raw = anyio.abc.SocketStream
Place = tuple[str, int]


@dataclass
class FakeProxy:
    """A proxy on loopback, in a test's own loop."""

    kind: str
    login: bool = False  # whether it wants LOGIN
    trickles: bool = False  # whether its answers come byte by byte
    names: dict[str, Place] = field(default_factory=dict[str, Place])
    forbidden: set[int] = field(default_factory=set[int])  # ports
    asked: list[Place] = field(default_factory=list[Place])
    visits: int = 0  # how many are there now
    port: int = 0
    paths: list[Raw] = field(default_factory=list[Raw])

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"{self.kind}://{LOGIN + '@' if self.login else ''}{LOCALHOST}:{self.port}"

    async def gone(self) -> None:
        """Wait until nobody is there."""
        with anyio.fail_after(SOON):
            while self.visits:  # noqa: ASYNC110 - a count has no event
                await anyio.sleep(0.002)

    async def serve(self, stream: Raw) -> None:
        """One visitor."""
        self.visits += 1
        try:
            async with stream:
                reader = BufferedByteReceiveStream(stream)
                greet = self._greet_http if self.kind == "http" else self._greet_socks
                place = await greet(stream, reader)
                if place is not None:
                    await self._pass_on(stream, reader, place)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, OSError):
            pass  # the visitor left: that is what some tests do
        finally:
            self.visits -= 1

    async def _greet_http(self, stream: Raw, reader: BufferedByteReceiveStream) -> Place | None:
        head = await reader.receive_until(b"\r\n\r\n", 8192)
        method, target, version = head.split(b"\r\n")[0].split()
        assert (method, version) == (b"CONNECT", b"HTTP/1.1")
        assert b"\r\nHost: " + target in head
        if self.login and b"\r\nProxy-Authorization: Basic " + BASIC not in head:
            await self._say(stream, b"HTTP/1.1 407 Authenticate\r\n\r\n")
            return None
        host, _, port = target.decode().rpartition(":")
        return host.strip("[]"), int(port)

    async def _greet_socks(self, stream: Raw, reader: BufferedByteReceiveStream) -> Place | None:
        version, count = await reader.receive_exactly(2)
        methods = await reader.receive_exactly(count)
        wanted = 2 if self.login else 0
        assert (version, methods[0]) == (5, 0)
        if wanted not in methods:
            await self._say(stream, b"\x05\xff")
            return None
        await self._say(stream, bytes([5, wanted]))
        if self.login:
            words = [await reader.receive_exactly(1)]
            for _ in range(2):
                (size,) = await reader.receive_exactly(1)
                words.append(await reader.receive_exactly(size))
            welcome = words == [b"\x01", b"us", b"p w"]
            await self._say(stream, b"\x01\x00" if welcome else b"\x01\x01")
            if not welcome:
                return None
        *_, kind = await reader.receive_exactly(4)
        if kind == 3:
            (size,) = await reader.receive_exactly(1)
            host = (await reader.receive_exactly(size)).decode()
        else:
            host = str(ip_address(await reader.receive_exactly({1: 4, 4: 16}[kind])))
        return host, int.from_bytes(await reader.receive_exactly(2), "big")

    async def _pass_on(self, stream: Raw, reader: BufferedByteReceiveStream, place: Place) -> None:
        self.asked.append(place)
        host, port = self.names.get(place[0], place)
        if place[1] in self.forbidden:
            await self._say(stream, self.answer(403, "Forbidden", 2))
            return
        try:
            target = await anyio.connect_tcp(host, port)
        except OSError:
            await self._say(stream, self.answer(502, "Bad Gateway", 5))
            return
        self.paths.append(target)
        async with target:
            await self._say(stream, self.answer(200, "OK", 0))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pump, reader, target, tasks)
                tasks.start_soon(self._pump, target, stream, tasks)

    async def _pump(
        self, source: anyio.abc.ByteReceiveStream, to: Raw, tasks: anyio.abc.TaskGroup
    ) -> None:
        try:
            async for data in source:
                await to.send(data)
            await to.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, RuntimeError):
            tasks.cancel_scope.cancel()  # uvloop raises the last one where a transport is closed

    def answer(self, status: int, reason: str, code: int) -> bytes:
        """The proxy's last word, as its kind says it."""
        if self.kind == "http":
            return f"HTTP/1.1 {status} {reason}\r\nVia: test\r\n\r\n".encode()
        return bytes([5, code, 0, 1, 127, 0, 0, 1, 4, 56])

    async def _say(self, stream: Raw, data: bytes) -> None:
        for piece in [data[n : n + 1] for n in range(len(data))] if self.trickles else [data]:
            await stream.send(piece)
            await anyio.sleep(0.001 if self.trickles else 0)


@asynccontextmanager
async def open_proxy(kind: str, **options: Any) -> AsyncGenerator[FakeProxy, None]:
    """A proxy; at its end nobody is there any more."""
    proxy = FakeProxy(kind, **options)
    listener = await anyio.create_tcp_listener(local_host=LOCALHOST)
    proxy.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, proxy.serve)
        yield proxy
        await proxy.gone()
        tasks.cancel_scope.cancel()


# --- the whole way ---


@KINDS
@SCHEMES
@pytest.mark.parametrize("options", [{}, {"login": True}, {"login": True, "trickles": True}])
async def test_a_file_goes_through_a_proxy(
    api: Api,
    kind: str,
    scheme: str,
    options: dict[str, Any],
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    body = os.urandom(2 * PIECE + 5)
    ours, theirs = contexts(authority) if scheme in ("wss", "tcps") else (None, None)
    async with (
        open_proxy(kind, **options) as proxy,
        api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate,
    ):
        url = f"{scheme}://{gate.address.authority}"
        way = {"pid": PID, "ssl_context": theirs, "proxy": proxy.url}
        async with (
            api.open_client(url, uid=ALICE, token=USERS[ALICE], **way) as alice,
            api.open_client(url, uid=BOB, token=USERS[BOB], **way) as bob,
        ):
            sent = await alice.send_file(FileType.FILE, BOB, body)
            event = await next_file(bob.events())
            saved = await bob.download(event, tmp_path / "file")
        assert event.mid == sent.mid
        assert saved.path.read_bytes() == body
        main, files = gate.address.port, gate.file_address.port
        assert proxy.asked == [(LOCALHOST, port) for port in (main, main, files, files)]
        await emptied(gate)


@KINDS
async def test_a_server_goes_through_a_proxy(api: Api, kind: str) -> None:
    async with (
        open_proxy(kind) as proxy,
        api.serve_gate(pid=PID, users=USERS, secret=SECRET) as gate,
    ):
        way = {"pid": PID, "proxy": proxy.url}
        async with (
            api.open_server(gate.url, secret=SECRET, **way) as server,
            api.open_client(gate.url, uid=BOB, token=USERS[BOB], **way) as bob,
        ):
            await server.send_file(ALICE, FileType.FILE, BOB, b"data")
            assert (await next_file(bob.events())).size == 4
        assert len(proxy.asked) == 3
        await emptied(gate)


@KINDS
async def test_the_proxy_looks_the_names_up(api: Api, kind: str) -> None:
    async with open_proxy(kind) as proxy, api.serve_gate(pid=PID, users=USERS) as gate:
        proxy.names = {
            "gate.invalid": (LOCALHOST, gate.address.port),
            "fileproxy-gate.invalid": (LOCALHOST, gate.file_address.port),
        }
        async with api.open_client(
            "ws://gate.invalid", pid=PID, uid=ALICE, token=USERS[ALICE], proxy=proxy.url
        ) as alice:
            await alice.send_file(FileType.FILE, BOB, b"data")
        assert proxy.asked == [("gate.invalid", 13321), ("fileproxy-gate.invalid", 13461)]
        await emptied(gate)


@KINDS
@pytest.mark.parametrize("secure", [False, True])
async def test_ipv6_through_a_proxy(
    api: Api, kind: str, secure: bool, authority: trustme.CA
) -> None:
    ours, theirs = contexts(authority, "::1") if secure else (None, None)
    async with (
        open_proxy(kind) as proxy,
        api.serve_gate(pid=PID, users=USERS, host="::1", ssl_context=ours) as gate,
    ):
        await log_in(api, gate.url, proxy=proxy.url, ssl_context=theirs)
        assert proxy.asked == [("::1", gate.address.port)]
        await emptied(gate)


async def test_a_proxy_of_parts(api: Api) -> None:
    async with (
        open_proxy("http", login=True) as proxy,
        api.serve_gate(pid=PID, users=USERS) as gate,
    ):
        parts = Proxy("http", LOCALHOST, proxy.port, b"us", b"p w")
        await log_in(api, gate.url, proxy=parts)
        await emptied(gate)


@KINDS
async def test_logging_in_again_goes_through_the_proxy_too(api: Api, kind: str) -> None:
    async with open_proxy(kind) as proxy, api.serve_gate(pid=PID, users=USERS) as gate:
        async with api.open_client(
            gate.url, pid=PID, uid=ALICE, token=USERS[ALICE], proxy=proxy.url
        ) as alice:
            await proxy.paths[0].aclose()
            events = alice.events()
            assert isinstance(await next_event(events), Disconnected)
            assert await next_event(events) == Reconnected()
        assert proxy.asked == [(LOCALHOST, gate.address.port)] * 2
        await emptied(gate)


@KINDS
async def test_what_comes_behind_the_proxys_answer_is_not_lost(api: Api, kind: str) -> None:
    """A target that speaks first, in one piece with the proxy's last answer."""
    connection = Connection(StreamLink())
    connection.connected(now=0.0)
    connection.send_quest("ping", {}, deadline=None)
    proxy = FakeProxy(kind)
    seen: list[str] = []

    async def serve(stream: Raw) -> None:
        async with stream:
            await stream.receive()
            if kind == "socks5":
                await stream.send(b"\x05\x00")
                await stream.receive()
            await stream.send(proxy.answer(200, "OK", 0) + b"".join(connection.data_to_send()))
            async for data in stream:
                connection.receive_data(data, now=0.0)
                for event in connection.events():
                    if isinstance(event, Answered):
                        seen.append("the answer to our ping")
                    elif isinstance(event, QuestReceived):
                        seen.append(event.method)
                        connection.answer(event.quest_id, {"ok": True})
                await stream.send(b"".join(connection.data_to_send()))

    async with port_that(serve) as port, port_that(stopped) as nowhere:
        with anyio.fail_after(SOON):
            url = f"{kind}://{LOCALHOST}:{port}"
            await log_in(api, f"tcp://{LOCALHOST}:{nowhere}", proxy=url, relogin=None)
    assert sorted(seen) == ["auth", "bye", "the answer to our ping"]


async def stopped(stream: Raw) -> None:
    """Nobody should come here."""
    raise AssertionError("this connection goes around the proxy")


@asynccontextmanager
async def port_that(serve: Any) -> AsyncGenerator[int, None]:
    """A port where each visitor meets *serve*."""
    listener = await anyio.create_tcp_listener(local_host=LOCALHOST)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


# --- off by default ---


async def test_the_environment_is_not_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "socks_proxy"):
        monkeypatch.setenv(name, f"http://{LOCALHOST}:{free_port()}")
        monkeypatch.setenv(name.upper(), f"http://{LOCALHOST}:{free_port()}")
    async with api.serve_gate(pid=PID, users=USERS) as gate:
        await log_in(api, gate.url)
        await emptied(gate)


@pytest.mark.parametrize("proxy", ["", "127.0.0.1:1", "https://u:secret@h:1", "http://u:secret", 1])
async def test_a_bad_url_is_a_local_error(api: Api, proxy: Any, tmp_path: Path) -> None:
    server = api.open_server("ws://h", pid=PID, secret=SECRET, proxy=proxy)
    for attempt in (log_in(api, "ws://h", proxy=proxy), enter(server)):
        with pytest.raises(LocalProtocolError, match="a proxy is http://") as caught:
            await attempt
        assert "secret" not in str(caught.value)
    with pytest.raises(LocalProtocolError, match="a proxy is http://"):
        await api.download("http://h/file", tmp_path, proxy=proxy)
    assert os.listdir(tmp_path) == []


async def enter(context: Any) -> None:
    async with context:
        pass


async def test_a_stream_of_ones_own_has_no_proxy(api: Api) -> None:
    async def connect(address: object) -> Any:
        raise AssertionError("called")

    with pytest.raises(LocalProtocolError, match="give one of them"):
        await log_in(api, "ws://h", proxy="http://h:1", connect=connect)


# --- proxies that fail ---


@KINDS
@SCHEMES
async def test_a_proxy_that_refuses(api: Api, kind: str, scheme: str) -> None:
    port = free_port()
    async with open_proxy(kind, forbidden={port}) as proxy:
        with pytest.raises(ConnectFailed, match=f"through {proxy.url}: .*{REFUSED[kind]}"):
            await log_in(api, f"{scheme}://{LOCALHOST}:{port}", proxy=proxy.url)
        with pytest.raises(ConnectFailed, match=UNREACHED[kind]):
            await log_in(api, f"{scheme}://{LOCALHOST}:{free_port()}", proxy=proxy.url)
        assert len(proxy.asked) == 2


@KINDS
async def test_a_file_link_and_a_download_that_the_proxy_refuses(
    api: Api, kind: str, tmp_path: Path
) -> None:
    async with open_proxy(kind) as proxy, api.serve_gate(pid=PID, users=USERS) as gate:
        proxy.forbidden = {gate.file_address.port}
        async with api.open_client(
            gate.url, pid=PID, uid=ALICE, token=USERS[ALICE], proxy=proxy.url
        ) as alice:
            with pytest.raises(FileNotSent, match=REFUSED[kind]):
                await alice.send_file(FileType.FILE, BOB, b"data", timeout=1)
            with pytest.raises(DownloadFailed, match=REFUSED[kind]):
                await alice.download(f"http://{gate.file_address.authority}/x", tmp_path, 0.5)
            await alice.quest("ping")
        await emptied(gate)


@pytest.mark.parametrize(
    ("kind", "login", "told"),
    [
        ("http", "", "407 Authenticate: it wants a login"),
        ("http", "us:secret@", "407 Authenticate: it did not take the user and password"),
        ("socks5", "", "the proxy wants a login"),
        ("socks5", "us:secret@", "the proxy did not take the user and password"),
    ],
)
async def test_a_wrong_login(api: Api, kind: str, login: str, told: str) -> None:
    async with open_proxy(kind, login=True) as proxy:
        with pytest.raises(ConnectFailed, match=told) as caught:
            url = f"{kind}://{login}{LOCALHOST}:{proxy.port}"
            await log_in(api, f"ws://{LOCALHOST}:1", proxy=url)
        assert "secret" not in str(caught.value)
        assert proxy.asked == []


@KINDS
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff" * 10_000, b"\x05", b"\x05\x00", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 " * 99],
)
async def test_a_proxy_that_talks_nonsense_or_leaves(
    api: Api, kind: str, answer: bytes, reset: bool
) -> None:
    async with served(answer, reset=reset) as port:
        url = f"{kind}://{LOCALHOST}:{port}"
        with pytest.raises(ConnectFailed, match=f"tcp://{LOCALHOST}:1 through {url}: "):
            await log_in(api, f"tcp://{LOCALHOST}:1", proxy=url)


@KINDS
@SCHEMES
async def test_a_proxy_that_says_nothing(api: Api, kind: str, scheme: str) -> None:
    async with served(None) as port:
        url = f"{kind}://{LOCALHOST}:{port}"
        with pytest.raises(ConnectFailed, match=f"through {url} in time"):
            await log_in(api, f"{scheme}://{LOCALHOST}:1", proxy=url, login_timeout=0.1)


@KINDS
async def test_a_proxy_whose_answer_comes_too_slowly(api: Api, kind: str) -> None:
    async def serve(stream: Raw) -> None:
        try:
            async with stream:
                await stream.send(b"HTTP/1.1 100 x\r\na: " if kind == "http" else b"\x05")
                while kind == "http":
                    await anyio.sleep(0.01)
                    await stream.send(b"x")
                await anyio.sleep_forever()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the client has had enough

    async with port_that(serve) as port:
        with pytest.raises(ConnectFailed, match="in time"):
            url = f"{kind}://{LOCALHOST}:{port}"
            await log_in(api, f"ws://{LOCALHOST}:1", proxy=url, login_timeout=0.2)


@KINDS
async def test_a_proxy_that_is_not_there(api: Api, kind: str) -> None:
    url = f"{kind}://{LOCALHOST}:{free_port()}"
    with pytest.raises(ConnectFailed, match=f"through {url}: the proxy cannot be reached: "):
        await log_in(api, f"ws://{LOCALHOST}:1", proxy=url)


@KINDS
@pytest.mark.parametrize("scheme", ["wss", "tcps"])
async def test_a_certificate_is_checked_for_the_target(
    api: Api, kind: str, scheme: str, authority: trustme.CA
) -> None:
    ours, theirs = contexts(authority, "other.example")
    async with (
        open_proxy(kind) as proxy,
        api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate,
    ):
        url = f"{scheme}://gate.invalid:{gate.address.port}"
        proxy.names = {
            "gate.invalid": (LOCALHOST, gate.address.port),
            "other.example": (LOCALHOST, gate.address.port),
        }
        with pytest.raises(ConnectFailed, match=r"gate\.invalid"):
            await log_in(api, url, proxy=proxy.url, ssl_context=theirs)
        url = url.replace("gate.invalid", "other.example")
        await log_in(api, url, proxy=proxy.url, ssl_context=theirs)
        await emptied(gate)


# --- cancelled ---


@KINDS
@pytest.mark.parametrize("scheme", ["tcp", "wss"])
async def test_connecting_can_be_cancelled_at_any_time(
    api: Api, kind: str, scheme: str, authority: trustme.CA
) -> None:
    ours, theirs = contexts(authority) if scheme == "wss" else (None, None)
    async with (
        open_proxy(kind, login=True, trickles=True) as proxy,
        api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate,
    ):
        cancelled = 0
        for pause in range(60):
            with anyio.move_on_after(pause / 1_000) as scope:
                await log_in(
                    api,
                    f"{scheme}://{gate.address.authority}",
                    proxy=proxy.url,
                    ssl_context=theirs,
                )
            cancelled += scope.cancelled_caught
            await proxy.gone()
        assert cancelled
        await log_in(
            api, f"{scheme}://{gate.address.authority}", proxy=proxy.url, ssl_context=theirs
        )
        await emptied(gate)


@KINDS
async def test_connecting_can_be_cancelled_after_every_round(api: Api, kind: str) -> None:
    async with open_proxy(kind) as proxy, api.serve_gate(pid=PID, users=USERS) as gate:
        for rounds in range(1, 500):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel(rounds: int = rounds, scope: Any = scope) -> None:
                        for _ in range(rounds):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    tasks.start_soon(cancel)
                    await log_in(api, gate.url, proxy=proxy.url)
                    tasks.cancel_scope.cancel()
            await proxy.gone()
            if not scope.cancelled_caught:
                break
        else:
            raise AssertionError("never got through")
        await emptied(gate)
