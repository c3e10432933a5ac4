"""What a gate takes, and how often: every figure, with its source, and each can be set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..attrs import MAX_ATTRS
from ..errors import LocalProtocolError

MAX_FILE = 5_242_880  # bytes of one file (published limit)
MAX_QUEST = 65_536  # bytes of a package on the main port: of a quest without a file (our own)
MAX_MESSAGE = 20_480  # bytes of a text message (published limit, 2018)
MAX_ROOMS = 10  # rooms of one user (published limit)
MAX_GROUPS = 10_000  # groups of a project (published limit, 2018)
MAX_MEMBERS = 2000  # members of one group (published limit of receivers in one send)
MAX_RECEIVERS = 2000  # receivers of one send (published limit)
MAX_ITEMS = 100  # users named in one change of a group or of blocks (published limit, 2018)
MAX_BLOCKS = 1000  # users whom one user blocks (our own)
MAX_HISTORY = 20  # messages of one history read (published limit)
MAX_LOGIN_TOKENS = 100_000  # users with a token of their own (our own)
MAX_WAITING = 4096  # quests whose effect the store is at (our own)
MAX_FAILED_LOGINS = 5  # wrong tokens on one connection (our own)
MAX_CONNECTIONS = 12_000  # at once, in all (our own; 10,000 users and their file links)
MAX_PER_ADDRESS = 1_000  # at once, from one address (our own; many users may share one)
HANDSHAKE_TIMEOUT = 5.0  # seconds until a visitor has said what it speaks
LOGIN_TIMEOUT = 10.0  # seconds until a visitor of the main port has logged in
IDLE_TIMEOUT = 60.0  # seconds without a byte in either direction (the framework's setting)
PING_EVERY = 20.0  # seconds between the gate's pings; SDKs give up after 60 s without one


class Rate(NamedTuple):
    """So many a second in the long run, and so many at once after a rest."""

    per_second: float
    burst: int

    def __str__(self) -> str:
        return f"{self.per_second:g} a second, {self.burst} at once"


FAILED_LOGINS = Rate(0.1, 10)  # of one user from one address (our own)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a gate takes: bytes, counts, and rates, of which None is any.

    *max_items*: users named in one change of a group or of blocks. *max_waiting*: quests whose
    effect the store is at; more are refused with 20011. *max_logins*: of one user at once; a newer
    one ends the oldest. *max_failed_logins*: wrong tokens until a connection is closed.

    A rate named ``user_...`` is for each user, ``all_...`` for all users together,
    ``server_calls`` for all servers together; what is over one is refused with 200010. A file is
    counted when its token is asked for. *failed_logins*: wrong tokens for one user from one
    address; beyond it no token is looked at for a while.

    *lenient_ids*: take floats without a fraction up to 2**53, and decimal text, where an integer
    belongs: JavaScript sends these for numbers of 2**32 and above, and for uids given as text.
    *ftype*: each push has the field that mtype replaced in 2018; the Java SDK of then needs it.

    Raises LocalProtocolError for what cannot be.
    """

    max_file: int = MAX_FILE
    max_attrs: int = MAX_ATTRS
    max_rooms: int = MAX_ROOMS
    max_members: int = MAX_MEMBERS
    max_receivers: int = MAX_RECEIVERS
    max_message: int = MAX_MESSAGE
    max_groups: int = MAX_GROUPS
    max_items: int = MAX_ITEMS
    max_blocks: int = MAX_BLOCKS
    max_history: int = MAX_HISTORY
    max_login_tokens: int = MAX_LOGIN_TOKENS
    max_waiting: int = MAX_WAITING
    max_logins: int = 1
    max_failed_logins: int = MAX_FAILED_LOGINS
    failed_logins: Rate | None = FAILED_LOGINS
    user_calls: Rate | None = None
    all_calls: Rate | None = None
    user_messages: Rate | None = None
    all_messages: Rate | None = None
    user_files: Rate | None = None
    all_files: Rate | None = None
    user_history: Rate | None = None
    all_history: Rate | None = None
    server_calls: Rate | None = None
    lenient_ids: bool = False
    ftype: bool = False

    def __post_init__(self) -> None:
        for name in RATES:
            rate: Rate | None = getattr(self, name)
            if rate is not None and not (0 < rate.per_second < float("inf") and rate.burst >= 1):
                raise LocalProtocolError(
                    f"{name} is a number above 0 a second, at least 1 at once; got {rate}"
                )
        for name in ("max_logins", "max_waiting", "max_history", "max_failed_logins"):
            if getattr(self, name) < 1:
                raise LocalProtocolError(f"{name} is at least 1, got {getattr(self, name)}")


RATES = (
    "failed_logins",
    "user_calls",
    "all_calls",
    "user_messages",
    "all_messages",
    "user_files",
    "all_files",
    "user_history",
    "all_history",
    "server_calls",
)
"""The fields of Limits that are rates."""
