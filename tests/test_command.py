"""Whole commands, on both runtimes: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from rtm_proto.command import main
from rtm_proto.command.demo import PICTURE
from rtm_proto.package import MAX_PACKAGE, Kind, Splitter, encode_answer, encode_quest
from rtm_proto.payload import encode

PID = "11000001"
TOKENS = {1001: "token-of-1001", 1002: "token-of-1002"}
TIME_LIMIT = 15.0  # seconds for one process

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def who(uid: int, token: str | None = None) -> list[str]:
    return ["--pid", PID, "--uid", str(uid), "--token", token or TOKENS[uid]]


def start(*argv: str, module: str = "rtm_proto.command", **options: Any) -> subprocess.Popen[str]:
    """A command in a process of its own, in which a warning is an error."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, *argv],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def line_with(stream: Any, text: str) -> str:
    """The next line of *stream* that has *text*."""
    for line in stream:
        if text in line:
            return str(line)
    raise AssertionError(f"it ended without {text!r}")


@contextmanager
def ending(process: subprocess.Popen[str]) -> Generator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


class Outcome:
    """What a command that ran in this process has left."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1
        return json.loads(self.out)


class Shell:
    """Runs commands in this process."""

    def __init__(self, runtime: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.runtime = runtime
        self._capsys = capsys

    def __call__(self, *argv: str) -> Outcome:
        status = main(argv, runtime=self.runtime)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        assert not any(token in out + err for token in TOKENS.values())
        return Outcome(status, out, err)


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def runtime(request: pytest.FixtureRequest) -> str:
    runtime: str = request.param
    return runtime


@pytest.fixture(scope="module")
def gate(runtime: str) -> Iterator[str]:
    """The URL of a gate in a process of its own."""
    users = [f"--user={uid}:{token}" for uid, token in TOKENS.items()]
    ports = ["--port", "0", "--file-port", "0"]
    process = start("gate", "--pid", PID, *users, *ports, "--runtime", runtime)
    with ending(process):
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
        process.terminate()
        rest, err = process.communicate(timeout=TIME_LIMIT)
        assert process.returncode == 0
        assert rest == ""
        assert "Traceback" not in err
        assert not any(token in err for token in TOKENS.values())


@pytest.fixture
def rtm(runtime: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(runtime, capsys)


@contextmanager
def listener(gate: str, runtime: str, *argv: str) -> Generator[subprocess.Popen[str]]:
    """A listening user 1002 in a process of its own, once it listens."""
    command = ["listen", gate, *who(1002), *argv]
    with ending(start(*command, module=f"rtm_{runtime}")) as process:
        line_with(process.stderr, "listening as user 1002")
        yield process


# --- demo ----------------------------------------------------------------------------------------


def test_the_demo_tells_what_happened(rtm: Shell) -> None:
    done = rtm("demo")
    assert done.status == 0
    assert "All is well" in done.out
    assert done.out.count("equal") == 3
    assert f"on {rtm.runtime}:" in done.out
    assert "a gate runs at ws://127.0.0.1:" in done.err


def test_the_demo_is_one_object_for_programs(rtm: Shell) -> None:
    done = rtm("demo", "--json", "-q")
    assert done.status == 0
    assert done.err == ""
    told = done.json
    digest = md5(PICTURE.read_bytes()).hexdigest()
    assert (told["name"], told["size"], told["md5"]) == (
        "picture.png",
        PICTURE.stat().st_size,
        digest,
    )
    assert [(sent["to_kind"], sent["attempts"], sent["equal"]) for sent in told["sent"]] == [
        ("user", 1, True),
        ("group", 1, True),
        ("room", 1, True),
    ]
    assert told["sent"][0]["mid"] == told["repeated"]["mid"]
    assert told["repeated"]["duplicate"] is True
    assert told["arrived"] == 4
    assert told["seconds"] < 15


@pytest.mark.parametrize("size", [0, 1, 5_242_880])
def test_the_demo_takes_any_file_up_to_the_limit(rtm: Shell, tmp_path: Path, size: int) -> None:
    path = tmp_path / "näme [x].bin"
    path.write_bytes(b"\xa5" * size)
    done = rtm("demo", "--file", str(path), "--json", "-v")
    assert done.status == 0
    assert done.json["size"] == size
    assert "confirmed by the gate" in done.err


def test_the_demo_says_why_a_file_cannot_be_sent(rtm: Shell, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(5_242_881))
    for path, text in (
        (large, f"{large} has 5242881 bytes, over the limit of 5242880"),
        (tmp_path, "is not a regular file"),
        (tmp_path / "none", "no such file or directory; check the path"),
    ):
        done = rtm("demo", "--file", str(path))
        assert (done.status, done.out) == (6, "")
        assert text in done.err
        assert done.err.count("\n") == 1


def test_a_port_that_is_taken_is_told(rtm: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = rtm("demo", "--port", str(taken.getsockname()[1]))
    assert done.status == 2
    assert "or port 0" in done.err
    assert done.err.count("\n") == 1


# --- gate, send, listen --------------------------------------------------------------------------


def test_a_file_goes_from_one_process_to_another(
    rtm: Shell, gate: str, runtime: str, tmp_path: Path
) -> None:
    inbox = tmp_path / "new" / "inbox"
    command = ["--download", str(inbox), "--room", "7", "--count", "3", "--json"]
    with listener(gate, runtime, *command) as process:
        to_user = rtm("send", gate, str(PICTURE), *who(1001), "--to", "1002", "--json", "-q")
        raw = gate.replace("ws:", "tcp:").removesuffix("/service/websocket")
        to_room = rtm("send", raw, str(PICTURE), *who(1001), "--room", "7", "--json", "-q")
        text = tmp_path / "words.txt"
        text.write_text("hello")
        named = rtm(
            "send", gate, str(text), *who(1001), "--to", "1002", "--name", "other.mp3", "--mid", "5"
        )
        again = rtm("send", gate, str(text), *who(1001), "--to", "1002", "--mid", "5")
        out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0
    assert err == ""
    assert (to_user.status, to_user.err) == (0, "")
    digest = md5(PICTURE.read_bytes()).hexdigest()
    events = [json.loads(line) for line in out.splitlines()]
    for event, sent, kind, name in zip(
        events, (to_user.json, to_room.json), ("user", "room"), ("", "-2"), strict=False
    ):
        assert (sent["attempts"], sent["duplicate"], sent["mtype"]) == (1, False, 40)
        assert (event["event"], event["from"], event["to_kind"]) == ("file", 1001, kind)
        assert (event["mid"], event["mtime"]) == (sent["mid"], sent["mtime"])
        assert (event["name"], event["size"]) == ("picture.png", sent["size"])
        assert (event["md5"], event["download_error"]) == (digest, None)
        assert Path(event["path"]) == inbox / f"picture{name}.png"
        assert Path(event["path"]).read_bytes() == PICTURE.read_bytes()
    assert (events[2]["name"], events[2]["mtype"], events[2]["mid"]) == ("other.mp3", 50, 5)
    assert "other.mp3 (5 bytes) to user 1002 sent: mid 5 mtime" in named.out
    assert "was delivered before: mid 5 attempts 1 duplicate" in again.out
    assert again.status == 0


def test_a_listener_prints_a_line_for_each_event(rtm: Shell, gate: str, runtime: str) -> None:
    with listener(gate, runtime, "--count", "1") as process:
        assert rtm("send", gate, str(PICTURE), *who(1001), "--to", "1002").status == 0
        out, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0
    assert out.startswith("file from user 1001 to user 1002: picture.png (image, 229,862 bytes)")
    assert out.count("\n") == 1


def test_a_download_that_fails_is_told_and_is_the_status(
    rtm: Shell, gate: str, runtime: str, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    with listener(gate, runtime, "--count", "2", "--download", str(inbox)) as process:
        inbox.rmdir()
        for _ in range(2):
            rtm("send", gate, str(PICTURE), *who(1001), "--to", "1002", "-q")
        out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 6
    assert out.count("not saved\n") == out.count("\n") == err.count("\n") == 2


def test_a_second_login_ends_the_first(gate: str, runtime: str) -> None:
    with listener(gate, runtime) as process, listener(gate, runtime):
        out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 3
    kicked, gone = out.splitlines()
    assert kicked.startswith("kicked out")
    assert gone.startswith("disconnected")
    assert f"the link to {gate} is gone" in err


def test_a_gate_refuses_with_its_code(rtm: Shell, gate: str) -> None:
    command = ["send", gate, str(PICTURE), *who(1001), "--group", "77"]
    refused = rtm(*command)
    assert (refused.status, refused.out) == (1, "")
    assert "200041 (not a member of the group)" in refused.err
    told = rtm(*command, "--json").json
    assert (told["code"], told["exit_status"]) == (200041, 1)
    assert told["mid"] > 0


def test_a_wrong_token_is_status_4(rtm: Shell, gate: str) -> None:
    for command in (["send", gate, str(PICTURE), "--to", "1002"], ["listen", gate]):
        refused = rtm(*command, *who(1001, "wrong"))
        assert (refused.status, refused.out) == (4, "")
        assert "the login token of user 1001 is wrong or has expired" in refused.err
        assert refused.err.count("\n") == 1


def test_a_wrong_project_is_status_4(rtm: Shell, gate: str) -> None:
    refused = rtm("listen", gate, "--pid", "1", "--uid", "1001", "--token", "t")
    assert refused.status == 4
    assert "200001 (bad project or user id)" in refused.err


def test_no_gate_is_status_3(rtm: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"ws://127.0.0.1:{closed.getsockname()[1]}"
    lost = rtm("send", url, str(PICTURE), *who(1001), "--to", "1002", "-v")
    assert (lost.status, lost.out) == (3, "")
    assert f"could not connect to {url}" in lost.err
    assert "because of" in lost.err
    assert json.loads(rtm("listen", url, *who(1001), "--json").out)["exit_status"] == 3


@pytest.mark.parametrize("name", ["missing", ".", "large"])
def test_a_file_that_cannot_be_sent_is_status_6_before_anything_is_dialled(
    rtm: Shell, tmp_path: Path, name: str
) -> None:
    (tmp_path / "large").write_bytes(bytes(5_242_881))
    path = str(tmp_path / name)
    refused = rtm("send", "ws://127.0.0.1:1", path, *who(1001), "--to", "1")
    assert (refused.status, refused.out) == (6, "")
    assert path in refused.err
    assert refused.err.count("\n") == 1


# --- a gate that behaves badly -------------------------------------------------------------------


@contextmanager
def script(*, silent_on: str) -> Generator[tuple[str, threading.Event]]:
    """The URL of a raw gate that answers what a sender asks, but never *silent_on*: it sets."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"

        def serve(sock: socket.socket) -> None:
            splitter = Splitter(MAX_PACKAGE)
            with sock, suppress(ConnectionError):  # a sender that ends may reset it
                while data := sock.recv(65536):
                    for package in splitter.feed(data):
                        method = package.method.decode()
                        if method == silent_on:
                            asked.set()
                        elif package.kind == Kind.TWOWAY:
                            params = {"ok": True, "token": "t", "endpoint": endpoint}
                            sock.sendall(encode_answer(encode(params), package.seq))

        def accept() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"tcp://{endpoint}", asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join(TIME_LIMIT)


