"""The options of ``rtm gate``: one table, from which flags, variables, files and documents come.

    field ``tls_port``      --tls-port      RTM_GATE_TLS_PORT      tls_port = ... in the file

Those of ``[limits]`` are the fields of ``rtm_proto.gate.limits.Limits``, and those of ``[rates]``;
the name is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import NamedTuple, TypeVar, cast

from ..gate import limits as usual_limits
from ..gate.limits import RATES, Limits
from ..gate.store import HISTORY, HISTORY_LIFE
from . import kinds
from .kinds import Kind

T = TypeVar("T")

VARIABLE = "RTM_GATE_"  # begins the name of each option's variable
ADMIN_SOCKET = "admin.sock"  # in the data folder
GRACE = 30.0  # seconds that a gate which stops sees through what is under way


class Option(NamedTuple):
    """One option: ``key`` in a file, in the table ``section`` if that is not empty."""

    key: str
    kind: Kind[object]
    default: object  # MISSING: it has none
    help: str
    section: str = ""
    flag: str = ""

    @property
    def variable(self) -> str:
        """The name of the environment's variable."""
        return VARIABLE + self.key.upper()


def option(kind: Kind[T], text: str, default: T | None = None, *, flag: str = "") -> T:
    """A field that is an option; without a default it is None, or has to be given (``pid``)."""
    about = {"kind": kind, "help": text, "flag": flag}
    return cast("T", field(default=default, metadata=about))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What ``rtm gate`` is told; None is not given, or ``off``."""

    pid: int = option(kinds.POSITIVE, "the project")
    users: Mapping[int, str] = field(
        default_factory=dict[int, str],
        repr=False,
        metadata={
            "kind": kinds.USERS,
            "help": "users and their login tokens, for tests and small teams",
            "flag": "--user",
        },
    )
    groups: Mapping[int, frozenset[int]] = field(
        default_factory=dict[int, frozenset[int]],
        metadata={
            "kind": kinds.GROUPS,
            "help": "groups and members, of a gate that starts with an empty store",
            "flag": "--group",
        },
    )
    secret: str | None = field(
        default=None,
        repr=False,
        metadata={
            "kind": kinds.SECRET,
            "help": "the project's secret, with which servers sign; others may see a flag in `ps`",
            "flag": "",
        },
    )
    secret_file: str | None = option(
        kinds.or_off(kinds.PATH), "a file with the secret and nothing else"
    )

    host: tuple[str, ...] = option(kinds.WORDS, "addresses to bind, IPv4 and IPv6", ("127.0.0.1",))
    port: int | None = option(kinds.OWN_PORT, "main port, 0 is a free one", 13321)
    file_port: int | None = option(kinds.OWN_PORT, "port for files", 13461)
    tls_port: int | None = option(kinds.OWN_PORT, "main port with TLS, given a certificate", 13322)
    tls_file_port: int | None = option(
        kinds.OWN_PORT, "port for files with TLS, given a certificate", 13462
    )
    certificate: str | None = option(
        kinds.or_off(kinds.PATH), "TLS: a PEM file with the certificate and those that signed it"
    )
    key: str | None = option(
        kinds.or_off(kinds.PATH), "TLS: a PEM file with the key, if the certificate's has none"
    )
    endpoint: str | None = option(
        kinds.or_off(kinds.ENDPOINT),
        "how clients reach the port for files (default: what is bound)",
    )
    tls_endpoint: str | None = option(
        kinds.or_off(kinds.ENDPOINT), "the same with TLS (default: the host of endpoint)"
    )
    file_url: str | None = option(
        kinds.or_off(kinds.HTTP_URL), "what links to files begin with, where a proxy stands before"
    )
    allow_origin: str | None = option(
        kinds.or_off(kinds.TEXT), "whose pages may read files over HTTP, * is any", "*"
    )
    encryption_key: str | None = option(
        kinds.or_off(kinds.PATH), "FPNN's encryption on raw TCP: a PEM file with a key on a curve"
    )

    data: str | None = option(
        kinds.or_off(kinds.PATH), "folder to keep everything in (default: in memory, then gone)"
    )
    max_bytes: int | None = option(kinds.SIZE_OR_OFF, "bytes of all files that are kept")
    max_user_bytes: int | None = option(kinds.SIZE_OR_OFF, "bytes of the files of one user")
    history: int = option(kinds.COUNT, "messages kept for each conversation", HISTORY)
    history_life: float = option(
        kinds.SECONDS, "how long messages and files are kept", HISTORY_LIFE
    )
    link_life: float | None = option(
        kinds.SECONDS_OR_OFF, "how long a link to a file is good (off: while the file is kept)"
    )
    thumbnails: bool = option(
        kinds.TRUTH, "make small pictures of images (extra: thumbnails)", False
    )
    recognise: bool = option(
        kinds.TRUTH, "tell what a file of mtype 50 really is (extra: recognise)", False
    )
    strict: tuple[str, ...] = option(
        kinds.QUIRKS,
        "for tests of clients: imitate the original framework; `all`, or some quirks",
        (),
    )

    max_connections: int = option(
        kinds.COUNT, "connections at once, in all", usual_limits.MAX_CONNECTIONS
    )
    max_per_address: int = option(
        kinds.COUNT, "connections at once from one address", usual_limits.MAX_PER_ADDRESS
    )
    handshake_timeout: float = option(
        kinds.SECONDS, "time for a visitor to say what it speaks", usual_limits.HANDSHAKE_TIMEOUT
    )
    login_timeout: float = option(
        kinds.SECONDS, "time for a visitor to log in", usual_limits.LOGIN_TIMEOUT
    )
    idle_timeout: float = option(
        kinds.SECONDS,
        "time without a byte, until a connection is closed",
        usual_limits.IDLE_TIMEOUT,
    )
    ping_every: float = option(
        kinds.SECONDS, "time between two pings to a user", usual_limits.PING_EVERY
    )
    grace: float = option(
        kinds.SECONDS, "time for what is under way when it is told to stop", GRACE
    )

    admin_socket: str | None = option(
        kinds.or_off(kinds.PATH), "local socket for `rtm admin` (default: admin.sock in data)"
    )
    watch_port: int | None = option(kinds.OWN_PORT, "port for GET of /healthz and /metrics")
    watch_host: str = option(kinds.TEXT, "address to bind watch_port on", "127.0.0.1")
    log_level: str = option(
        kinds.choice("debug", "info", "warning", "error"), "what is worth logging", "warning"
    )
    log_format: str = option(kinds.choice("text", "json"), "how the log is written", "text")

    limits: Limits = field(default_factory=Limits)


_LIMITS: Mapping[str, tuple[Kind[object], str]] = cast(
    "Mapping[str, tuple[Kind[object], str]]",
    {
        "max_file": (kinds.SIZE, "bytes of one file"),
        "max_attrs": (kinds.SIZE, "bytes of the attributes of a file or message"),
        "max_rooms": (kinds.COUNT, "rooms that a user is in at once"),
        "max_members": (kinds.COUNT, "members of a group"),
        "max_receivers": (kinds.COUNT, "receivers of one send by a server"),
        "max_message": (kinds.SIZE, "bytes of a text message"),
        "max_groups": (kinds.COUNT, "groups of the project"),
        "max_items": (kinds.COUNT, "users named in one change of a group or of blocks"),
        "max_blocks": (kinds.COUNT, "users whom one user blocks"),
        "max_history": (kinds.COUNT, "messages of one history read"),
        "max_login_tokens": (kinds.COUNT, "users who have a login token from gettoken"),
        "max_waiting": (kinds.COUNT, "quests that wait for the store; more are refused"),
        "max_logins": (kinds.COUNT, "logins of one user at once; a newer one ends the oldest"),
        "max_failed_logins": (kinds.COUNT, "wrong tokens until a connection is closed"),
        "failed_logins": (kinds.RATE, "wrong tokens for a user from one address"),
        "user_calls": (kinds.RATE, "calls of each user"),
        "all_calls": (kinds.RATE, "calls of all users together"),
        "user_messages": (kinds.RATE, "messages of each user"),
        "all_messages": (kinds.RATE, "messages of all users together"),
        "user_files": (kinds.RATE, "files of each user"),
        "all_files": (kinds.RATE, "files of all users together"),
        "user_history": (kinds.RATE, "history reads of each user"),
        "all_history": (kinds.RATE, "history reads of all users together"),
        "server_calls": (kinds.RATE, "calls of all servers together"),
        "lenient_ids": (
            kinds.TRUTH,
            "take floats and decimal text as ids, as JavaScript sends them",
        ),
        "ftype": (kinds.TRUTH, "pushes have the ftype that the Java SDK of 2018 needs"),
    },
)


def _table() -> tuple[Option, ...]:
    options: list[Option] = []
    for each in fields(GateOptions):
        if each.name == "limits":
            continue
        default = each.default if each.default_factory is MISSING else each.default_factory()
        about = each.metadata
        key, flag = each.name, about["flag"] or f"--{each.name.replace('_', '-')}"
        if key == "pid":
            default = MISSING
        options.append(Option(key, about["kind"], default, about["help"], "", flag))
    usual = Limits()
    for each in fields(Limits):
        kind, text = _LIMITS[each.name]
        section = "rates" if each.name in RATES else "limits"
        flag = f"--{each.name.replace('_', '-')}"
        options.append(Option(each.name, kind, getattr(usual, each.name), text, section, flag))
    return tuple(sorted(options, key=lambda option: ("", "limits", "rates").index(option.section)))


OPTIONS = _table()
"""All of them, in the order in which they are told."""
