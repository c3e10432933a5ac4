"""Who is compared: each client by its name, and where to find it."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

BLOCKING = "blocking"
ONE_IN_FLIGHT = "quests, 1 in flight"


class Entry(NamedTuple):
    """A client. ``make`` in ``module`` gives it for a URL; ``runtime`` runs it."""

    name: str
    scheme: str  # ws or tcp
    runtime: str  # asyncio, uvloop, trio or blocking
    module: str  # of benchmarks.peers
    make: str = "open_client"
    only: str = ""  # the one row that it can do

    def load(self) -> Any:
        """How to make the client. Raises Absent."""
        return getattr(importlib.import_module(f"benchmarks.peers.{self.module}"), self.make)


CLIENTS = (
    Entry("rtm_asyncio", "ws", "asyncio", "ours", "open_asyncio"),
    Entry("rtm_asyncio, uvloop", "ws", "uvloop", "ours", "open_asyncio"),
    Entry("rtm_trio", "ws", "trio", "ours", "open_trio"),
    Entry("rtm_asyncio, tcp", "tcp", "asyncio", "ours", "open_asyncio"),
    Entry("rtm_asyncio, tcp, uvloop", "tcp", "uvloop", "ours", "open_asyncio"),
    Entry("rtm_trio, tcp", "tcp", "trio", "ours", "open_trio"),
    Entry("floor", "tcp", BLOCKING, "floor", "Floor"),
    Entry("bare asyncio loop", "tcp", "asyncio", "bare_loop", "open_asyncio", ONE_IN_FLIGHT),
    Entry("bare uvloop", "tcp", "uvloop", "bare_loop", "open_asyncio", ONE_IN_FLIGHT),
    Entry("bare trio loop", "tcp", "trio", "bare_loop", "open_trio", ONE_IN_FLIGHT),
    Entry("picows", "ws", "asyncio", "with_picows"),
    Entry("picows, uvloop", "ws", "uvloop", "with_picows"),
    Entry("websockets", "ws", "asyncio", "with_websockets", "open_asyncio"),
    Entry("websockets, uvloop", "ws", "uvloop", "with_websockets", "open_asyncio"),
    Entry("websockets, fragments", "ws", "asyncio", "with_websockets", "open_fragments"),
    Entry("websockets.trio", "ws", "trio", "with_websockets", "open_trio"),
    Entry("aiohttp", "ws", "asyncio", "with_aiohttp"),
    Entry("trio-websocket", "ws", "trio", "with_trio_websocket"),
    Entry("httpx-ws", "ws", "asyncio", "with_httpx_ws"),
    Entry("wsproto, asyncio streams", "ws", "asyncio", "with_wsproto", "open_asyncio"),
    Entry("wsproto, trio stream", "ws", "trio", "with_wsproto", "open_trio"),
    Entry("official Python SDK", "tcp", BLOCKING, "sdk", "Sdk"),
)
BY_NAME = {entry.name: entry for entry in CLIENTS}
FILTERS = ("MidFilter", "a dict by hand")
"""What remembers ids, for the row of the dedup filter."""
