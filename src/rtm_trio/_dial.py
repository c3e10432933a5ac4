"""Connecting: TCP, TLS, and the link that goes with an address."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from rtm_proto.address import Address
from rtm_proto.errors import ConnectFailed
from rtm_proto.link import Link, StreamLink
from rtm_proto.websocket import WebSocketLink

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]
"""How to get a stream to an address, TLS included; raises OSError."""

MakeLink = Callable[[Address], Link]
"""Makes the link for a connection to an address."""

CONNECT_TIMEOUT = 10.0  # seconds, where no earlier deadline stands


def make_link(address: Address) -> Link:
    """The client's link for *address*."""
    if not address.websocket:
        return StreamLink()
    return WebSocketLink.client(
        address.authority,
        address.path,
        nonce=os.urandom(16),
        mask_key=partial(os.urandom, 4),
    )


async def dial(
    address: Address,
    *,
    deadline: float,
    ssl_context: ssl.SSLContext | None,
    connect: Connect | None,
) -> trio.abc.Stream:
    """A stream to *address*, at the latest at *deadline*. Raises ConnectFailed.

    *connect* replaces everything here. Without *ssl_context*, certificates and host names are
    checked as the system does.
    """
    try:
        with trio.fail_at(min(deadline, trio.current_time() + CONNECT_TIMEOUT)):
            if connect is not None:
                return await connect(address)
            return await open_stream(
                address.host, address.port, tls=address.tls, ssl_context=ssl_context
            )
    except trio.TooSlowError as exc:
        raise ConnectFailed(f"could not connect to {address} in time") from exc
    except (OSError, trio.BrokenResourceError) as exc:
        raise ConnectFailed(f"could not connect to {address}: {plainly(exc)}") from exc


async def open_stream(
    host: str, port: int, *, tls: bool, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """A stream to *host*, with TLS up where asked. Raises OSError or BrokenResourceError."""
    stream = await trio.open_tcp_stream(host, port)
    if not tls:
        return stream
    context = ssl.create_default_context() if ssl_context is None else ssl_context
    secure = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(secure)
        raise
    return secure


def plainly(exc: BaseException) -> str:
    """One line for an error that may hide its cause."""
    return str(exc.__cause__ or exc) or type(exc).__name__
