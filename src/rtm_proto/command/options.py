"""What can be asked of ``rtm``, as values: one class for each command."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..received import Conversation
from .acts import AdminQuest
from .gate_options import GateOptions


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
class CheckOptions:
    """``rtm gate check``: what the gate would be told."""

    gate: GateOptions


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """``rtm admin``: what is asked of the gate at the local ``socket``, and how it is told."""

    socket: str
    quests: tuple[AdminQuest, ...]
    timeout: float


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
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """``rtm listen``; ``folder`` is where files go, ``count`` after how many of them it ends."""

    account: Account
    folder: str | None
    rooms: tuple[int, ...]
    count: int | None
    proxy: str | None = field(default=None, repr=False)


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


Options = (
    DemoOptions
    | GateOptions
    | CheckOptions
    | AdminOptions
    | SendOptions
    | ListenOptions
    | InspectOptions
    | SimulateOptions
)


@dataclass(frozen=True, slots=True)
class Request:
    """A command, on which runtime, and how it talks."""

    name: str
    options: Options
    runtime: str
    json: bool
    verbosity: int
