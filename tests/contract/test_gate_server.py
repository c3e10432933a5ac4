"""A gate as a server: its ports, its places, its local socket, what it logs, and how it stops."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

import rtm_asyncio._doors
import rtm_trio._doors
from rtm_proto.codes import Code
from rtm_proto.command.acts import AdminQuest
from rtm_proto.command.administering import administer
from rtm_proto.command.exits import Exit
from rtm_proto.command.options import AdminOptions
from rtm_proto.command.screen import Screen
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    LocalProtocolError,
    LoginFailed,
    QuestRefused,
    SendFailed,
)
from rtm_proto.files import StreamSource
from rtm_proto.flows.transfer import PIECE
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import Port
from rtm_proto.gate.store import Effect, Result
from rtm_proto.package import encode_quest
from rtm_proto.payload import encode
from rtm_proto.received import Disconnected, FileReceived, FileType
from tests.contract.streams import End
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    PID,
    SECRET,
    SOON,
    USERS,
    Api,
    GateServer,
    contexts,
    next_event,
    next_file,
    open_world,
)

pytestmark = pytest.mark.anyio

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
SOCKETS = pytest.mark.parametrize(
    "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
)
LOCALHOST = "127.0.0.1"


# --- how it stops --------------------------------------------------------------------------------


class SlowStore(MemoryStore):
    """Takes its time: what it was asked is done when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    def carry_out(self, effect: Effect) -> Result:
        """At once, but not after the end."""
        assert not self.closed
        return super().carry_out(effect)

    def close(self) -> None:
        """Once."""
        self.closed += 1


async def slowly(pieces: int, seconds: float) -> AsyncIterator[bytes]:
    """A body that comes piece by piece."""
    for number in range(pieces):
        if number:
            await anyio.sleep(seconds)
        yield bytes([number]) * PIECE


@TIMED
async def test_a_gate_that_stops_sees_an_upload_through(api: Api) -> None:
    sent: list[int] = []
    async with open_world(api, store=SlowStore()) as world, world.client(BOB, "ws") as bob:
        async with world.client(ALICE) as alice, anyio.create_task_group() as tasks:

            async def send() -> None:
                source = StreamSource(10 * PIECE, lambda: slowly(10, 1.0), "slow")
                sent.append((await alice.send_file(FileType.FILE, BOB, source, timeout=60)).mid)

            tasks.start_soon(send)
            await anyio.sleep(3.5)
            began = anyio.current_time()
            await world.gate.stop(30)
            assert anyio.current_time() - began == pytest.approx(5.5, abs=0.1)
            assert len(sent) == 1
        assert (await next_file(bob.events())).mid == sent[0]
        assert isinstance(await next_event(bob.events()), Disconnected)
        assert world.gate.visits == 0


