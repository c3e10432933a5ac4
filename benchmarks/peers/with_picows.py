"""picows, on asyncio: the listener's method is called for each frame."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from . import library, over_asyncio

_picows: Any = library("picows")
_BINARY = _picows.WSMsgType.BINARY
_CLOSE = _picows.WSMsgType.CLOSE


class Link(over_asyncio.Link):
    """A connection."""

    def __init__(self) -> None:
        super().__init__()
        self.transport: Any = None

    async def send(self, message: bytes) -> None:
        self.transport.send(_BINARY, message)


class Listener(_picows.WSListener):  # type: ignore[misc]  # it is Any, installed or not
    """Hands what comes to the link."""

    link: Link

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """A frame came."""
        if frame.msg_type == _BINARY:
            answer = self.link.take(frame.get_payload_as_memoryview())
            if answer is not None:
                transport.send(_BINARY, answer)
        elif frame.msg_type == _CLOSE:
            transport.disconnect()


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[Link, None]:
    """Connect."""
    link = Link()

    def listener() -> Listener:
        made = Listener()
        made.link = link
        return made

    link.transport, _ = await _picows.ws_connect(listener, url)
    try:
        yield link
    finally:
        link.transport.send_close()
        link.transport.disconnect()
        await link.transport.wait_disconnected()


open_client = over_asyncio.opener(connect)
