"""The clients that ``./dev bench`` compares, one module for each library.

    ours         rtm_asyncio, rtm_trio
    floor        by hand on a blocking socket: what the work costs at the least
    calls        what everybody writes beside a WebSocket library: seqs, msgpack, dedup, sign
    over_*       that, on one runtime
    with_*       one library each
    sdk          the official FPNN SDK for Python

What is compared may be missing: ``library`` says so, by ``Absent``.
"""

from __future__ import annotations

import importlib
from typing import Any


class Absent(Exception):
    """A client cannot be measured here; the text says what is missing."""


def library(name: str) -> Any:
    """The module *name*; raises Absent where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise Absent(f"{exc.name or name} is not installed") from exc
