"""What a gate is told when it starts, and which kinds of ports it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypedDict

from ..link import Link, StreamLink
from .http import ANY_ORIGIN
from .limits import (
    HANDSHAKE_TIMEOUT,
    IDLE_TIMEOUT,
    LOGIN_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_PER_ADDRESS,
    PING_EVERY,
    Limits,
)
from .uploads import PIECE

PUSH_TIMEOUT = 5.0  # seconds a push waits for its answer; none is no error (the framework's figure)
EARLY_QUEST = 16_384  # bytes of a package on the main port before the login


class Port(Enum):
    """What kind of port a stream came in at: it decides what a visitor may send, and must."""

    MAIN = "main"  # log in, then ask; servers sign each call
    FILES = "files"  # file quests, and GET of the files
    OPERATOR = "operator"  # local: whoever may open it may do what servers may, without a sign
    WATCH = "watch"  # local: GET of /healthz and /metrics, nothing else

    @property
    def local(self) -> bool:
        """Whether it is for those who run the gate, and stays open to its end."""
        return self in (Port.OPERATOR, Port.WATCH)


class MoreSettings(TypedDict, total=False):
    """What ``serve_gate`` passes on to GateSettings as it is."""

    handshake_timeout: float
    login_timeout: float
    idle_timeout: float
    ping_every: float
    max_connections: int
    max_per_address: int
    file_url: str | None
    allow_origin: str | None
    link_life: float | None
    recognise: Callable[[bytes], int | None] | None
    make_thumbnail: Callable[[bytes], bytes | None] | None


class RawLink(Protocol):
    """Makes the link of a visitor that speaks no HTTP."""

    def __call__(self, *, max_package: int) -> Link: ...


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a gate is told when it starts.

    *users*: the login token of each uid. *secret*: the project's, with which servers sign; without
    one there are none. *endpoint*: the file port's ``host:port`` as clients reach it; *tls*: does
    it speak TLS? *tls_endpoint*: the same of a second file port, which does: visitors that came
    over TLS are told this one. *file_url*: what the URL of a stored file begins with (default:
    https at the file port that speaks TLS, http where there is none). *piece*: bytes of a package
    that is received whole; the file of a larger one goes to the store in pieces of this size.
    *raw_link*: for visitors that speak no HTTP; ``partial(EncryptedLink.server, key,
    required=False)`` lets them encrypt. *allow_origin*: whose pages may read files over HTTP
    (``*`` is any, None is none). *link_life*: links to files are signed and good for so long;
    without it they are for as long as the file is kept. *recognise*: what a file of mtype 50 is
    really, by its first bytes (``gate.recognised``). *make_thumbnail*: the small picture of an
    image (``gate.thumbnails``), whose link is told as ``surl`` then. *max_connections*,
    *max_per_address*: streams at once, in all and from one address; more are closed at once.
    Timeouts and *link_life* are in seconds.

    After the login *idle_timeout* counts what comes from the visitor only: it is pinged every
    *ping_every*, which has to be less, and every SDK answers that.
    """

    pid: int
    users: Mapping[int, str] = field(repr=False)
    endpoint: str
    tls: bool = False
    limits: Limits = field(default_factory=Limits)
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    login_timeout: float = LOGIN_TIMEOUT
    idle_timeout: float = IDLE_TIMEOUT
    ping_every: float = PING_EVERY
    secret: str | None = field(default=None, repr=False)
    piece: int = PIECE
    raw_link: RawLink = StreamLink
    tls_endpoint: str | None = None
    file_url: str | None = None
    allow_origin: str | None = ANY_ORIGIN
    link_life: float | None = None
    recognise: Callable[[bytes], int | None] | None = None
    make_thumbnail: Callable[[bytes], bytes | None] | None = None
    max_connections: int = MAX_CONNECTIONS
    max_per_address: int = MAX_PER_ADDRESS

    @property
    def url_of_files(self) -> str:
        """What the URL of a stored file begins with, without a slash at its end."""
        if self.file_url is not None:
            return self.file_url.rstrip("/")
        if self.tls_endpoint is not None:
            return f"https://{self.tls_endpoint}/files"
        return f"{'https' if self.tls else 'http'}://{self.endpoint}/files"
