"""Single arguments of a command line: text to value, or an error that says what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import isfinite

from ..address import parse_endpoint, parse_url
from ..errors import LocalProtocolError
from ..payload import INT64_MAX, INT64_MIN


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


def endpoint(text: str) -> str:
    """``host:port``, checked."""
    try:
        parse_endpoint(text)
    except LocalProtocolError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return text


def group(text: str) -> tuple[int, frozenset[int]]:
    """The gid and the members in ``GID:UID,UID,...``."""
    gid, _, uids = text.partition(":")
    try:
        return int(gid), frozenset(POSITIVE(uid) for uid in uids.split(","))
    except (ValueError, argparse.ArgumentTypeError) as exc:
        raise argparse.ArgumentTypeError(
            f"expected GID:UID,UID,... with uids above 0, got {text!r}"
        ) from exc


def user(text: str) -> tuple[int, str]:
    """The uid and the token in ``UID:TOKEN``; the token is never quoted."""
    uid, colon, token = text.partition(":")
    try:
        number = int(uid)
    except ValueError:
        number = 0
    if not colon or not token or not 0 < number <= INT64_MAX:
        raise argparse.ArgumentTypeError("expected UID:TOKEN, a uid above 0 and a token")
    return number, token
