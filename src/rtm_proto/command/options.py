"""What can be asked of ``rtm``, as values: one class for each command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..received import Conversation


@dataclass(frozen=True, slots=True)
class Account:
    """Who logs in, and where."""

    url: str
    pid: int
    uid: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``rtm demo``; ``file`` is None for the picture that comes along."""

    file: str | None
    port: int
    file_port: int


@dataclass(frozen=True, slots=True)
class GateOptions:
    """``rtm gate``; ``users`` has the login token of each uid, ``groups`` its members by gid."""

    pid: int
    users: Mapping[int, str] = field(repr=False)
    host: str
    port: int
    file_port: int
    endpoint: str | None
    groups: Mapping[int, frozenset[int]]


@dataclass(frozen=True, slots=True)
class SendOptions:
    """``rtm send``; ``mtype`` is None where the file's name decides."""

    account: Account
    file: str
    kind: Conversation
    target: int
    mtype: int | None
    mid: int
    timeout: float
    name: str | None
    file_route: str


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """``rtm listen``; ``folder`` is where files go, ``count`` after how many of them it ends."""

    account: Account
    folder: str | None
    rooms: tuple[int, ...]
    count: int | None


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """``rtm inspect``; ``text`` is hex text, else ``file`` is a path or ``-``."""

    file: str
    text: str | None


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """``rtm simulate``; ``trace``: print all of every seed's trace."""

    seeds: range
    trace: bool


Options = DemoOptions | GateOptions | SendOptions | ListenOptions | InspectOptions | SimulateOptions


@dataclass(frozen=True, slots=True)
class Request:
    """A command, on which runtime, and how it talks."""

    name: str
    options: Options
    runtime: str
    json: bool
    verbosity: int
