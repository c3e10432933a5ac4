"""What a job says and decides, without a gate; and how ``main`` takes an adapter's word."""

from __future__ import annotations

import gc
import inspect
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import rtm_trio
from rtm_proto.address import Address
from rtm_proto.command import main
from rtm_proto.command.acts import AdminQuest
from rtm_proto.command.administering import administer
from rtm_proto.command.demo import PICTURE
from rtm_proto.command.exits import Exit, UsageError, explain
from rtm_proto.command.gate_options import GateOptions
from rtm_proto.command.jobs import Job, open_job
from rtm_proto.command.limits_of_system import COLLECT, SPARE, collecting_seldom, make_room
from rtm_proto.command.listening import Listening
from rtm_proto.command.logs import logging_to
from rtm_proto.command.notify import notify
from rtm_proto.command.options import (
    Account,
    AdminOptions,
    InspectOptions,
    ListenOptions,
    Request,
    SendOptions,
)
from rtm_proto.command.screen import QUIET, USUAL, OutputGone, Screen
from rtm_proto.command.sending import Sending, mtype_of
from rtm_proto.command.serving import Serving, admin_socket, prepare
from rtm_proto.disk import DiskStore
from rtm_proto.encryption import EncryptedLink
from rtm_proto.errors import (
    ConnectionLost,
    DownloadFailed,
    FileUnusable,
    QuestTimeout,
    StoreFault,
)
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.files import Saved
from rtm_proto.flows.steps import Progress, Stage
from rtm_proto.flows.transfer import FileSent
from rtm_proto.gate.settings import GateSettings, MoreSettings
from rtm_proto.gate.store import Table
from rtm_proto.package import encode_answer, encode_quest
from rtm_proto.payload import EMPTY, encode
from rtm_proto.received import (
    Conversation,
    Disconnected,
    FileReceived,
    KickedOut,
    Reconnected,
    parse_push,
)
from rtm_proto.testing.strict import QUIRKS

posix_only = pytest.mark.skipif(os.name != "posix", reason="local sockets as POSIX has them")

TIME_LIMIT = 15.0  # seconds

ACCOUNT = Account("ws://gate.example", 11000001, 1002, "t")


class Streams:
    def __init__(self, *, json: bool = False, verbosity: int = USUAL) -> None:
        self._out = io.StringIO()
        self._err = io.StringIO()
        self.screen = Screen("rtm", self._out, self._err, {}, json=json, verbosity=verbosity)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


def file_event(name: str = "a.png", url: str = "http://h/f") -> FileReceived:
    params = {
        "from": 1,
        "mid": 5,
        "mtype": 40,
        "mtime": 6,
        "msg": json.dumps({"url": url, "size": 1} if url else {"size": 1}),
        "attrs": json.dumps({"rtm": {"filename": name}}),
    }
    event, _ = parse_push("pushmsg", params, 1002)
    assert isinstance(event, FileReceived)
    return event


# --- listening -----------------------------------------------------------------------------------


def listening(streams: Streams, folder: Path | None = None, count: int | None = None) -> Listening:
    options = ListenOptions(ACCOUNT, None if folder is None else str(folder), (7, 8), count)
    return Listening(options, streams.screen)


def test_a_listener_says_where_it_listens() -> None:
    streams = Streams()
    listening(streams).ready()
    assert streams.err == "rtm: listening as user 1002 at ws://gate.example, in room 7, 8\n"


def test_files_are_counted_and_other_events_are_not() -> None:
    streams = Streams()
    job = listening(streams, count=2)
    for event, finished in ((file_event(), False), (KickedOut(), False), (file_event(), True)):
        assert not job.finished
        assert job.wanted(event) is None
        assert job.finished is finished
    assert streams.out.count("\n") == 3


def test_a_file_without_a_url_is_printed_and_not_fetched(tmp_path: Path) -> None:
    streams = Streams()
    job = listening(streams, tmp_path, count=1)
    assert job.wanted(file_event(url="")) is None
    assert job.finished


def test_a_fetched_file_is_told_with_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "inbox"
    for as_json in (True, False):
        streams = Streams(json=as_json)
        job = listening(streams, folder, count=1)
        event = file_event()
        assert job.wanted(event) is event
        assert streams.out == ""
        job.fetched(event, Saved(job.path_for(event), 1, "0" * 32, 1))
        assert job.finished
        assert str(folder / "a.png") in streams.out
    assert folder.is_dir()


