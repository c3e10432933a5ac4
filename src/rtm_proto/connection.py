"""The connection: the corridor between a link and a session. It owns the states and the timers.

    State    connected   link opened   close     link ended   aborted
    NEW      OPENING     -             CLOSED    -            CLOSED
    OPENING  -           OPEN          CLOSED    CLOSED       CLOSED
    OPEN     -           -             CLOSING   CLOSED       CLOSED
    CLOSING  -           -             CLOSING   CLOSED       CLOSED
    CLOSED   CLOSED      -             CLOSED    CLOSED       CLOSED

CLOSING waits for the answers that are owed on either side (at most CLOSE_TIMEOUT), because the
FPNN framework discards data that waits behind an end of stream. When CLOSED is reached the
goodbye is in ``data_to_send``; nothing follows it.

The same class serves both roles; they differ in their link and in the timeouts they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from .codes import Code
from .deadlines import Deadlines
from .errors import ConnectionLost, LocalProtocolError
from .events import Closed, CloseKind, CloseReason, Event, Opened, QuestId
from .link import Buffer, Link
from .package import MAX_PACKAGE
from .payload import Params
from .session import MAX_BAD_PACKAGES, Session

OPEN_TIMEOUT = 10.0  # seconds for the link's handshake
CLOSE_TIMEOUT = 2.0  # seconds that closing waits for answers
SILENCE = 20.0  # seconds without a byte from the peer after which a client sends *ping
PING_EVERY = 5.0  # seconds between two such pings
PINGS = 3  # pings without a byte in return after which the peer is dead (the C++ client's figures)
MAX_PUSHES = 4096  # quests in hand that are answered as they are taken: one read brings no more
MAX_UNSENT = 4 * 1024 * 1024  # bytes of packages that wait for a peer that does not read


class State(Enum):
    """Where a connection stands."""

    NEW = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Input(Enum):
    """What moves a connection from state to state."""

    CONNECTED = auto()
    LINK_OPENED = auto()
    CLOSE = auto()
    LINK_ENDED = auto()
    ABORTED = auto()


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.NEW, Input.CONNECTED): State.OPENING,
    (State.NEW, Input.CLOSE): State.CLOSED,
    (State.NEW, Input.ABORTED): State.CLOSED,
    (State.OPENING, Input.LINK_OPENED): State.OPEN,
    (State.OPENING, Input.CLOSE): State.CLOSED,
    (State.OPENING, Input.LINK_ENDED): State.CLOSED,
    (State.OPENING, Input.ABORTED): State.CLOSED,
    (State.OPEN, Input.CLOSE): State.CLOSING,
    (State.OPEN, Input.LINK_ENDED): State.CLOSED,
    (State.OPEN, Input.ABORTED): State.CLOSED,
    (State.CLOSING, Input.CLOSE): State.CLOSING,
    (State.CLOSING, Input.LINK_ENDED): State.CLOSED,
    (State.CLOSING, Input.ABORTED): State.CLOSED,
    (State.CLOSED, Input.CONNECTED): State.CLOSED,  # the transport came up too late
    (State.CLOSED, Input.CLOSE): State.CLOSED,
    (State.CLOSED, Input.LINK_ENDED): State.CLOSED,
    (State.CLOSED, Input.ABORTED): State.CLOSED,
}
"""The whole table; what is absent is a local error that changes nothing."""

_NEW, _OPENING, _OPEN, _CLOSING, _CLOSED = State  # a member is slow to look up in its class
_TO_OPEN, _TO_CLOSE, _ALIVE = "open", "close", "alive"  # the timers beside those of the quests


class Machine(Protocol):
    """What drives bytes over a stream needs of a Connection; a gate's Visit has the same face."""

    @property
    def finished(self) -> bool:
        """Nothing more will come of it but what data_to_send gives now."""
        ...

    @property
    def abrupt(self) -> bool:
        """Once finished: drop the stream at once."""
        ...

    @property
    def full(self) -> bool:
        """Read nothing from the stream now; look again at the next turn."""
        ...

    def connected(self, *, now: float) -> None: ...
    def receive_data(self, data: Buffer, *, now: float) -> None: ...
    def receive_eof(self, *, now: float) -> None: ...
    def abort(self, reason: CloseReason) -> None: ...
    def handle_timeout(self, *, now: float) -> None: ...
    def data_to_send(self) -> list[Buffer]: ...
    def next_timeout(self) -> float | None: ...


