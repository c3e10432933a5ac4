"""What a job says and decides, without a gate; and how ``main`` takes an adapter's word."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rtm_proto.address import Address
from rtm_proto.command import main
from rtm_proto.command.demo import PICTURE
from rtm_proto.command.exits import Exit
from rtm_proto.command.jobs import Job, open_job
from rtm_proto.command.listening import Listening
from rtm_proto.command.options import (
    Account,
    GateOptions,
    InspectOptions,
    ListenOptions,
    Request,
    SendOptions,
)
from rtm_proto.command.screen import QUIET, USUAL, OutputGone, Screen
from rtm_proto.command.sending import Sending, mtype_of
from rtm_proto.command.serving import Serving
from rtm_proto.errors import DownloadFailed, FileUnusable
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.files import Saved
from rtm_proto.flows.steps import Progress, Stage
from rtm_proto.flows.transfer import FileSent
from rtm_proto.received import (
    Conversation,
    Disconnected,
    FileReceived,
    KickedOut,
    Reconnected,
    parse_push,
)

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


def serving(streams: Streams, host: str, endpoint: str | None = None) -> None:
    job = Serving(GateOptions(7, {2: "t", 1: "t"}, host, 1, 2, endpoint, {}), streams.screen)
    job.started(Address("ws", host, 1), Address("ws", host, 2))
    assert job.interrupted() == "ended"


def test_a_gate_begins_with_its_groups() -> None:
    members = {5: frozenset({1, 2})}
    job = Serving(GateOptions(7, {1: "t"}, "h", 1, 2, None, members), Streams().screen)
    assert job.store().groups() == members


def test_a_gate_prints_where_it_is() -> None:
    streams = Streams()
    serving(streams, "gate.example")
    assert streams.out == "ws://gate.example:1/service/websocket tcp://gate.example:1\n"
    assert "project 7, users 1, 2, files on gate.example:2; Ctrl-C ends it" in streams.err
    streams = Streams(json=True)
    serving(streams, "::1", "files.example:9")
    assert json.loads(streams.out) == {
        "url": "ws://[::1]:1/service/websocket",
        "tcp_url": "tcp://[::1]:1",
        "file_endpoint": "files.example:9",
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_gate_on_every_address_needs_an_endpoint(host: str) -> None:
    streams = Streams()
    serving(streams, host)
    assert "give --endpoint" in streams.err
    streams = Streams()
    serving(streams, host, "files.example:9")
    assert "give --endpoint" not in streams.err


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
