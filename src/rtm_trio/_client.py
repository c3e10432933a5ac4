"""The client: a user who is logged in."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, overload

from rtm_proto import address
from rtm_proto.address import FileRoute, parse_url
from rtm_proto.desk import Inbox
from rtm_proto.download import DOWNLOAD_TIMEOUT, MAX_DOWNLOAD, Downloaded, DownloadProgress
from rtm_proto.files import FileSource, OwnSink, Saved
from rtm_proto.flows.login import LOGIN_TIMEOUT, Login
from rtm_proto.flows.relogin import RELOGIN, ReloginPolicy
from rtm_proto.flows.steps import Progress
from rtm_proto.flows.transfer import (
    MAX_FILE,
    SEND_TIMEOUT,
    FileSent,
    FileToken,
    FileUploaded,
    Sender,
    Transfer,
    Upload,
    file_token,
    token_params,
)
from rtm_proto.mids import MidGenerator
from rtm_proto.pace import Pace
from rtm_proto.payload import Params
from rtm_proto.proxies import Proxy
from rtm_proto.received import Conversation, FileReceived

from ._dial import Connect, MakeLink, chosen_proxy, make_link
from ._download import download
from ._links import MAX_UPLOADS, Links, Plan, TokenSource, open_links
from ._streams import EventStream
from ._wire import wall_ms


class Client:
    """A user who is logged in; made by ``open_client``.

    All calls may run at the same time, in any task. Cancelling one never harms the others: the
    main link goes on, and a file link with a half-sent body is dropped.
    """

    def __init__(
        self, links: Links, login: Login, route: FileRoute, inbox: Inbox, *, max_file: int
    ) -> None:
        """For ``open_client``."""
        self.uid = login.uid
        self.pid = login.pid
        self._links = links
        self._sender = Sender(login.pid, login.uid, route, max_file)
        self._mids = MidGenerator(wall_ms, int.from_bytes(os.urandom(2), "big"))
        self._inbox = inbox

    def __repr__(self) -> str:
        return f"<Client {self.uid} at {self._links.plan.main}>"

    @property
    def duplicates(self) -> int:
        """Pushes whose mid had come before: answered, filtered, not among the events."""
        return self._inbox.duplicates

    # --- sending ---

    async def send_file(
        self,
        mtype: int,
        to: int,
        file: FileSource,
        mid: int = 0,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileSent:
        """Send a file to the user *to*; *mtype* is 40 to 50 (FileType).

        *file*: a path, bytes, a binary file that can seek, or a StreamSource; never held in memory
        whole. *mid*:
        0 for a new message id, or the one of an earlier try (the gate delivers a mid once; its
        answer that it had it already is success, with ``duplicate``). *timeout*: seconds, over
        token, connection, upload and answer. *name*: the file's name for the receiver. *custom*:
        any JSON value for the receiver. *progress* is called at each stage and piece, or is a
        ProgressStream.

        Raises FileRefused, FileNotSent or OutcomeUnknown, each with the mid; FileNotSent also for
        arguments and files that cannot be sent. A cancellation carries FileNotSent or, where the
        file may still arrive, OutcomeUnknown: ask ``rtm_proto.outcome_of``.
        """
        return await self._send(
            Conversation.P2P, mtype, to, file, mid, timeout, name, custom, progress
        )

    async def send_group_file(
        self,
        mtype: int,
        gid: int,
        file: FileSource,
        mid: int = 0,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileSent:
        """Send a file to the group *gid*; everything else as ``send_file``."""
        return await self._send(
            Conversation.GROUP, mtype, gid, file, mid, timeout, name, custom, progress
        )

    async def send_room_file(
        self,
        mtype: int,
        rid: int,
        file: FileSource,
        mid: int = 0,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileSent:
        """Send a file to the room *rid*; everything else as ``send_file``."""
        return await self._send(
            Conversation.ROOM, mtype, rid, file, mid, timeout, name, custom, progress
        )

    async def upload_file(
        self,
        mtype: int,
        file: FileSource,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileUploaded:
        """Store a file at the gate without telling anybody; everything else as ``send_file``.

        Uploading again is harmless: it stores the file once more, at another URL.
        """
        upload = Upload(
            self._sender,
            mtype,
            mid=self._mids.next(),
            timeout=timeout,
            name=name,
            custom=custom,
        )
        return await self._links.send(upload, file, progress)

    async def file_token(
        self,
        cmd: str,
        tos: list[int] | None = None,
        to: int | None = None,
        rid: int | None = None,
        gid: int | None = None,
        timeout: float = SEND_TIMEOUT,
    ) -> FileToken:
        """Get a token, and the address of the file gate, for one send of one's own.

        *cmd*: sendfile (with *to*), sendgroupfile (*gid*), sendroomfile (*rid*) or uploadfile.
        Raises LocalProtocolError unless exactly the target of *cmd* is given, QuestError.
        """
        params = token_params(cmd, tos=tos, to=to, rid=rid, gid=gid)
        return await self._links.drive(file_token(params, timeout))

    async def quest(
        self, method: str, params: Params | None = None, timeout: float = SEND_TIMEOUT
    ) -> dict[str, object]:
        """Any other method of the service: send a quest, give its answer.

        Raises QuestRefused, QuestTimeout, ConnectionLost; LocalProtocolError for bad arguments.
        Cancelled, the answer is dropped when it comes.
        """
        return await self._links.quest(method, {} if params is None else params, timeout)

    # --- receiving ---

    def events(self) -> EventStream:
        """What reaches the user, from the login on, for ``async for``.

        It ends behind a Disconnected whose ``again`` is not set: by then the client has left, was
        kicked out, or has given up logging in again.

        At most 1,000 events wait to be read; what comes on top is dropped and told as EventsLost.
        Pings and pushes are answered whether or not anybody reads. One task reads at a time;
        cancelling it loses nothing, and ``events()`` may be called again.
        """
        return EventStream(self._inbox)

    @overload
    async def download(
        self,
        file: FileReceived | str,
        to: OwnSink,
        timeout: float = ...,
        *,
        max_size: int = ...,
        expected_md5: str | None = ...,
        progress: Callable[[DownloadProgress], object] | None = ...,
    ) -> Downloaded: ...
    @overload
    async def download(
        self,
        file: FileReceived | str,
        to: str | os.PathLike[str] | None = ...,
        timeout: float = ...,
        *,
        max_size: int = ...,
        expected_md5: str | None = ...,
        overwrite: bool = ...,
        progress: Callable[[DownloadProgress], object] | None = ...,
    ) -> Saved: ...
    async def download(
        self,
        file: FileReceived | str,
        to: Any = None,
        timeout: float = DOWNLOAD_TIMEOUT,
        *,
        max_size: int = MAX_DOWNLOAD,
        expected_md5: str | None = None,
        overwrite: bool = False,
        progress: Callable[[DownloadProgress], object] | None = None,
    ) -> Saved | Downloaded:
        """``rtm_trio.download`` with this client's ``ssl_context`` and ``proxy``."""
        return await download(
            file,
            to,
            timeout,
            max_size=max_size,
            expected_md5=expected_md5,
            overwrite=overwrite,
            progress=progress,
            ssl_context=self._links.plan.ssl_context,
            proxy=self._links.plan.proxy,
        )

    # --- private ---

    async def _send(
        self,
        kind: Conversation,
        mtype: int,
        target: int,
        file: FileSource,
        mid: int,
        timeout: float,
        name: str | None,
        custom: object,
        progress: Callable[[Progress], object] | None,
    ) -> FileSent:
        transfer = Transfer(
            self._sender,
            kind,
            mtype,
            target,
            mid=mid or self._mids.next(),
            repeat=mid != 0,
            timeout=timeout,
            name=name,
            custom=custom,
        )
        return await self._links.send(transfer, file, progress)