def test_no_file_is_overwritten_and_no_name_leaves_the_folder(tmp_path: Path) -> None:
    job = listening(Streams(), tmp_path)
    for name, expected in (
        ("a.png", "a.png"),
        ("a.png", "a-2.png"),
        ("a.png", "a-3.png"),
        ("../../b", "b"),
        ("", "f"),
    ):
        path = job.path_for(file_event(name))
        assert path == tmp_path / expected
        path.touch()


def test_the_first_download_that_fails_is_the_status(tmp_path: Path) -> None:
    streams = Streams(json=True)
    job = listening(streams, tmp_path)
    job.not_fetched(file_event(), DownloadFailed("404", 404))
    job.not_fetched(file_event(), OSError("full"))
    job.not_fetched(file_event(), ArithmeticError("odd"))
    assert job.status is Exit.REFUSED
    told = [json.loads(line)["download_error"] for line in streams.out.splitlines()]
    assert told == ["404", "full", "ArithmeticError: odd"]
    assert not job.finished


def test_a_listener_goes_on_while_the_client_logs_in_again() -> None:
    streams = Streams()
    job = listening(streams)
    assert job.wanted(Disconnected(CloseReason(CloseKind.IDLE), again=True)) is None
    assert job.wanted(Reconnected()) is None
    assert not job.finished and job.status is Exit.DONE and streams.err == ""
    assert streams.out.splitlines() == [
        "disconnected: silent for too long; logging in again",
        "logged in again",
    ]


def test_a_listener_ends_with_its_link() -> None:
    streams = Streams(json=True)
    job = listening(streams)
    assert job.wanted(Disconnected(CloseReason(CloseKind.IDLE))) is None
    assert job.finished
    assert job.status is Exit.UNREACHABLE
    told = {"event": "disconnected", "reason": "silent for too long", "again": False}
    assert json.loads(streams.out) == told
    assert "is gone: silent for too long; start again" in streams.err


# --- sending -------------------------------------------------------------------------------------


def sending(
    streams: Streams, *, name: str | None = None, mtype: int | None = None, timeout: float = 20.0
) -> Sending:
    options = SendOptions(
        ACCOUNT, str(PICTURE), Conversation.P2P, 5, mtype, 0, timeout, name, "auto"
    )
    return Sending(options, streams.screen)


@pytest.mark.parametrize(
    ("name", "mtype"),
    [("a.JPG", 40), ("a.png", 40), ("a.mp3", 41), ("a.mp4", 42), ("a.txt", 50), ("png", 50)],
)
def test_the_name_of_a_file_says_its_mtype(name: str, mtype: int) -> None:
    assert mtype_of(name) == mtype


def test_what_is_given_goes_before_what_the_file_says() -> None:
    assert sending(Streams()).mtype == 40
    assert sending(Streams(), mtype=50).mtype == 50
    streams = Streams()
    sending(streams, name="deep/x.txt").done(FileSent(9, 8, 1, duplicate=False))
    assert streams.out.startswith("x.txt (229,862 bytes) to user 5 sent: mid 9 mtime 8")


def test_a_login_takes_no_longer_than_the_sending_may() -> None:
    assert sending(Streams()).login_timeout == 20.0
    assert sending(Streams(), timeout=0.5).login_timeout == 0.5
    assert sending(Streams(), timeout=60.0).login_timeout == 20.0


def test_a_duplicate_is_success_and_told() -> None:
    for as_json, text in ((False, "was delivered before: mid 9"), (True, '"duplicate": true')):
        streams = Streams(json=as_json)
        job = sending(streams)
        job.done(FileSent(9, None, 2, duplicate=True))
        assert text in streams.out
        assert job.status is Exit.DONE


@pytest.mark.parametrize(
    ("stage", "attempt", "text"),
    [
        (None, 0, "interrupted"),
        (Stage.UPLOADING, 1, "interrupted, it was not sent (mid 9)"),
        (Stage.UPLOADING, 2, "repeating with --mid 9 is safe"),
        (Stage.CONFIRMING, 1, "repeating with --mid 9 is safe"),
        (Stage.DONE, 1, "interrupted"),
    ],
)
def test_who_interrupts_is_told_the_truth(stage: Stage | None, attempt: int, text: str) -> None:
    job = sending(Streams(verbosity=QUIET))
    job.logged_in()
    if stage is not None:
        job.progress(Progress(9, Stage.TOKEN, 0, 1, 1))
        job.progress(Progress(9, stage, 1, 1, attempt))
    assert job.interrupted().endswith(text)


