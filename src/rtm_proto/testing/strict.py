"""A gate with the habits of the original framework, for tests of clients: each has a switch.

    make_gate = strict_gate(["all"])           # or some of QUIRKS, by name
    async with rtm_trio.serve_gate(pid=1, users=users, make_gate=make_gate) as gate: ...

A client that stays correct here has a chance at the service. The gate takes orders too, as any
ScriptedGate: ``strict_gate(["all"], faults=faults)``. What is imitated was seen of framework 1.3.1
(spec fpnn 10, 11; ``no-fragments`` of those before 1.2.2; ``ext`` as the published codes have it).

Pure: what is late is a timeout of the visit. Where a quirk ends a connection that is a WebSocket,
it ends without a close frame, as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

import h11

from ..attrs import parse_attrs
from ..codes import Code
from ..errors import PayloadError
from ..events import CloseKind
from ..frames import BINARY, CLOSE, CONTINUATION, FIN, PONG, TEXT, head_size, payload_size
from ..gate.actions import Answer, Refuse
from ..gate.gate import Gate
from ..gate.rules.files import SENDS
from ..gate.settings import GateSettings, Port
from ..gate.store import Store
from ..gate.visit import Visit
from ..link import Buffer, Link
from ..payload import Params, text_of
from ..upgrade import VERSION, HandshakeRefused
from ..websocket import WebSocketLink
from .scripted import UNHEARD, Faults, Order, ScriptedGate, ScriptedVisit

QUIRKS: Mapping[str, str] = {
    "empty-pong": "a WebSocket ping is answered, but never with what was in it",
    "no-close-frame": "no close frame is sent, and none is answered: the stream just ends",
    "frame-126": "the frame of a package of 126 bytes lacks its length",
    "out-of-order": "answers come in another order than their quests, and behind pushes",
    "late-packages": "a small package behind another waits 44 ms, unless something comes meanwhile",
    "abrupt-close": "a connection that the gate ends is gone at once: nothing more is heard on it",
    "case-sensitive": "the headers of an upgrade are spelled as here, or it is refused with a 500",
    "swallow-early": "what comes with the request for an upgrade, or right behind it, is lost",
    "no-fragments": "a WebSocket message in fragments ends the connection",
    "ext-demanded": "a file whose attrs have no ext is refused with 200004",
}
"""Every quirk by its name, and what it does."""

ALL = "all"
DELAY = 0.044  # seconds that a small package waits (measured; spec fpnn 10)
SMALL = 1460  # bytes: more than that leaves at once, being a whole segment
TURN = 0.02  # seconds that an answer waits for another one to overtake it
DEAF = 0.02  # seconds behind the request for an upgrade, before the 101 is out

_BUG = 126  # bytes of a package whose frame lacks its length (spec fpnn 11.3)
_NOT_ACCEPTED = '{"code":20004,"ex":"unknown method: websocket"}'
_SPELLED: Mapping[str, Callable[[str], bool]] = {  # names as they must be (spec fpnn 11.1)
    "Upgrade": lambda value: value.lower() == "websocket",
    "Connection": lambda value: "Upgrade" in re.split(r"[,; ]+", value),
    "Sec-WebSocket-Version": lambda value: value == VERSION,
    "Sec-WebSocket-Key": bool,
}


def quirks_named(names: Iterable[str]) -> frozenset[str]:
    """The quirks of these names; ``all`` is every one. Raises ValueError for a name of none."""
    wanted = frozenset(names)
    unknown = sorted(wanted - QUIRKS.keys() - {ALL})
    if unknown:
        raise ValueError(
            f"no quirk is called {', '.join(unknown)}: there are {', '.join([*QUIRKS, ALL])}"
        )
    return frozenset(QUIRKS) if ALL in wanted else wanted


def strict_gate(
    names: Iterable[str] = (ALL,), *, faults: Faults | None = None
) -> Callable[..., Gate]:
    """What ``serve_gate`` takes as ``make_gate``: a gate with these quirks.

    *faults*: orders, as ScriptedGate takes them. Raises ValueError for a name that no quirk has.
    """
    return partial(StrictGate, quirks=quirks_named(names), faults=faults)


class FrameworkLink(WebSocketLink):
    """A WebSocket as the framework reads and writes it once its handshake is done.

    ``quirks``   what of that is imitated; set before it is started, as is
    ``spelled``  whether the request for it was spelled as it should
    """

    quirks: frozenset[str] = frozenset()
    spelled: bool = True
    _left_out: int = 0  # bytes of payload to come of a frame that is on its way out
    _head_in: bytes = b""  # of a frame that is on its way in, while it is not whole
    _left_in: int = 0  # bytes of its payload to come

    def start(self) -> None:
        """Say the 101, or how the framework says no: the request is a call of HTTP's then."""
        if not self.spelled and self.refusal is None:
            self._first = b""
            self.refusal = HandshakeRefused(500, _NOT_ACCEPTED)
        super().start()

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Read frames; a fragment ends it where none are taken."""
        if "no-fragments" in self.quirks and self.ended is None and self._has_fragment(bytes(data)):
            self._end(CloseKind.PROTOCOL_ERROR, "a fragment, of which none are taken")
        else:
            super().receive_data(data, now=now)

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order, as the framework would have written them."""
        return [kept for buffer in super().data_to_send() if (kept := self._written(buffer))]

    # --- private ---

    def _written(self, buffer: Buffer) -> Buffer:
        """One buffer: the head of an HTTP answer, a frame, the head of one, or its payload."""
        if self._left_out or bytes(buffer[:5]) == b"HTTP/":
            self._left_out = max(0, self._left_out - len(buffer))
            return buffer
        opcode, head, size = buffer[0] & 0x0F, head_size(buffer[1]), payload_size(buffer)
        self._left_out = head + size - len(buffer)
        if opcode == PONG and "empty-pong" in self.quirks:
            return bytes((FIN | PONG, 0))
        if opcode == CLOSE and "no-close-frame" in self.quirks:
            return b""
        if opcode == BINARY and size == _BUG and "frame-126" in self.quirks:
            return bytes(buffer[:2]) + bytes(buffer[head:])
        return buffer

    def _has_fragment(self, data: bytes) -> bool:
        """Whether a frame begins in *data* that is not a whole message."""
        while data:
            passed = min(self._left_in, len(data))
            self._left_in -= passed
            data = self._head_in + data[passed:]
            self._head_in = b""
            if len(data) < 2 or len(data) < head_size(data[1]):
                self._head_in = data
                return False
            opcode, whole = data[0] & 0x0F, data[0] & FIN
            if opcode == CONTINUATION or (opcode in (TEXT, BINARY) and not whole):
                return True
            self._left_in = payload_size(data)
            data = data[head_size(data[1]) :]
        return False


