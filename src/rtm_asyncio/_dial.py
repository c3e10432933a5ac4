"""Connecting: TCP, a proxy's tunnel, TLS, and the link that goes with an address."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
from anyio.streams.tls import TLSStream

from rtm_proto.address import Address
from rtm_proto.errors import ConnectFailed, LocalProtocolError
from rtm_proto.frames import mask_keys
from rtm_proto.link import Link, StreamLink
from rtm_proto.proxies import Proxy, parse_proxy
from rtm_proto.websocket import WebSocketLink

Connect = Callable[[Address], Awaitable[anyio.abc.ByteStream]]
"""How to get a stream to an address, TLS included; raises OSError."""

MakeLink = Callable[[Address], Link]
"""Makes the link for a connection to an address."""

CONNECT_TIMEOUT = 10.0  # seconds, where no earlier deadline stands
HEAD_START = 0.25  # seconds between two addresses that are tried (RFC 8305, section 5)
TUNNEL_SIZE = 4_096  # bytes of a proxy's answer that are read at once

_AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


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
) -> anyio.abc.ByteStream | socket.socket:
    """A stream to *address*, at the latest at *deadline*. Raises ConnectFailed.

    Where nothing lies between, neither TLS nor a proxy, it is the socket itself, if the event loop
    can watch one (that of Windows cannot).
    *connect* replaces everything here. Without *ssl_context*, certificates and host names are
    checked as the system does.
    """
    way = str(address) if proxy is None else f"{address} through {proxy}"
    try:
        with anyio.fail_after(min(deadline - anyio.current_time(), CONNECT_TIMEOUT)):
            if connect is not None:
                return await connect(address)
            if not address.tls and proxy is None and _watches_sockets():
                return await open_socket(address.host, address.port)
            return await open_stream(
                address.host,
                address.port,
                tls=address.tls,
                ssl_context=ssl_context,
                proxy=proxy,
            )
    except TimeoutError as exc:
        raise ConnectFailed(f"could not connect to {way} in time") from exc
    except (OSError, anyio.BrokenResourceError) as exc:
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
) -> anyio.abc.ByteStream:
    """A stream to *host*, through *proxy* and with TLS up where asked.

    Raises OSError, BrokenResourceError, or ConnectFailed with what the proxy answered.
    """
    stream: anyio.abc.ByteStream
    if proxy is None:
        stream = await anyio.connect_tcp(host, port)
    else:
        stream = await open_tunnel(proxy, host, port)
    if not tls:
        return stream
    context = ssl.create_default_context() if ssl_context is None else ssl_context
    try:
        return await TLSStream.wrap(
            stream, hostname=host, ssl_context=context, standard_compatible=False
        )
    except BaseException as exc:
        await anyio.aclose_forcefully(stream)
        if isinstance(exc, anyio.EndOfStream):
            raise ConnectionResetError("closed inside the TLS handshake") from None
        raise


async def open_socket(host: str, port: int) -> socket.socket:
    """A socket that is connected to *host* and does not block. Raises OSError.

    Each address has a head start before the next one, of the other family if there is one, is
    tried as well (RFC 8305).
    """
    connected: list[socket.socket] = []
    faults: list[OSError] = []

    async def attempt(info: _AddressInfo, failed: anyio.Event) -> None:
        try:
            sock = await _connected(info)
        except OSError as exc:
            faults.append(exc)
            failed.set()
        else:
            connected.append(sock)
            tasks.cancel_scope.cancel()

    places = _in_turn(await _looked_up(host, port))
    try:
        async with anyio.create_task_group() as tasks:
            for place in places:
                failed = anyio.Event()
                tasks.start_soon(attempt, place, failed)
                with anyio.move_on_after(HEAD_START):
                    await failed.wait()
    except BaseException:
        _close(connected)
        raise
    if not connected:
        raise OSError("no address of it can be reached") from faults[0]
    _close(connected[1:])
    return connected[0]


async def open_tunnel(proxy: Proxy, host: str, port: int) -> anyio.abc.ByteStream:
    """A stream to *host* that goes through *proxy*. Raises as ``open_stream``."""
    tunnel = proxy.tunnel(host, port)
    try:
        stream = await anyio.connect_tcp(proxy.host, proxy.port)
    except OSError as exc:
        raise ConnectFailed(f"the proxy cannot be reached: {plainly(exc)}") from exc
    try:
        is_open = False
        while not is_open:
            await stream.send(tunnel.data_to_send())
            data = await stream.receive(TUNNEL_SIZE)
            is_open = tunnel.receive_data(data)
        await stream.send(tunnel.data_to_send())
    except BaseException as exc:
        await anyio.aclose_forcefully(stream)
        if isinstance(exc, anyio.EndOfStream):
            raise tunnel.receive_eof() from None
        raise
    return Tunnelled(stream, tunnel.behind) if tunnel.behind else stream


class Tunnelled(anyio.abc.ByteStream):
    """A stream whose first bytes came together with the proxy's answer."""

    def __init__(self, stream: anyio.abc.SocketStream, data: bytes) -> None:
        self._stream = stream
        self._data = data

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """As it has them."""
        return self._stream.extra_attributes

    async def receive(self, max_bytes: int = TUNNEL_SIZE) -> bytes:
        """Those first."""
        if not self._data:
            return await self._stream.receive(max_bytes)
        await anyio.lowlevel.checkpoint()
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        """As it does."""
        await self._stream.send(item)

    async def send_eof(self) -> None:
        """As it does."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As it does."""
        await self._stream.aclose()


def plainly(exc: BaseException) -> str:
    """One line for an error that may hide its cause."""
    return str(exc.__cause__ or exc) or type(exc).__name__


async def _looked_up(host: str, port: int) -> Sequence[_AddressInfo]:
    with suppress(OSError, UnicodeError):  # what is an address already needs no thread
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _connected(info: _AddressInfo) -> socket.socket:
    family, kind, proto, _, place = info
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock


def _in_turn(infos: Sequence[_AddressInfo]) -> list[_AddressInfo]:
    """The families in turn; within each, the system's order."""
    seen: Counter[int] = Counter()

    def rank(info: _AddressInfo) -> int:
        seen[info[0]] += 1
        return seen[info[0]]

    return sorted(infos, key=rank)


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _watches_sockets() -> bool:
    loop = type(asyncio.get_running_loop())
    return loop.add_reader is not asyncio.AbstractEventLoop.add_reader
