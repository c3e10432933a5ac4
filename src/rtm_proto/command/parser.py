"""The command line, read: arguments to a Request.

A secret never gets into a message: what is wrong with an argument is said without the argument
where it may be a token.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..address import file_route, parse_url
from ..errors import LocalProtocolError
from ..flows.login import VERSION_TEXT
from ..flows.transfer import SEND_TIMEOUT
from ..payload import INT64_MAX
from ..received import FILE_MTYPES, Conversation
from . import kinds, values
from .acts import AdminQuest
from .acts_parser import add_acts
from .config import find_admin_socket, gate_options
from .exits import UsageError
from .gate_options import OPTIONS, GateOptions
from .options import (
    Account,
    AdminOptions,
    CheckOptions,
    DemoOptions,
    InspectOptions,
    ListenOptions,
    Options,
    Request,
    SendOptions,
    SimulateOptions,
)
from .screen import QUIET, USUAL, VERBOSE

RUNTIMES = ("asyncio", "trio")
TOKEN_VARIABLE = "RTM_TOKEN"
ADMIN_TIMEOUT = 10.0  # seconds that ``rtm admin`` waits for a gate
SEEDS = 1000  # that are simulated where nobody says how many: some 15 s


def parse(
    argv: Sequence[str], environ: Mapping[str, str], *, program: str, runtime: str | None
) -> Request:
    """What *argv* asks for. *runtime* is given where it is not to be chosen.

    Raises UsageError, OSError for a token file; SystemExit once ``--help`` or ``--version`` is
    printed.
    """
    parser = _make_parser(program, runtime)
    args, unknown = parser.parse_known_args(argv)
    command: str = args.command
    if unknown:
        options = [argument.partition("=")[0] for argument in unknown if argument[:1] == "-"]
        shown = ", ".join(options) or f"{len(unknown)} more than there are places for"
        raise UsageError(f"unknown arguments: {shown} (see `{program} {command} --help`)")
    make: Callable[[Any, Mapping[str, str]], Options] = args.make
    return Request(command, make(args, environ), runtime or args.runtime, args.json, args.verbosity)


# --- what the commands need ----------------------------------------------------------------------


def _demo(args: argparse.Namespace, environ: Mapping[str, str]) -> DemoOptions:
    return DemoOptions(args.file, args.port, args.file_port)


def _gate(args: argparse.Namespace, environ: Mapping[str, str]) -> GateOptions | CheckOptions:
    given = {
        option.key: texts
        for option in OPTIONS
        if (texts := getattr(args, f"option_{option.key}")) is not None
    }
    options = gate_options(given, environ, args.config)
    return CheckOptions(options) if args.act == "check" else options


def _admin(args: argparse.Namespace, environ: Mapping[str, str]) -> AdminOptions:
    path = find_admin_socket(args.socket, args.data, environ, args.config)
    ask: Callable[[argparse.Namespace], list[AdminQuest]] = args.ask
    return AdminOptions(path, tuple(ask(args)), args.timeout)


def _send(args: argparse.Namespace, environ: Mapping[str, str]) -> SendOptions:
    targets = {
        Conversation.P2P: args.to,
        Conversation.GROUP: args.group,
        Conversation.ROOM: args.room,
    }
    kind, target = next((kind, value) for kind, value in targets.items() if value is not None)
    try:
        file_route(parse_url(args.url), args.file_route)
    except LocalProtocolError as exc:
        raise UsageError(f"--file-route: {exc}") from exc
    return SendOptions(
        _account(args, environ),
        args.file,
        kind,
        target,
        args.mtype,
        args.mid,
        args.timeout,
        args.name,
        args.file_route,
        args.proxy,
    )


def _listen(args: argparse.Namespace, environ: Mapping[str, str]) -> ListenOptions:
    account, rooms = _account(args, environ), tuple(args.room)
    return ListenOptions(account, args.download, rooms, args.count, args.proxy)


def _inspect(args: argparse.Namespace, environ: Mapping[str, str]) -> InspectOptions:
    if args.hex is not None and args.file is not None:
        raise UsageError("give a FILE or --hex, not both")
    return InspectOptions(args.file or "-", args.hex)


def _simulate(args: argparse.Namespace, environ: Mapping[str, str]) -> SimulateOptions:
    return SimulateOptions(args.seeds, args.trace)


def _account(args: argparse.Namespace, environ: Mapping[str, str]) -> Account:
    if args.token is not None:
        where, token = "--token", args.token
    elif args.token_file is not None:
        where, token = args.token_file, _read_token(args.token_file)
    else:
        where, token = TOKEN_VARIABLE, environ.get(TOKEN_VARIABLE)
    if token is None:
        raise UsageError(f"no login token: use --token, --token-file or {TOKEN_VARIABLE}")
    if not token:
        raise UsageError(f"the login token in {where} is empty")
    return Account(args.url, args.pid, args.uid, token)


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is no text: a token file has the token and nothing else") from exc


# --- the parser ----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process, takes no abbreviations, keeps examples as they are."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _make_parser(program: str, runtime: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Send and receive files with RTM's File API, or run a gate of your own.",
        epilog=f"Begin with `{program} demo`; `{program} COMMAND --help` has an example for each.",
    )
    version = VERSION_TEXT.rpartition("-")[2]
    parser.add_argument("--version", action="version", version=f"rtm-proto {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        name: str, make: object, summary: str, example: str, *, waits: bool = True
    ) -> argparse.ArgumentParser:
        text = example.replace("rtm ", f"{program} ")
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=text
        )
        command.set_defaults(make=make, runtime=RUNTIMES[0])
        _add_manner(command)
        if waits and runtime is None:
            command.add_argument(
                "--runtime", choices=RUNTIMES, help=f"what waits (default: {RUNTIMES[0]})"
            )
        return command

    _add_demo(add)
    _add_gate(add)
    _add_admin(add)
    _add_send(add)
    _add_listen(add)
    _add_inspect(add)
    _add_simulate(add)
    return parser


def _add_manner(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="results as JSON, one object a line")
    manner = command.add_mutually_exclusive_group()
    manner.add_argument(
        "-q", "--quiet", dest="verbosity", action="store_const", const=QUIET, default=USUAL,
        help="results and errors only",
    )  # fmt: skip
    manner.add_argument(
        "-v", "--verbose", dest="verbosity", action="store_const", const=VERBOSE,
        help="every stage, and what is behind an error",
    )  # fmt: skip


_Add = Callable[..., argparse.ArgumentParser]


def _add_demo(add: _Add) -> None:
    command = add(
        "demo",
        _demo,
        "send files from one user to another, through a gate in this process",
        "example:\n  rtm demo --file photo.jpg",
    )
    command.add_argument("--file", metavar="PATH", help="what to send (default: a picture)")
    _add_ports(command, 0, 0)


def _add_gate(add: _Add) -> None:
    command = add(
        "gate",
        _gate,
        "run a gate of your own, until Ctrl-C or SIGTERM",
        "examples:\n"
        "  rtm gate --pid 11000001 --user 1001:secret-a --user 1002:secret-b\n"
        "  rtm gate --config gate.toml\n"
        "  rtm gate check --config gate.toml\n\n"
        "Each option is also a key of the file, and a variable: --tls-port is tls_port there and\n"
        "RTM_GATE_TLS_PORT. A flag goes before a variable, that before the file.\n"
        "The gate's URLs are printed on stdout, separated by a blank: WebSocket, then TCP.",
    )
    command.usage = f"{command.prog} [check] [--config FILE] [OPTION ...]"
    command.add_argument(
        "act", metavar="check", nargs="?", choices=("check",), help="only see whether all is well"
    )
    command.add_argument("--config", metavar="FILE", help="TOML with any of what follows")
    groups = {
        "": command,
        "limits": command.add_argument_group("limits", "In a file they stand in [limits]."),
        "rates": command.add_argument_group(
            "rates", "In a file they stand in [rates]. 0.5:10 is one in two seconds, 10 at once."
        ),
    }
    for option in OPTIONS:
        default = kinds.shown(option.default)
        bare: Any = {"nargs": "?", "const": "true"} if option.kind is kinds.TRUTH else {}
        groups[option.section].add_argument(
            option.flag,
            dest=f"option_{option.key}",
            action="append",
            **bare,
            metavar=option.kind.metavar,
            help=f"{option.help} (default: {default})"
            if default not in ("", kinds.OFF)
            else option.help,
        )


def _add_admin(add: _Add) -> None:
    command = add(
        "admin",
        _admin,
        "administer a gate that runs on this machine, through its local socket",
        "examples:\n"
        "  rtm admin --data /var/lib/rtm-gate token 1001\n"
        "  rtm admin --config gate.toml ban 1002 --for 1h\n"
        "  rtm admin --config gate.toml group add 5 1001 1002\n\n"
        "Where the socket is: --socket, --data, --config, or the gate's own variables.",
        waits=False,
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument("--socket", metavar="PATH", help="the gate's admin_socket")
    place.add_argument("--data", metavar="PATH", help="the gate's data folder")
    place.add_argument("--config", metavar="FILE", help="the gate's configuration")
    command.add_argument(
        "--timeout", type=values.seconds, default=ADMIN_TIMEOUT, metavar="S",
        help=f"seconds to wait for the gate (default: {ADMIN_TIMEOUT:g})",
    )  # fmt: skip
    add_acts(command)


def _add_send(add: _Add) -> None:
    command = add(
        "send",
        _send,
        "send a file to a user, a group or a room",
        "example:\n"
        "  rtm send ws://127.0.0.1:13321 photo.jpg --pid 11000001 --uid 1001 --to 1002\n\n"
        f"The login token comes from --token, --token-file or the variable {TOKEN_VARIABLE}.\n"
        "Exit status: 0 sent, 1 refused, 2 usage, 3 unreachable, 4 login or token,\n"
        "5 outcome unknown (repeating with --mid is safe), 6 file too big or unreadable.",
    )
    _add_account(command)
    command.add_argument("file", metavar="FILE", help="what to send, 5 MiB at the most")
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", type=values.INT64, metavar="UID", help="send it to this user")
    target.add_argument("--group", type=values.INT64, metavar="GID", help="send it to this group")
    target.add_argument(
        "--room", type=values.INT64, metavar="RID", help="enter this room, send it there"
    )
    command.add_argument(
        "--mtype", type=values.integer(FILE_MTYPES[0], FILE_MTYPES[-1]), metavar="40..50",
        help="40 image, 41 audio, 42 video, 50 other (default: what the name says)",
    )  # fmt: skip
    command.add_argument(
        "--mid", type=values.integer(0, INT64_MAX), default=0, metavar="N",
        help="message id of an earlier try, so that it is delivered once (default: a new one)",
    )  # fmt: skip
    command.add_argument(
        "--timeout", type=values.seconds, default=SEND_TIMEOUT, metavar="S",
        help=f"seconds for the sending (default: {SEND_TIMEOUT:g})",
    )  # fmt: skip
    command.add_argument("--name", help="what the receiver sees (default: the file's own name)")
    command.add_argument(
        "--file-route", default="auto", metavar="WAY",
        help="way to the file gate: auto, direct, proxied or a URL (default: auto)",
    )  # fmt: skip
    _add_proxy(command)


def _add_listen(add: _Add) -> None:
    command = add(
        "listen",
        _listen,
        "print what reaches a user, and download files",
        "example:\n  rtm listen ws://127.0.0.1:13321 --pid 11000001 --uid 1002 --download inbox\n\n"
        f"The login token comes from --token, --token-file or the variable {TOKEN_VARIABLE}.\n"
        "It ends with status 3 when the gate is gone.",
    )
    _add_account(command)
    command.add_argument("--download", metavar="DIR", help="save files here; made if missing")
    command.add_argument(
        "--room", type=values.INT64, action="append", default=[], metavar="RID",
        help="enter this room first; once for each room",
    )  # fmt: skip
    command.add_argument(
        "--count", type=values.POSITIVE, metavar="N", help="end after this many files"
    )
    _add_proxy(command)


def _add_inspect(add: _Add) -> None:
    command = add(
        "inspect",
        _inspect,
        "print the FPNN packages in captured bytes, raw or inside a WebSocket stream",
        "examples:\n  rtm inspect capture.bin\n"
        '  rtm inspect --hex "46504e4e 01 80 01 04 01000000 01000000 70696e67 80"\n\n'
        "The input is bytes or hex text. Exit status 1 where something cannot be read.",
        waits=False,
    )
    command.add_argument(
        "file", metavar="FILE", nargs="?", help="bytes or hex text; - or nothing is stdin"
    )
    command.add_argument("--hex", metavar="TEXT", help="hex text instead of a file")


def _add_simulate(add: _Add) -> None:
    command = add(
        "simulate",
        _simulate,
        "run the core's simulation, whose invariants are checked all the time",
        "example:\n  rtm simulate --seeds 0..999\n\n"
        "A seed that fails prints the last of its trace and the command that replays it.\n"
        "Exit status 1 where one fails.",
        waits=False,
    )
    command.add_argument(
        "--seeds", type=values.seeds, default=range(SEEDS), metavar="A..B",
        help=f"the seeds, both included, or one (default: 0..{SEEDS - 1})",
    )  # fmt: skip
    command.add_argument("--trace", action="store_true", help="print every seed's whole trace")


def _add_proxy(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--proxy", type=values.proxy, metavar="URL",
        help="go through this proxy: http://HOST:PORT or socks5://HOST:PORT",
    )  # fmt: skip


def _add_ports(command: argparse.ArgumentParser, port: int, file_port: int) -> None:
    for option, default, what in (
        ("--port", port, "main port"),
        ("--file-port", file_port, "port for files"),
    ):
        shown = default or "a free one"
        command.add_argument(
            option,
            type=values.PORT,
            default=default,
            metavar="N",
            help=f"{what} (default: {shown})",
        )


def _add_account(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "url", metavar="URL", type=values.url, help="the gate: ws://, wss://, tcp:// or tcps://"
    )
    command.add_argument(
        "--pid", type=values.POSITIVE, required=True, metavar="N", help="the project"
    )
    command.add_argument(
        "--uid", type=values.POSITIVE, required=True, metavar="N", help="who logs in"
    )
    token = command.add_mutually_exclusive_group()
    token.add_argument("--token", metavar="T", help="the login token; others may see it in `ps`")
    token.add_argument("--token-file", metavar="PATH", help="a file with the login token in it")