class StrictVisit(ScriptedVisit):
    """A visit as the framework would receive it."""

    def __init__(
        self,
        gate: StrictGate,
        name: str,
        *,
        port: Port,
        tls: bool = False,
        peer: str | None = None,
    ) -> None:
        """For ``StrictGate.visit``."""
        super().__init__(gate, name, port=port, tls=tls, peer=peer)
        self._quirks = gate.quirks
        self._now = 0.0
        self._deaf_until = 0.0  # until then nothing is heard or said
        self._late: list[Buffer] = []  # small packages that wait
        self._late_until = 0.0
        self._acknowledged = True  # whether something came since the last package left
        self._overtaken: Answer | Refuse | None = None

    # --- what happened ---

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came."""
        self._now = now
        self._acknowledged = True
        if now >= self._deaf_until:
            super().receive_data(data, now=now)

    def handle_timeout(self, *, now: float) -> None:
        """Time has passed."""
        self._now = now
        super().handle_timeout(now=now)

    def collect(self, *, now: float) -> None:
        """Let the gate see what has come of it."""
        self._now = now
        super().collect(now=now)

    # --- what comes of it ---

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order. Call again only when these are written."""
        if self._now < self._deaf_until and not self.finished:
            return []
        late, self._late = self._late, []
        out = [*late, *super().data_to_send()]
        if self._is_late(out):
            self._late = out
            if not late:  # else that is seen to already
                self.at(self._late_until, lambda now: None)
            return []
        if out:
            self._acknowledged = False
            self._late_until = self._now + DELAY
        elif self.finished and "abrupt-close" in self._quirks and self.kind != "http":
            self.abrupt = True
        return out

    # --- for the gate ---

    def answer(self, action: Answer | Refuse, *, now: float) -> None:
        """Say an answer or a refusal; the next one comes before it, if it comes soon."""
        first, self._overtaken = self._overtaken, None
        if "out-of-order" not in self._quirks or first is not None:
            super().answer(action, now=now)
        else:
            self._overtaken = action
            self.at(now + TURN, self._say_overtaken)
        if first is not None:
            super().answer(first, now=now)

    # --- private ---

    def _websocket(self, request: h11.Request, trailing: bytes, now: float) -> Link:
        if "swallow-early" in self._quirks:
            trailing = b""
            self._deaf_until = now + DEAF
            self.at(self._deaf_until, lambda now: None)
        limit = self._max_package()
        link = FrameworkLink.upgraded(request, trailing, max_package=limit)
        assert isinstance(link, FrameworkLink)
        link.quirks = self._quirks
        link.spelled = "case-sensitive" not in self._quirks or _is_spelled(request)
        return link

    def _is_late(self, out: list[Buffer]) -> bool:
        """Whether *out* is a small package behind another, of which nothing was heard yet.

        Nagle's algorithm in the framework, and a peer that acknowledges late, make it wait.
        """
        if "late-packages" not in self._quirks or self.kind == "http" or self.finished or not out:
            return False
        alone = self._acknowledged or self._now >= self._late_until
        return not alone and sum(map(len, out)) < SMALL

    def _say_overtaken(self, now: float) -> None:
        action, self._overtaken = self._overtaken, None
        if action is not None:
            super().answer(action, now=now)


