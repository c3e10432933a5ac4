"""What a loop of one's own around a Connection has to hold: ``check_runtime(drive)``.

    def drive(machine, sock):
        ...                             # your loop; it returns when the machine is done
    def test_my_runtime():
        check_runtime(drive)

*machine* has the face of a Connection (``connection.Machine``) and does by itself what an app would
do; *sock* is one end of a pair of connected sockets. At the other end a peer follows a script. Each
rule stands in ``RULES`` with its name; a loop that breaks one is told by an AssertionError that
begins with that name. ``drive`` is called in a thread, on a real clock: a loop that is a coroutine
is run by it (``trio.run``, ``asyncio.run``).

What the suite cannot see: how tasks of yours wake the loop when they have asked for something.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from ..connection import Connection, Machine
from ..events import Answered, CloseKind, CloseReason, Event, Opened, QuestReceived, TimedOut
from ..link import Buffer, StreamLink
from ..package import Kind, Package, Splitter, encode_answer, encode_quest, quest_head
from ..payload import EMPTY, encode

Drive = Callable[[Machine, socket.socket], object]
"""A loop that drives a machine over a socket until it is finished; the socket is its to close."""

SOON = 3.0  # seconds for anything that should not wait
DUE = 0.3  # seconds until a timeout of these scripts
LATE = 1.0  # seconds that a timeout may be handled too late, on a machine that is busy
MUCH = 3_000_000  # bytes, more than two sockets hold

RULES: Mapping[str, str] = {
    "begin": "connected is called once, before anything else",
    "ask": "what the machine has to send is written, and it is given what arrives",
    "answer": "what comes of what arrived is written without waiting for more",
    "time": "handle_timeout is called when next_timeout says so, also when that has become earlier",
    "clock": "now goes with the time, and never back",
    "flush": "all buffers are written, whatever their type, in order, also to a slow reader",
    "both ways": "it reads on while a write waits",
    "full": "nothing is read while the machine is full, and it is read once it is not",
    "end": "the peer's end of the stream is told by receive_eof, once, and what is to say is said",
    "close": "what the machine says last is written, then the stream ends and the loop with it",
    "abrupt": "a machine that ends abruptly is not waited for",
    "reset": "a stream that breaks is told by abort, and the loop ends without an error",
}
"""The name of each rule, and what it asks for."""


def check_runtime(drive: Drive, *, rules: Iterable[str] = RULES) -> None:
    """Hold a loop against *rules*. Raises AssertionError that begins with the name of the rule.

    Takes some seconds. Raises ValueError for a name that is no rule.
    """
    names = [*rules]
    for name in names:
        if name not in RULES:
            raise ValueError(f"no rule {name!r}: there are {', '.join(RULES)}")
    for name, check in _CHECKS.items():
        if name in names:
            try:
                check(drive)
            except _Broken as exc:
                raise AssertionError(f"{name}: {RULES[name]}; {exc}") from exc.__cause__


class _Broken(Exception):
    """A rule does not hold."""


def _need(holds: bool, text: str) -> None:
    if not holds:
        raise _Broken(text)


class _App:
    """A machine: a client's Connection and the app on top of it, and what was done with them.

    ``calls``: the name of each call that brought something, with its time.
    """

    def __init__(self) -> None:
        self.connection = Connection(StreamLink(), ping=False, silence=60.0)
        self.calls: list[tuple[str, float, float]] = []
        self.events: list[Event] = []
        self.reasons: list[CloseReason] = []
        self.full = False
        self.when: float | None = None
        """When ``due`` is to be called."""
        self.due: Callable[[float], object] = lambda now: None

    @property
    def finished(self) -> bool:
        return self.connection.finished

    @property
    def abrupt(self) -> bool:
        return self.connection.abrupt

    def connected(self, *, now: float) -> None:
        self._called("connected", now)
        self.connection.connected(now=now)
        self._collect(now)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        self._called("receive_data", now)
        self.connection.receive_data(data, now=now)
        self._collect(now)

    def receive_eof(self, *, now: float) -> None:
        self._called("receive_eof", now)
        self.ended(now)
        self._collect(now)

    def abort(self, reason: CloseReason) -> None:
        self.reasons.append(reason)
        self.connection.abort(reason)
        self._collect(0.0)

    def handle_timeout(self, *, now: float) -> None:
        self._called("handle_timeout", now)
        self.connection.handle_timeout(now=now)
        if self.when is not None and now >= self.when:
            self.when = None
            self.due(now)
        self._collect(now)

    def data_to_send(self) -> list[Buffer]:
        return self.connection.data_to_send()

    def next_timeout(self) -> float | None:
        times = (self.when, self.connection.next_timeout())
        return min((when for when in times if when is not None), default=None)

    # --- for the scripts ---

    def happened(self, event: Event, now: float) -> None:
        """Do what an app does."""

    def ended(self, now: float) -> None:
        """The peer has ended its side."""
        self.connection.receive_eof(now=now)

    def count(self, call: str) -> int:
        return sum(name == call for name, *_ in self.calls)

    def _called(self, name: str, now: float) -> None:
        self.calls.append((name, now, time.monotonic()))

    def _collect(self, now: float) -> None:
        for event in self.connection.events():
            self.events.append(event)
            self.happened(event, now)


class _Asking(_App):
    """Asks once, as soon as it can, and closes when it has an answer."""

    def happened(self, event: Event, now: float) -> None:
        if isinstance(event, Opened):
            self.connection.send_quest("hello", {}, deadline=now + 60)
        elif isinstance(event, Answered):
            self.connection.close(now=now)


class _Run:
    """A loop that runs in a thread, and the peer at its other end."""

    def __init__(self, drive: Drive, app: _App) -> None:
        self.app = app
        self.error: BaseException | None = None
        self.peer, near = socket.socketpair()
        self.peer.settimeout(SOON)
        self._splitter = Splitter()
        self._packages: list[Package] = []
        self._thread = threading.Thread(target=self._run, args=(drive, near), daemon=True)

    def __enter__(self) -> _Run:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.peer.close()
        if kind is None:
            self.wait()

    def wait(self, seconds: float = SOON) -> None:
        """Wait until the loop has ended."""
        self._thread.join(seconds)
        _need(not self._thread.is_alive(), "the machine is finished, and the loop goes on")
        if self.error is not None:
            text = f"{type(self.error).__name__} came out of the loop: {self.error}"
            raise _Broken(text) from self.error

    # --- the peer ---

    def send(self, data: bytes) -> None:
        try:
            self.peer.sendall(data)
        except TimeoutError:
            raise _Broken("it does not read what the peer sends") from None
        except OSError as exc:
            raise _Broken(f"it left while the peer was sending: {exc}") from None

    def receive(self, size: int = 65_536) -> bytes:
        try:
            return self.peer.recv(size)
        except TimeoutError:
            text = "nothing more came to the peer"
            raise _Broken(f"{text}: {self.error!r}" if self.error else text) from None
        except OSError as exc:
            raise _Broken(f"the stream broke for the peer: {exc}") from None

    def receive_all(self) -> bytes:
        data = b""
        while piece := self.receive():
            data += piece
        return data

    def until_gone(self, otherwise: str) -> None:
        """Wait until the loop has let go of the stream, in whatever way."""
        try:
            self.peer.recv(1)
        except TimeoutError:
            raise _Broken(otherwise) from None
        except ConnectionError:
            return

    def package(self, kind: Kind) -> Package:
        """The next package, which is of this kind."""
        while not self._packages:
            data = self.receive()
            _need(bool(data), "the stream ended before a package came to the peer")
            self._packages += self._splitter.feed(data)
        package = self._packages.pop(0)
        _need(package.kind == kind, f"{kind.name} was due, and {package} came")
        return package

    def no_package(self, seconds: float) -> None:
        """Nothing comes for a while."""
        self.peer.settimeout(seconds)
        try:
            data = self.peer.recv(1)
        except TimeoutError:
            self.peer.settimeout(SOON)
        else:
            raise _Broken(f"{data!r} came to the peer, nothing was due")

    # --- private ---

    def _run(self, drive: Drive, sock: socket.socket) -> None:
        with sock:
            try:
                drive(self.app, sock)
            except BaseException as exc:
                self.error = exc


# --- the rules -----------------------------------------------------------------------------------


def _begin(drive: Drive) -> None:
    with _Run(drive, app := _Asking()) as run:
        run.send(encode_answer(EMPTY, run.package(Kind.TWOWAY).seq))
        run.receive_all()
    _need(app.calls[0][0] == "connected", f"{app.calls[0][0]} was called first")
    _need(app.count("connected") == 1, f"connected was called {app.count('connected')} times")


def _ask(drive: Drive) -> None:
    for size in (1, 5, 100):
        with _Run(drive, app := _Asking()) as run:
            answer = encode_answer(encode({"a": "b" * 30}), run.package(Kind.TWOWAY).seq)
            for at in range(0, len(answer), size):
                run.send(answer[at : at + size])
            run.receive_all()
        answers = [event for event in app.events if isinstance(event, Answered)]
        _need(
            [answer.params for answer in answers] == [{"a": "b" * 30}],
            f"the answer came in pieces of {size}, the machine has heard {answers}",
        )


class _Answering(_App):
    def happened(self, event: Event, now: float) -> None:
        if isinstance(event, QuestReceived):
            self.connection.answer(event.quest_id, event.params)
            if event.method == "bye":
                self.connection.close(now=now)


def _answer(drive: Drive) -> None:
    with _Run(drive, _Answering()) as run:
        for seq in range(1, 50):
            run.send(encode_quest(b"hello", encode({"n": seq}), seq))
            answer = run.package(Kind.ANSWER)
            _need(answer.payload == encode({"n": seq}), f"the answer to quest {seq} is {answer}")
        quests = [encode_quest(b"hello", EMPTY, seq) for seq in range(1, 50)]
        run.send(b"".join(quests))
        seqs = [run.package(Kind.ANSWER).seq for _ in quests]
        _need(seqs == [*range(1, 50)], f"the answers came in the order {seqs}")
        run.send(encode_quest(b"bye", EMPTY, 1))
        run.receive_all()


class _Waiting(_App):
    """Asks what nobody answers; a quest of the peer brings the deadline forward."""

    def happened(self, event: Event, now: float) -> None:
        match event:
            case Opened():
                self.connection.send_quest("late", {}, deadline=now + 60)
            case QuestReceived():
                self.connection.answer(event.quest_id, {})
                self.when = now + DUE
                self.due = self.asked
            case TimedOut():
                self.connection.close(now=now)
                self.connection.abort(CloseReason(CloseKind.LOCAL, "done"))
            case _:
                pass

    def asked(self, now: float) -> None:
        self.connection.send_quest("soon", {}, deadline=now + DUE)


def _time(drive: Drive) -> None:
    with _Run(drive, app := _Waiting()) as run:
        run.package(Kind.TWOWAY)
        run.no_package(0.05)
        began = time.monotonic()
        run.send(encode_quest(b"hello", EMPTY, 1))
        run.package(Kind.ANSWER)
        run.package(Kind.TWOWAY)
        _in_time("a quest", time.monotonic() - began, DUE)
        run.until_gone("a deadline has passed, and the machine was not told")
        _in_time("the end", time.monotonic() - began, 2 * DUE)
    turns = app.count("handle_timeout")
    _need(turns < 50, f"handle_timeout was called {turns} times for 2 timeouts: the loop spins")


def _in_time(what: str, took: float, due: float) -> None:
    _need(took >= due - 0.05, f"{what} was due after {due:g} s, it came after {took:.2f} s")
    _need(took <= due + LATE, f"{what} was due after {due:g} s, it came after {took:.2f} s")


def _clock(drive: Drive) -> None:
    with _Run(drive, app := _Waiting()) as run:
        run.package(Kind.TWOWAY)
        run.send(encode_quest(b"hello", EMPTY, 1))
        run.package(Kind.ANSWER)
        run.package(Kind.TWOWAY)
        run.wait(SOON)
    (_, first_now, first), *rest = app.calls
    before = first_now
    for name, now, real in rest:
        _need(now >= before, f"{name} was called with now={now}, the call before with {before}")
        before = now
        passed, told = real - first, now - first_now
        text = f"{passed:.2f} s have passed when {name} was called, now has gone on by {told:.2f}"
        _need(abs(passed - told) < LATE, text)


class _Sending(_App):
    """Sends a large quest in pieces of every type, as soon as it can; then closes."""

    body = bytes(range(256)) * (MUCH // 256)

    def happened(self, event: Event, now: float) -> None:
        if isinstance(event, Opened):
            connection, body = self.connection, self.body
            quest_id = connection.begin_quest("sendfile", b"", len(body), deadline=now + 60)
            size = len(body) // 30 + 1
            for count, at in enumerate(range(0, len(body), size)):
                make = (bytes, bytearray, memoryview)[count % 3]
                connection.send_piece(quest_id, make(body[at : at + size]))
        elif isinstance(event, Answered):
            self.connection.close(now=now)


def _flush(drive: Drive) -> None:
    with _Run(drive, app := _Sending()) as run:
        expected = quest_head(b"sendfile", len(app.body), 1) + app.body
        time.sleep(0.1)
        got = b""
        while len(got) < len(expected):
            got += run.receive(100_000)
            time.sleep(0.0005)
        _need(got == expected, f"{len(expected)} bytes were to send, they came in disorder")
        run.send(encode_answer(EMPTY, 1))
        run.receive_all()


def _both_ways(drive: Drive) -> None:
    with _Run(drive, app := _Sending()) as run:
        head = run.receive(1)
        run.send(encode_quest(b"large", encode({"b": app.body}), 9))
        expected = quest_head(b"sendfile", len(app.body), 1) + app.body
        while len(head) < len(expected):
            head += run.receive()
        run.send(encode_answer(EMPTY, 1))
        run.peer.shutdown(socket.SHUT_WR)
        run.receive_all()
    quests = [event for event in app.events if isinstance(event, QuestReceived)]
    _need(len(quests) == 1, "the peer's quest did not come to the machine")


class _Filling(_App):
    """Is full with the first byte, for a while; answers what it is asked."""

    read_while_full = 0

    def receive_data(self, data: Buffer, *, now: float) -> None:
        self.read_while_full += len(data) if self.full else 0
        if self.count("receive_data") == 0:
            self.full = True
            self.when = now + DUE
            self.due = lambda now: setattr(self, "full", False)
        super().receive_data(data, now=now)

    def happened(self, event: Event, now: float) -> None:
        if isinstance(event, QuestReceived):
            self.connection.close(now=now)
            self.connection.answer(event.quest_id, {})


def _full(drive: Drive) -> None:
    with _Run(drive, app := _Filling()) as run:
        quest = encode_quest(b"hello", encode({"b": bytes(100_000)}), 1)
        run.send(quest[:10])
        time.sleep(0.05)
        run.send(quest[10:])
        run.package(Kind.ANSWER)
        run.receive_all()
    _need(not app.read_while_full, f"{app.read_while_full} bytes were read while it was full")


class _Lasting(_App):
    """Has something to say when the peer has ended its side."""

    def ended(self, now: float) -> None:
        self.connection.send_oneway("still", {"here": True})
        self.connection.close(now=now)


def _end(drive: Drive) -> None:
    with _Run(drive, app := _Lasting()) as run:
        run.peer.shutdown(socket.SHUT_WR)
        _need(run.package(Kind.ONEWAY).method == b"still", "another one-way came")
        rest = run.receive_all()
        _need(not rest, f"{len(rest)} bytes came behind the last one")
    _need(app.count("receive_eof") == 1, f"it was called {app.count('receive_eof')} times")
    _need(app.count("receive_data") == 0, "receive_data was called, and nothing came")


class _Leaving(_App):
    """Says a lot at once, and goodbye with it."""

    body = bytes(range(256)) * (MUCH // 256)

    def happened(self, event: Event, now: float) -> None:
        if isinstance(event, Opened):
            self.connection.send_oneway("last", {"words": self.body})
            self.connection.close(now=now)


def _close(drive: Drive) -> None:
    with _Run(drive, app := _Leaving()) as run:
        time.sleep(0.1)
        data = run.receive_all()
        packages = Splitter().feed(data)
        text = f"the last words are {MUCH} bytes, {len(data)} came"
        _need(len(packages) == 1 and packages[0].payload == encode({"words": app.body}), text)
        run.peer.close()


class _Dropping(_App):
    """Has a lot to say, and drops it."""

    def happened(self, event: Event, now: float) -> None:
        if isinstance(event, Opened):
            self.connection.send_oneway("much", {"body": bytes(MUCH)})
            self.when = now + DUE
            self.due = lambda now: self.connection.abort(CloseReason(CloseKind.LOCAL, "dropped"))


def _abrupt(drive: Drive) -> None:
    with _Run(drive, _Dropping()) as run:
        time.sleep(DUE)
        run.wait(LATE + 1.0)


def _reset(drive: Drive) -> None:
    for sending in (False, True):
        with _Run(drive, app := (_Sending() if sending else _Asking())) as run:
            run.receive(1)
            run.peer.close()  # with bytes that nobody has read: the other end is told of a reset
            run.wait()
        kinds = [reason.kind.name for reason in app.reasons]
        _need("PEER_RESET" in kinds, f"abort was given {', '.join(kinds) or 'nothing'}")


_CHECKS: Mapping[str, Callable[[Drive], None]] = {
    "begin": _begin,
    "ask": _ask,
    "answer": _answer,
    "time": _time,
    "clock": _clock,
    "flush": _flush,
    "both ways": _both_ways,
    "full": _full,
    "end": _end,
    "close": _close,
    "abrupt": _abrupt,
    "reset": _reset,
}
