"""The links to a gate: one main link, a file link for each send, and flows driven over them."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from rtm_proto.address import Address
from rtm_proto.codes import Code
from rtm_proto.connection import Connection
from rtm_proto.desk import Desk, Inbox, Ticket
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    LoginFailed,
    QuestRefused,
    RtmError,
    SendFailed,
    carry_outcome,
)
from rtm_proto.events import CloseKind, CloseReason, Lost
from rtm_proto.files import AnySource, FileSource
from rtm_proto.flows.login import Login
from rtm_proto.flows.relogin import (
    DialMain,
    FreshToken,
    Relogin,
    ReloginFlow,
    ReloginPolicy,
    greet,
)
from rtm_proto.flows.steps import (
    Ask,
    Begin,
    Dial,
    Discard,
    Finish,
    Hand,
    Now,
    OpenSource,
    Pause,
    Progress,
    Read,
    Tell,
    check_timeout,
)
from rtm_proto.flows.transfer import Sending
from rtm_proto.link import Buffer
from rtm_proto.pace import Pace
from rtm_proto.package import MAX_PACKAGE, package_limit
from rtm_proto.payload import Params
from rtm_proto.proxies import Proxy
from rtm_proto.received import Disconnected, Reconnected
from rtm_proto.signs import Signer

from ._dial import Connect, MakeLink, dial, plainly
from ._plain import PlainWire, desk_wire
from ._streams import ProgressStream, rung
from ._wire import Wire

Result = TypeVar("Result")
AnyWire = Wire | PlainWire

_log = logging.getLogger("rtm_asyncio")

Answer = Coroutine[Any, Any, dict[str, object]]
Asking = Callable[[str, Params, float], Answer]
TokenSource = Callable[[], Awaitable[str | None]]
"""Gets a new login token from the user's own server, or None where there is none."""

BYE_TIMEOUT = 2.0  # seconds that leaving waits for the answer to ``bye``
CLOSE_TIMEOUT = 1.0  # seconds that the end of a stream of the user's own may take
MAX_UPLOADS = 2  # files on their way at once; a third send waits, within its deadline


class _FileLink:
    """A connection to the file gate, with the one quest that goes over it."""

    def __init__(self, desk: Desk, wire: AnyWire, slot: object) -> None:
        self.desk = desk
        self.slot = slot
        self.wire = wire
        self.ticket: Ticket | None = None


@dataclass(frozen=True)
class Plan:
    """How to reach a gate, as whom, and what to do when the link is lost.

    ``timeout``: seconds for connecting and the login. ``inbox``: for what the gate pushes.
    ``relogin``: when to log in again, None for never; ``patient``: whether calls wait for that.
    """

    main: Address
    who: Login | Signer
    timeout: float
    inbox: Inbox | None
    relogin: ReloginPolicy | None
    fresh_token: TokenSource | None
    patient: bool
    max_file: int
    max_uploads: int
    pace: Pace | None
    ssl_context: ssl.SSLContext | None
    connect: Connect | None
    proxy: Proxy | None
    link: MakeLink