class StrictGate(ScriptedGate):
    """A gate with quirks, and an order book.

    ``quirks``  their names
    """

    visit_class = StrictVisit

    def __init__(
        self,
        settings: GateSettings,
        *,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        store: Store | None = None,
        faults: Faults | None = None,
        quirks: frozenset[str] = frozenset(QUIRKS),
    ) -> None:
        """As ``ScriptedGate``."""
        self.quirks = quirks
        super().__init__(
            settings, wall_ms=wall_ms, make_token=make_token, store=store, faults=faults
        )

    def quest(
        self, visit: Visit, quest_id: int, method: str, params: Mapping[str, object], *, now: float
    ) -> None:
        """A visitor asks."""
        demanded = "ext-demanded" in self.quirks and method in SENDS
        if demanded and isinstance(visit, StrictVisit) and _lacks_ext(params):
            code = Code.ATTRS_LACK_SIGN_OR_EXT
            visit.marks[quest_id] = Order("refuse", method, code=code, text="attrs lack ext")
            method = UNHEARD
        super().quest(visit, quest_id, method, params, now=now)


def _lacks_ext(params: Params) -> bool:
    """Whether attrs have no ``ext``; attrs that are none at all are judged by others."""
    try:
        raw = parse_attrs(text_of(params, "attrs")).raw
    except PayloadError:
        return False
    inner = raw.get("rtm")
    return "ext" not in (cast("Params", inner) if isinstance(inner, dict) else raw)


def _is_spelled(request: h11.Request) -> bool:
    said = {name.decode(): value.decode("latin-1") for name, value in request.headers.raw_items()}
    return all(name in said and good(said[name]) for name, good in _SPELLED.items())
