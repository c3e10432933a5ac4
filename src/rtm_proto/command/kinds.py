"""What an option's value may be: from the text of a flag or a variable, or from TOML.

A kind says what is expected in words that fit behind "expected"; the reader adds the option's name
and what was found. Where the value is secret, what was found is never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Generic, TypeVar, cast

from ..address import parse_endpoint, parse_http_url
from ..errors import LocalProtocolError
from ..gate.limits import Rate
from ..payload import INT64_MAX, INT64_MIN

T = TypeVar("T")

OFF = "off"
_SIZES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_TIMES = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


class Unfit(ValueError):
    """What is wrong with a value, in words of its own."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What a value may be; both readers raise ValueError for what it may not."""

    expected: str
    metavar: str
    of_text: Callable[[str], T]
    of_toml: Callable[[object], T]
    secret: bool = False
    merge: Callable[[Sequence[T]], T] | None = None
    """One of many: a flag may be given more than once, a variable has blanks between them."""


def integer(least: int, most: int) -> Kind[int]:
    """A whole number from *least* to *most*."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError
        return value

    return Kind(
        f"an integer from {least} to {most}",
        "N",
        lambda text: check(int(text)),
        lambda value: check(_of(int, value)),
    )


def or_off(kind: Kind[T]) -> Kind[T | None]:
    """The same, or ``off``."""

    def of_toml(value: object) -> T | None:
        return None if value == OFF or value is False else kind.of_toml(value)

    return Kind(
        f"{kind.expected}, or {OFF!r}",
        kind.metavar,
        lambda text: None if text == OFF else kind.of_text(text),
        of_toml,
    )


def choice(*words: str) -> Kind[str]:
    """One of these."""

    def check(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return _text(f"one of {', '.join(words)}", "|".join(words), check)


def _of(wanted: type[T], value: object) -> T:
    if type(value) is not wanted:
        raise ValueError
    return value


def _text(
    expected: str, metavar: str, check: Callable[[str], T], *, secret: bool = False
) -> Kind[T]:
    """A kind that is text in TOML too."""
    return Kind(expected, metavar, check, lambda value: check(_of(str, value)), secret)


def _quantity(units: dict[str, int], least: float) -> Callable[[str], float]:
    def of_text(text: str) -> float:
        match = _QUANTITY.fullmatch(text.strip())
        if match is None or match[2] not in units:
            raise ValueError
        return _at_least(least, float(match[1]) * units[match[2]])

    return of_text


def _at_least(least: float, value: float) -> float:
    if not (isfinite(value) and value >= least):
        raise ValueError
    return value


def _size_of_toml(value: object) -> int:
    if isinstance(value, str):
        return _size_of_text(value)
    return int(_at_least(1, _of(int, value)))


def _size_of_text(text: str) -> int:
    return int(_quantity(_SIZES, 1)(text))


def _seconds_of_toml(value: object) -> float:
    if isinstance(value, str):
        return _quantity(_TIMES, 0.001)(value)
    if type(value) is not int and type(value) is not float:
        raise ValueError
    return _at_least(0.001, float(value))


def _truth(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text not in words:
        raise ValueError
    return words[text]


def _rate(text: str) -> Rate:
    per_second, colon, burst = text.partition(":")
    rate = Rate(float(per_second), int(burst) if colon else max(1, int(float(per_second))))
    if not (0 < rate.per_second < float("inf") and rate.burst >= 1):
        raise ValueError
    return rate


def _not_empty(text: str) -> str:
    if not text or text.strip() != text:
        raise ValueError
    return text


def _endpoint(text: str) -> str:
    try:
        parse_endpoint(text)
    except LocalProtocolError as exc:
        raise ValueError from exc
    return text


def _http_url(text: str) -> str:
    try:
        parse_http_url(text)
    except LocalProtocolError as exc:
        raise ValueError from exc
    return text


def _words_of_toml(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else cast("list[object]", _of(list, value))
    words = tuple(_not_empty(_of(str, item)) for item in items)
    if not words:
        raise ValueError
    return words


def _uid(text: str) -> int:
    return integer(1, INT64_MAX).of_text(text)


def _user(text: str) -> tuple[int, str]:
    uid, colon, token = text.partition(":")
    if not colon or not token:
        raise ValueError
    return _uid(uid), token


def _users(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    users: dict[int, str] = {}
    for uid, token in pairs:
        if uid in users:
            raise Unfit(f"there are two tokens for user {uid}")
        users[uid] = token
    return users


def _users_of_toml(value: object) -> dict[int, str]:
    table = cast("dict[str, object]", _of(dict, value))
    return _users((_uid(uid), _not_empty(_of(str, token))) for uid, token in table.items())


def _group(text: str) -> tuple[int, frozenset[int]]:
    gid, _, uids = text.partition(":")
    return integer(INT64_MIN, INT64_MAX).of_text(gid), frozenset(map(_uid, uids.split(",")))


def _groups(pairs: Iterable[tuple[int, frozenset[int]]]) -> dict[int, frozenset[int]]:
    groups: dict[int, frozenset[int]] = {}
    for gid, members in pairs:
        groups[gid] = groups.get(gid, frozenset()) | members
    return groups


def _groups_of_toml(value: object) -> dict[int, frozenset[int]]:
    table = cast("dict[str, object]", _of(dict, value))
    return _groups(
        (
            integer(INT64_MIN, INT64_MAX).of_text(gid),
            frozenset(POSITIVE.of_toml(uid) for uid in cast("list[object]", _of(list, uids))),
        )
        for gid, uids in table.items()
    )


def shown(value: object) -> str:
    """A value as a person would write it; nothing where that would take too much room."""
    match value:
        case None:
            return OFF
        case bool():
            return str(value).lower()
        case Rate():
            return f"{value.per_second:g}:{value.burst}"
        case int():
            return _with_unit(value, {"MiB": 2**20, "KiB": 2**10})
        case float():
            return _with_unit(value, {"d": 86400, "h": 3600, "m": 60})
        case str():
            return value
        case tuple():
            return " ".join(cast("tuple[str, ...]", value))
        case _:
            return ""


def _with_unit(value: int | float, units: dict[str, int]) -> str:
    for name, size in units.items():
        if value >= size and value % size == 0 and value > 9999:
            return f"{value / size:g} {name}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(expected: str, metavar: str) -> Kind[tuple[str, ...]]:
    return Kind(
        expected,
        metavar,
        lambda text: (_not_empty(text),),
        _words_of_toml,
        merge=lambda many: tuple(word for words in many for word in words),
    )


POSITIVE = integer(1, INT64_MAX)
COUNT = integer(1, 2**31 - 1)
PORT = integer(0, 0xFFFF)
OWN_PORT = or_off(PORT)
SIZE: Kind[int] = Kind(
    "bytes above 0, as a number or with KiB, MiB, GiB or TiB", "SIZE", _size_of_text, _size_of_toml
)
SECONDS: Kind[float] = Kind(
    "seconds above 0, as a number or with s, m, h or d",
    "TIME",
    _quantity(_TIMES, 0.001),
    _seconds_of_toml,
)
SIZE_OR_OFF = or_off(SIZE)
SECONDS_OR_OFF = or_off(SECONDS)
TRUTH: Kind[bool] = Kind("true or false", "true|false", _truth, lambda value: _of(bool, value))
RATE = or_off(_text("PER_SECOND:BURST, as 0.5:10", "RATE", _rate))
TEXT = _text("text that is not empty", "TEXT", _not_empty)
PATH = _text("a path", "PATH", _not_empty)
ENDPOINT = _text("host:port", "HOST:PORT", _endpoint)
HTTP_URL = _text("a URL, http:// or https://", "URL", _http_url)
SECRET = _text("text that is not empty", "TEXT", _not_empty, secret=True)

WORDS = _words("an address, or a list of them", "ADDRESS")
QUIRKS = _words("a quirk's name, or a list of them", "QUIRK")
USERS: Kind[dict[int, str]] = Kind(
    "UID:TOKEN, a uid above 0 and a token (in a file: a table of them)",
    "UID:TOKEN",
    lambda text: _users([_user(text)]),
    _users_of_toml,
    secret=True,
    merge=lambda many: _users(pair for users in many for pair in users.items()),
)
GROUPS: Kind[dict[int, frozenset[int]]] = Kind(
    "GID:UID,UID,... with uids above 0 (in a file: a table of lists)",
    "GID:UID,UID",
    lambda text: _groups([_group(text)]),
    _groups_of_toml,
    merge=lambda many: _groups(pair for groups in many for pair in groups.items()),
)
