"""Single arguments of a command line: text to value, or an error that says what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import isfinite

from ..address import parse_url
from ..errors import LocalProtocolError
from ..payload import INT64_MAX, INT64_MIN
from . import kinds


def integer(least: int, most: int) -> Callable[[str], int]:
    """A converter to an integer from *least* to *most*."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            what = f"an integer from {least} to {most}"
            raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
        return value

    return convert


POSITIVE = integer(1, INT64_MAX)
INT64 = integer(INT64_MIN, INT64_MAX)
PORT = integer(0, 0xFFFF)


def seconds(text: str) -> float:
    """Seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (value > 0 and isfinite(value)):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return value


def duration(text: str) -> int:
    """Whole seconds above 0; with m, h or d behind it minutes, hours, days."""
    try:
        return max(1, int(kinds.SECONDS.of_text(text)))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"expected {kinds.SECONDS.expected}, got {text!r}"
        ) from exc


def proxy(text: str) -> str:
    """The URL of a proxy, checked; it may have a password in it."""
    from ..proxies import parse_proxy  # loads h11, which `rtm inspect` does without

    try:
        parse_proxy(text)
    except LocalProtocolError as exc:
        raise argparse.ArgumentTypeError("expected http://HOST:PORT or socks5://HOST:PORT") from exc
    return text


def url(text: str) -> str:
    """The URL of a gate, checked."""
    if "@" in text:  # it may be a password
        raise argparse.ArgumentTypeError("expected a URL without a user")
    try:
        parse_url(text)
    except LocalProtocolError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return text


def seeds(text: str) -> range:
    """``A..B``, both included, or one number."""
    first, dots, last = text.partition("..")
    try:
        a, b = int(first), int(last if dots else first)
    except ValueError:
        a, b = 1, 0
    if not 0 <= a <= b <= INT64_MAX:
        raise argparse.ArgumentTypeError(f"expected A..B or one seed, from 0 up, got {text!r}")
    return range(a, b + 1)
