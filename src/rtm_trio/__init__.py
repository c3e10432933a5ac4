"""RTM's File API for trio: a client, a project's server, and a gate of your own."""

from __future__ import annotations

try:
    import h11 as _h11
    import trio as _trio
    import wsproto as _wsproto
except ImportError as exc:
    raise ImportError(
        f"rtm_trio needs {exc.name}: pip install 'rtm-proto[trio]'", name=exc.name
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

del _h11, _trio, _wsproto