@asynccontextmanager
async def open_client(
    url: str,
    *,
    pid: int,
    uid: int,
    token: str,
    attrs: Mapping[str, str] | None = None,
    file_route: str = "auto",
    max_file: int = MAX_FILE,
    login_timeout: float = LOGIN_TIMEOUT,
    relogin: ReloginPolicy | None = RELOGIN,
    fresh_token: TokenSource | None = None,
    wait_for_link: bool = True,
    max_uploads: int = MAX_UPLOADS,
    pace: Pace | None = None,
    ssl_context: ssl.SSLContext | None = None,
    connect: Connect | None = None,
    proxy: str | Proxy | None = None,
    link: MakeLink = make_link,
) -> AsyncGenerator[Client, None]:
    """Connect to the gate at *url* and log in; leaving the block logs out.

    *url*: ws://, wss://, tcp:// or tcps:// and HOST[:PORT]. *pid*, *uid*, *token*: the project,
    the user, and the login token that the project's own server got for the user. *file_route*:
    ``auto``, ``direct``, ``proxied`` or a URL (see ``rtm_proto.address.file_route``). *max_file*:
    the largest file that is sent, in bytes. *login_timeout*: seconds for connecting and the login.

    *relogin*: when to log in again after the link was lost (never after a kickout); None: not at
    all. *fresh_token* is awaited for a new login token where the gate no longer takes the old one.
    *wait_for_link*: calls made while the client is logging in again wait for it, within their own
    timeouts; else they fail at once. *max_uploads*: files on their way at once, others wait within
    their timeouts. *pace*: ``Pace()`` keeps to the published limits of the service.

    *ssl_context* replaces the checks of the system. *connect* gives a stream of one's own for an
    Address, for the main link and the file links; *link* makes the Link over it. *proxy*: what
    all connections go through, http://[USER:PASSWORD@]HOST:PORT (CONNECT) or socks5://... (with
    the extra ``proxy``); it looks up the names. No environment variable is read.

    Raises ConnectFailed, LoginFailed (a wrong token, or the gate's code), LocalProtocolError for
    bad arguments. Leaving the block by an exception or a cancellation leaves nothing running.
    """
    main = parse_url(url)
    login = Login(pid, uid, token, {} if attrs is None else attrs, timeout=login_timeout)
    route = address.file_route(main, file_route)
    inbox = Inbox(uid)
    plan = Plan(
        main,
        login,
        timeout=login.timeout,
        inbox=inbox,
        relogin=relogin,
        fresh_token=fresh_token,
        patient=wait_for_link,
        max_file=max_file,
        max_uploads=max_uploads,
        pace=pace,
        ssl_context=ssl_context,
        connect=connect,
        proxy=chosen_proxy(proxy, connect),
        link=link,
    )
    async with open_links(plan) as links:
        yield Client(links, login, route, inbox, max_file=max_file)