class Links:
    """What a Client and a Server have in common; made by ``open_links``."""

    def __init__(self, tasks: anyio.abc.TaskGroup, plan: Plan) -> None:
        self.plan = plan
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._relogin: Relogin | None = None
        if plan.relogin is not None:
            self._relogin = Relogin(
                plan.who, plan.relogin, random=random.random, timeout=plan.timeout
            )
        self._uploads = anyio.CapacityLimiter(plan.max_uploads)
        self._desk: Desk
        self._wire: AnyWire
        self._keeping = anyio.CancelScope()
        self._keeps = False  # whether a task sees to the main link
        self._away = False  # whether it is logging in again
        self._settled: anyio.Event | None = None  # it has logged in again, or given up

    def quest(self, method: str, params: Params, timeout: float) -> Answer:
        """A quest on the main link. Raises as ``Client.quest``."""
        return self._ask(method, params, self._loop.time() + check_timeout(timeout))

    async def drive(
        self,
        flow: ReloginFlow[Result],
        source: AnySource | None = None,
        progress: Callable[[Progress], object] | None = None,
        *,
        ask: Asking | None = None,
    ) -> Result:
        """Carry out the steps of *flow* until it is done; *ask* is for those that log in."""
        ask = self._ask if ask is None else ask
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
                    await anyio.lowlevel.checkpoint()
                    continue
                try:
                    match step:
                        case Now():
                            outcome = anyio.current_time()
                        case Pause(until):
                            await anyio.sleep_until(until)
                            outcome = anyio.current_time()
                        case Ask(method, params, deadline):
                            outcome = await ask(method, params, deadline)
                        case DialMain(deadline):
                            await self._dial_main(deadline)
                        case FreshToken():
                            outcome = await self._new_token()
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
                                held.wire.turn()
                                outcome = await _wait(held.desk, held.wire, held.ticket)
                        case Discard():
                            self._drop(held)
                            held = None
                        case OpenSource():
                            outcome = None if source is None else await source.open()
                        case Read(size):
                            outcome = b"" if source is None else await source.read(size)
                except (RtmError, OSError) as exc:
                    error = exc
        finally:
            flow.close()
            self._drop(held)
            if source is not None:
                with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await source.aclose()

    async def send(
        self,
        sending: Sending[Result],
        file: FileSource,
        progress: Callable[[Progress], object] | None,
    ) -> Result:
        """Send *file*. Whatever ends it early carries the true outcome (``outcome_of``)."""
        try:
            return await self.drive(sending.run(), AnySource(file), progress)
        except BaseException as exc:
            if not isinstance(exc, SendFailed):
                cause = RtmError(f"ended by {type(exc).__name__}")
                carry_outcome(exc, sending.given_up(cause))
            raise
        finally:
            if isinstance(progress, ProgressStream):
                progress.end()

    # --- for open_links ---

    async def open(self) -> None:
        """Connect the main link and log in. Raises ConnectFailed, LoginFailed."""
        deadline = anyio.current_time() + self.plan.timeout
        await self._dial_main(deadline)
        await self.drive(greet(self.plan.who, deadline=deadline), ask=self._ask_now)
        if self._relogin is not None:
            self._keeps = True
            self._tasks.start_soon(self._keep, self._relogin)

    async def leave(self) -> None:
        """Say ``bye`` if that is usual and anybody hears it, and close."""
        self._keeping.cancel()
        while self._keeps:
            await self._to_settle()
        connection = self._desk.connection
        if isinstance(self.plan.who, Login):
            with anyio.move_on_after(BYE_TIMEOUT):
                try:
                    await self._ask_now("bye", {}, anyio.current_time() + BYE_TIMEOUT)
                except RtmError:
                    pass  # the connection ends either way
        connection.close(now=anyio.current_time())
        self._wire.turn()
        await self._wire.ended.wait()

    # --- private: the main link ---

    async def _ask(self, method: str, params: Params, deadline: float) -> dict[str, object]:
        """A quest, once the main link is there; and once more where the login was forgotten."""
        pace = self.plan.pace
        if pace is not None:
            at = pace.when(method, now=anyio.current_time())
            await anyio.sleep_until(min(at, deadline))
        if self._away or not self._desk.connection.open:
            await self._wait_for_link(deadline)
        desk, wire = self._desk, self._wire
        try:
            return await self._ask_now(method, params, deadline)
        except QuestRefused as exc:
            if exc.code != Code.NOT_LOGGED_IN or not self._keeps:
                raise
        forgotten = CloseReason(CloseKind.LOGIN, "the gate has forgotten it")
        desk.connection.close(now=anyio.current_time(), reason=forgotten)
        wire.turn()
        await self._wait_for_link(deadline)
        return await self._ask_now(method, params, deadline)

    def _ask_now(self, method: str, params: Params, deadline: float) -> Answer:
        desk, wire = self._desk, self._wire
        ticket = desk.ask(method, params, deadline=deadline)
        wire.asked(deadline)
        return _wait(desk, wire, ticket)

    async def _wait_for_link(self, deadline: float) -> None:
        """Wait while the main link is away, at most until *deadline*, if calls are to wait."""
        if self.plan.patient and self._is_away():
            with anyio.move_on_after(deadline - anyio.current_time()):
                while self._is_away():
                    await self._to_settle()

    def _is_away(self) -> bool:
        return self._keeps and (self._away or not self._desk.connection.open)

    async def _keep(self, relogin: Relogin) -> None:
        """Log in again whenever the main link is lost, as long as that may help."""
        try:
            with self._keeping:
                while await self._is_lost():
                    await self.drive(relogin.run(), ask=self._ask_now)
                    self._away = False
                    _log.info("logged in again at %s", self.plan.main)
                    self._tell(Reconnected())
                    self._settle()
        except RtmError as exc:
            _log.warning("not logged in again at %s: %s", self.plan.main, exc)
            self._tell(Disconnected(CloseReason(CloseKind.LOGIN, str(exc))))
        finally:
            self._keeps = False
            self._settle()

    async def _is_lost(self) -> bool:
        """Wait for the end of the main link; whether to log in again."""
        await self._wire.ended.wait()
        self._away = self._desk.lost
        reason = self._desk.connection.reason
        if self._away and reason is not None:
            _log.info("the link to %s is lost, logging in again: %s", self.plan.main, reason)
            self._tell(Disconnected(reason, again=True))
        return self._away

    def _tell(self, event: Disconnected | Reconnected) -> None:
        if self.plan.inbox is not None:
            self.plan.inbox.put(event)

    async def _to_settle(self) -> None:
        if self._settled is None:
            self._settled = anyio.Event()  # a kilobyte that most never need
        await self._settled.wait()

    def _settle(self) -> None:
        if self._settled is not None:
            self._settled.set()
            self._settled = None

    async def _dial_main(self, deadline: float) -> None:
        relogin = self._relogin is not None
        self._desk, self._wire = await self._link(
            self.plan.main, deadline, self.plan.inbox, relogin=relogin
        )

    async def _new_token(self) -> str | None:
        """Ask the user for a login token. Raises LoginFailed where that fails."""
        if self.plan.fresh_token is None:
            return None
        try:
            return await self.plan.fresh_token()
        except Exception as exc:  # whatever the user's own code raises is one failed attempt
            _log.warning("fresh_token failed", exc_info=exc)
            raise LoginFailed(f"no fresh login token: {plainly(exc)}") from exc

    # --- private: links ---

    async def _link(
        self,
        place: Address,
        deadline: float,
        inbox: Inbox | None,
        *,
        relogin: bool = False,
        max_package: int = MAX_PACKAGE,
    ) -> tuple[Desk, AnyWire]:
        """Connect and wait for the link to open. Raises ConnectFailed."""
        connection = Connection(self.plan.link(place), max_package=max_package)
        stream = await dial(
            place,
            deadline=deadline,
            ssl_context=self.plan.ssl_context,
            connect=self.plan.connect,
            proxy=self.plan.proxy,
        )
        desk = Desk(connection, inbox, relogin=relogin)
        wire = desk_wire(stream, desk)
        self._tasks.start_soon(wire.run)
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                if not desk.opening.done:
                    await rung(desk.opening)
        except TimeoutError as exc:
            _abort(desk, wire)
            raise ConnectFailed(f"{place} did not answer the handshake in time") from exc
        except BaseException:
            _abort(desk, wire)
            raise
        if isinstance(desk.opening.outcome, Lost):
            raise ConnectFailed(f"no link to {place}: {desk.opening.outcome.reason}")
        _log.debug("connected to %s", place)
        return desk, wire

    async def _file_link(self, place: Address, deadline: float) -> _FileLink:
        """A link to the file gate, once one of MAX_UPLOADS places is free. Raises ConnectFailed."""
        slot = object()
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                await self._uploads.acquire_on_behalf_of(slot)
        except TimeoutError as exc:
            text = f"{self.plan.max_uploads} other files were on their way all the time"
            raise ConnectFailed(text) from exc
        try:
            limit = package_limit(self.plan.max_file)
            return _FileLink(*await self._link(place, deadline, None, max_package=limit), slot)
        except BaseException:
            self._uploads.release_on_behalf_of(slot)
            raise

    def _drop(self, held: _FileLink | None) -> None:
        """Close a file link: politely after an answer, else at once."""
        if held is None:
            return
        self._uploads.release_on_behalf_of(held.slot)
        if held.ticket is not None and held.ticket.done:
            held.desk.connection.close(now=anyio.current_time())
            held.wire.turn()
        else:
            _abort(held.desk, held.wire)


@asynccontextmanager
async def open_links(plan: Plan) -> AsyncGenerator[Links, None]:
    """Connect and log in. Raises ConnectFailed, LoginFailed.

    Leaving the block by an exception or a cancellation leaves nothing running.
    """
    left_with: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        links = Links(tasks, plan)
        try:
            await links.open()
            try:
                yield links
            finally:
                await links.leave()
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            left_with = exc  # raised below, as itself and not in the tasks' group
        tasks.cancel_scope.cancel()
    if left_with is not None:
        raise left_with


async def _wait(desk: Desk, wire: AnyWire, ticket: Ticket) -> dict[str, object]:
    """The answer to a quest; leaving early forgets it."""
    try:
        if not ticket.done:
            await rung(ticket)
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


def _abort(desk: Desk, wire: AnyWire) -> None:
    desk.connection.abort(CloseReason(CloseKind.LOCAL))
    wire.turn()