def test_no_answer_to_the_file_is_status_5_and_says_how_to_repeat(rtm: Shell) -> None:
    with script(silent_on="sendfile") as (url, _):
        command = ["send", url, str(PICTURE), *who(1001), "--to", "2", "--timeout", "0.3"]
        unknown = rtm(*command, "--mid", "77")
        assert (unknown.status, unknown.out) == (5, "")
        assert "repeating with --mid 77 is safe" in unknown.err
        told = rtm(*command, "--json").json
        assert (told["exit_status"], told["stage"]) == (5, "confirming")
        assert told["mid"] > 0


def test_no_answer_to_the_login_is_status_3(rtm: Shell) -> None:
    with script(silent_on="auth") as (url, _):
        command = ["send", url, str(PICTURE), *who(1001), "--to", "2", "--timeout", "0.3"]
        assert rtm(*command).status == 3


@posix_only
@pytest.mark.parametrize(
    ("silent_on", "text"),
    [
        ("sendfile", "it may have arrived; repeating with --mid 77 is safe"),
        ("filetoken", "it was not sent (mid 77)"),
        ("auth", "interrupted\n"),
    ],
)
def test_who_interrupts_a_send_is_told_where_it_stands(
    runtime: str, silent_on: str, text: str
) -> None:
    with script(silent_on=silent_on) as (url, asked):
        command = ["send", url, str(PICTURE), *who(1001), "--to", "2", "--mid", "77", "-v"]
        with ending(start(*command, "--runtime", runtime)) as process:
            assert asked.wait(TIME_LIMIT)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 130
    assert out == ""
    assert text in err
    assert "Traceback" not in err


