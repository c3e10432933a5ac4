"""The sign of a server's call: whoever has the project's secret speaks for the project.

    {pid, salt, ts, sign, ...}    sign = MD5HEX("pid:secret:salt:method:ts"), upper case
    {pid, salt, sign, ...}        sign = MD5HEX("pid:secret:salt"), the form of 2018

``salt`` is any int64, ``ts`` the time in seconds since 1970, ``method`` the method of the quest.
A sign does not cover the other params: only TLS keeps these from being changed on their way.
Sources: the Python server SDK, and the published documents of 2018 for the second form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5

from .errors import LocalProtocolError
from .payload import INT64_MAX, Params

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # what surrogate escapes never are


def call_sign(pid: int, secret: str, salt: int, method: str, ts: int | None) -> str:
    """The sign of a call; with None for *ts* in the form of 2018."""
    text = f"{pid}:{secret}:{salt}" + ("" if ts is None else f":{method}:{ts}")
    return md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs the calls of a server. A gate takes a sign once: each call needs a new salt.

    *make_salt* gives a random int64; *wall_ms* milliseconds since 1970, on a clock that is right
    to some minutes. Raises LocalProtocolError for a pid or secret that no project has.
    """

    pid: int
    secret: str = field(repr=False)
    make_salt: Callable[[], int] = field(repr=False)
    wall_ms: Callable[[], int] = field(repr=False)

    def __post_init__(self) -> None:
        if type(self.pid) is not int or not 0 < self.pid <= INT64_MAX:
            raise LocalProtocolError(f"pid is an integer from 1 to {INT64_MAX}, got {self.pid!r}")
        if not _is_secret(self.secret):
            raise LocalProtocolError("the project secret is text that is not empty")

    def signed(self, method: str, params: Params) -> dict[str, object]:
        """*params* with pid, salt, ts and sign before them."""
        salt, ts = self.make_salt(), self.wall_ms() // 1000
        sign = call_sign(self.pid, self.secret, salt, method, ts)
        return {"pid": self.pid, "salt": salt, "ts": ts, "sign": sign, **params}


def _is_secret(value: object) -> bool:
    """Text that is not empty and has bytes; the secret itself must not come up in an error."""
    return isinstance(value, str) and value != "" and not _NO_BYTES.search(value)
