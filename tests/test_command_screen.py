"""What is printed where: results, talk, failures, bars, events in words."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from collections.abc import Mapping

import pytest

from rtm_proto.codes import Code
from rtm_proto.command.bars import rich_bar
from rtm_proto.command.exits import Exit, Failure, Mismatch, UsageError, explain, printable
from rtm_proto.command.screen import BOLD, QUIET, USUAL, VERBOSE, OutputGone, Screen
from rtm_proto.command.words import event_json, event_words, size_words
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    DownloadFailed,
    FileNotSent,
    FileRefused,
    FileUnusable,
    LocalProtocolError,
    LoginFailed,
    OutcomeUnknown,
    QuestRefused,
    QuestTimeout,
    StoreFault,
)
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.steps import Progress, Stage
from rtm_proto.received import (
    ClientEvent,
    Conversation,
    Disconnected,
    EventsLost,
    KickedOut,
    KickedOutOfRoom,
    MessageReceived,
    Reconnected,
    UnknownPush,
    parse_push,
)

LOST = CloseReason(CloseKind.PEER_RESET)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, "no")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Streams:
    """A screen on two streams that can be read."""

    def __init__(
        self,
        verbosity: int = USUAL,
        environ: Mapping[str, str] | None = None,
        *,
        terminal: bool = False,
    ) -> None:
        self.out = Terminal() if terminal else io.StringIO()
        self.err = Terminal() if terminal else io.StringIO()
        self.clock = Clock()
        self.screen = Screen(
            "rtm x", self.out, self.err, environ or {}, verbosity=verbosity, clock=self.clock
        )


# --- the screen ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [(QUIET, ""), (USUAL, "rtm x: one\n"), (VERBOSE, "rtm x: one\nrtm x: two\n")],
)
def test_stdout_carries_the_result_only(verbosity: int, said: str) -> None:
    streams = Streams(verbosity)
    streams.screen.say("one")
    streams.screen.detail("two")
    streams.screen.result("three")
    streams.screen.result({"four": "ü"})
    assert streams.err.getvalue() == said
    assert streams.out.getvalue() == 'three\n{"four": "\\u00fc"}\n'


def test_colours_are_for_terminals_that_want_them() -> None:
    assert Streams(terminal=True).screen.paint("x", BOLD) == "\x1b[1mx\x1b[0m"
    assert Streams().screen.paint("x", BOLD) == "x"
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert Streams(environ=environ, terminal=True).screen.paint("x", BOLD) == "x"


def test_a_failure_is_one_line_whatever_the_peer_says() -> None:
    streams = Streams(QUIET)
    exc = QuestRefused("enterroom", 200020, "no\r\n\x1b[2Jway")
    failure = explain(exc)
    assert failure is not None
    streams.screen.fail(failure, exc)
    assert streams.err.getvalue() == (
        "rtm x: the gate refused enterroom with 200020 (method forbidden): no\\r\\n\\x1b[2Jway; "
        "sending the same again will not help\n"
    )


def test_verbose_says_what_was_behind_a_failure() -> None:
    streams = Streams(VERBOSE, terminal=True)
    exc = ConnectFailed("no way")
    exc.__cause__ = OSError("down")
    streams.screen.fail(Failure(Exit.UNREACHABLE, "no way"), exc)
    first, second = streams.err.getvalue().splitlines()
    assert first == "\x1b[31mrtm x\x1b[0m: no way"
    assert second == "rtm x:   because of OSError: down"


def test_an_interruption_stands_below_the_key_that_a_terminal_shows() -> None:
    for terminal, text in ((True, "\nrtm x: ended\n"), (False, "rtm x: ended\n")):
        streams = Streams(terminal=terminal)
        streams.screen.interrupted("ended")
        assert streams.err.getvalue() == text


def test_a_stdout_that_takes_no_more_is_no_network_error() -> None:
    screen = Screen("rtm x", Full(errno.EPIPE), None, {})
    with pytest.raises(OutputGone) as caught:
        screen.result("x")
    assert isinstance(caught.value.__cause__, BrokenPipeError)
    assert not isinstance(caught.value, OSError)


def test_a_stderr_that_takes_no_more_is_no_reason_to_end() -> None:
    Screen("rtm x", None, Full(errno.EPIPE), {}).say("x")


def test_streams_that_are_closed_are_passed_over() -> None:
    screen = Screen("rtm x", None, None, {})
    screen.result("x")
    screen.say("x")
    screen.interrupted("x")
    screen.bar("x")(Progress(1, Stage.TOKEN, 0, 1, 1))
    screen.close()


def test_a_name_that_the_encoding_lacks_is_shown_escaped() -> None:
    raw = io.BytesIO()
    screen = Screen("rtm x", io.TextIOWrapper(raw, "ascii"), None, {})
    screen.result("ü")
    assert raw.getvalue() == b"\\xfc\n"


# --- bars ----------------------------------------------------------------------------------------

STEPS = [
    Progress(7, Stage.TOKEN, 0, 2000, 1),
    Progress(7, Stage.UPLOADING, 500, 2000, 1),
    Progress(7, Stage.UPLOADING, 1000, 2000, 1),
    Progress(7, Stage.CONFIRMING, 2000, 2000, 2),
    Progress(7, Stage.DONE, 2000, 2000, 2),
]


def run_bar(streams: Streams, seconds: float) -> str:
    bar = streams.screen.bar("a.png", width=8)
    for progress in STEPS:
        streams.clock.now += seconds
        bar(progress)
    streams.screen.close()
    return streams.err.getvalue()


def test_without_a_terminal_there_is_at_most_one_line_a_second() -> None:
    assert run_bar(Streams(), 0.19) == ""
    assert run_bar(Streams(), 0.4).splitlines() == [
        "rtm x: a.png: sending, 1,000 of 2,000 bytes (50 %)"
    ]
    assert len(run_bar(Streams(), 1.0).splitlines()) == 5


def test_an_empty_file_is_no_division_by_zero() -> None:
    streams = Streams()
    bar = streams.screen.bar("a.png")
    streams.clock.now += 2
    bar(Progress(7, Stage.UPLOADING, 0, 0, 1))
    assert streams.err.getvalue() == "rtm x: a.png: sending, 0 of 0 bytes (100 %)\n"


def test_quiet_shows_no_progress() -> None:
    assert run_bar(Streams(QUIET), 2.0) == ""


def test_verbose_shows_every_stage_once() -> None:
    assert run_bar(Streams(VERBOSE), 0.5).splitlines() == [
        "rtm x: a.png: 0.500 s getting a token (mid 7)",
        "rtm x: a.png: 1.000 s sending (mid 7)",
        "rtm x: a.png: 2.000 s handed over, waiting for the gate, attempt 2 (mid 7)",
        "rtm x: a.png: 2.500 s confirmed by the gate, attempt 2 (mid 7)",
    ]


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = run_bar(Streams(terminal=True), 0.5)
    assert re.search("\x1b\\[[0-9;]*m", shown)
    plain = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"a\.png {4}[━╸╺ ]+ 25 % sending", plain)
    assert re.search(r"a\.png {4}━+ 100 % confirmed by the gate, attempt 2", plain)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back


def test_a_bar_has_no_colours_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search("\x1b\\[[0-9;]*3[0-9][0-9;]*m", run_bar(Streams(terminal=True), 0.5))


def test_a_bar_is_not_redrawn_for_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "50 %" not in run_bar(Streams(terminal=True), 0.01)


def test_a_bar_that_never_began_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    streams = Streams(terminal=True)
    streams.screen.bar("a.png")
    streams.screen.say("x")
    assert streams.err.getvalue() == "rtm x: x\n"


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert run_bar(Streams(terminal=True), 1.0).startswith("rtm x: a.png: getting a token")


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert rich_bar("a.png", Terminal(), Clock()) is None


# --- failures ------------------------------------------------------------------------------------


def refused(code: int) -> QuestRefused:
    return QuestRefused("sendfile", code, "said so")


def caused(exc: Exception, cause: Exception) -> Exception:
    exc.__cause__ = cause
    return exc


def not_sent(cause: Exception) -> FileNotSent:
    return FileNotSent(mid=7, stage="token", cause=cause)


NO_FILE = FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png")
FAILURES: list[tuple[Exception, Exit, str]] = [
    (
        FileRefused(mid=7, stage="confirming", cause=refused(Code.NOT_GROUP_MEMBER)),
        Exit.REFUSED,
        "200041 (not a member of the group): said so; let a member",
    ),
    (
        FileRefused(mid=7, stage="token", cause=refused(Code.RATE_LIMIT)),
        Exit.REFUSED,
        "200010 (rate limit): said so; try again in a moment",
    ),
    (
        FileRefused(mid=7, stage="token", cause=QuestRefused("filetoken", 77, "")),
        Exit.REFUSED,
        "77 (unknown code): no text",
    ),
    (
        OutcomeUnknown(mid=7, stage="confirming", cause=QuestTimeout("sendfile")),
        Exit.OUTCOME_UNKNOWN,
        "repeating with --mid 7 is safe",
    ),
    (not_sent(NO_FILE), Exit.FILE, "a.png: no such file or directory (stage token); check"),
    (not_sent(FileUnusable("too large")), Exit.FILE, "too large"),
    (not_sent(ConnectFailed("no link")), Exit.UNREACHABLE, "no link (stage token); check"),
    (not_sent(ConnectionLost("filetoken", LOST)), Exit.UNREACHABLE, "reset by the peer"),
    (not_sent(QuestTimeout("filetoken")), Exit.UNREACHABLE, "no answer to filetoken"),
    (not_sent(LocalProtocolError("mtype is odd")), Exit.USAGE, "mtype is odd"),
    (not_sent(ArithmeticError("odd")), Exit.UNREACHABLE, "odd"),
    (LoginFailed("ok: false, get a new one"), Exit.LOGIN, "get a new one"),
    (
        caused(LoginFailed("refused", 200001), QuestRefused("auth", 200001, "who?")),
        Exit.LOGIN,
        "200001 (bad project or user id): who?; check --pid",
    ),
    (LoginFailed("refused", 200001), Exit.LOGIN, "(bad project or user id): refused"),
    (caused(LoginFailed("lost"), ConnectionLost("auth", LOST)), Exit.UNREACHABLE, "lost"),
    (refused(Code.TOO_MANY_ROOMS), Exit.REFUSED, "200047 (too many rooms)"),
    (ConnectFailed("no link"), Exit.UNREACHABLE, "check that the gate runs there"),
    (DownloadFailed("404", 404), Exit.REFUSED, "404"),
    (caused(DownloadFailed("lost"), ConnectFailed("x")), Exit.UNREACHABLE, "lost"),
    (caused(DownloadFailed("full"), OSError(errno.ENOSPC, "x")), Exit.FILE, "full"),
    (FileUnusable("no file"), Exit.FILE, "no file; choose another file"),
    (LocalProtocolError("wrong"), Exit.USAGE, "wrong"),
    (UsageError("wrong"), Exit.USAGE, "wrong"),
    (Mismatch("a is not b"), Exit.REFUSED, "the check failed: a is not b"),
    (ImportError("rtm_trio needs trio"), Exit.USAGE, "rtm_trio needs trio"),
    (StoreFault("full"), Exit.REFUSED, "full"),
    (NO_FILE, Exit.FILE, "a.png: no such file or directory; check the path"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", b"d\xff"), Exit.FILE, "; name a file"),
    (PermissionError(errno.EACCES, "Denied", "d"), Exit.FILE, "d: denied; check its permissions"),
    (FileExistsError(errno.EEXIST, "Exists", "d"), Exit.FILE, "move it away"),
    (OSError(errno.ENOSPC, "Full", "d"), Exit.FILE, "d: full"),
    (OSError(errno.EADDRINUSE, "in use"), Exit.USAGE, "in use; choose another --host or --port"),
    (OSError(errno.EIO, "broken"), Exit.FILE, "broken"),
    (OSError("odd"), Exit.FILE, "odd"),
    (OSError(), Exit.FILE, "OSError"),
]


@pytest.mark.parametrize(
    ("exc", "status", "text"), FAILURES, ids=lambda value: type(value).__name__
)
def test_every_expected_error_has_its_status_and_its_advice(
    exc: Exception, status: Exit, text: str
) -> None:
    failure = explain(exc)
    assert failure is not None
    assert failure.status is status
    assert text in failure.line
    assert failure.json()["exit_status"] == status
    json.dumps(failure.json())


def test_what_nobody_expects_is_not_explained_away() -> None:
    assert explain(ZeroDivisionError()) is None


def test_facts_are_kept_for_programs() -> None:
    failure = explain(FileRefused(mid=7, stage="confirming", cause=refused(200040)))
    assert failure is not None
    assert failure.json() == {
        "error": "the gate refused the file with 200040 (not in the room): said so",
        "exit_status": 1,
        "mid": 7,
        "stage": "confirming",
        "code": 200040,
        "meaning": "not in the room",
        "text": "said so",
    }


def test_what_could_move_a_cursor_is_escaped() -> None:
    assert printable("a\n\x1b[2J\u202eü\udcff") == "a\\n\\x1b[2J\\u202eü\\udcff"


# --- events --------------------------------------------------------------------------------------


def pushed(method: str, **params: object) -> ClientEvent:
    event, _ = parse_push(method, {"from": 1, "mid": 5, "mtime": 6, **params}, own_uid=2)
    return event


NESTED = '{"rtm":{"filename":"a\\u001b.png","type":"audiomsg"},"custom":1e999}'
FILE = pushed("pushmsg", mtype=40, msg='{"url":"http://h/f","size":1}', attrs=NESTED)
EVENTS: list[tuple[ClientEvent, str, str]] = [
    (FILE, "file", "file from user 1 to user 2: a.png (image, 1 byte) mid 5 mtime 6"),
    (
        pushed("pushroommsg", rid=3, mtype=43, msg="http://h/", attrs="?"),
        "file",
        "file from user 1 to room 3: (no name) (mtype 43, size unknown) mid 5 mtime 6",
    ),
    (
        pushed("pushbroadcastmsg", mtype=30, msg="hi\nyou", attrs=""),
        "message",
        "message from user 1 to everybody: mtype 30: hi\\nyou",
    ),
    (
        pushed("pushgroupmsg", gid=4, mtype=30, msg=b"\xff\xfe", attrs=""),
        "message",
        "message from user 1 to group 4: 2 bytes that are no text",
    ),
    (
        MessageReceived(Conversation.P2P, 1, 2, 5, 30, 6, "x" * 300, ""),
        "message",
        f"message from user 1 to user 2: mtype 30: {'x' * 200}...",
    ),
    (KickedOut(), "kicked_out", "kicked out: the gate ended this login"),
    (KickedOutOfRoom(3), "kicked_out_of_room", "kicked out of room 3"),
    (UnknownPush("pushx", {}), "unknown_push", "unknown push pushx"),
    (EventsLost(3), "events_lost", "3 events lost"),
    (Disconnected(LOST), "disconnected", "disconnected: reset by the peer"),
    (
        Disconnected(LOST, again=True),
        "disconnected",
        "disconnected: reset by the peer; logging in again",
    ),
    (Reconnected(), "reconnected", "logged in again"),
]


@pytest.mark.parametrize(("event", "name", "text"), EVENTS, ids=[text for *_, text in EVENTS])
def test_every_event_is_a_line_and_an_object(event: ClientEvent, name: str, text: str) -> None:
    line = event_words(event)
    assert line.startswith(text)
    assert "\n" not in line
    found = event_json(event)
    assert found["event"] == name
    json.dumps(found, allow_nan=False)


def test_a_file_is_told_with_everything_that_a_program_needs() -> None:
    assert event_json(FILE) == {
        "event": "file",
        "from": 1,
        "to_kind": "user",
        "to": 2,
        "mid": 5,
        "mtype": 40,
        "mtime": 6,
        "name": "a.png",
        "ext": "png",
        "url": "http://h/f",
        "size": 1,
        "surl": None,
        "custom": "inf",
        "voice": {"codec": None, "lang": None, "duration": None, "srate": None},
    }


def test_sizes_are_grouped() -> None:
    assert [size_words(size) for size in (None, 0, 1, 5_242_880)] == [
        "size unknown",
        "0 bytes",
        "1 byte",
        "5,242,880 bytes",
    ]