def test_a_file_that_is_too_large_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(5_242_881))
    options = SendOptions(ACCOUNT, str(path), Conversation.P2P, 5, None, 0, 20.0, None, "auto")
    with pytest.raises(FileUnusable, match="5242881 bytes, over the limit of 5242880"):
        Sending(options, Streams().screen)


# --- serving -------------------------------------------------------------------------------------


@dataclass
class Server:
    """What a GateServer says of itself."""

    address: Address
    endpoint: str
    tls_address: Address | None = None
    watch_address: Address | None = None


def options(**more: Any) -> GateOptions:
    given: dict[str, Any] = {"pid": 7, "users": {2: "t", 1: "t"}, **more}
    return GateOptions(**given)


def serving(streams: Streams, host: str, endpoint: str | None = None, **server: Any) -> None:
    job = Serving(options(host=(host,), endpoint=endpoint), streams.screen)
    files = Address("ws", host, 2).authority
    job.started(Server(Address("ws", host, 1), endpoint or files, **server))
    assert job.interrupted() == "ended"


def test_a_gate_begins_with_its_groups(tmp_path: Path) -> None:
    members = {5: frozenset({1, 2})}
    for data in (None, str(tmp_path / "data")):
        job = Serving(options(groups=members, data=data), Streams().screen)
        store = job.arguments()["store"]
        assert store.kept(0).uids(Table.MEMBERS) == members
        job.close()
        job.close()


def test_a_group_that_is_kept_already_stays_as_it_is(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    for members in ({1, 2}, {3}):
        job = Serving(options(groups={5: frozenset(members)}, data=data), Streams().screen)
        assert job.arguments()["store"].kept(0).uids(Table.MEMBERS) == {5: frozenset({1, 2})}
        job.close()


def test_what_a_gate_is_told_is_what_it_is_called_with(tmp_path: Path) -> None:
    """Every option gets somewhere: into a call of ``serve_gate``, or is one of these."""
    elsewhere = {
        *("groups", "secret_file", "certificate", "key", "encryption_key", "data", "max_bytes"),
        *("max_user_bytes", "history", "history_life", "thumbnails", "grace", "log_level"),
        *("log_format", "recognise", "strict"),
    }
    job = Serving(options(), Streams().screen)
    called = set(job.arguments())
    told = {each.name for each in fields(GateOptions)}
    assert told - called == elsewhere
    known = set(inspect.signature(rtm_trio.serve_gate).parameters) | {*MoreSettings.__annotations__}
    assert called <= known
    job.close()


def test_a_gate_is_strict_where_it_is_told_to(tmp_path: Path) -> None:
    some, every = ("empty-pong",), ("no-close-frame", "all")
    for names, quirks in ((some, {*some}), (every, {*QUIRKS})):
        job = Serving(options(strict=names), Streams().screen)
        gate = job.arguments()["make_gate"](
            GateSettings(1, {}, "e:1"), wall_ms=lambda: 0, make_token=lambda: "t"
        )
        assert gate.quirks == quirks
        job.close()
    with pytest.raises(UsageError, match="strict: no quirk is called upside-down: there are"):
        Serving(options(strict=("upside-down",)), Streams().screen).arguments()
    assert "make_gate" not in Serving(options(), Streams().screen).arguments()


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" s3cret\n")
    assert prepare(options(secret_file=str(path)))["secret"] == "s3cret"
    for content, text in ((b" \n", "is empty"), (b"\xff", "is no text")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=text):
            prepare(options(secret_file=str(path)))


def test_the_socket_of_operators_is_in_the_data_folder_unless_told() -> None:
    assert admin_socket(options()) is None
    assert admin_socket(options(data="d")) == os.path.join("d", "admin.sock")
    assert admin_socket(options(data="d", admin_socket="s")) == "s"


def test_a_certificate_and_a_key_are_read(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("gate.test")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.private_key_pem.bytes() + certificate.cert_chain_pems[0].bytes())
    assert "ssl_context" in prepare(options(certificate=str(both)))
    assert "ssl_context" not in prepare(options())
    with pytest.raises(UsageError, match="no certificate and key that fit"):
        authority.cert_pem.write_to_path(str(both))
        prepare(options(certificate=str(both)))
    with pytest.raises(FileNotFoundError):
        prepare(options(certificate=str(both), key=str(tmp_path / "none")))


