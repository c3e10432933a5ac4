"""The server: a project that speaks for its users, by its secret."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from rtm_proto import address
from rtm_proto.address import FileRoute, parse_url
from rtm_proto.files import FileSource
from rtm_proto.flows.login import LOGIN_TIMEOUT
from rtm_proto.flows.relogin import RELOGIN, ReloginPolicy
from rtm_proto.flows.server import get_token, kick_out
from rtm_proto.flows.steps import Progress, check_timeout
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
from rtm_proto.payload import Params
from rtm_proto.proxies import Proxy
from rtm_proto.received import Conversation
from rtm_proto.signs import Signer

from ._dial import Connect, MakeLink, chosen_proxy, make_link
from ._links import MAX_UPLOADS, Links, Plan, open_links
from ._wire import wall_ms


class Server:
    """A server of the project; made by ``open_server``.

    It is no user: it names the *sender* that it speaks for in each call, and signs the call. All
    calls may run at the same time, in any task, and may be cancelled, as those of a Client.
    """

    def __init__(self, links: Links, signer: Signer, route: FileRoute, *, max_file: int) -> None:
        """For ``open_server``."""
        self.pid = signer.pid
        self._links = links
        self._signer = signer
        self._route = route
        self._max_file = max_file
        self._mids = MidGenerator(wall_ms, int.from_bytes(os.urandom(2), "big"))

    def __repr__(self) -> str:
        return f"<Server of project {self.pid} at {self._links.plan.main}>"

    # --- sending ---

    async def send_file(
        self,
        sender: int,
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
        """Send a file of the user *sender* to the user *to*; all else as ``Client.send_file``."""
        return await self._send(
            sender, Conversation.P2P, mtype, to, file, mid, timeout, name, custom, progress
        )

    async def send_group_file(
        self,
        sender: int,
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
        """Send a file to the group *gid*; *sender* need not be in it. All else as ``send_file``."""
        return await self._send(
            sender, Conversation.GROUP, mtype, gid, file, mid, timeout, name, custom, progress
        )

    async def send_room_file(
        self,
        sender: int,
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
        """Send a file to the room *rid*; *sender* need not be in it. All else as ``send_file``."""
        return await self._send(
            sender, Conversation.ROOM, mtype, rid, file, mid, timeout, name, custom, progress
        )

    async def send_files(
        self,
        sender: int,
        mtype: int,
        tos: list[int],
        file: FileSource,
        mid: int = 0,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileSent:
        """Send a file to each of the users *tos*, 2,000 at the most; all else as ``send_file``.

        Each gets a message of his own with the same mid; with the mid of an earlier try, those who
        had it then are left out.
        """
        return await self._send(
            sender, Conversation.P2P, mtype, tuple(tos), file, mid, timeout, name, custom, progress
        )

    async def broadcast_file(
        self,
        sender: int,
        mtype: int,
        file: FileSource,
        mid: int = 0,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileSent:
        """Send a file to every user who is there; all else as ``send_file``."""
        return await self._send(
            sender, Conversation.BROADCAST, mtype, None, file, mid, timeout, name, custom, progress
        )

    async def upload_file(
        self,
        sender: int,
        mtype: int,
        file: FileSource,
        timeout: float = SEND_TIMEOUT,
        *,
        name: str | None = None,
        custom: object = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> FileUploaded:
        """Store a file of *sender* at the gate; as ``Client.upload_file``."""
        upload = Upload(
            self._sender(sender),
            mtype,
            mid=self._mids.next(),
            timeout=timeout,
            name=name,
            custom=custom,
        )
        return await self._links.send(upload, file, progress)

    async def file_token(
        self,
        sender: int,
        cmd: str,
        tos: list[int] | None = None,
        to: int | None = None,
        rid: int | None = None,
        gid: int | None = None,
        timeout: float = SEND_TIMEOUT,
    ) -> FileToken:
        """Get a token, and the address of the file gate, for one send for *sender*.

        *cmd*: sendfile (with *to*), sendgroupfile (*gid*), sendroomfile (*rid*), sendfiles (*tos*),
        broadcastfile or uploadfile. Raises LocalProtocolError unless exactly the target of *cmd*
        is given, QuestError.
        """
        params = token_params(cmd, tos=tos, to=to, rid=rid, gid=gid)
        quest = self._sender(sender).token_quest(params)
        return await self._links.drive(file_token(quest, timeout))

    # --- users ---

    async def get_token(self, uid: int, timeout: float = SEND_TIMEOUT) -> str:
        """A token for the user *uid* to log in with. Raises QuestError, LocalProtocolError."""
        return await self._links.drive(get_token(self._signer, uid, timeout))

    async def kick_out(self, uid: int, timeout: float = SEND_TIMEOUT) -> None:
        """End the login of *uid*, if there is one. Raises QuestError, LocalProtocolError."""
        await self._links.drive(kick_out(self._signer, uid, timeout))

    async def quest(
        self, method: str, params: Params | None = None, timeout: float = SEND_TIMEOUT
    ) -> dict[str, object]:
        """Any other method of the service: send a quest, signed here, give its answer.

        Raises QuestRefused, QuestTimeout, ConnectionLost; LocalProtocolError for bad arguments.
        """
        signed = self._signer.signed(method, {} if params is None else params)
        return await self._links.quest(method, signed, timeout)

    # --- private ---

    def _sender(self, uid: int) -> Sender:
        return Sender(self.pid, uid, self._route, self._max_file, self._signer)

    async def _send(
        self,
        sender: int,
        kind: Conversation,
        mtype: int,
        target: int | tuple[int, ...] | None,
        file: FileSource,
        mid: int,
        timeout: float,
        name: str | None,
        custom: object,
        progress: Callable[[Progress], object] | None,
    ) -> FileSent:
        transfer = Transfer(
            self._sender(sender),
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
async def open_server(
    url: str,
    *,
    pid: int,
    secret: str,
    file_route: str = "auto",
    max_file: int = MAX_FILE,
    login_timeout: float = LOGIN_TIMEOUT,
    relogin: ReloginPolicy | None = RELOGIN,
    wait_for_link: bool = True,
    max_uploads: int = MAX_UPLOADS,
    ssl_context: ssl.SSLContext | None = None,
    connect: Connect | None = None,
    proxy: str | Proxy | None = None,
    link: MakeLink = make_link,
) -> AsyncGenerator[Server, None]:
    """Connect to the gate at *url* as a server of the project *pid*; leaving the block disconnects.

    *secret*: the project's. It never goes over the wire, but who reads a sign can try to guess it:
    use wss:// or tcps://. The clock of this machine must be right to some minutes. The other
    arguments are those of ``open_client``.

    Raises ConnectFailed, LoginFailed (200002: a wrong secret; 200008: a wrong clock; 200020: the
    gate takes no servers), LocalProtocolError for bad arguments. Leaving the block by an exception
    or a cancellation leaves nothing running.
    """
    main = parse_url(url)
    signer = Signer(pid, secret, _make_salt, wall_ms)
    route = address.file_route(main, file_route)
    plan = Plan(
        main,
        signer,
        timeout=check_timeout(login_timeout),
        inbox=None,
        relogin=relogin,
        fresh_token=None,
        patient=wait_for_link,
        max_file=max_file,
        max_uploads=max_uploads,
        pace=None,
        ssl_context=ssl_context,
        connect=connect,
        proxy=chosen_proxy(proxy, connect),
        link=link,
    )
    async with open_links(plan) as links:
        yield Server(links, signer, route, max_file=max_file)


def _make_salt() -> int:
    return int.from_bytes(os.urandom(8), "big") >> 1
