"""RTM's File API for trio: a client, and a gate of your own."""

from __future__ import annotations

try:
    import h11 as _h11
    import trio as _trio
    import wsproto as _wsproto
except ImportError as exc:
    raise ImportError(
        f"rtm_trio needs {exc.name}: pip install 'rtm-proto[trio]'", name=exc.name
    ) from exc

from ._client import Client, EventStream, open_client
from ._download import download
from ._gate import GateServer, serve_gate

__all__ = ["Client", "EventStream", "GateServer", "download", "open_client", "serve_gate"]

del _h11, _trio, _wsproto
