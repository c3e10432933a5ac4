"""RTM's File API for asyncio, on anyio: a client, a project's server, and a gate of your own."""

from __future__ import annotations

try:
    import anyio as _anyio
    import h11 as _h11
    import wsproto as _wsproto
except ImportError as exc:
    raise ImportError(
        f"rtm_asyncio needs {exc.name}: pip install 'rtm-proto[asyncio]'", name=exc.name
    ) from exc

from ._client import Client, open_client
from ._dial import make_link
from ._download import download
from ._gate import GateServer, serve_gate
from ._server import Server, open_server
from ._streams import EventStream, ProgressStream

__all__ = [
    "Client",
    "EventStream",
    "GateServer",
    "ProgressStream",
    "Server",
    "download",
    "make_link",
    "open_client",
    "open_server",
    "serve_gate",
]

del _h11, _anyio, _wsproto
