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
from . import values
from .exits import UsageError
from .options import (
    Account,
    DemoOptions,
    GateOptions,
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
GATE_PORT = 13321  # main port (the service's own)
GATE_FILE_PORT = 13461  # file port (the service's own)
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


def _gate(args: argparse.Namespace, environ: Mapping[str, str]) -> GateOptions:
    users: dict[int, str] = {}
    for uid, token in args.user:
        if uid in users:
            raise UsageError(f"--user: there are two tokens for user {uid}")
        users[uid] = token
    groups: dict[int, frozenset[int]] = {}
    for gid, members in args.group:
        groups[gid] = groups.get(gid, frozenset()) | members
    return GateOptions(args.pid, users, args.host, args.port, args.file_port, args.endpoint, groups)


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
    )


def _listen(args: argparse.Namespace, environ: Mapping[str, str]) -> ListenOptions:
    return ListenOptions(_account(args, environ), args.download, tuple(args.room), args.count)


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
        "run a gate that keeps everything in memory, until Ctrl-C",
        "example:\n  rtm gate --pid 11000001 --user 1001:secret-a --user 1002:secret-b\n\n"
        "Its URLs are printed on stdout, separated by a blank: WebSocket, then TCP.",
    )
    command.add_argument(
        "--pid", type=values.POSITIVE, required=True, metavar="N", help="the project"
    )
    command.add_argument(
        "--user", type=values.user, action="append", required=True, metavar="UID:TOKEN",
        help="who may log in with which token; once for each user",
    )  # fmt: skip
    command.add_argument(
        "--group", type=values.group, action="append", default=[], metavar="GID:UID,UID",
        help="a group and its members; once for each group",
    )  # fmt: skip
    command.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1)")
    _add_ports(command, GATE_PORT, GATE_FILE_PORT)
    command.add_argument(
        "--endpoint", type=values.endpoint, metavar="HOST:PORT",
        help="how clients reach the file port (default: the address that is bound)",
    )  # fmt: skip


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
