"""The command line as it is read: values, defaults, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtm_proto.command import main
from rtm_proto.command.acts import AdminQuest
from rtm_proto.command.exits import UsageError
from rtm_proto.command.gate_options import GateOptions
from rtm_proto.command.options import (
    Account,
    AdminOptions,
    DemoOptions,
    InspectOptions,
    ListenOptions,
    Request,
    SendOptions,
)
from rtm_proto.command.parser import parse
from rtm_proto.command.screen import QUIET, USUAL, VERBOSE
from rtm_proto.received import Conversation

URL = "ws://gate.example:13321"
WHO = ["--pid", "11000001", "--uid", "1001"]
SEND = ["send", URL, "photo.jpg", *WHO]
LISTEN = ["listen", URL, *WHO, "--token", "t"]
SECRET = "s3cr3t-t0k3n"


def read(*argv: str, environ: dict[str, str] | None = None, runtime: str | None = None) -> Request:
    return parse(argv, environ or {}, program="rtm", runtime=runtime)


def fault(*argv: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read(*argv, environ=environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_demo_needs_nothing() -> None:
    request = read("demo")
    assert request == Request("demo", DemoOptions(None, 0, 0), "asyncio", False, USUAL)


def test_a_demo_takes_what_it_may_be_told() -> None:
    options = ["--file", "a.png", "--port", "1", "--file-port", "65535", "--runtime", "trio"]
    request = read("demo", *options, "--json", "-v")
    assert request == Request("demo", DemoOptions("a.png", 1, 65535), "trio", True, VERBOSE)


def test_quiet_and_verbose_exclude_each_other() -> None:
    assert read("demo", "-q").verbosity == QUIET
    assert "not allowed with" in fault("demo", "-q", "-v")


def test_a_runtime_that_is_given_is_not_chosen() -> None:
    assert read("demo", runtime="trio").runtime == "trio"
    with pytest.raises(UsageError, match="--runtime"):
        read("demo", "--runtime", "asyncio", runtime="trio")


def test_a_gate_has_users() -> None:
    request = read("gate", "--pid", "7", "--user", "1:a", "--user", "2:b:c")
    users = {1: "a", 2: "b:c"}
    assert request.options == GateOptions(pid=7, users=users, tls_port=None, tls_file_port=None)
    assert isinstance(request.options, GateOptions)
    assert (request.options.port, request.options.file_port) == (13321, 13461)


def test_a_gate_has_groups() -> None:
    gate = ("gate", "--pid", "7", "--user", "1:a")
    request = read(*gate, "--group=-5:1,2", "--group=6:1", "--group=-5:3")
    assert isinstance(request.options, GateOptions)
    assert request.options.groups == {-5: frozenset({1, 2, 3}), 6: frozenset({1})}
    for bad in ("6", "6:", "6:0", "6:1,,2", "x:1", "6:a"):
        assert "expected GID:UID,UID" in fault(*gate, "--group", bad)


def test_a_gate_says_where_its_files_go() -> None:
    request = read("gate", "--pid", "1", "--user", "1:a", "--endpoint", "files.example:13325")
    assert isinstance(request.options, GateOptions)
    assert request.options.endpoint == "files.example:13325"


def test_a_send_has_one_target() -> None:
    account = Account(URL, 11000001, 1001, "t")
    for option, kind in (
        ("--to", Conversation.P2P),
        ("--group", Conversation.GROUP),
        ("--room", Conversation.ROOM),
    ):
        request = read(*SEND, "--token", "t", option, "5")
        assert request.options == SendOptions(
            account, "photo.jpg", kind, 5, None, 0, 20.0, None, "auto", None
        )
    assert "required" in fault(*SEND, "--token", "t")
    assert "not allowed with" in fault(*SEND, "--token", "t", "--to", "1", "--room", "2")


def test_a_send_takes_what_it_may_be_told() -> None:
    more = ["--mtype", "42", "--mid", "9", "--timeout", "1.5", "--name", "n", "--to", "-5"]
    request = read(*SEND, "--token", "t", *more, "--file-route", "tcp://10.0.0.1:9")
    options = request.options
    assert isinstance(options, SendOptions)
    assert (options.mtype, options.mid, options.timeout, options.name) == (42, 9, 1.5, "n")
    assert (options.target, options.file_route) == (-5, "tcp://10.0.0.1:9")


def test_a_listener_takes_what_it_may_be_told() -> None:
    account = Account(URL, 11000001, 1001, "t")
    assert read(*LISTEN).options == ListenOptions(account, None, (), None)
    more = ["--download", "d", "--room", "3", "--room", "4", "--count", "2"]
    assert read(*LISTEN, *more).options == ListenOptions(account, "d", (3, 4), 2)


def test_a_proxy_is_checked_and_never_shown() -> None:
    proxy = f"socks5://me:{SECRET}@proxy.example:1080"
    for argv in ([*SEND, "--token", "t", "--to", "1"], LISTEN):
        request = read(*argv, "--proxy", proxy)
        assert isinstance(request.options, SendOptions | ListenOptions)
        assert request.options.proxy == proxy
        assert SECRET not in repr(request)
        text = fault(*argv, "--proxy", proxy.replace("socks5", "ftp"))
        assert "--proxy: expected http://HOST:PORT or socks5://HOST:PORT" in text
        assert SECRET not in text


@pytest.mark.parametrize(
    ("argv", "method", "params"),
    [
        (["token", "5"], "gettoken", {"uid": 5}),
        (["removetoken", "5"], "removetoken", {"uid": 5}),
        (["kick", "5"], "kickout", {"uid": 5}),
        (["ban", "5"], "addprojectblack", {"uid": 5, "btime": 0}),
        (["ban", "5", "--for", "2h"], "addprojectblack", {"uid": 5, "btime": 7200}),
        (["ban", "5", "--for=9", "--group=-6"], "addgroupban", {"gid": -6, "uid": 5, "btime": 9}),
        (["ban", "5", "--room", "7"], "addroomban", {"rid": 7, "uid": 5, "btime": 0}),
        (["unban", "5"], "removeprojectblack", {"uid": 5}),
        (["unban", "5", "--group", "6"], "removegroupban", {"gid": 6, "uid": 5}),
        (["unban", "5", "--room", "7"], "removeroomban", {"rid": 7, "uid": 5}),
        (["group", "add", "6", "1", "2"], "addgroupmembers", {"gid": 6, "uids": [1, 2]}),
        (["group", "del", "6", "1"], "delgroupmembers", {"gid": 6, "uids": [1]}),
        (["group", "list", "6"], "getgroupmembers", {"gid": 6}),
        (["group", "of", "1"], "getusergroups", {"uid": 1}),
        (["group", "delete", "6"], "delgroup", {"gid": 6}),
        (["room", "add", "7", "1"], "addroommember", {"rid": 7, "uid": 1}),
        (["room", "del", "7", "1"], "delroommember", {"rid": 7, "uid": 1}),
        (["stats"], "stats", {}),
    ],
)  # fmt: skip
def test_each_act_of_an_operator_is_a_quest(
    argv: list[str], method: str, params: dict[str, object]
) -> None:
    request = read("admin", "--socket", "s", *argv)
    assert request.options == AdminOptions("s", (AdminQuest(method, params),), 10.0)


def test_many_members_are_named_in_many_quests() -> None:
    uids = [str(uid) for uid in range(1, 251)]
    options = read("admin", "--socket", "s", "group", "add", "6", *uids).options
    assert isinstance(options, AdminOptions)
    named = [quest.params["uids"] for quest in options.quests]
    assert named == [list(range(1, 101)), list(range(101, 201)), list(range(201, 251))]


def test_an_operator_says_which_gate(tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text('pid = 1\nadmin_socket = "from-file"\n')
    for options, environ, path in (
        (["--socket", "a"], {}, "a"),
        (["--data", "d"], {}, "d/admin.sock"),
        (["--config", str(config)], {}, "from-file"),
        ([], {"RTM_GATE_CONFIG": str(config)}, "from-file"),
        ([], {"RTM_GATE_ADMIN_SOCKET": "e"}, "e"),
        ([], {"RTM_GATE_DATA": "f"}, "f/admin.sock"),
    ):
        request = read("admin", *options, "stats", environ=environ)
        assert isinstance(request.options, AdminOptions)
        assert request.options.socket == path
    assert fault("admin", "stats") == "which gate? give --socket, --data or --config"
    assert "not allowed with" in fault("admin", "--socket", "a", "--data", "b", "stats")
    assert "seconds above 0" in fault("admin", "--socket", "a", "ban", "1", "--for", "soon")


def test_inspect_reads_stdin_unless_told() -> None:
    assert read("inspect").options == InspectOptions("-", None)
    assert read("inspect", "x.bin").options == InspectOptions("x.bin", None)
    assert read("inspect", "--hex", "00").options == InspectOptions("-", "00")
    assert "not both" in fault("inspect", "x.bin", "--hex", "00")


def test_a_token_comes_from_an_option_or_a_file_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    environ = {"RTM_TOKEN": "from-environment"}
    for options, token in (
        (["--token", "from-option"], "from-option"),
        (["--token-file", str(path)], "from-file"),
        ([], "from-environment"),
    ):
        request = read(*SEND, "--to", "1", *options, environ=environ)
        assert isinstance(request.options, SendOptions)
        assert request.options.account.token == token
        assert token not in repr(request)


def test_without_a_token_it_says_where_it_looks(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for options, text in (
        ([], "use --token, --token-file or RTM_TOKEN"),
        (["--token", ""], "the login token in --token is empty"),
        (["--token-file", str(empty)], "empty is empty"),
        (["--token-file", str(binary)], "is no text"),
    ):
        assert text in fault(*SEND, "--to", "1", *options)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["demo", "--port", "65536"], "an integer from 0 to 65535, got '65536'"),
        (["demo", "--port", "x"], "got 'x'"),
        (["demo", "--runtime", "curio"], "asyncio"),
        (["demo", "extra"], "1 more than there are places for"),
        (["gate", "--pid", "0", "--user", "1:a"], "--pid: expected an integer from 1 to"),
        (["gate", "--user", "1:a"], "no pid: give --pid, RTM_GATE_PID"),
        (["gate", "stop"], "check"),
        (["gate", "--pid", "1"], "--user"),
        (["gate", "--pid", "1", "--user", "1:a", "--user", "1:b"], "two tokens for user 1"),
        (["gate", "--pid", "1", "--user", "1:a", "--endpoint", "x"], "host:port"),
        (["send", "http://x", "f", *WHO, "--to", "1"], "ws://"),
        ([*SEND, "--to", str(2**63)], "an integer from -9223372036854775808"),
        ([*SEND, "--to", "1", "--mtype", "39"], "from 40 to 50"),
        ([*SEND, "--to", "1", "--mid", "-1"], "from 0 to"),
        ([*SEND, "--to", "1", "--timeout", "0"], "seconds above 0"),
        ([*SEND, "--to", "1", "--timeout", "inf"], "seconds above 0"),
        ([*SEND, "--to", "1", "--timeout", "soon"], "seconds above 0"),
        ([*SEND, "--to", "1", "--token", "t", "--file-route", "far"], "--file-route"),
        ([*LISTEN, "--count", "0"], "from 1 to"),
    ],
)
def test_a_wrong_argument_is_told_what_was_expected(argv: list[str], text: str) -> None:
    assert text in fault(*argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["gate", "--pid", "1", "--user", SECRET],
        ["gate", "--pid", "1", "--user", f"x:{SECRET}"],
        ["gate", "--pid", "1", "--user", f"0:{SECRET}"],
        [*SEND, "--to", "1", "--tokn", SECRET],
        [*SEND, "--to", "1", f"--tokn={SECRET}"],
        [*SEND, "--to", "1", "--token", SECRET, "--token-file", "f"],
        ["send", f"ws://1001:{SECRET}@gate.example", "f", *WHO, "--to", "1"],
    ],
)
def test_no_message_shows_a_secret(argv: list[str]) -> None:
    assert SECRET not in fault(*argv)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("rtm-proto ")
    assert not err


@pytest.mark.parametrize("command", ["demo", "gate", "admin", "send", "listen", "inspect"])
def test_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"\n  rtm {command}" in capsys.readouterr().out
    assert main([command, "--help"], runtime="trio") == 0
    assert f"\n  python -m rtm_trio {command}" in capsys.readouterr().out


def test_a_usage_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("rtm: ")
    assert "rtm send --help" in err
    assert err.count("\n") == 1


def test_a_token_file_that_is_missing_is_a_file_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEND, "--to", "1", "--token-file", "no-such-file"]) == 6
    assert "no-such-file" in capsys.readouterr().err