# --- how a process ends --------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_listener_that_is_stopped_ends_quietly(
    gate: str, runtime: str, number: signal.Signals, status: int
) -> None:
    with listener(gate, runtime) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == status
    assert (out, err) == ("", "rtm listen: interrupted\n")


@posix_only
def test_ctrl_c_ends_a_gate_and_its_listener_waits_for_another(runtime: str) -> None:
    users = [f"--user={uid}:{token}" for uid, token in TOKENS.items()]
    command = ["gate", "--pid", PID, *users, "--port", "0", "--file-port", "0", "--json"]
    with ending(start(*command, module=f"rtm_{runtime}")) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        places = {"url", "tcp_url", "file_endpoint", "tls_url", "watch_url", "admin_socket"}
        assert set(told) == places
        port = told["tcp_url"].rpartition(":")[2]
        with listener(told["tcp_url"], runtime, "--json") as other:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIME_LIMIT)
            assert process.returncode == 130
            assert other.stdout is not None
            told = json.loads(other.stdout.readline())
            assert (told["event"], told["again"]) == ("disconnected", True)
            command[command.index("--port") + 1] = port
            with ending(start(*command, module=f"rtm_{runtime}")) as second:
                assert json.loads(other.stdout.readline()) == {"event": "reconnected"}
                other.send_signal(signal.SIGINT)
                other.communicate(timeout=TIME_LIMIT)
                second.send_signal(signal.SIGINT)
                second.communicate(timeout=TIME_LIMIT)
    assert (other.returncode, second.returncode) == (130, 130)