@TIMED
async def test_a_gate_that_stops_waits_no_longer_than_it_may(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice:
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                source = StreamSource(10 * PIECE, lambda: slowly(10, 5.0), "slow")
                with pytest.raises(SendFailed):
                    await alice.send_file(FileType.FILE, BOB, source, timeout=20)

            tasks.start_soon(send)
            await anyio.sleep(2)
            began = anyio.current_time()
            await world.gate.stop(3)
            assert 3 <= anyio.current_time() - began <= 3 + 5
            assert world.gate.visits == 0


@TIMED
async def test_a_gate_with_nothing_under_way_stops_at_once(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB, "ws"):
        began = anyio.current_time()
        await world.gate.stop()
        assert anyio.current_time() == pytest.approx(began, abs=0.1)
        with pytest.raises(ConnectionLost):
            await alice.quest("ping", {})


@TIMED
async def test_while_it_stops_new_quests_are_refused(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice:
        upload = world.stranger(port=Port.FILES)
        await upload.send(b"GET ")
        async with world.client(BOB) as bob, anyio.create_task_group() as tasks:

            async def send() -> None:
                source = StreamSource(3 * PIECE, lambda: slowly(3, 1.0), "slow")
                await bob.send_file(FileType.FILE, ALICE, source)

            tasks.start_soon(send)
            await anyio.sleep(0.5)
            tasks.start_soon(world.gate.stop)
            await anyio.sleep(0.5)
            assert await upload.receive_all() == b""
            with pytest.raises(QuestRefused) as caught:
                await alice.quest("filetoken", {"cmd": "sendfile", "to": BOB})
            assert caught.value.code == Code.SERVER_STOPPING
        await upload.close()


@SOCKETS
async def test_a_gate_that_has_stopped_takes_nobody(api: Api, tmp_path: Path) -> None:
    path = str(tmp_path / "admin")
    async with api.serve_gate(pid=PID, users=USERS, admin_socket=path, watch_port=0) as gate:
        await gate.stop()
        for address in (gate.address, gate.file_address):
            with pytest.raises(OSError):
                await anyio.connect_tcp(address.host, address.port)
        assert (await page(gate, "/healthz")).startswith(b"HTTP/1.1 503 ")
        assert (await admin(path, "stats"))["health"] == "stopping"
    assert os.listdir(tmp_path) == []


# --- who is there no more ------------------------------------------------------------------------


@TIMED
async def test_a_user_who_answers_no_ping_is_dropped_after_a_minute(api: Api) -> None:
    """Half-open: what is written to him is taken by the system, and nobody reads it."""
    async with open_world(api) as world:
        stranger = world.stranger()
        login = {"pid": PID, "uid": ALICE, "token": USERS[ALICE], "version": "test-1"}
        await stranger.send(encode_quest(b"auth", encode(login), 1))
        began = anyio.current_time()
        await stranger.receive_all()
        assert anyio.current_time() - began == pytest.approx(60, abs=0.1)
        await stranger.close()


@TIMED
async def test_a_user_who_only_listens_stays(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE, "ws") as alice, world.client(BOB):
        await anyio.sleep(3600)
        assert await alice.quest("ping", {}) == {}


# --- ports ---------------------------------------------------------------------------------------


async def page(gate: GateServer, path: str) -> bytes:
    """What the watch port says."""
    assert gate.watch_address is not None
    return await get(gate.watch_address.host, gate.watch_address.port, path)


async def get(host: str, port: int, path: str) -> bytes:
    """All that a GET brings."""
    async with await anyio.connect_tcp(host, port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        said = b""
        with anyio.fail_after(SOON):
            try:
                while True:
                    said += await stream.receive()
            except anyio.EndOfStream:
                return said


@SOCKETS
async def test_plain_and_tls_ports_stand_beside_each_other(api: Api, authority: trustme.CA) -> None:
    ours, theirs = contexts(authority)
    async with api.serve_gate(
        pid=PID, users=USERS, ssl_context=ours, tls_port=0, tls_file_port=0
    ) as gate:
        assert gate.tls_address is not None and gate.tls_file_address is not None
        assert not gate.address.tls and gate.tls_address.tls
        ports = {gate.address.port, gate.tls_address.port, gate.file_address.port}
        assert len(ports | {gate.tls_file_address.port}) == 4
        plain, secure = gate.address.authority, gate.tls_address.authority
        for urls in (
            (f"tcp://{plain}", f"tcps://{secure}"),
            (f"wss://{secure}", f"ws://{plain}"),
        ):
            async with (
                client(api, urls[0], ALICE, theirs) as alice,
                client(api, urls[1], BOB, theirs) as bob,
            ):
                for one, other, uid in ((alice, bob, BOB), (bob, alice, ALICE)):
                    await one.send_file(FileType.FILE, uid, b"data")
                    event = await next_file(other.events())
                    assert event.url is not None
                    assert event.url.startswith(f"https://{gate.tls_file_address.authority}/")
                    downloaded = await other.download(event, io.BytesIO())
                    assert downloaded.size == 4


def client(api: Api, url: str, uid: int, context: ssl.SSLContext | None = None) -> Any:
    """A user who is logged in."""
    return api.open_client(
        url, pid=PID, uid=uid, token=USERS[uid], ssl_context=context, relogin=None
    )


@SOCKETS
async def test_a_gate_listens_at_many_addresses(api: Api) -> None:
    hosts = (LOCALHOST, "::1", "127.0.0.2")
    async with api.serve_gate(pid=PID, users=USERS, host=hosts) as gate:
        for host in hosts:
            shown = f"[{host}]" if ":" in host else host
            async with client(api, f"ws://{shown}:{gate.address.port}", ALICE) as alice:
                assert await alice.quest("ping", {}) == {}


@SOCKETS
async def test_a_port_that_is_taken_is_an_error_and_nothing_is_left(api: Api) -> None:
    with socket.socket() as taken:
        taken.bind((LOCALHOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        for ports in ({"port": port}, {"file_port": port}, {"watch_port": port}):
            with pytest.raises(OSError):
                async with api.serve_gate(pid=PID, users=USERS, **ports):
                    raise AssertionError("it is bound")


@SOCKETS
async def test_ports_that_make_no_gate_are_an_error(api: Api) -> None:
    for ports in ({"port": None}, {"tls_port": 0}):
        with pytest.raises(LocalProtocolError):
            async with api.serve_gate(pid=PID, users=USERS, **ports):
                raise AssertionError("it is a gate")


@SOCKETS
async def test_health_and_figures_are_told_to_who_asks(api: Api) -> None:
    async with api.serve_gate(pid=PID, users=USERS, watch_port=0) as gate:
        async with client(api, gate.url, ALICE):
            assert (await page(gate, "/healthz")).endswith(b"\r\n\r\nok\n")
            at_main = await get(gate.address.host, gate.address.port, "/healthz")
            assert at_main.endswith(b"\r\n\r\nok\n")
            figures = await page(gate, "/metrics")
            assert b"\nrtm_gate_users 1\n" in figures
            assert b'rtm_gate_store_seconds_count{effect="FindUsed"} 1\n' in figures
            refused = await get(gate.address.host, gate.address.port, "/metrics")
            assert refused.startswith(b"HTTP/1.1 404 ")


# --- places --------------------------------------------------------------------------------------


@SOCKETS
async def test_more_connections_than_there_may_be_are_closed_at_once(api: Api) -> None:
    async with api.serve_gate(
        pid=PID, users=USERS, host=("127.0.0.1", "::1"), max_connections=3, max_per_address=2,
        watch_port=0,
    ) as gate:  # fmt: skip
        port = gate.address.port

        async def visitor(host: str) -> End:
            return End(await anyio.connect_tcp(host, port))

        inside = [await visitor(host) for host in ("127.0.0.1", "127.0.0.1", "::1")]
        await served(gate, 3)
        for host in ("127.0.0.1", "::1"):
            outside = await visitor(host)
            with anyio.fail_after(SOON):
                assert await outside.receive_all() == b""
            await outside.close()
        figures = await page(gate, "/metrics")
        assert b'rtm_gate_connections_refused_total{port="main"} 2\n' in figures
        for each in inside:
            await each.close()
        await served(gate, 0)
        async with client(api, gate.url, ALICE) as alice:
            assert await alice.quest("ping", {}) == {}


async def served(gate: GateServer, visits: int) -> None:
    """Wait until so many visitors are there."""
    with anyio.fail_after(SOON):
        while gate.visits != visits:  # noqa: ASYNC110 - a gate has no event for this
            await anyio.sleep(0.005)


@SOCKETS
async def test_a_tls_handshake_that_never_comes_gives_its_place_back(
    api: Api, authority: trustme.CA
) -> None:
    ours, theirs = contexts(authority)
    async with api.serve_gate(
        pid=PID, users=USERS, ssl_context=ours, max_connections=1, handshake_timeout=0.3
    ) as gate:
        silent = End(await anyio.connect_tcp(gate.address.host, gate.address.port))
        with anyio.fail_after(SOON):
            assert await silent.receive_all() == b""
        await silent.close()
        async with client(api, gate.url, ALICE, theirs) as alice:
            assert await alice.quest("ping", {}) == {}


# --- the local socket ----------------------------------------------------------------------------


async def admin(path: str, method: str, **params: object) -> dict[str, Any]:
    """What ``rtm admin`` prints, as JSON."""
    said = Lines()
    screen = Screen("rtm admin", said, None, {}, json=True)  # type: ignore[arg-type]
    options = AdminOptions(path, (AdminQuest(method, params),), SOON)
    status = await anyio.to_thread.run_sync(administer, options, screen)
    assert status is Exit.DONE
    return said.json()


class Lines:
    """A stdout."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        """Take it."""
        self.text += text

    def flush(self) -> None:
        """It is there."""

    def isatty(self) -> bool:
        """No."""
        return False

    def json(self) -> dict[str, Any]:
        """What was said."""
        found: dict[str, Any] = json.loads(self.text)
        return found


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="local sockets as POSIX has them")


@posix_only
@SOCKETS
async def test_operators_do_without_a_sign_what_servers_do_with_one(
    api: Api, tmp_path: Path
) -> None:
    path = str(tmp_path / "admin.sock")
    async with api.serve_gate(pid=PID, users={}, admin_socket=path) as gate:
        mode = os.stat(path).st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
        assert os.listdir(tmp_path) == ["admin.sock"]
        token = (await admin(path, "gettoken", uid=ALICE))["token"]
        async with api.open_client(
            gate.url, pid=PID, uid=ALICE, token=token, relogin=None
        ) as alice:
            assert (await admin(path, "stats"))["users"] == 1
            await admin(path, "addgroupmembers", gid=5, uids=[ALICE, BOB])
            assert await alice.quest("getusergroups", {}) == {"gids": [5]}
            await admin(path, "addprojectblack", uid=ALICE, btime=0)
            events = alice.events()
            while not isinstance(await next_event(events), Disconnected):
                pass
        with pytest.raises(LoginFailed) as caught:
            async with api.open_client(gate.url, pid=PID, uid=ALICE, token=token, relogin=None):
                raise AssertionError("logged in")
        assert caught.value.code == Code.LOGIN_DENIED
        with pytest.raises(QuestRefused):
            await admin(path, "nonsense")
    assert os.listdir(tmp_path) == []


@posix_only
@SOCKETS
async def test_a_socket_that_somebody_listens_at_is_not_taken_away(
    api: Api, tmp_path: Path
) -> None:
    path = str(tmp_path / "admin.sock")
    async with api.serve_gate(pid=PID, users={}, admin_socket=path):
        with pytest.raises(OSError, match="somebody listens there already"):
            async with api.serve_gate(pid=PID, users={}, admin_socket=path):
                raise AssertionError("two gates")
        assert (await admin(path, "stats"))["ready"]


@posix_only
@SOCKETS
async def test_a_socket_that_a_dead_gate_has_left_is_replaced(api: Api, tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(ConnectFailed, match="no gate listens at"):
        await admin(path, "stats")
    async with api.serve_gate(pid=PID, users={}, admin_socket=path):
        assert (await admin(path, "stats"))["ready"]


@posix_only
@SOCKETS
async def test_a_file_that_is_no_socket_stays(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("text")
    with pytest.raises(OSError, match="there is a file that is no socket"):
        async with api.serve_gate(pid=PID, users={}, admin_socket=str(path)):
            raise AssertionError("it is a gate")
    assert path.read_text() == "text"
    with pytest.raises(FileNotFoundError):
        async with api.serve_gate(pid=PID, users={}, admin_socket=str(tmp_path / "no" / "sock")):
            raise AssertionError("it is a gate")
    assert os.listdir(tmp_path) == ["precious"]


# --- the log -------------------------------------------------------------------------------------


async def test_no_log_line_has_a_secret_in_it(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A whole scenario, every line of it, at every level."""
    caplog.set_level(logging.DEBUG)
    private = ["the text of a message", "bytes of a file", "some attrs"]
    async with open_world(api) as world:
        async with world.client(ALICE) as alice, world.client(BOB, "ws") as bob:
            await alice.send_file(FileType.FILE, BOB, private[1].encode())
            event = await next_event(bob.events())
            assert isinstance(event, FileReceived) and event.url is not None
            private.append(event.url.split("/")[4])  # who knows the key may have the file
            answer = await alice.quest("filetoken", {"cmd": "sendfile", "to": BOB})
            private.append(str(answer["token"]))
            message = {"to": BOB, "mid": 5, "mtype": 30, "msg": private[0], "attrs": private[2]}
            await alice.quest("sendmsg", message)
            with pytest.raises(QuestRefused):
                await alice.quest("sendmsg", {**message, "mid": 6, "mtype": 40})
        with pytest.raises(LoginFailed):
            async with world.client(CAROL, token="a wrong token"):
                raise AssertionError("logged in")
        private.append("a wrong token")
        async with world.server() as server:
            private.append(await server.get_token(ALICE))
            with pytest.raises(QuestRefused):
                await server.quest("nonsense", {"secret": SECRET})
    ours = [record for record in caplog.records if record.name.startswith("rtm_")]
    lines = [record.getMessage() + repr(record.__dict__) for record in ours]
    for secret in (*private, *USERS.values(), SECRET):
        assert not any(secret in line for line in lines), secret
    events = [getattr(record, "event", "") for record in ours]
    assert {"came", "left", "logged in", "no login", "refused"} <= set(events)


# --- who has gone already ---


class Gone:
    """A stream whose socket is gone, as asyncio's, uvloop's and trio's say it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.socket = self

    def extra(self, attribute: object) -> Any:
        return self

    def getpeername(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("peer_of", "error"),
    [
        (rtm_trio._doors.peer_of, OSError(107, "not connected")),
        (rtm_asyncio._doors.peer_of, OSError(107, "not connected")),
        (rtm_asyncio._doors.peer_of, ValueError("negative file descriptor")),
    ],
)
def test_who_has_gone_before_he_was_looked_at_has_no_address(
    peer_of: Any, error: Exception
) -> None:
    assert peer_of(Gone(error)) is None
