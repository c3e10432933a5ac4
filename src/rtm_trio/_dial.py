"""Connecting: TCP, a proxy's tunnel, TLS, and the link that goes with an address."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable

import trio

from rtm_proto.address import Address
from rtm_proto.errors import ConnectFailed, LocalProtocolError
from rtm_proto.frames import mask_keys
from rtm_proto.link import Link, StreamLink
from rtm_proto.proxies import Proxy, parse_proxy
from rtm_proto.websocket import WebSocketLink

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]
"""How to get a stream to an address, TLS included; raises OSError."""

MakeLink = Callable[[Address], Link]
"""Makes the link for a connection to an address."""

CONNECT_TIMEOUT = 10.0  # seconds, where no earlier deadline stands
TUNNEL_SIZE = 4_096  # bytes of a proxy's answer that are read at once


def make_link(address: Address) -> Link:
    """The client's link for *address*."""
    if not address.websocket:
        return StreamLink()
    return WebSocketLink.client(
        address.authority,
        address.path,
        nonce=os.urandom(16),
        mask_key=mask_keys(os.urandom),
    )


def chosen_proxy(proxy: str | Proxy | None, connect: Connect | None = None) -> Proxy | None:
    """The proxy in a URL. Raises LocalProtocolError, also where *connect* is given besides."""
    if proxy is not None and connect is not None:
        raise LocalProtocolError("connect replaces the way through a proxy: give one of them")
    return proxy if proxy is None or isinstance(proxy, Proxy) else parse_proxy(proxy)


async def dial(
    address: Address,
    *,
    deadline: float,
    ssl_context: ssl.SSLContext | None,
    connect: Connect | None,
    proxy: Proxy | None = None,
) -> trio.abc.Stream | socket.socket:
    """A stream to *address*, at the latest at *deadline*. Raises ConnectFailed.

    Where nothing lies between, neither TLS nor a proxy, it is the socket itself.
    *connect* replaces everything here. Without *ssl_context*, certificates and host names are
    checked as the system does.
    """
    way = str(address) if proxy is None else f"{address} through {proxy}"
    try:
        with trio.fail_at(min(deadline, trio.current_time() + CONNECT_TIMEOUT)):
            if connect is not None:
                return await connect(address)
            if not address.tls and proxy is None:
                return await open_socket(address.host, address.port)
            return await open_stream(
                address.host,
                address.port,
                tls=address.tls,
                ssl_context=ssl_context,
                proxy=proxy,
            )
    except trio.TooSlowError as exc:
        raise ConnectFailed(f"could not connect to {way} in time") from exc
    except (OSError, trio.BrokenResourceError) as exc:
        raise ConnectFailed(f"could not connect to {way}: {plainly(exc)}") from exc
    except ConnectFailed as exc:
        raise ConnectFailed(f"could not connect to {way}: {exc}") from exc


async def open_stream(
    host: str,
    port: int,
    *,
    tls: bool,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | None = None,
) -> trio.abc.Stream:
    """A stream to *host*, through *proxy* and with TLS up where asked.

    Raises OSError, BrokenResourceError, or ConnectFailed with what the proxy answered.
    """
    stream: trio.abc.Stream
    if proxy is None:
        stream = await trio.open_tcp_stream(host, port)
    else:
        stream = await open_tunnel(proxy, host, port)
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


async def open_socket(host: str, port: int) -> socket.socket:
    """A socket that is connected to *host* and does not block. Raises OSError."""
    stream = await trio.open_tcp_stream(host, port)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return sock


async def open_tunnel(proxy: Proxy, host: str, port: int) -> trio.abc.Stream:
    """A stream to *host* that goes through *proxy*. Raises as ``open_stream``."""
    tunnel = proxy.tunnel(host, port)
    try:
        stream = await trio.open_tcp_stream(proxy.host, proxy.port)
    except OSError as exc:
        raise ConnectFailed(f"the proxy cannot be reached: {plainly(exc)}") from exc
    try:
        is_open = False
        while not is_open:
            await stream.send_all(tunnel.data_to_send())
            data = await stream.receive_some(TUNNEL_SIZE)
            if not data:
                raise tunnel.receive_eof()
            is_open = tunnel.receive_data(data)
        await stream.send_all(tunnel.data_to_send())
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return Tunnelled(stream, tunnel.behind) if tunnel.behind else stream


class Tunnelled(trio.abc.HalfCloseableStream):
    """A stream whose first bytes came together with the proxy's answer."""

    def __init__(self, stream: trio.SocketStream, data: bytes) -> None:
        self._stream = stream
        self._data = data

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Those first."""
        if not self._data:
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._data) if max_bytes is None else max_bytes
        data, self._data = self._data[:size], self._data[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As it does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As it does."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """As it does."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As it does."""
        await self._stream.aclose()


def plainly(exc: BaseException) -> str:
    """One line for an error that may hide its cause."""
    return str(exc.__cause__ or exc) or type(exc).__name__