# --- a gate of one's own, and its operators ------------------------------------------------------


@contextmanager
def own_gate(runtime: str, data: Path, *more: str) -> Generator[tuple[Any, dict[str, Any]]]:
    """A gate with a data folder in a process of its own, and what it said of itself."""
    ports = ["--port", "0", "--file-port", "0"]
    command = ["gate", "--pid", PID, "--data", str(data), *ports, "--json", *more]
    with ending(start(*command, module=f"rtm_{runtime}")) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())


@posix_only
def test_a_gate_keeps_what_it_was_given_and_its_operators_administer_it(
    runtime: str, tmp_path: Path, rtm: Shell
) -> None:
    data = tmp_path / "data"
    token = ""
    for _ in range(2):
        with own_gate(runtime, data) as (process, told):
            assert told["admin_socket"] == str(data / "admin.sock")
            admin = ("admin", "--data", str(data))
            if not token:
                assert rtm(*admin, "group", "add", "5", "1001", "1002").out == "done\n"
                token = rtm(*admin, "token", "1001").out.strip()
            assert rtm(*admin, "group", "list", "5").out == "1001\n1002\n"
            assert rtm(*admin, "group", "of", "1001", "--json").json == {"gids": [5]}
            assert rtm(*admin, "stats", "--json").json["users"] == 0
            assert rtm(*admin, "stats").out.startswith("health           ok\nready")
            missing = rtm(*admin, "room", "add", "7", "1001")
            assert missing.status == 1 and "200055 (not online)" in missing.err
            send = ["send", told["tcp_url"], str(PICTURE), *who(1001, token), "--group", "5", "-q"]
            assert rtm(*send).status == 0
            process.terminate()
            process.communicate(timeout=TIME_LIMIT)
            assert process.returncode == 0
    gone = rtm("admin", "--data", str(data), "stats")
    assert gone.status == 3 and f"no gate listens at {data}/admin.sock" in gone.err
    assert sorted(path.name for path in data.iterdir()) == ["bodies", "drafts", "gate.db", "lock"]


@posix_only
def test_a_second_gate_on_one_folder_does_not_start(
    runtime: str, tmp_path: Path, rtm: Shell
) -> None:
    data = tmp_path / "data"
    with own_gate(runtime, data):
        second = rtm("gate", "--pid", PID, "--data", str(data), "--port", "0", "--file-port", "0")
        assert second.status == 1
        assert f"{data} is in use by another gate" in second.err and second.err.count("\n") == 1


