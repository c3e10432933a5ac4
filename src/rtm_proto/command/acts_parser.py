"""The acts of ``rtm admin``, as they are written on a command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from . import acts, values
from .acts import AdminQuest

Ask = Callable[[argparse.Namespace], list[AdminQuest]]


def add_acts(command: argparse.ArgumentParser) -> None:
    """What ``rtm admin`` can be asked; each leaves its quests to ``args.ask``."""
    does = command.add_subparsers(metavar="ACT", required=True)
    _uid(_act(does, "token", "print a new login token of a user", lambda a: acts.token(a.uid)))
    _uid(
        _act(does, "removetoken", "let a token be good no more", lambda a: acts.remove_token(a.uid))
    )
    _uid(_act(does, "kick", "end the logins of a user", lambda a: acts.kick(a.uid)))
    ban = _act(
        does, "ban", "keep a user out", lambda a: acts.ban(a.uid, a.seconds, a.group, a.room)
    )
    _uid(ban)
    ban.add_argument(
        "--for", type=values.duration, default=0, dest="seconds", metavar="TIME",
        help="seconds, or with m, h or d (default: for ever)",
    )  # fmt: skip
    _place(ban)
    unban = _act(does, "unban", "let a user in again", lambda a: acts.unban(a.uid, a.group, a.room))
    _uid(unban)
    _place(unban)
    _add_groups(does.add_parser("group", help="who is in groups", description="Who is in groups."))
    _add_rooms(does.add_parser("room", help="who is in rooms", description="Who is in rooms."))
    _act(does, "stats", "print how the gate is", lambda a: acts.stats())


def _add_groups(command: argparse.ArgumentParser) -> None:
    does = command.add_subparsers(metavar="ACT", required=True)
    add = _act(does, "add", "take users into a group", lambda a: acts.group_add(a.gid, a.uid))
    delete = _act(does, "del", "take users out of a group", lambda a: acts.group_del(a.gid, a.uid))
    for parser in (add, delete):
        _number(parser, "gid")
        _uid(parser, nargs="+")
    _number(_act(does, "list", "print its members", lambda a: acts.group_list(a.gid)), "gid")
    _uid(_act(does, "of", "print the groups of a user", lambda a: acts.group_of(a.uid)))
    _number(
        _act(does, "delete", "let there be no such group", lambda a: acts.group_delete(a.gid)),
        "gid",
    )


def _add_rooms(command: argparse.ArgumentParser) -> None:
    does = command.add_subparsers(metavar="ACT", required=True)
    text = "take a user who is online into a room"
    add = _act(does, "add", text, lambda a: acts.room_add(a.rid, a.uid))
    delete = _act(does, "del", "take a user out of a room", lambda a: acts.room_del(a.rid, a.uid))
    for parser in (add, delete):
        _number(parser, "rid")
        _uid(parser)


def _act(does: Any, name: str, text: str, ask: Ask) -> argparse.ArgumentParser:
    """*does*: what ``add_subparsers`` gives, for which argparse has no public name."""
    parser: argparse.ArgumentParser = does.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.set_defaults(ask=ask)
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="the answer as JSON"
    )
    return parser


def _uid(parser: argparse.ArgumentParser, *, nargs: str | None = None) -> None:
    parser.add_argument("uid", type=values.POSITIVE, metavar="UID", nargs=nargs)


def _number(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(name, type=values.INT64, metavar=name.upper())


def _place(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    for name, letter in (("group", "GID"), ("room", "RID")):
        text = f"only from speaking in this {name}"
        where.add_argument(f"--{name}", type=values.INT64, metavar=letter, help=text)
