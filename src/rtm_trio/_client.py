"""The client: one main link, a file link for each send, and flows driven over them."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from rtm_proto import address
from rtm_proto.address import Address, FileRoute, parse_url
from rtm_proto.connection import Connection
from rtm_proto.desk import Desk, Inbox, Ticket
from rtm_proto.download import DOWNLOAD_TIMEOUT, MAX_DOWNLOAD, DownloadProgress
from rtm_proto.errors import ConnectFailed, ConnectionLost, LocalProtocolError, RtmError
from rtm_proto.events import CloseKind, CloseReason, Lost
from rtm_proto.files import FileSource, Saved, Source
from rtm_proto.flows.login import LOGIN_TIMEOUT, Login, Welcome, log_in
from rtm_proto.flows.steps import (
    Ask,
    Begin,
    Dial,
    Discard,
    Finish,
    Flow,
    Hand,
    Now,
    OpenSource,
    Pause,
    Progress,
    Read,
    Tell,
    check_timeout,
)
from rtm_proto.flows.transfer import (
    MAX_FILE,
    SEND_TIMEOUT,
    FileSent,
    FileToken,
    Sender,
    Transfer,
    file_token,
    token_params,
)
from rtm_proto.link import Buffer
from rtm_proto.mids import MidGenerator
from rtm_proto.payload import Params
from rtm_proto.received import ClientEvent, Conversation, FileReceived

from ._dial import Connect, dial, make_link
from ._download import download
from ._wire import Wire, desk_wire, wall_ms

Result = TypeVar("Result")

BYE_TIMEOUT = 2.0  # seconds that leaving waits for the answer to ``bye``
MAX_UPLOADS = 2  # files on their way at once; a third send waits, within its deadline


class _FileLink:
    """A connection to the file gate, with the one quest that goes over it."""

    def __init__(self, desk: Desk, wire: Wire, slot: object) -> None:
        self.desk = desk
        self.slot = slot
        self.wire = wire
        self.ticket: Ticket | None = None


class EventStream:
    """What ``Client.events`` gives."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def __aiter__(self) -> EventStream:
        """Itself."""
        return self

    async def __anext__(self) -> ClientEvent:
        """The next event. Raises LocalProtocolError while another task waits for it."""
        inbox = self._inbox
        while not inbox.over:
            event = inbox.take()
            if event is not None:
                return event
            if inbox.bell is not None:
                raise LocalProtocolError("another task is waiting for the next event already")
            bell = trio.Event()
            inbox.bell = bell.set
            try:
                await bell.wait()
            finally:
                inbox.bell = None
        raise StopAsyncIteration