@posix_only
@pytest.mark.parametrize("signals", [1, 2])
def test_a_gate_that_is_told_to_stop_waits_for_what_is_under_way_until_it_is_told_again(
    runtime: str, signals: int, tmp_path: Path
) -> None:
    with own_gate(runtime, tmp_path / "data", "--grace", "1h") as (process, told):
        host, _, port = told["file_endpoint"].rpartition(":")
        with socket.create_connection((host, int(port))) as upload:
            upload.sendall(encode_quest(b"sendfile", encode({"file": bytes(200_000)}), 1)[:100_000])
            until_it_comes(tmp_path / "data")
            process.terminate()
            assert "a second signal ends at once" in line_with(process.stderr, "stopping")
            assert process.poll() is None
            if signals == 2:
                process.terminate()
                process.communicate(timeout=TIME_LIMIT)
        process.communicate(timeout=TIME_LIMIT)
        assert process.returncode == 0


def until_it_comes(data: Path) -> None:
    """Wait until the gate knows of the upload."""
    deadline = time.monotonic() + TIME_LIMIT
    while time.monotonic() < deadline:
        done = subprocess.run(
            [sys.executable, "-m", "rtm_proto.command", "admin", "--json", "--data", str(data),
             "stats"], capture_output=True, check=True, timeout=TIME_LIMIT,
        )  # fmt: skip
        if json.loads(done.stdout)["uploads"]:
            return
    raise AssertionError("it never came")


@posix_only
def test_the_log_is_json_for_who_asks_for_it(runtime: str, tmp_path: Path, rtm: Shell) -> None:
    more = ("--log-format", "json", "--log-level", "debug", "--user", f"1001:{TOKENS[1001]}")
    with own_gate(runtime, tmp_path / "data", *more) as (process, told):
        wrong = ["send", told["url"], str(PICTURE), *who(1001, "wrong"), "--to", "1002"]
        assert rtm(*wrong).status == 4
        process.terminate()
        _, err = process.communicate(timeout=TIME_LIMIT)
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    [refused] = [line for line in lines if line["event"] == "no login"]
    assert (refused["level"], refused["peer"]) == ("warning", "127.0.0.1")
    assert refused["logger"] == f"rtm_{runtime}"
    assert {"came", "left", "stopping"} <= {line["event"] for line in lines}
    assert "wrong" not in err and TOKENS[1001] not in err


@posix_only
@pytest.mark.parametrize("command", ["demo", "inspect", "help"])
def test_nobody_who_reads_stdout_is_no_reason_for_noise(command: str) -> None:
    argv = {
        "demo": ["demo", "--json", "-q"],
        "inspect": ["inspect", "--hex", "46504e4e01800104010000000700000070696e6780"],
        "help": ["--help"],
    }[command]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with ending(start(*argv, stdout=write_end)) as process:
        os.close(write_end)
        _, err = process.communicate(timeout=TIME_LIMIT)
    assert err == ""
    assert process.returncode == 141 or command == "help"  # argparse passes over an error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_full_disk_below_stdout_is_told() -> None:
    with open("/dev/full", "wb") as full:
        argv = ["inspect", "--hex", "46504e4e01800104010000000700000070696e6780"]
        with ending(start(*argv, stdout=full)) as process:
            _, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 6
    assert "cannot write to stdout" in err
    assert err.count("\n") == 1


@posix_only
def test_the_demo_draws_bars_on_a_terminal(runtime: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", f"rtm_{runtime}", "demo"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    with process:
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            pass  # Linux says so when the other end is closed
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0, text
    assert text.count("100 %") >= 5
    assert "\x1b[32mAll is well" in text
    assert text.count("\x1b[?25h") >= text.count("\x1b[?25l") > 0


def test_a_missing_extra_is_named(runtime: str) -> None:
    library = {"asyncio": "anyio", "trio": "trio"}[runtime]
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from rtm_proto.command import main\n"
        f"sys.exit(main(['demo', '--runtime', {runtime!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIME_LIMIT
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"rtm-proto[{runtime}]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_inspect_loads_no_adapter_and_no_extra() -> None:
    code = (
        "import sys\n"
        "for name in ('trio', 'anyio', 'wsproto', 'h11', 'rich'): sys.modules[name] = None\n"
        "from rtm_proto.command import main\n"
        "status = main(['inspect', '--hex', '46504e4e01800104010000000700000070696e6780'])\n"
        "assert not any(name.startswith(('rtm_trio', 'rtm_asyncio')) for name in sys.modules)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIME_LIMIT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "quest ping" in done.stdout
