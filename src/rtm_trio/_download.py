"""Fetching a received file: the download flow, driven."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import overload

import trio

from rtm_proto.download import (
    DOWNLOAD_TIMEOUT,
    MAX_DOWNLOAD,
    DialHttp,
    Download,
    Downloaded,
    DownloadFlow,
    DownloadProgress,
    Hangup,
    OpenSink,
    ReceiveBytes,
    SendBytes,
    TellDownload,
    Write,
)
from rtm_proto.errors import ConnectFailed, DownloadFailed, RtmError
from rtm_proto.files import AnySink, OwnSink, Saved
from rtm_proto.flows.steps import Now, Pause
from rtm_proto.proxies import Proxy
from rtm_proto.received import FileReceived

from ._dial import chosen_proxy, open_stream, plainly

RECEIVE_SIZE = 65_536  # bytes


@overload
async def download(
    file: FileReceived | str,
    to: OwnSink,
    timeout: float = ...,
    *,
    max_size: int = ...,
    expected_md5: str | None = ...,
    progress: Callable[[DownloadProgress], object] | None = ...,
    ssl_context: ssl.SSLContext | None = ...,
    proxy: str | Proxy | None = ...,
) -> Downloaded: ...
@overload
async def download(
    file: FileReceived | str,
    to: str | os.PathLike[str] | None = ...,
    timeout: float = ...,
    *,
    max_size: int = ...,
    expected_md5: str | None = ...,
    overwrite: bool = ...,
    progress: Callable[[DownloadProgress], object] | None = ...,
    ssl_context: ssl.SSLContext | None = ...,
    proxy: str | Proxy | None = ...,
) -> Saved: ...
async def download(
    file: FileReceived | str,
    to: str | os.PathLike[str] | OwnSink | None = None,
    timeout: float = DOWNLOAD_TIMEOUT,
    *,
    max_size: int = MAX_DOWNLOAD,
    expected_md5: str | None = None,
    overwrite: bool = False,
    progress: Callable[[DownloadProgress], object] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | Proxy | None = None,
) -> Saved | Downloaded:
    """Fetch a received file over HTTP, to disk or wherever it is wanted.

    *file*: a FileReceived (the size that it announces is checked) or a URL. *to*: a path, or a
    folder (None: the current one) in which it gets the sender's name for it, made safe. It is
    written beside and put in its place when whole; an existing file is an error unless
    *overwrite*. Or a binary file that is open for writing (what it has of a file that failed is
    the caller's to take back), or a StreamSink; then Downloaded is given. *timeout*: seconds for
    all of it. *max_size*: bytes. *expected_md5*: hex, where it is known. *progress* is called for
    each piece. *proxy*: as for ``open_client``; an HTTP proxy is asked to CONNECT for http:// too.

    Nothing that says who asks is sent. The host that the URL names is asked, whichever it is: see
    to it that strangers cannot make you fetch from hosts that only you can reach.

    Raises DownloadFailed; OSError (FileExistsError) for the disk's part; LocalProtocolError for
    what is no http or https URL; FileUnusable for what is no place for a file; what a StreamSink
    raises. Cancelled, it leaves no file and no connection.
    """
    if isinstance(file, FileReceived):
        if file.url is None:
            raise DownloadFailed(f"the message {file.mid} has no URL: {file.msg[:80]!r}")
        url, name, size = file.url, file.name, file.size
    else:
        url, name, size = file, None, None
    flow = Download(
        url,
        name=name,
        timeout=timeout,
        max_size=max_size,
        expected_size=size,
        expected_md5=expected_md5,
    )
    way = chosen_proxy(proxy)
    sink = AnySink(to, overwrite=overwrite)
    try:
        done = await _drive(flow.run(), sink, progress, ssl_context, way)
        path = await sink.finish()
        return done if path is None else Saved(path, done.size, done.md5, done.attempts)
    finally:
        await sink.aclose()


async def _drive(
    flow: DownloadFlow[Downloaded],
    sink: AnySink,
    progress: Callable[[DownloadProgress], object] | None,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | None,
) -> Downloaded:
    """Carry out the steps of *flow* until it is done."""
    held: trio.abc.Stream | None = None
    outcome: object = None
    error: Exception | None = None
    try:
        while True:
            try:
                step = flow.send(outcome) if error is None else flow.throw(error)
            except StopIteration as stop:
                done: Downloaded = stop.value
                return done
            outcome = error = None
            if isinstance(step, TellDownload):
                if progress is not None:
                    progress(step.progress)  # what it raises is the caller's, not the flow's
                continue
            try:
                match step:
                    case Now():
                        outcome = trio.current_time()
                    case Pause(until):
                        await trio.sleep_until(until)
                    case DialHttp(scheme, host, port, deadline):
                        await _hang_up(held)
                        held = await _dial_http(scheme, host, port, deadline, ssl_context, proxy)
                    case SendBytes(data, deadline):
                        await _send(_needed(held), data, deadline)
                    case ReceiveBytes(deadline):
                        outcome = await _receive(_needed(held), deadline)
                    case Hangup():
                        await _hang_up(held)
                        held = None
                    case OpenSink(_, name):
                        await sink.open(name)
                    case Write(data):
                        await sink.write(data)
            except (RtmError, OSError) as exc:
                error = exc
    finally:
        flow.close()
        await _hang_up(held)


async def _hang_up(held: trio.abc.Stream | None) -> None:
    """Drop the connection, if there is one."""
    if held is not None:
        await trio.aclose_forcefully(held)


def _needed(held: trio.abc.Stream | None) -> trio.abc.Stream:
    if held is None:
        raise ConnectFailed("there is no connection")
    return held


async def _dial_http(
    scheme: str,
    host: str,
    port: int,
    deadline: float,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | None,
) -> trio.abc.Stream:
    way = f"{host}:{port}" if proxy is None else f"{host}:{port} through {proxy}"
    try:
        with trio.fail_at(deadline):
            return await open_stream(
                host, port, tls=scheme == "https", ssl_context=ssl_context, proxy=proxy
            )
    except trio.TooSlowError as exc:
        raise ConnectFailed(f"could not connect to {way} in time") from exc
    except (OSError, trio.BrokenResourceError) as exc:
        raise ConnectFailed(f"could not connect to {way}: {plainly(exc)}") from exc
    except ConnectFailed as exc:
        raise ConnectFailed(f"could not connect to {way}: {exc}") from exc


async def _send(stream: trio.abc.Stream, data: bytes, deadline: float) -> None:
    try:
        with trio.fail_at(deadline):
            await stream.send_all(data)
    except (trio.TooSlowError, trio.BrokenResourceError, OSError) as exc:
        raise ConnectFailed(f"the request could not be sent: {plainly(exc)}") from exc


async def _receive(stream: trio.abc.Stream, deadline: float) -> bytes:
    try:
        with trio.fail_at(deadline):
            return bytes(await stream.receive_some(RECEIVE_SIZE))
    except (trio.TooSlowError, trio.BrokenResourceError, OSError) as exc:
        raise ConnectFailed(f"the connection broke: {plainly(exc)}") from exc