class Client:
    """A user who is logged in; made by ``open_client``.

    All calls may run at the same time, in any task. Cancelling one never harms the others: the
    main link goes on, and a file link with a half-sent body is dropped.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        login: Login,
        main: Address,
        route: FileRoute,
        *,
        max_file: int,
        ssl_context: ssl.SSLContext | None,
        connect: Connect | None,
    ) -> None:
        """For ``open_client``."""
        self.uid = login.uid
        self.pid = login.pid
        self._nursery = nursery
        self._login = login
        self._main = main
        self._sender = Sender(login.pid, login.uid, route, max_file)
        self._ssl_context = ssl_context
        self._connect = connect
        self._mids = MidGenerator(wall_ms, int.from_bytes(os.urandom(2), "big"))
        self._inbox = Inbox(login.uid)
        self._uploads = trio.CapacityLimiter(MAX_UPLOADS)
        self._desk: Desk
        self._wire: Wire

    def __repr__(self) -> str:
        return f"<Client {self.uid} at {self._main}>"

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

        *file*: a path, bytes, or a binary file that can seek; never held in memory whole. *mid*:
        0 for a new message id, or the one of an earlier try (the gate delivers a mid once; its
        answer that it had it already is success, with ``duplicate``). *timeout*: seconds, over
        token, connection, upload and answer. *name*: the file's name for the receiver. *custom*:
        any JSON value for the receiver. *progress* is called at each stage and piece.

        Raises FileRefused, FileNotSent or OutcomeUnknown, each with the mid; FileNotSent also for
        arguments and files that cannot be sent. Cancelled after the last byte was handed over,
        the file may still arrive: send again with the same mid.
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

        *cmd*: sendfile (with *to*), sendgroupfile (*gid*) or sendroomfile (*rid*). Raises
        LocalProtocolError unless exactly the target of *cmd* is given, QuestError.
        """
        params = token_params(cmd, tos=tos, to=to, rid=rid, gid=gid)
        return await self._drive(file_token(params, timeout))

    async def quest(
        self, method: str, params: Params | None = None, timeout: float = SEND_TIMEOUT
    ) -> dict[str, object]:
        """Any other method of the service: send a quest, give its answer.

        Raises QuestRefused, QuestTimeout, ConnectionLost; LocalProtocolError for bad arguments.
        Cancelled, the answer is dropped when it comes.
        """
        deadline = trio.current_time() + check_timeout(timeout)
        ticket = self._desk.ask(method, {} if params is None else params, deadline=deadline)
        return await _wait(self._desk, self._wire, ticket)

    # --- receiving ---

    def events(self) -> EventStream:
        """What reaches the user, from the login on, for ``async for``; ends behind Disconnected.

        At most 1,000 events wait to be read; what comes on top is dropped and told as EventsLost.
        Pings and pushes are answered whether or not anybody reads. One task reads at a time;
        cancelling it loses nothing, and ``events()`` may be called again.
        """
        return EventStream(self._inbox)

    async def download(
        self,
        file: FileReceived | str,
        to: str | os.PathLike[str] | None = None,
        timeout: float = DOWNLOAD_TIMEOUT,
        *,
        max_size: int = MAX_DOWNLOAD,
        expected_md5: str | None = None,
        overwrite: bool = False,
        progress: Callable[[DownloadProgress], object] | None = None,
    ) -> Saved:
        """``rtm_trio.download`` with this client's ``ssl_context``."""
        return await download(
            file,
            to,
            timeout,
            max_size=max_size,
            expected_md5=expected_md5,
            overwrite=overwrite,
            progress=progress,
            ssl_context=self._ssl_context,
        )

    # --- private: open_client's part ---

    async def _open(self) -> Welcome:
        deadline = trio.current_time() + self._login.timeout
        self._desk, self._wire = await self._link(self._main, deadline, self._inbox)
        return await self._drive(log_in(self._login, deadline=deadline))

    async def _leave(self) -> None:
        """Say ``bye`` if anybody hears it, and close."""
        connection = self._desk.connection
        with trio.move_on_after(BYE_TIMEOUT):
            try:
                await self.quest("bye", timeout=BYE_TIMEOUT)
            except RtmError:
                pass  # the connection ends either way
        connection.close(now=trio.current_time())
        self._wire.turn()
        await self._wire.ended.wait()

    # --- private: flows ---

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
        return await self._drive(transfer.run(), Source(file), progress)

    async def _drive(
        self,
        flow: Flow[Result],
        source: Source | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Result:
        """Carry out the steps of *flow* until it is done."""
        held: _FileLink | None = None
        outcome: object = None
        error: Exception | None = None
        try:
            while True:
                try:
                    step = flow.send(outcome) if error is None else flow.throw(error)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                outcome = error = None
                if isinstance(step, Tell):
                    if progress is not None:
                        progress(step.progress)  # what it raises is the caller's, not the flow's
                    await trio.lowlevel.checkpoint()
                    continue
                try:
                    match step:
                        case Now():
                            outcome = trio.current_time()
                        case Pause(until):
                            await trio.sleep_until(until)
                        case Ask(method, params, deadline):
                            ticket = self._desk.ask(method, params, deadline=deadline)
                            outcome = await _wait(self._desk, self._wire, ticket)
                        case Dial(place, deadline):
                            self._drop(held)
                            held = None
                            held = await self._file_link(place, deadline)
                        case Begin(method, head, psize, deadline):
                            held = _needed(held)
                            held.ticket = held.desk.begin(method, head, psize, deadline=deadline)
                        case Hand(piece):
                            held = _needed(held)
                            outcome = await _hand(held, piece)
                        case Finish():
                            held = _needed(held)
                            if held.ticket is not None:
                                outcome = await _wait(held.desk, held.wire, held.ticket)
                        case Discard():
                            self._drop(held)
                            held = None
                        case OpenSource():
                            outcome = None if source is None else source.open()
                        case Read(size):
                            outcome = b"" if source is None else source.read(size)
                except (RtmError, OSError) as exc:
                    error = exc
        finally:
            flow.close()
            self._drop(held)
            if source is not None:
                source.close()

    async def _link(
        self, place: Address, deadline: float, inbox: Inbox | None
    ) -> tuple[Desk, Wire]:
        """Connect and wait for the link to open. Raises ConnectFailed."""
        stream = await dial(
            place, deadline=deadline, ssl_context=self._ssl_context, connect=self._connect
        )
        desk = Desk(Connection(make_link(place)), inbox)
        wire = desk_wire(stream, desk)
        self._nursery.start_soon(wire.run)
        try:
            with trio.fail_at(deadline):
                await _bell(desk.opening)
        except trio.TooSlowError as exc:
            _abort(desk, wire)
            raise ConnectFailed(f"{place} did not answer the handshake in time") from exc
        except BaseException:
            _abort(desk, wire)
            raise
        if isinstance(desk.opening.outcome, Lost):
            raise ConnectFailed(f"no link to {place}: {desk.opening.outcome.reason}")
        return desk, wire

    async def _file_link(self, place: Address, deadline: float) -> _FileLink:
        """A link to the file gate, once one of MAX_UPLOADS places is free. Raises ConnectFailed."""
        slot = object()
        try:
            with trio.fail_at(deadline):
                await self._uploads.acquire_on_behalf_of(slot)
        except trio.TooSlowError as exc:
            text = f"{MAX_UPLOADS} other files were on their way all the time"
            raise ConnectFailed(text) from exc
        try:
            return _FileLink(*await self._link(place, deadline, None), slot)
        except BaseException:
            self._uploads.release_on_behalf_of(slot)
            raise

    def _drop(self, held: _FileLink | None) -> None:
        """Close a file link: politely after an answer, else at once."""
        if held is None:
            return
        self._uploads.release_on_behalf_of(held.slot)
        if held.ticket is not None and held.ticket.done:
            held.desk.connection.close(now=trio.current_time())
            held.wire.turn()
        else:
            _abort(held.desk, held.wire)


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
    ssl_context: ssl.SSLContext | None = None,
    connect: Connect | None = None,
) -> AsyncGenerator[Client, None]:
    """Connect to the gate at *url* and log in; leaving the block logs out.

    *url*: ws://, wss://, tcp:// or tcps:// and HOST[:PORT]. *pid*, *uid*, *token*: the project,
    the user, and the login token that the project's own server got for the user. *file_route*:
    ``auto``, ``direct``, ``proxied`` or a URL (see ``rtm_proto.address.file_route``). *max_file*:
    the largest file that is sent, in bytes. *login_timeout*: seconds for connecting and the login.
    *ssl_context* replaces the checks of the system. *connect* gives a stream of one's own for an
    Address, for the main link and the file links.

    Raises ConnectFailed, LoginFailed (a wrong token, or the gate's code), LocalProtocolError for
    bad arguments. Leaving the block by an exception or a cancellation leaves nothing running.
    """
    main = parse_url(url)
    login = Login(pid, uid, token, {} if attrs is None else attrs, timeout=login_timeout)
    route = address.file_route(main, file_route)
    left_with: BaseException | None = None
    async with trio.open_nursery() as nursery:
        client = Client(
            nursery,
            login,
            main,
            route,
            max_file=max_file,
            ssl_context=ssl_context,
            connect=connect,
        )
        try:
            await client._open()  # pyright: ignore[reportPrivateUsage]
            try:
                yield client
            finally:
                await client._leave()  # pyright: ignore[reportPrivateUsage]
        except trio.Cancelled:
            raise
        except BaseException as exc:
            left_with = exc  # raised below, as itself and not in the nursery's group
        nursery.cancel_scope.cancel()
    if left_with is not None:
        raise left_with


async def _bell(ticket: Ticket) -> None:
    """Wait until *ticket* is done."""
    if not ticket.done:
        bell = trio.Event()
        ticket.bell = bell.set
        await bell.wait()


async def _wait(desk: Desk, wire: Wire, ticket: Ticket) -> dict[str, object]:
    """The answer to a quest; leaving early forgets it."""
    wire.turn()
    try:
        await _bell(ticket)
    finally:
        if not ticket.done:
            desk.leave(ticket)
            wire.turn()
    return ticket.result()


async def _hand(held: _FileLink, piece: Buffer) -> bool:
    """Hand over a piece and wait until it is written; False if the quest has ended."""
    ticket = held.ticket
    if ticket is None or not held.desk.hand(ticket, piece):
        return False
    await held.wire.flush(ticket)
    return not ticket.done


def _needed(held: _FileLink | None) -> _FileLink:
    if held is None:
        raise ConnectionLost("file quest", CloseReason(CloseKind.LOCAL, "no file link is open"))
    return held


def _abort(desk: Desk, wire: Wire) -> None:
    desk.connection.abort(CloseReason(CloseKind.LOCAL))
    wire.turn()
