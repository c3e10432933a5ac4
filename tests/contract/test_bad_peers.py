"""Peers that hang up, talk nonsense or say nothing: a typed error each, at its deadline."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from rtm_proto.address import Address
from rtm_proto.codes import Code
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    FileNotSent,
    FileRefused,
    LocalProtocolError,
    LoginFailed,
    OutcomeUnknown,
    QuestRefused,
    QuestTimeout,
    RtmError,
)
from rtm_proto.events import CloseKind
from rtm_proto.flows.transfer import PIECE
from rtm_proto.package import encode_answer
from rtm_proto.received import Disconnected, FileType
from tests.contract.scripted import Peer, Scripts, params_of
from tests.contract.world import ALICE, BOB, PID, Api, next_event

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
pytestmark = [pytest.mark.anyio, TIMED]

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])


@contextmanager
def takes(seconds: float) -> Generator[None, None, None]:
    """What happens inside takes exactly *seconds* of the virtual clock."""
    started = anyio.current_time()
    yield
    assert anyio.current_time() - started == pytest.approx(seconds, abs=0.001)


# --- peers ---


async def hang_up(peer: Peer) -> None:
    pass


async def hang_up_inside_the_handshake(peer: Peer) -> None:
    await peer.end.receive()
    await peer.end.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web")


async def hang_up_inside_a_package(peer: Peer) -> None:
    await peer.open()
    await peer.quest("auth")
    await peer.end.send(b"FPNN\x01\x80\x02")


async def hang_up_instead_of_a_login(peer: Peer) -> None:
    await peer.open()
    await peer.quest("auth")


async def say_nothing(peer: Peer) -> None:
    await peer.read_on()


async def never_let_in(peer: Peer) -> None:
    await peer.open()
    await peer.read_on()


async def close_only_the_sending_side(peer: Peer) -> None:
    await peer.end.send_eof()
    await peer.end.receive_all()


def say(data: bytes) -> Callable[[Peer], Any]:
    """A peer that waits for the first bytes and then says *data*."""

    async def script(peer: Peer) -> None:
        await peer.end.receive()
        await peer.end.send(data)
        await peer.read_on()

    return script


def refuse_with(code: int) -> Callable[[Peer], Any]:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.refuse(await peer.quest("auth"), code, "because")
        await peer.read_on()

    return script


def answer_login_with(params: dict[str, object]) -> Callable[[Peer], Any]:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.answer(await peer.quest("auth"), params)
        await peer.read_on()

    return script


HTTP = b"HTTP/1.1 %s\r\nContent-Length: 5\r\n\r\nhello"
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: wrong\r\n\r\n"
)

# --- before the login is done ---


@pytest.mark.parametrize(
    ("scheme", "script", "error", "shown", "seconds"),
    [
        ("ws", hang_up, ConnectFailed, "handshake failed", 0),
        ("ws", hang_up_inside_the_handshake, ConnectFailed, "handshake failed", 0),
        ("ws", close_only_the_sending_side, ConnectFailed, "handshake failed", 0),
        ("ws", hang_up_instead_of_a_login, LoginFailed, "connection lost", 0),
        ("ws", say(b"\x00" * 100), ConnectFailed, "handshake failed", 0),
        ("ws", say(b"FPNN\x01\x80\x02\x00\x00\x00\x00\x00"), ConnectFailed, "not HTTP", 0),
        ("ws", say(HTTP % b"404 Not Found"), ConnectFailed, "404", 0),
        ("ws", say(HTTP % b"200 OK"), ConnectFailed, "200", 0),
        ("ws", say(HTTP % b"301 Moved\r\nLocation: /"), ConnectFailed, "301", 0),
        ("ws", say(UPGRADED), ConnectFailed, "handshake failed", 0),
        ("ws", say(b"HTTP/1.1 101 X\r\n" + b"a: b\r\n" * 100_000), ConnectFailed, "handshake", 0),
        ("ws", say_nothing, ConnectFailed, "handshake", 10),
        ("ws", never_let_in, LoginFailed, "deadline", 20),
        ("tcp", hang_up, LoginFailed, "closed by the peer", 0),
        ("tcp", hang_up_inside_a_package, LoginFailed, "inside a package", 0),
        ("tcp", close_only_the_sending_side, LoginFailed, "closed by the peer", 0),
        ("tcp", say(b"\x00" * 100), LoginFailed, "protocol error", 0),
        ("tcp", say(HTTP % b"404 Not Found"), LoginFailed, "protocol error", 0),
        ("tcp", say(b"FPNN\x01\x80\x02\x00\xff\xff\xff\xff"), LoginFailed, "over a limit", 0),
        ("tcp", say(b"FPNN\x01\x80\x07\x00\x00\x00\x00\x00"), LoginFailed, "protocol error", 0),
        ("tcp", say_nothing, LoginFailed, "deadline", 20),
    ],
)
async def test_no_login_is_a_typed_error(
    api: Api, scheme: str, script: Any, error: type[RtmError], shown: str, seconds: float
) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, script)
        with takes(seconds), pytest.raises(error, match=shown) as caught:
            async with peer.client(scheme):
                raise AssertionError("logged in")
        if isinstance(caught.value, LoginFailed):
            assert caught.value.code is None
            assert isinstance(caught.value.__cause__, QuestTimeout | ConnectionLost)


@SCHEMES
@pytest.mark.parametrize("answer", [{"ok": False}, {"ok": 0}, {"ok": "yes"}, {}, {"gate": "x"}])
async def test_a_wrong_login_token_is_a_login_failed_without_a_code(
    api: Api, scheme: str, answer: dict[str, object]
) -> None:
    async with anyio.create_task_group() as tasks:
        with takes(0), pytest.raises(LoginFailed, match="token") as caught:
            async with Scripts(api, tasks, answer_login_with(answer)).client(scheme):
                raise AssertionError("logged in")
        assert caught.value.code is None


@SCHEMES
@pytest.mark.parametrize("code", [Code.BAD_LOGIN_TOKEN, Code.FORBIDDEN, 123456])
async def test_a_refused_login_has_the_gates_code(api: Api, scheme: str, code: int) -> None:
    async with anyio.create_task_group() as tasks:
        with takes(0), pytest.raises(LoginFailed, match="because") as caught:
            async with Scripts(api, tasks, refuse_with(code)).client(scheme):
                raise AssertionError("logged in")
        assert caught.value.code == code
        assert isinstance(caught.value.__cause__, QuestRefused)


@pytest.mark.parametrize("script", [say_nothing, never_let_in])
@SCHEMES
async def test_the_login_timeout_is_for_all_of_it(api: Api, scheme: str, script: Any) -> None:
    async with anyio.create_task_group() as tasks:
        with takes(3), pytest.raises((ConnectFailed, LoginFailed)):
            async with Scripts(api, tasks, script).client(scheme, login_timeout=3):
                raise AssertionError("logged in")


async def test_the_login_gets_what_the_connection_has_left_of_the_timeout(api: Api) -> None:
    async def open_late(peer: Peer) -> None:
        await anyio.sleep(4)
        await never_let_in(peer)

    async with anyio.create_task_group() as tasks:
        with takes(9), pytest.raises(LoginFailed):
            async with Scripts(api, tasks, open_late).client("ws", login_timeout=9):
                raise AssertionError("logged in")


@pytest.mark.parametrize(("login_timeout", "seconds"), [(3, 3), (20, 10)])
async def test_a_connection_that_never_comes_up_ends_in_time(
    api: Api, login_timeout: float, seconds: float
) -> None:
    async def connect(address: Address) -> Any:
        await anyio.sleep_forever()

    with takes(seconds), pytest.raises(ConnectFailed, match="in time"):
        async with api.open_client(
            "ws://gate.test",
            pid=PID,
            uid=ALICE,
            token="t",
            connect=connect,
            login_timeout=login_timeout,
        ):
            raise AssertionError("logged in")


async def test_a_connection_that_fails_says_why(api: Api) -> None:
    async def connect(address: Address) -> Any:
        raise ConnectionRefusedError(111, f"nobody at {address.port}")

    with takes(0), pytest.raises(ConnectFailed, match="nobody at 13321") as caught:
        async with api.open_client(
            "tcp://gate.test", pid=PID, uid=ALICE, token="t", connect=connect
        ):
            raise AssertionError("logged in")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": ""},
        {"url": "gate.test:13321"},
        {"url": "http://gate.test"},
        {"url": "ws://"},
        {"url": "ws://gate.test:0"},
        {"url": "ws://gate.test:65536"},
        {"url": "ws://gate.test:port"},
        {"url": "ws://user:password@gate.test"},
        {"url": "tcp://gate.test/path"},
        {"url": "ws://gate test"},
        {"url": "ws://[::1"},
        {"url": None},
        {"pid": 0},
        {"uid": 2**63},
        {"uid": -1},
        {"uid": "1001"},
        {"token": ""},
        {"token": b"t"},
        {"login_timeout": 0},
        {"login_timeout": -1},
        {"login_timeout": math.nan},
        {"login_timeout": math.inf},
        {"login_timeout": "20"},
        {"file_route": "sideways"},
        {"attrs": {"key": object()}},
    ],
)
async def test_bad_arguments_of_open_client_are_local_errors(
    api: Api, wrong: dict[str, Any]
) -> None:
    good = {"url": "ws://gate.test", "pid": PID, "uid": ALICE, "token": "t"}
    async with anyio.create_task_group() as tasks:
        options = {**good, "connect": Scripts(api, tasks, never_let_in).connect, **wrong}
        with takes(0), pytest.raises(LocalProtocolError):
            async with api.open_client(options.pop("url"), **options):
                raise AssertionError("logged in")


# --- on the main link, after the login ---


async def log_in_and_say_nothing(peer: Peer) -> None:
    await peer.log_in()
    await peer.read_on()


@SCHEMES
async def test_a_quest_that_is_not_answered_ends_at_its_deadline(api: Api, scheme: str) -> None:
    async def answer_late(peer: Peer) -> None:
        await peer.log_in()
        late = await peer.quest("slow")
        quick = await peer.quest("quick")
        await peer.answer(late, {"late": True})
        await peer.answer(quick, {"quick": True})
        await peer.quest("bye")

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, answer_late).client(scheme) as client:
            with takes(2.5), pytest.raises(QuestTimeout, match="slow"):
                await client.quest("slow", timeout=2.5)
            with takes(0):
                assert await client.quest("quick") == {"quick": True}


@SCHEMES
async def test_leaving_a_peer_that_says_nothing_takes_two_seconds(api: Api, scheme: str) -> None:
    async with anyio.create_task_group() as tasks:
        started = anyio.current_time()
        async with Scripts(api, tasks, log_in_and_say_nothing).client(scheme):
            pass
        assert anyio.current_time() - started == pytest.approx(2, abs=0.001)


@SCHEMES
@pytest.mark.parametrize(
    ("last_words", "kind"),
    [
        (None, CloseKind.PEER_CLOSED),
        (b"\xff" * 50, CloseKind.PROTOCOL_ERROR),
        (b"FPNN\x01\x80\x02\x00\xff\xff\xff\xff", None),
    ],
)
async def test_the_end_of_the_main_link_is_told_to_everybody(
    api: Api, scheme: str, last_words: bytes | None, kind: CloseKind | None
) -> None:
    async def end(peer: Peer) -> None:
        await peer.log_in()
        await peer.quest("slow")
        if last_words is not None:
            await peer.end.send(last_words)
            await peer.read_on()

    async with anyio.create_task_group() as tasks:
        with takes(0):
            async with Scripts(api, tasks, end).client(scheme) as client:
                with pytest.raises(ConnectionLost) as caught:
                    await client.quest("slow")
                assert kind in (None, caught.value.reason.kind)
                with pytest.raises(ConnectionLost):
                    await client.quest("afterwards")
                with pytest.raises(FileNotSent) as not_sent:
                    await client.send_file(FileType.FILE, BOB, b"data")
                assert isinstance(not_sent.value.cause, ConnectionLost)
                told = [event async for event in client.events()]
                assert told == [Disconnected(caught.value.reason)]
                assert [event async for event in client.events()] == []


@SCHEMES
async def test_a_silent_peer_is_given_up_after_35_seconds(api: Api, scheme: str) -> None:
    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, log_in_and_say_nothing).client(scheme) as client:
            with takes(35):
                event = await anext(client.events())
            assert isinstance(event, Disconnected) and event.reason.kind is CloseKind.IDLE
            with takes(0), pytest.raises(ConnectionLost):
                await client.quest("ping")


# --- sending a file ---


async def main_link(peer: Peer) -> None:
    await peer.give_tokens()


async def take_the_file_and_say_nothing(peer: Peer) -> None:
    await peer.open()
    await peer.quest("sendfile")
    await peer.read_on()


async def take_the_file_and_hang_up(peer: Peer) -> None:
    await peer.open()
    await peer.quest("sendfile")


async def hang_up_inside_the_file(peer: Peer) -> None:
    await peer.open()
    await peer.end.receive(1000)


async def take_the_file_and_talk_nonsense(peer: Peer) -> None:
    await peer.open()
    await peer.quest("sendfile")
    await peer.end.send(b"\xff" * 50)
    await peer.read_on()


async def take_the_file_and_answer_nonsense(peer: Peer) -> None:
    await peer.open()
    quest = await peer.quest("sendfile")
    await peer.send(encode_answer(b"\xc1", quest.seq))
    await peer.read_on()


async def refuse_inside_the_file(peer: Peer) -> None:
    await peer.open()
    while not await peer.end.receive(100):
        pass
    await peer.send(encode_answer(b"\x82\xa4code\xcd\x03\xe8\xa2ex\xa2no", 1, status=1))
    await peer.read_on()


async def take_the_file(peer: Peer) -> None:
    await peer.open()
    quest = await peer.quest("sendfile")
    await peer.answer(quest, {"mtime": 12345})
    await peer.read_on()


@SCHEMES
@pytest.mark.parametrize(
    ("script", "error", "stage", "seconds", "links"),
    [
        (hang_up, FileNotSent, {"connecting", "uploading", "confirming"}, 1, 3),
        (hang_up_inside_the_file, FileNotSent, {"confirming", "uploading"}, 1, 3),
        (take_the_file_and_hang_up, OutcomeUnknown, {"confirming"}, 1, 3),
        (take_the_file_and_talk_nonsense, OutcomeUnknown, {"confirming"}, 1, 3),
        (take_the_file_and_say_nothing, OutcomeUnknown, {"confirming"}, 20, 1),
        (say(b"\xff" * 50), FileNotSent, {"connecting", "uploading", "confirming"}, 1, 3),
    ],
)
async def test_a_bad_file_gate_is_a_true_outcome_in_time(
    api: Api,
    scheme: str,
    script: Any,
    error: type[FileNotSent | OutcomeUnknown],
    stage: set[str],
    seconds: float,
    links: int,
) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, script, narrow=True)
        async with peer.client(scheme) as client:
            with takes(seconds), pytest.raises(error) as caught:
                await client.send_file(FileType.FILE, BOB, bytes(3 * PIECE), 7)
            assert type(caught.value) is error
            assert caught.value.mid == 7 and caught.value.stage in stage
            assert peer.connections == 1 + links
            await client.file_token("sendfile", to=BOB)  # the main link lives
            tasks.cancel_scope.cancel()


@SCHEMES
async def test_a_file_gate_that_does_not_read_cannot_hold_a_send(api: Api, scheme: str) -> None:
    async def open_and_do_not_read(peer: Peer) -> None:
        await peer.open()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, open_and_do_not_read, narrow=True)
        async with peer.client(scheme) as client:
            with takes(7), pytest.raises(FileNotSent) as caught:
                await client.send_file(FileType.FILE, BOB, bytes(3 * PIECE), timeout=7)
            assert isinstance(caught.value.cause, QuestTimeout)
            await client.file_token("sendfile", to=BOB)
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("timeout", "seconds", "links"), [(20, 20, 2), (3, 3, 1)])
async def test_a_file_gate_that_says_nothing_in_the_handshake_cannot_hold_a_send(
    api: Api, timeout: float, seconds: float, links: int
) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, say_nothing)
        async with peer.client("ws") as client:
            with takes(seconds), pytest.raises(FileNotSent) as caught:
                await client.send_file(FileType.FILE, BOB, b"data", timeout=timeout)
            assert isinstance(caught.value.cause, ConnectFailed)
            assert caught.value.stage == "connecting"
            assert peer.connections == 1 + links
            tasks.cancel_scope.cancel()


async def test_a_file_gate_that_cannot_be_reached_cannot_hold_a_send(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link)

        async def connect(address: Address) -> Any:
            if peer.connections:
                await anyio.sleep_forever()
            return await peer.connect(address)

        async with peer.client(connect=connect) as client:
            with takes(15), pytest.raises(FileNotSent) as caught:
                await client.send_file(FileType.FILE, BOB, b"data", timeout=15)
            assert isinstance(caught.value.cause, ConnectFailed)
            tasks.cancel_scope.cancel()


async def test_a_third_send_waits_for_a_link_no_longer_than_its_deadline(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, take_the_file_and_say_nothing)
        async with peer.client() as client, anyio.create_task_group() as sends:

            async def send(timeout: float, error: type[Exception]) -> None:
                with takes(timeout), pytest.raises(error):
                    await client.send_file(FileType.FILE, BOB, b"data", timeout=timeout)

            sends.start_soon(send, 20, OutcomeUnknown)
            sends.start_soon(send, 10, OutcomeUnknown)
            await anyio.sleep(0.001)
            with takes(4), pytest.raises(FileNotSent, match="2 other files"):
                await client.send_file(FileType.FILE, BOB, b"data", timeout=4)
            assert peer.connections == 3
            with takes(16), pytest.raises(OutcomeUnknown):
                await client.send_file(FileType.FILE, BOB, b"data", timeout=16)
        tasks.cancel_scope.cancel()


@SCHEMES
async def test_a_second_attempt_that_succeeds_is_a_success(api: Api, scheme: str) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, hang_up_inside_the_file, take_the_file)
        async with peer.client(scheme) as client:
            with takes(0):
                sent = await client.send_file(FileType.FILE, BOB, bytes(3 * PIECE))
            assert (sent.mtime, sent.attempts, sent.duplicate) == (12345, 2, False)
            tasks.cancel_scope.cancel()


async def test_the_loss_of_an_answer_is_made_good_by_the_mid(api: Api) -> None:
    async def take_it_again(peer: Peer) -> None:
        await peer.open()
        quest = await peer.quest("sendfile")
        await peer.refuse(quest, Code.DUPLICATE_MID)

    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, take_the_file_and_hang_up, take_it_again)
        async with peer.client() as client:
            sent = await client.send_file(FileType.FILE, BOB, b"data")
            assert (sent.attempts, sent.duplicate) == (2, True)
            tasks.cancel_scope.cancel()


@SCHEMES
async def test_a_refusal_inside_the_file_is_heard_at_once(api: Api, scheme: str) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, refuse_inside_the_file, narrow=True)
        async with peer.client(scheme) as client:
            with takes(0), pytest.raises(FileRefused) as caught:
                await client.send_file(FileType.FILE, BOB, bytes(3 * PIECE))
            assert (caught.value.code, caught.value.text) == (1000, "no")
            tasks.cancel_scope.cancel()


async def test_an_answer_that_cannot_be_read_is_no_success(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main_link, take_the_file_and_answer_nonsense)
        async with peer.client() as client:
            with pytest.raises((OutcomeUnknown, FileRefused)) as caught:
                await client.send_file(FileType.FILE, BOB, b"data")
            assert isinstance(caught.value.cause, QuestRefused)
            tasks.cancel_scope.cancel()


@SCHEMES
async def test_a_send_outlives_the_main_link(api: Api, scheme: str) -> None:
    gone = anyio.Event()

    async def main(peer: Peer) -> None:
        await peer.log_in()
        await peer.give_token()
        gone.set()

    async def take_it_later(peer: Peer) -> None:
        await gone.wait()
        await anyio.sleep(1)
        await take_the_file(peer)

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, main, take_it_later).client(scheme) as client:
            with takes(1):
                assert (await client.send_file(FileType.FILE, BOB, b"data")).mtime == 12345
            assert isinstance(await next_event(client.events()), Disconnected)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"token": "t"},
        {"endpoint": "files.test:4"},
        {"token": "", "endpoint": "files.test:4"},
        {"token": 5, "endpoint": "files.test:4"},
        {"token": "t", "endpoint": "nowhere"},
        {"token": "t", "endpoint": "files.test:0"},
        {"token": "t", "endpoint": "http://files.test/"},
    ],
)
async def test_a_bad_file_token_is_a_refusal(api: Api, answer: dict[str, object]) -> None:
    async def main(peer: Peer) -> None:
        await peer.log_in()
        await peer.answer(await peer.quest("filetoken"), answer)
        await peer.answer(await peer.quest("bye"), {})
        await peer.read_on()

    async with anyio.create_task_group() as tasks:
        peer = Scripts(api, tasks, main)
        with takes(0):
            async with peer.client() as client:
                with pytest.raises(FileRefused, match=r"bad (answer|file gate)") as caught:
                    await client.send_file(FileType.FILE, BOB, b"data")
                assert caught.value.code == Code.INVALID_PACKAGE_CORE
        assert peer.connections == 1


async def test_a_file_token_that_never_comes_ends_the_send_in_time(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, log_in_and_say_nothing).client() as client:
            with takes(6), pytest.raises(FileNotSent) as caught:
                await client.send_file(FileType.FILE, BOB, b"data", timeout=6)
            assert caught.value.stage == "token"
            assert isinstance(caught.value.cause, QuestTimeout)


async def test_a_file_quest_says_what_the_documents_say(api: Api) -> None:
    seen: list[dict[str, object]] = []

    async def look(peer: Peer) -> None:
        await peer.open()
        quest = await peer.quest("sendfile")
        seen.append(params_of(quest))
        await peer.answer(quest, {"mtime": 1})

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, main_link, look).client() as client:
            await client.send_file(FileType.FILE, BOB, b"data", 9)
            tasks.cancel_scope.cancel()
    (params,) = seen
    assert list(params) == ["pid", "from", "to", "mtype", "mid", "token", "file", "attrs"]
    assert params["file"] == b"data" and (params["mid"], params["mtype"]) == (9, 50)
