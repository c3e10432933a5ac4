"""Links to stored files: what their URLs look like, and who may follow one.

    http://HOST:PORT/files/KEY/NAME             the file; NAME is for people only
    http://HOST:PORT/files/KEY/thumbnail/NAME   a small picture of it (``surl``)
    ...?until=SECONDS&sign=HEX                  where links expire: both of the above

KEY cannot be guessed: without signs, whoever knows a link may follow it for as long as the file is
kept. ``sign`` is HMAC-SHA256, with a key of the gate's own, over ``KEY:SECONDS``: whoever may see
the small picture may see the file. Seconds are since 1970.

A message is stored with links that have no sign, and gets one each time that it is told. So a user
who reads his history after a week is not given links of last week.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import unquote

THUMBNAIL = "thumbnail"  # the segment of a path that asks for the small picture
MAX_TARGET = 4096  # bytes of a request's target that are looked at; ours have some 200

_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_PATH = re.compile(rf"/files/([A-Za-z0-9_-]{{16,128}})(/{THUMBNAIL}(?=/))?(?:/[^/]*)?")
_SIGNED = re.compile(r"until=([0-9]{1,12})&sign=([0-9a-f]{64})(?:&|\Z)")


class FileLink(NamedTuple):
    """What a request asks for: the file with this key, or the small picture of it.

    ``until`` and ``sign`` are as they were told, or None.
    """

    key: str
    thumbnail: bool = False
    until: int | None = None
    sign: str | None = None

    @property
    def query(self) -> str:
        """The sign again, for another link to the same file."""
        return "" if self.sign is None else f"?until={self.until}&sign={self.sign}"


def path_of(target: str) -> str:
    """The path in a request's target, which may be a whole URL (RFC 9112, 3.2.2), decoded."""
    match = _AUTHORITY.match(target)
    return unquote(target[match.end() if match else 0 :].partition("?")[0])


def parse_link(target: str) -> FileLink | None:
    """What a request's target asks for; None where that is no file, or an absurdly long path."""
    if len(target) > MAX_TARGET:
        return None
    match = _PATH.fullmatch(path_of(target))
    if match is None:
        return None
    signed = _SIGNED.match(target.partition("?")[2])
    until, sign = (None, None) if signed is None else (int(signed[1]), signed[2])
    return FileLink(match[1], match[2] is not None, until, sign)


class Links:
    """Gives links and judges them; without a *life* they need no sign."""

    def __init__(
        self, wall_ms: Callable[[], int], *, key: str = "", life: float | None = None
    ) -> None:
        """*wall_ms*: milliseconds since 1970. *key*: secret, of 128 random bits at least.

        *life*: seconds that a link is good for; None: for ever.
        """
        if life is not None and life < 1:
            raise ValueError(f"links are good for a second at the least, got {life} s")
        if life is not None and not key:
            raise ValueError("links that expire are signed: a key is missing")
        self._wall_ms = wall_ms
        self._key = key.encode()
        self._life = life

    def __repr__(self) -> str:
        return f"<Links life={self._life}>"

    def signed(self, url: str, key: str) -> str:
        """The URL of the file with this key, as it is told now."""
        if self._life is None:
            return url
        until = self._wall_ms() // 1000 + int(self._life)
        return url + FileLink(key, until=until, sign=self._sign(key, until)).query

    def told(self, msg: str, key: str) -> str:
        """A message that the gate has made about the file with this key, as it is told now."""
        if self._life is None:
            return msg
        place = cast("dict[str, object]", json.loads(msg))
        for name in ("url", "surl"):
            if name in place:
                place[name] = self.signed(str(place[name]), key)
        return json.dumps(place, separators=(",", ":"))

    def refusal(self, link: FileLink) -> tuple[int, str] | None:
        """Why this link may not be followed now, as a status and a text, or None."""
        if self._life is None:
            return None
        if link.until is None or link.sign is None:
            return 403, "a link has to be signed here"
        if not hmac.compare_digest(self._sign(link.key, link.until), link.sign):
            return 403, "the link's sign is wrong"
        if self._left(link.until) <= 0:
            return 410, "the link has expired"
        return None

    def seconds_left(self, link: FileLink) -> int | None:
        """For how long a link is good still, or None: for ever."""
        if self._life is None or link.until is None:
            return None
        return max(0, self._left(link.until))

    # --- private ---

    def _left(self, until: int) -> int:
        return until - self._wall_ms() // 1000

    def _sign(self, key: str, until: int) -> str:
        return hmac.digest(self._key, f"{key}:{until}".encode(), "sha256").hex()