class Connection:
    """One connection over one link, either role; pure: time comes in as ``now``."""

    def __init__(
        self,
        link: Link,
        *,
        open_timeout: float = OPEN_TIMEOUT,
        close_timeout: float = CLOSE_TIMEOUT,
        ping: bool = True,
        silence: float = SILENCE,
        max_package: int = MAX_PACKAGE,
        max_whole: int | None = None,
        max_in_hand: int = MAX_PUSHES,
        max_unsent: int = MAX_UNSENT,
        oversize_code: int = Code.INVALID_PACKAGE,
        stop_code: int | None = None,
        wall_ms: Callable[[], int] | None = None,
    ) -> None:
        """Timeouts in seconds, sizes in bytes.

        *ping*: after *silence* without a byte from the peer send ``*ping``, every PING_EVERY, and
        end after PINGS of them; without it, end after *silence* without a byte in either
        direction. *max_in_hand*: quests of the peer that may wait for an answer of ours; a server
        should say less, MAX_IN_HAND of ``session``. *max_package*: the largest package that may be
        sent. *max_whole*: a quest of the peer in a larger package comes in pieces (QuestBegun),
        where the link can do that; without it all come whole. *max_unsent*: the connection ends
        when more than this waits to be taken; the largest package that waits does not count, nor do
        the pieces of a body, whose sender waits until they are taken. *oversize_code*: what a quest
        over the link's limit is refused with. *stop_code*: what the quests that come in CLOSING are
        refused with; without it they are received as ever.
        """
        self.state = _NEW
        self.reason: CloseReason | None = None
        self.abrupt = False
        """Once CLOSED: whether the transport is to be dropped at once, without goodbye."""
        self._link = link
        if max_whole is not None:
            link.set_max_whole(max_whole)
        self._session = Session(max_in_hand=max_in_hand, max_package=max_package, wall_ms=wall_ms)
        self._deadlines: Deadlines[QuestId | str] = Deadlines()
        self._open_timeout = open_timeout
        self._close_timeout = close_timeout
        self._ping = ping
        self._silence = silence
        self._max_unsent = max_unsent
        self._oversize_code = oversize_code
        self._stop_code = stop_code
        self._unsent = 0  # bytes of packages that the link has and nobody has taken
        self._unsent_body = 0  # the same of a body in pieces
        self._streamed: QuestId | None = None
        self._heard = 0.0
        self._taken = False  # whether what counts as a sign of life was taken since the last check
        self._pings = 0
        self._close_reason = CloseReason(CloseKind.LOCAL)

    def __repr__(self) -> str:
        return f"<Connection {self.state.name} {self._session.pending} pending>"

    @property
    def pending(self) -> int:
        """Quests of ours that wait for an answer."""
        return self._session.pending

    @property
    def unsent(self) -> int:
        """Bytes of packages that ``data_to_send`` would give (frames around them not counted)."""
        waiting = self._session.waiting if self._takes_packages() else 0
        return self._unsent + self._unsent_body + waiting

    @property
    def open(self) -> bool:
        """Whether quests can be sent: OPEN, and neither closing nor closed."""
        return self.state is _OPEN

    @property
    def finished(self) -> bool:
        """Whether it is CLOSED: what ``data_to_send`` gives now is the last of it."""
        return self.state is _CLOSED

    @property
    def full(self) -> bool:
        """Never: what arrives is taken."""
        return False

    # --- what you want said ---

    def send_quest(self, method: str, params: Params, *, deadline: float | None) -> QuestId:
        """Ask; the answer is an event with this id, at the latest at *deadline* (TimedOut).

        Before the link is open the quest waits for it. Raises LocalProtocolError for a bad method,
        bad params or a package over the limit, ConnectionLost when closing or closed.
        """
        if self.state is not _OPEN:
            self._check_open(method)
        if deadline != deadline:
            _check_deadline(deadline)
        quest_id = self._session.quest(method, params)
        if deadline is not None:
            self._deadlines.set(quest_id, deadline)
        self._said()
        return quest_id

    def begin_quest(
        self, method: str, head: bytes, psize: int, *, deadline: float | None
    ) -> QuestId:
        """Ask with a payload of *psize* bytes: *head*, and the rest by ``send_piece``.

        Other packages wait until it is whole. Raises as ``send_quest``, and LocalProtocolError
        before the link is open or while another quest is sent in pieces.
        """
        if self.state is not _OPEN:
            self._check_open(method)
        _check_deadline(deadline)
        if self.state is not _OPEN or self._streamed is not None:
            raise LocalProtocolError("a quest in pieces needs an open link with none under way")
        if len(head) > psize:
            raise LocalProtocolError(f"a payload of {psize} bytes cannot begin with {len(head)}")
        quest_id, package_head = self._session.quest_head(method, psize)
        if deadline is not None:
            self._deadlines.set(quest_id, deadline)
        self._hand_over()
        self._link.begin_package(len(package_head) + psize, package_head + head)
        self._unsent_body += len(package_head) + len(head)
        if self._link.in_package:
            self._streamed = quest_id
        return quest_id

    def send_piece(self, quest_id: QuestId, piece: Buffer) -> None:
        """The next bytes of the payload of *quest_id*. Once the connection is closed: nothing.

        Raises LocalProtocolError when this quest is not the one under way, or for too many bytes.
        """
        if self.state is _CLOSED:
            return
        if quest_id != self._streamed:
            raise LocalProtocolError(f"quest {quest_id} is not being sent in pieces")
        self._link.send_piece(piece)
        self._unsent_body += len(piece)
        if not self._link.in_package:
            self._streamed = None
            self._said()

    def send_oneway(self, method: str, params: Params) -> None:
        """Tell. Raises as ``send_quest``."""
        if self.state is not _OPEN:
            self._check_open(method)
        self._session.oneway(method, params)
        self._said()

    def answer(self, quest_id: QuestId, params: Params) -> None:
        """Answer a quest of the peer. Too late is nobody's fault: nothing happens then.

        Raises LocalProtocolError for bad params, or when the quest has been answered already.
        """
        if self.state is not _CLOSED:
            self._session.answer(quest_id, params)
            self._said()

    def refuse(self, quest_id: QuestId, code: int, text: str) -> None:
        """Answer a quest of the peer with an error; otherwise as ``answer``."""
        if self.state is not _CLOSED:
            self._session.refuse(quest_id, code, text)
            self._said()

    def forget(self, quest_id: QuestId) -> None:
        """The asker left: no event will come, a late answer is dropped.

        A quest that still waits for its turn is taken back. One whose body is half sent takes the
        connection with it: the frame cannot be mended.
        """
        self._hand_over()  # what only waited to be taken has left
        self._session.forget(quest_id)
        self._deadlines.drop(quest_id)
        if quest_id == self._streamed:
            self._finish(CloseReason(CloseKind.LOCAL, "left in the middle of a body"))
        self._close_when_idle()

    def close(self, *, now: float, reason: CloseReason | None = None) -> None:
        """Close once the answers owed on either side are in and out; at most CLOSE_TIMEOUT later.

        At once, and abruptly, while the link is not open or a body is half sent.
        """
        before = self.state
        if before in (_CLOSING, _CLOSED):
            return
        if reason is not None:
            self._close_reason = reason
        self.state = TRANSITIONS[before, Input.CLOSE]
        if self.state is _CLOSED:
            self._finish(self._close_reason, abrupt=before is _OPENING)
        elif self._link.in_package:
            self._finish(self._close_reason)
        else:
            self._session.stop_code = self._stop_code
            self._deadlines.set(_TO_CLOSE, now + self._close_timeout)
            self._close_when_idle()

    # --- what happened ---

    def connected(self, *, now: float) -> None:
        """The transport is up; too late once CLOSED. Raises LocalProtocolError if it was before."""
        self._move(Input.CONNECTED)
        if self.state is _CLOSED:
            return
        self._heard = now
        self._deadlines.set(_TO_OPEN, now + self._open_timeout)
        self._link.start()
        self._after_link(now)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came; too late once CLOSED. Nothing that they say is raised.

        Raises LocalProtocolError before ``connected``.
        """
        if self.state is not _OPEN:
            self._check_connected()
        if self.state is _CLOSED or not data:
            return
        self._heard = now
        self._pings = 0
        self._link.receive_data(data, now=now)
        self._after_link(now)

    def receive_eof(self, *, now: float) -> None:
        """The peer will send no more bytes. Raises LocalProtocolError before ``connected``."""
        self._check_connected()
        if self.state is _CLOSED:
            return
        self._link.receive_eof()
        self._after_link(now)

    def abort(self, reason: CloseReason) -> None:
        """The transport is gone, or is to be dropped at once; ``Closed`` follows."""
        if self.state is not _CLOSED:
            self._finish(reason, abrupt=True)

    def handle_timeout(self, *, now: float) -> None:
        """Time has passed. Early, late or idle: harmless."""
        self._hand_over()
        for key in self._deadlines.due(now):
            if isinstance(key, int):
                self._session.expire(key)
                if key == self._streamed:
                    text = "the deadline passed inside a body"
                    self._finish(CloseReason(CloseKind.LOCAL, text))
            elif key == _TO_OPEN:
                text = f"the handshake took longer than {self._open_timeout:g} s"
                self._finish(CloseReason(CloseKind.HANDSHAKE, text), abrupt=True)
            elif key == _TO_CLOSE:
                self._finish(self._close_reason)
            else:
                self._check_alive(now)
            if self.state is _CLOSED:
                return
        self._close_when_idle()

    # --- what comes of it ---

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order. Call again only when these are written."""
        self._hand_over()
        out = self._link.data_to_send()
        # What the transport takes is a sign of life: of any kind for a server, for a client only
        # a body, because during one no *ping can be sent and no answer be expected.
        self._taken = self._taken or bool(self._unsent_body if self._ping else out)
        self._unsent = self._unsent_body = 0
        if not self._session.waiting:
            self._session.largest = 0
        return out

    def events(self) -> list[Event]:
        """Take what happened, in order."""
        events, self._session.events = self._session.events, []
        return events

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` should be called, or None."""
        return self._deadlines.next()

    # --- private ---

    def _move(self, what: Input) -> None:
        after = TRANSITIONS.get((self.state, what))
        if after is None:
            raise LocalProtocolError(f"{what.name} cannot happen in state {self.state.name}")
        self.state = after

    def _check_open(self, method: str) -> None:
        if self.state in (_CLOSING, _CLOSED):
            raise ConnectionLost(method, self.reason or self._close_reason)

    def _check_connected(self) -> None:
        if self.state is _NEW:
            raise LocalProtocolError("the transport brings nothing before it is connected")

    def _after_link(self, now: float) -> None:
        link, session = self._link, self._session
        if self.state is _OPENING and link.is_open:
            self._move(Input.LINK_OPENED)
            self._deadlines.drop(_TO_OPEN)
            self._deadlines.set(_ALIVE, now + self._silence)
            session.events.append(Opened())
        for package in link.packages():
            ended = session.receive(package)
            if ended is not None:
                self._deadlines.drop(ended)
            if session.bad_packages >= MAX_BAD_PACKAGES:
                self._said()
                self._finish(CloseReason(CloseKind.PROTOCOL_ERROR, "too many bad packages"))
                return
        fault = link.fault
        if fault is not None and fault.seq is not None:
            session.refuse_seq(fault.seq, self._oversize_code, str(fault))
        if session.waiting:
            self._said()
        if link.ended is not None:
            # A peer that leaves while we are closing only follows: our reason is why it ended.
            follows = self.state is _CLOSING and link.ended.kind is CloseKind.PEER_CLOSED
            self._finish(self._close_reason if follows else link.ended)
        elif self.state is _CLOSING:
            self._close_when_idle()

    def _hand_over(self) -> None:
        """Give the session's packages to the link, unless they have to wait for it.

        Not one by one as they are said, but before anything that has to know what has left.
        """
        if self._session.waiting and self._takes_packages():
            self._unsent += self._session.waiting
            for package in self._session.packages():
                self._link.send_package(package)

    def _takes_packages(self) -> bool:
        return self.state in (_OPEN, _CLOSING) and not self._link.in_package

    def _said(self) -> None:
        """Something was said: is it too much, or was it the last?"""
        session = self._session
        if self._unsent + session.waiting - session.largest > self._max_unsent:
            text = f"more than {self._max_unsent} bytes wait for a peer that does not read"
            self._finish(CloseReason(CloseKind.LIMIT, text), abrupt=True)
        elif self.state is _CLOSING:
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self.state is _CLOSING and not self._session.pending and not self._session.owed:
            self._finish(self._close_reason)

    def _check_alive(self, now: float) -> None:
        if self._taken:
            self._taken = False
            self._heard = now
            self._pings = 0
        silent_at = self._heard + self._silence
        if now < silent_at:  # not a difference: rounded, it may ask for this very moment for ever
            self._deadlines.set(_ALIVE, silent_at)
        elif not self._ping or self._pings >= PINGS:
            text = f"nothing came for {now - self._heard:g} s"
            self._finish(CloseReason(CloseKind.IDLE, text), abrupt=self._ping)
        else:
            self._pings += 1
            self._deadlines.set(_ALIVE, now + PING_EVERY)
            if not self._link.in_package:
                self._session.ping()
                self._said()

    def _finish(self, reason: CloseReason, *, abrupt: bool = False) -> None:
        """Say goodbye, lose what is pending, and be closed.

        Nothing can be said in the middle of a body: that end is abrupt.
        """
        if self.reason is not None:
            return
        self.reason = reason
        self.abrupt = abrupt or reason.kind is CloseKind.PEER_RESET or self._link.in_package
        if not self.abrupt:
            self._hand_over()
            self._link.close(reason)
        self.state = _CLOSED
        self._streamed = None
        self._deadlines = Deadlines()
        self._session.lose(reason)
        self._session.events.append(Closed(reason))


def _check_deadline(deadline: float | None) -> None:
    if deadline is not None and deadline != deadline:
        raise LocalProtocolError("a deadline that is no number never comes")
