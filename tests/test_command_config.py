"""The options of a gate: one table, three sources, and what a wrong value is told."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from rtm_proto.command import main
from rtm_proto.command.config import gate_options
from rtm_proto.command.exits import UsageError
from rtm_proto.command.gate_options import OPTIONS, GateOptions, Option
from rtm_proto.command.kinds import shown
from rtm_proto.command.parser import parse
from rtm_proto.gate.limits import Limits, Rate

SECRET = "s3cr3t"

TEXTS = {  # a value of each option, as a flag and a variable have it, and as a file has it
    "pid": ("11000001", "11000001"),
    "users": ("1001:a", "{1001 = 'a'}"),
    "groups": ("-5:1,2", "{-5 = [1, 2]}"),
    "secret": ("s", "'s'"),
    "secret_file": ("f", "'f'"),
    "host": ("::1", "['::1']"),
    "port": ("1", "1"),
    "file_port": ("2", "2"),
    "tls_port": ("3", "3"),
    "tls_file_port": ("off", "'off'"),
    "certificate": ("c.pem", "'c.pem'"),
    "key": ("k.pem", "'k.pem'"),
    "endpoint": ("a:1", "'a:1'"),
    "tls_endpoint": ("[::1]:2", "'[::1]:2'"),
    "file_url": ("https://cdn.example/f", "'https://cdn.example/f'"),
    "allow_origin": ("off", "false"),
    "encryption_key": ("e.pem", "'e.pem'"),
    "data": ("d", "'d'"),
    "max_bytes": ("10 GiB", "'10 GiB'"),
    "max_user_bytes": ("1000", "1000"),
    "history": ("9", "9"),
    "history_life": ("2d", "172800"),
    "link_life": ("1h", "3600.0"),
    "thumbnails": ("true", "true"),
    "recognise": ("yes", "true"),
    "strict": ("all", "['all']"),
    "max_connections": ("5", "5"),
    "max_per_address": ("6", "6"),
    "handshake_timeout": ("1.5", "1.5"),
    "login_timeout": ("2s", "2"),
    "idle_timeout": ("90", "'90 s'"),
    "ping_every": ("25", "25"),
    "grace": ("1m", "'1 m'"),
    "admin_socket": ("a.sock", "'a.sock'"),
    "watch_port": ("9100", "9100"),
    "watch_host": ("0.0.0.0", "'0.0.0.0'"),
    "log_level": ("debug", "'debug'"),
    "log_format": ("json", "'json'"),
    "max_file": ("1 MiB", "1048576"),
    "max_attrs": ("1 KiB", "1024"),
    "max_message": ("1", "1"),
    "lenient_ids": ("1", "true"),
    "ftype": ("1", "true"),
}
RATES = ("2:10", "'2:10'")
COUNT = ("7", "7")


def texts(option: Option) -> tuple[str, str]:
    if option.section == "rates":
        return RATES
    return TEXTS.get(option.key, COUNT)


def of(
    flags: dict[str, str] | None = None, file: Path | None = None, **environ: str
) -> GateOptions:
    given = {key: [text] for key, text in (flags or {}).items()}
    return gate_options(given, environ, None if file is None else str(file))


def value(options: GateOptions, option: Option) -> object:
    return getattr(options.limits if option.section else options, option.key)


def fault(flags: dict[str, str] | None = None, file: Path | None = None, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        of(flags, file, **environ)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


NEEDED = {"pid": "1", "users": "1:a"}
WITH = {  # what makes sense only beside another
    "tls_port": {"certificate": "c"},
    "key": {"certificate": "c"},
    "max_user_bytes": {"data": "d"},
}


@pytest.mark.parametrize("option", OPTIONS, ids=[option.key for option in OPTIONS])
def test_each_option_is_a_flag_and_a_variable_and_a_key(option: Option, tmp_path: Path) -> None:
    text, toml = texts(option)
    needed = {key: known for key, known in NEEDED.items() if key != option.key}
    needed |= WITH.get(option.key, {})
    by_flag = of({**needed, option.key: text})
    by_variable = of(needed, None, **{option.variable: text})
    file = tmp_path / "gate.toml"
    section = f"[{option.section}]\n" if option.section else ""
    file.write_text(f"{section}{option.key} = {toml}\n")
    by_file = of(needed, file)
    assert by_flag == by_variable == by_file
    assert value(by_flag, option) != option.default
    assert parse_flag(option, text) == value(by_flag, option)


def parse_flag(option: Option, text: str) -> object:
    """The same, through the command line itself."""
    needed = {**NEEDED, **WITH.get(option.key, {}), option.key: text}
    flags = {each.key: each.flag for each in OPTIONS}
    argv = [f"{flags[key]}={known}" for key, known in needed.items()]
    options = parse(["gate", *argv], {}, program="rtm", runtime=None).options
    assert isinstance(options, GateOptions)
    return value(options, option)


def test_the_table_has_every_limit_and_every_option() -> None:
    assert {o.key for o in OPTIONS if not o.section} == {
        each.name for each in fields(GateOptions) if each.name != "limits"
    }
    assert {o.key for o in OPTIONS if o.section} == {each.name for each in fields(Limits)}
    assert len({o.key for o in OPTIONS}) == len(OPTIONS), "one name, one meaning"


def test_what_is_not_given_is_as_usual() -> None:
    options = of(NEEDED)
    for option in OPTIONS:
        if option.default is not MISSING and option.key not in (
            "users",
            "tls_port",
            "tls_file_port",
        ):
            assert value(options, option) == option.default
    assert options.limits == Limits()
    assert (options.tls_port, options.tls_file_port) == (None, None), "there is no certificate"
    secure = of({**NEEDED, "certificate": "c"})
    assert (secure.tls_port, secure.tls_file_port) == (13322, 13462)


def test_a_flag_goes_before_a_variable_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("pid = 1\nport = 1\nfile_port = 1\nhistory = 1\n[users]\n1 = 'a'\n")
    options = of({"port": "3"}, file, RTM_GATE_PORT="2", RTM_GATE_FILE_PORT="2")
    assert (options.port, options.file_port, options.history) == (3, 2, 1)
    assert of(None, None, RTM_GATE_CONFIG=str(file)).port == 1
    assert of(None, file, RTM_GATE_CONFIG="elsewhere").port == 1


def test_a_secret_on_top_takes_the_place_of_a_file_below(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("pid = 1\nsecret_file = 'f'\n")
    options = of({"secret": "s"}, file)
    assert (options.secret, options.secret_file) == ("s", None)
    assert "not both" in fault({"pid": "1", "secret": "s", "secret_file": "f"})


def test_a_variable_may_name_many() -> None:
    options = of({"pid": "1"}, None, RTM_GATE_USERS="1:a 2:b:c", RTM_GATE_HOST="::1 127.0.0.1",
                 RTM_GATE_GROUPS="5:1 5:2 -6:1,2")  # fmt: skip
    assert options.users == {1: "a", 2: "b:c"}
    assert options.host == ("::1", "127.0.0.1")
    assert options.groups == {5: frozenset({1, 2}), -6: frozenset({1, 2})}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("prot = 1", "prot: unknown; did you mean port?"),
        ("wholly_else = 1", "wholly_else: unknown"),
        ("[limit]\nmax_file = 1", "limit: unknown; did you mean limits?"),
        ("[limits]\nmax_fiel = 1", "limits.max_fiel: unknown; did you mean max_file?"),
        ("[limits]\nuser_calls = '1:1'", "limits.user_calls: unknown"),
        ("limits = 1", "limits: expected a table, found the number 1"),
        ("port = 70000", "port: expected an integer from 0 to 65535, or 'off', found the number 7"),
        ("port = '80'", "port: expected an integer from 0 to 65535, or 'off', found the text '80'"),
        ("port = true", "found the value True"),
        ("port = 2026-01-31", "found the date 2026-01-31"),
        ("host = []", "host: expected an address, or a list of them, found a list"),
        ("host = ['a', 1]", "host: expected an address"),
        ("data = ''", "data: expected a path, or 'off', found the text ''"),
        ("endpoint = 'x'", "endpoint: expected host:port"),
        ("file_url = 'ftp://x'", "file_url: expected a URL, http:// or https://"),
        ("thumbnails = 1", "thumbnails: expected true or false, found the number 1"),
        ("history_life = 0", "history_life: expected seconds above 0"),
        ("history_life = inf", "history_life: expected seconds above 0"),
        ("history_life = '7 weeks'", "found the text '7 weeks'"),
        ("history_life = []", "history_life: expected seconds above 0"),
        ("max_bytes = 0", "max_bytes: expected bytes above 0"),
        ("max_bytes = '1 XB'", "max_bytes: expected bytes above 0"),
        ("log_level = 'loud'", "log_level: expected one of debug, info, warning, error"),
        ("rates = { user_files = '0:1' }", "rates.user_files: expected PER_SECOND:BURST"),
        ("rates = { user_files = '1:0' }", "rates.user_files: expected PER_SECOND:BURST"),
        ("rates = { user_files = 'x' }", "rates.user_files: expected PER_SECOND:BURST"),
        ("users = 1", "users: expected UID:TOKEN"),
        (f"users = {{ 0 = '{SECRET}' }}", "users: expected UID:TOKEN"),
        (f"users = {{ x = '{SECRET}' }}", "users: expected UID:TOKEN"),
        ("users = { 1 = 7 }", "users: expected UID:TOKEN"),
        (f"users = {{ 1 = '{SECRET}', 01 = 'x' }}", "users: there are two tokens for user 1"),
        ("groups = { 1 = 2 }", "groups: expected GID:UID"),
        ("groups = { 1 = ['2'] }", "groups: expected GID:UID"),
        ("secret = 5", "secret: expected text that is not empty"),
        ("secret = ''", "secret: expected text that is not empty"),
        ("=", "no TOML"),
    ],
)  # fmt: skip
def test_a_wrong_line_of_a_file_is_told(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(f"pid = 1\n{line}\n")
    text = fault(None, file)
    assert text.startswith(f"{file}: ")
    assert told in text


def test_a_file_that_is_no_text_or_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_bytes(b"\xff")
    assert "no TOML" in fault(None, file)
    with pytest.raises(FileNotFoundError):
        of(None, tmp_path / "none")


def test_a_wrong_variable_or_flag_is_told() -> None:
    assert fault(NEEDED, None, RTM_GATE_PRT="1") == (
        "RTM_GATE_PRT: unknown; did you mean RTM_GATE_PORT?"
    )
    assert fault(NEEDED, None, RTM_GATE_PORT="x") == (
        "RTM_GATE_PORT: expected an integer from 0 to 65535, or 'off', found 'x'"
    )
    assert fault({**NEEDED, "port": "x"}).startswith("--port: expected an integer from 0")
    assert fault({"pid": "1", "users": SECRET}).startswith("--user: expected UID:TOKEN")
    assert fault(NEEDED, None, RTM_GATE_HOST="").startswith("RTM_GATE_HOST: expected an address")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"users": "1:a"}, "no pid: give --pid, RTM_GATE_PID, or pid in a file"),
        ({"pid": "1"}, "nobody could log in: give --user UID:TOKEN"),
        ({**NEEDED, "tls_port": "1"}, "tls_port needs a certificate"),
        ({**NEEDED, "key": "k"}, "key needs a certificate"),
        ({**NEEDED, "ping_every": "60"}, "ping_every has to be below idle_timeout, found 60 s and"),
        ({**NEEDED, "max_user_bytes": "1"}, "max_user_bytes needs data"),
        ({**NEEDED, "port": "off"}, "a gate needs a main port"),
        ({**NEEDED, "file_port": "off"}, "a gate needs a file port"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_told(flags: dict[str, str], told: str) -> None:
    assert told in fault(flags)


def test_a_gate_may_speak_tls_only() -> None:
    options = of({**NEEDED, "certificate": "c", "port": "off", "file_port": "off"})
    assert (options.port, options.file_port, options.tls_port) == (None, None, 13322)


def test_whoever_may_open_the_socket_can_let_users_in() -> None:
    for more in ({"data": "d"}, {"admin_socket": "s"}, {"secret": "s"}, {"secret_file": "f"}):
        assert of({"pid": "1", **more}).users == {}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "off"),
        (True, "true"),
        (Rate(0.5, 10), "0.5:10"),
        (5_242_880, "5 MiB"),
        (20_480, "20 KiB"),
        (2048, "2048"),
        (10_001, "10001"),
        (604_800.0, "7 d"),
        (7_200.0, "7200"),
        (1.5, "1.5"),
        ("x", "x"),
        (("a", "b"), "a b"),
        ({1: "t"}, ""),
    ],
)
def test_a_value_is_shown_as_a_person_would_write_it(value: object, told: str) -> None:
    assert shown(value) == told


# --- rtm gate check ------------------------------------------------------------------------------


def test_a_check_says_what_is_not_as_usual_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "secret"
    key.write_text(SECRET)
    key.chmod(0o644)
    file = tmp_path / "gate.toml"
    file.write_text(
        f"pid = 1\nsecret_file = '{key}'\ndata = '{tmp_path}/data'\nlimits.max_file = '1 MiB'\n"
        f"users = {{ 1 = '{SECRET}' }}\ngroups = {{ 5 = [1] }}\n"
    )
    assert main(["gate", "check", "--config", str(file), "-v"]) == 0
    out, err = capsys.readouterr()
    assert out == "ok\n"
    assert (
        "users = 1\n" in err
        and "groups = 5\n" in err
        and "max_file = 1 MiB" in err
        and "port" not in err
    )
    assert f"everybody on this machine may read {key}" in err
    assert main(["gate", "check", "--pid", "1", "--secret", SECRET, "--json"]) == 0
    out, _ = capsys.readouterr()
    assert '"secret": "(given)"' in out
    assert SECRET not in out + err
    assert not (tmp_path / "data").exists(), "nothing is made"


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        (["--secret-file", "{tmp}/none"], 6, "none: no such file"),
        (["--certificate", "{tmp}/none"], 6, "none: no such file"),
        (["--data", "{tmp}/file"], 2, "expected a folder, found a file"),
        (["--data", "{tmp}/a/b"], 2, "there is no folder"),
        (["--port", "x"], 2, "--port: expected"),
    ],
)
def test_a_check_finds_what_would_not_start(
    more: list[str], status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    argv = [argument.replace("{tmp}", str(tmp_path)) for argument in more]
    assert main(["gate", "check", "--pid", "1", "--user", "1:a", *argv]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err and err.count("\n") == 1


def test_a_check_finds_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str, mode: int) -> bool:
        return False

    monkeypatch.setattr(os, "access", denied)  # root may write everywhere
    argv = ["gate", "check", "--pid", "1", "--data", str(tmp_path)]
    assert main(argv) == 2
    assert f"{tmp_path} cannot be written" in capsys.readouterr().err


def test_the_file_in_contrib_has_every_option() -> None:
    """Commented out, each with its default; and as it stands it is good."""
    path = Path(__file__).parent.parent / "contrib" / "gate.toml"
    text = path.read_text()
    assert of(None, path).pid == 11000001
    tables = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    for option in OPTIONS:
        table = tables.get(option.section, {}) if option.section else tables
        assert option.key in table, option.key
        assert f"\n# {option.help}\n" in text, option.key
        found = option.kind.of_toml(table[option.key])
        usual = option.default is not MISSING and option.key not in EXAMPLES
        assert found == option.default if usual else True, option.key


EXAMPLES = {  # have no default that could stand there
    *("pid", "users", "groups", "secret", "secret_file", "certificate", "key", "endpoint"),
    *("tls_endpoint", "file_url", "encryption_key", "data", "max_bytes", "max_user_bytes"),
    *("link_life", "admin_socket", "watch_port", "host", "strict"),
}