def test_a_key_for_encryption_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = ec.generate_private_key(ec.SECP256K1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    link = prepare(options(encryption_key=str(path)))["raw_link"](max_package=1000)
    assert isinstance(link, EncryptedLink)
    path.write_text("none")
    with pytest.raises(UsageError, match=r"encryption_key: .*key\.pem: "):
        prepare(options(encryption_key=str(path)))


def test_a_gate_prints_where_it_is() -> None:
    streams = Streams()
    serving(streams, "gate.example")
    assert streams.out == "ws://gate.example:1/service/websocket tcp://gate.example:1\n"
    assert "project 7, users 1, 2, files on gate.example:2; Ctrl-C ends it" in streams.err
    assert "kept in memory and gone" in streams.err
    streams = Streams(json=True)
    serving(
        streams,
        "::1",
        "files.example:9",
        tls_address=Address("wss", "::1", 3),
        watch_address=Address("ws", "127.0.0.1", 4),
    )
    assert json.loads(streams.out) == {
        "url": "ws://[::1]:1/service/websocket",
        "tcp_url": "tcp://[::1]:1",
        "file_endpoint": "files.example:9",
        "tls_url": "wss://[::1]:3/service/websocket",
        "watch_url": "http://127.0.0.1:4",
        "admin_socket": None,
    }
    assert "with TLS: wss://[::1]:3" in streams.err
    assert "figures: http://127.0.0.1:4/metrics" in streams.err


def test_a_gate_with_tls_only_says_so() -> None:
    streams = Streams()
    job = Serving(options(data="kept-here", users={}), streams.screen)
    job.started(Server(Address("wss", "g", 1), "g:2"))
    assert streams.out == "wss://g:1/service/websocket tcps://g:1\n"
    assert "no users" in streams.err and "everything is kept in kept-here" in streams.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_gate_on_every_address_needs_an_endpoint(host: str) -> None:
    streams = Streams()
    serving(streams, host)
    assert "give --endpoint" in streams.err
    streams = Streams()
    serving(streams, host, "files.example:9")
    assert "give --endpoint" not in streams.err


@pytest.mark.parametrize("name", ["recognise", "thumbnails"])
def test_what_an_extra_brings_is_asked_for_by_its_switch(name: str) -> None:
    made = {"recognise": "recognise", "thumbnails": "make_thumbnail"}[name]
    assert callable(prepare(options(**{name: True}))[made])
    assert made not in prepare(options())


def test_a_key_with_a_password_is_no_use(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("gate.test")
    (tmp_path / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(UsageError, match="no certificate and key that fit"):
        prepare(options(certificate=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem")))


def test_a_store_that_cannot_be_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[DiskStore] = []

    close = DiskStore.close

    def unreadable(self: DiskStore, since: int) -> object:
        raise StoreFault("damaged")

    def closing(self: DiskStore) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(DiskStore, "kept", unreadable)
    monkeypatch.setattr(DiskStore, "close", closing)
    job = Serving(options(data=str(tmp_path / "data")), Streams().screen)
    with pytest.raises(StoreFault):
        job.arguments()
    assert len(closed) == 1


@posix_only
def test_a_process_takes_as_many_files_as_it_may_and_says_where_that_is_too_little() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        assert make_room(50) is None
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
        assert make_room(200) is None
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200 + SPARE
        streams = Streams()
        job = Serving(options(max_connections=2**31 - 1), streams.screen)
        job.started(Server(Address("ws", "g", 1), "g:2"))
        assert "open files" in streams.err and "ulimit -n" in streams.err
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_collector_is_left_as_it_was() -> None:
    before = gc.get_threshold()
    with collecting_seldom():
        assert gc.get_threshold() == COLLECT
    assert gc.get_threshold() == before


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_fault_in_the_log_has_its_traceback(form: str) -> None:
    stream = io.StringIO()
    logger = logging.getLogger("rtm_trio")
    with logging_to(stream, level="warning", form=form):
        logger.info("not worth it")
        try:
            raise ValueError("what went wrong")
        except ValueError:
            logger.exception("a fault of ours")
    logger.warning("nobody listens")
    said = stream.getvalue()
    assert "a fault of ours" in said and "ValueError: what went wrong" in said
    assert "not worth it" not in said and "nobody listens" not in said
    assert said.count("\n") == 1 if form == "json" else said.count("\n") > 3


def test_a_log_that_nobody_can_read_is_not_written() -> None:
    with logging_to(None, level="debug", form="text"):
        logging.getLogger("rtm_trio").debug("into nothing")


# --- administering -------------------------------------------------------------------------------


@contextmanager
def operators_port(path: Path, answer: Callable[[socket.socket], object]) -> Generator[None]:
    """A local socket whose visitor *answer* sees to."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                answer(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def ask(path: Path, timeout: float = 5.0) -> None:
    administer(AdminOptions(str(path), (AdminQuest("stats", {}),), timeout), Streams().screen)


@posix_only
def test_a_gate_that_hangs_up_on_its_operator_is_unreachable(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        operators_port(path, lambda sock: sock.shutdown(socket.SHUT_RDWR)),
        pytest.raises(ConnectionLost) as caught,
    ):
        ask(path)
    failure = explain(caught.value)
    assert failure is not None and failure.status is Exit.UNREACHABLE


@posix_only
def test_a_gate_that_does_not_answer_its_operator_is_unreachable(tmp_path: Path) -> None:
    path, done = tmp_path / "s", threading.Event()
    with operators_port(path, lambda sock: done.wait(TIME_LIMIT)):
        with pytest.raises(QuestTimeout):
            ask(path, 0.01)
        done.set()


@posix_only
def test_an_operator_does_not_mind_being_pinged(tmp_path: Path) -> None:
    path = tmp_path / "s"
    said = encode_quest(b"ping", EMPTY, 1) + encode_answer(encode({"users": 1}), 1)
    with operators_port(path, lambda sock: sock.sendall(said)):
        ask(path)


@posix_only
def test_a_path_that_cannot_be_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="x: AF_UNIX path too long"):
        ask(tmp_path / ("x" * 200))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        ask(tmp_path / "file" / "s")
    assert caught.value.filename == str(tmp_path / "file" / "s")


@posix_only
def test_the_service_manager_is_told_how_a_gate_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        streams = Streams()
        serving(streams, "g")
        assert manager.recv(100) == b"READY=1"
        Serving(options(grace=5.0), streams.screen).stopping()
        assert manager.recv(100) == b"STOPPING=1"
        assert "may take 5 s; a second signal ends at once" in streams.err
    assert not notify("READY=1", {"NOTIFY_SOCKET": path}), "nobody is there any more"
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "relative"})


@posix_only
def test_a_manager_may_listen_at_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"rtm-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        assert notify("READY=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert manager.recv(100) == b"READY=1"


# --- main and the adapter ------------------------------------------------------------------------


def test_inspect_is_no_job() -> None:
    request = Request("inspect", InspectOptions("-", None), "trio", False, USUAL)
    with pytest.raises(TypeError), open_job(request, Streams().screen):
        pass


def run_with(run: Callable[[Job], int | None], monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    adapter = ModuleType("rtm_trio._commands")
    monkeypatch.setattr(adapter, "run", run, raising=False)
    monkeypatch.setitem(sys.modules, adapter.__name__, adapter)
    return main(argv or ["demo", "--runtime", "trio"])


GATE = ["gate", "--pid", "1", "--user", "1:t", "--runtime", "trio"]


@pytest.mark.parametrize(
    ("argv", "number", "status"),
    [
        ([], None, 0),
        ([], signal.SIGINT, 130),
        ([], signal.SIGTERM, 143),
        (GATE, signal.SIGINT, 130),
        (GATE, signal.SIGTERM, 0),
    ],
)
def test_a_signal_has_its_status(
    argv: list[str],
    number: int | None,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_with(lambda job: number, monkeypatch, *argv) == status
    assert capsys.readouterr().out == ""


def raising(exc: BaseException) -> Callable[[Job], int | None]:
    def run(job: Job) -> int | None:
        raise exc

    return run


@pytest.mark.parametrize(
    ("exc", "status"),
    [
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt()]), 130),
        (FileNotFoundError(2, "No such file", "x"), 6),
    ],
)
def test_what_an_adapter_raises_has_its_status(
    exc: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_with(raising(exc), monkeypatch) == status
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("exc", [ZeroDivisionError(), ExceptionGroup("tasks", [OSError()])])
def test_a_fault_of_ours_is_not_hidden(exc: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(exc)):
        run_with(raising(exc), monkeypatch)


@pytest.mark.parametrize(
    ("cause", "status"), [(BrokenPipeError(32, "gone"), 141), (OSError(28, "full"), 6)]
)
def test_a_stdout_that_takes_no_more_has_its_status(
    cause: OSError,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exc = OutputGone()
    exc.__cause__ = cause
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # it has no descriptor to be abandoned
    assert run_with(raising(exc), monkeypatch) == status
    assert capsys.readouterr().err.count("\n") == (0 if status == 141 else 1)
