"""A gate whose faults are ordered one by one: the real Gate with an order book in front of it.

    faults = Faults()
    make_gate = partial(ScriptedGate, faults=faults)
    async with rtm_trio.serve_gate(pid=1, users=users, make_gate=make_gate) as gate:
        faults.refuse("sendfile", 200010, times=2)
        ...
        assert not faults.unused

Orders wait for a quest of a method, for a stream to a port, for a push or for a user, and the
oldest one that fits is carried out. Everything that no order is about goes on as in any gate, so
what a client is told is true: an answer that is lost after storing is of a file that is stored.

Pure, as the gate is: delays are timeouts of the visit, in the runtime's own time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import StoreFault
from ..events import CloseKind, CloseReason, QuestId
from ..gate.decisions import Answer, Push, Refuse
from ..gate.gate import Gate
from ..gate.settings import GateSettings, Port
from ..gate.store import Effect, Result, Store
from ..gate.visit import Visit
from ..link import Buffer
from ..payload import Params
from ..received import PUSHES

PortName = Literal["main", "file"]

TICK = 0.1  # seconds between two readings of a slow reader
AT_ONCE = float("-inf")
UNHEARD = "(by order)"  # a method that no gate has: what was stored of its file is dropped with it


@dataclass(eq=False, slots=True)
class Order:
    """Something that is to go wrong; made by the methods of Faults, whose name is ``fault``.

    ``subject`` is the method, port or uid that it waits for; ``used`` counts how often it was
    carried out so far, of ``times``.
    """

    fault: str
    subject: str
    times: int = 1
    used: int = 0
    code: int = 0
    text: str = ""
    seconds: float = 0.0
    size: int = 0
    method: str = ""
    params: Params = field(default_factory=dict[str, object])
    given: int = field(default=0, repr=False)  # how often it was found; carried out is more


class Faults:
    """The order book of a ScriptedGate.

    Each order is for the next *times* quests of a method (or streams, or pushes) that come after
    it. Where two fit the same quest, the older one is carried out, and the other one waits.
    """

    def __init__(self) -> None:
        self.orders: list[Order] = []
        """Every order that was made, in order."""
        self.call: Callable[[Callable[[], object]], object] = lambda function: function()
        """How what happens at once is called: for a gate in another thread, there."""
        self.gate: ScriptedGate | None = None
        """The gate that it belongs to, once that is there."""

    def __repr__(self) -> str:
        return f"<Faults {len(self.orders)} orders, unused: {self.unused}>"

    @property
    def unused(self) -> list[Order]:
        """The orders that were not carried out as often as they were ordered."""
        return [order for order in self.orders if order.used < order.times]

    # --- quests ---

    def refuse(
        self, method: str, code: int, text: str = "refused by order", *, times: int = 1
    ) -> Order:
        """Refuse the quest with *code*; nothing of it is carried out."""
        return self._add(Order("refuse", method, times, code=code, text=text))

    def lose_quest(self, method: str, *, times: int = 1) -> Order:
        """Neither carry out the quest nor answer it."""
        return self._add(Order("lose_quest", method, times))

    def lose_answer(self, method: str, *, times: int = 1) -> Order:
        """Carry out the quest and never answer it: a file is stored, its receivers are told."""
        return self._add(Order("lose_answer", method, times))

    def delay_quest(self, method: str, seconds: float, *, times: int = 1) -> Order:
        """Carry out the quest *seconds* later, if its visitor is still there."""
        return self._add(Order("delay_quest", method, times, seconds=seconds))

    def delay_answer(self, method: str, seconds: float, *, times: int = 1) -> Order:
        """Carry out the quest now, and answer it *seconds* later."""
        return self._add(Order("delay_answer", method, times, seconds=seconds))

    def hang_up(self, method: str, *, after: bool = False, times: int = 1) -> Order:
        """Drop the connection in place of carrying out the quest, or *after* that, in place of
        the answer."""
        return self._add(Order("hang_up", method, times, size=after))

    def fall_silent(self, method: str, *, times: int = 1) -> Order:
        """Answer the quest, then say nothing any more on this connection, hear nothing, and stay.

        Not even ``*ping`` is answered; the gate's own pings stop too.
        """
        return self._add(Order("fall_silent", method, times))

    def spoil_token(self, *, times: int = 1) -> Order:
        """Give a file token that is not good any more: the gate refuses it as it refuses one that
        is spent or expired."""
        return self._add(Order("spoil_token", "filetoken", times))

    def kick(self, method: str, *, times: int = 1) -> Order:
        """End the login of whoever asks (on the file port: of the sender), then carry it out."""
        return self._add(Order("kick", method, times))

    def restart_at(self, method: str, *, after: bool = False, times: int = 1) -> Order:
        """As ``restart``, in place of carrying out the quest, or *after* that, in place of the
        answer."""
        return self._add(Order("restart_at", method, times, size=after))

    # --- streams ---

    def drop(
        self,
        *,
        received: int | None = None,
        sent: int | None = None,
        port: PortName = "file",
        times: int = 1,
    ) -> Order:
        """Drop the next stream to *port* after so many bytes from the client, or to it.

        Bytes on the stream (under TLS): a WebSocket's handshake and frames are counted too.
        """
        if (received is None) is (sent is None):
            raise ValueError("a stream is dropped after bytes received or after bytes sent")
        if sent is not None:
            return self._add(Order("drop_sent", port, times, size=sent))
        return self._add(Order("drop_received", port, times, size=received or 0))

    def delay_stream(self, seconds: float, *, port: PortName = "file", times: int = 1) -> Order:
        """Take the next stream to *port*, and hear nothing of it for *seconds*."""
        return self._add(Order("delay_stream", port, times, seconds=seconds))

    def read_slowly(self, rate: int, *, port: PortName = "file", times: int = 1) -> Order:
        """Read the next stream to *port* at *rate* bytes a second, from its first byte on."""
        return self._add(Order("read_slowly", port, times, size=rate))

    # --- pushes ---

    def push_twice(self, method: str, *, times: int = 1) -> Order:
        """Send the next push of *method* (``pushmsg``, ...) twice."""
        return self._add(Order("push_twice", method, times))

    def push(self, uid: int, method: str, params: Params | None = None) -> Order:
        """Push anything to *uid*: at once, or as soon as that user has logged in."""
        order = self._add(Order("push", str(uid), method=method, params=params or {}))
        if self.gate is not None:
            self.call(self.gate.look_at_orders)
        return order

    # --- the gate ---

    def restart(self) -> None:
        """End the gate's process and let it begin again at once, with what its store has kept.

        Every stream is dropped; logins, rooms and tokens are forgotten.
        """
        if self.gate is None:
            raise ValueError("there is no gate yet")
        self.call(self.gate.restart)

    # --- for the gate ---

    def take(self, subject: str, *faults: str) -> Order | None:
        """The oldest order of these *faults* that waits for *subject*."""
        for order in self.orders:
            if order.subject == subject and order.fault in faults and order.given < order.times:
                order.given += 1
                return order
        return None

    def _add(self, order: Order) -> Order:
        if order.times < 1:
            raise ValueError(f"an order is carried out once at least, got {order.times} times")
        self.orders.append(order)
        return order


_ON_QUEST = (
    *("refuse", "lose_quest", "lose_answer", "delay_quest", "delay_answer", "hang_up"),
    *("fall_silent", "spoil_token", "kick", "restart_at"),
)
_ON_STREAM = ("drop_received", "drop_sent", "delay_stream", "read_slowly")
_DROPPED = CloseReason(CloseKind.LOCAL, "dropped by order")


class ScriptedVisit(Visit):
    """A visit that some orders are about."""

    def __init__(
        self,
        gate: ScriptedGate,
        name: str,
        *,
        port: Port,
        tls: bool = False,
        peer: str | None = None,
    ) -> None:
        """For ``ScriptedGate.visit``."""
        super().__init__(gate, name, port=port, tls=tls, peer=peer)
        self.marks: dict[QuestId, Order] = {}
        """The orders about an answer that is still owed."""
        self._scripted = gate
        self._faults = gate.faults
        self._order = gate.faults.take("file" if port is Port.FILES else "main", *_ON_STREAM)
        self._later: list[tuple[float, Callable[[float], object]]] = []
        self._received = 0
        self._sent = 0
        self._held = bytearray()  # what a slow reader has not read
        self._eof_held = False
        self._taking = False
        self._slow = self._order is not None and self._order.fault in _ON_STREAM[2:]
        self._words: list[Buffer] | None = None  # the last of it, before silence or the drop
        self._silent = False

    @property
    def full(self) -> bool:
        """Whether nothing should be read now: the store is behind, or the reader is slow."""
        return bool(self._held) or super().full

    # --- what happened ---

    def connected(self, *, now: float) -> None:
        """The stream is up."""
        super().connected(now=now)
        order = self._order
        if order is None:
            return
        if order.fault == "delay_stream":
            self.at(now + order.seconds, self._read_all)
        elif order.fault == "read_slowly":
            self.at(now + TICK, self._read_slowly)
        elif order.fault == "drop_received" and not order.size:
            self.at(AT_ONCE, self._drop)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Bytes came."""
        if self._taking:  # a visit that knows at last what it speaks gives them to itself again
            super().receive_data(data, now=now)
        elif self._slow:
            self._held += data
        elif not self._silent:
            self._take(data, now)

    def receive_eof(self, *, now: float) -> None:
        """The peer will send no more."""
        if self._silent:
            self.hang_up(CloseReason(CloseKind.PEER_CLOSED))
        elif self._slow:
            self._eof_held = True
        else:
            super().receive_eof(now=now)

    def handle_timeout(self, *, now: float) -> None:
        """Time has passed."""
        if self._silent:
            return
        due = [call for when, call in self._later if when <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        super().handle_timeout(now=now)
        for call in due:
            call(now)

    # --- what comes of it ---

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order. Call again only when these are written."""
        order = self._order
        if self._words is not None:
            words, self._words = self._words, []
            if not words and not self._silent:
                self.hang_up(_DROPPED)
            return words
        out = super().data_to_send()
        if order is not None and order.fault == "drop_sent":
            room = order.size - self._sent
            data = b"".join(bytes(buffer) for buffer in out)
            self._sent += len(data)
            if data and len(data) >= room:
                order.used += 1
                self._words = []  # then it is dropped, when this is written
                if room:
                    return [data[:room]]
                self.hang_up(_DROPPED)
                return []
        return out

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` should be called, or None."""
        if self._silent or self.finished:
            return None
        times = [when for when, _ in self._later]
        usual = super().next_timeout()
        return min(times if usual is None else [usual, *times], default=None)

    # --- for the gate ---

    def answer(self, action: Answer | Refuse, *, now: float) -> None:
        """Say an answer or a refusal, unless there is an order about it."""
        order = self.marks.pop(action.quest_id, None)
        if order is not None:
            order.used += 1
        match order.fault if order is not None else "":
            case "refuse" if order is not None:
                action = Refuse(action.visitor, action.quest_id, order.code, order.text)
                super().answer(action, now=now)
            case "lose_quest" | "lose_answer":
                pass
            case "delay_answer" if order is not None:
                late = action
                answer = super().answer
                self.at(now + order.seconds, lambda now: answer(late, now=now))
            case "hang_up":
                self.hang_up(_DROPPED)
            case "restart_at":
                self._scripted.restart()
            case "fall_silent":
                super().answer(action, now=now)
                self._words = super().data_to_send()
                self._silent = True
            case "spoil_token" if isinstance(action, Answer):
                token = self._scripted.make_token()
                params = {**action.params, "token": token}
                super().answer(Answer(action.visitor, action.quest_id, params), now=now)
            case _:
                super().answer(action, now=now)
        self.look_at_orders()

    def push(self, action: Push, *, now: float) -> None:
        """Send a quest, unless the visitor is leaving; twice, if that was ordered."""
        super().push(action, now=now)
        order = self._faults.take(action.method, "push_twice") if action.method in PUSHES else None
        if order is not None:
            order.used += 1
            super().push(action, now=now)

    def look_at_orders(self) -> None:
        """Push what was ordered for this user."""
        uid = self.visitor.uid
        while uid is not None and (order := self._faults.take(str(uid), "push")) is not None:
            self.at(AT_ONCE, lambda now, order=order: self._push_ordered(order, now))  # type: ignore[misc]

    def at(self, when: float, call: Callable[[float], object]) -> None:
        """Call it when it is time, with the time."""
        self._later.append((when, call))
        self.ring()

    def hang_up(self, reason: CloseReason) -> None:
        """Drop the stream."""
        self.abort(reason)
        self.ring()

    # --- private ---

    def _take(self, data: Buffer, now: float) -> None:
        order = self._order
        room = len(data)
        if order is not None and order.fault == "drop_received":
            room = order.size - self._received
            self._received += len(data)
        self._taking = True
        super().receive_data(data[:room], now=now)
        self._taking = False
        if room <= len(data) and order is not None and order.fault == "drop_received":
            self._drop(now)

    def _drop(self, now: float) -> None:
        if self._order is not None:
            self._order.used += 1
        self.hang_up(_DROPPED)

    def _read_all(self, now: float) -> None:
        """The delay of the stream is over."""
        data, self._held, self._slow = self._held, bytearray(), False
        if self._order is not None:
            self._order.used += 1
        self._take(data, now)
        self._end_reading(now)

    def _read_slowly(self, now: float) -> None:
        """Read a little, and again in a moment."""
        order = self._order
        size = max(1, int((order.size if order is not None else 0) * TICK))
        data = self._held[:size]
        del self._held[:size]
        if data:
            if order is not None and order.used < order.times:
                order.used += 1
            self._take(data, now)
        if not self._held:
            self._end_reading(now)
        if not self.finished:
            self.at(now + TICK, self._read_slowly)

    def _end_reading(self, now: float) -> None:
        if self._eof_held:
            self._eof_held = self._slow = False
            super().receive_eof(now=now)

    def _push_ordered(self, order: Order, now: float) -> None:
        order.used += 1
        super().push(Push(self.visitor, order.method, order.params), now=now)


class ScriptedGate(Gate):
    """A gate with an order book. Give it to ``serve_gate`` as ``make_gate``.

    ``faults``  where its faults are ordered
    """

    visit_class: type[Visit] = ScriptedVisit

    def __init__(
        self,
        settings: GateSettings,
        *,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        store: Store | None = None,
        faults: Faults | None = None,
    ) -> None:
        """As ``Gate``. *faults*: orders that may have been made before (default: none)."""
        super().__init__(settings, wall_ms=wall_ms, make_token=make_token, store=store)
        self.faults = Faults() if faults is None else faults
        self.faults.gate = self
        self.make_token = make_token
        self._store = store
        self._under_way: dict[int, Effect] = {}  # of this life, by the object's own id

    def quest(
        self, visit: Visit, quest_id: int, method: str, params: Mapping[str, object], *, now: float
    ) -> None:
        """A visitor asks; the oldest order about this method is carried out."""
        order = self.faults.take(method, *_ON_QUEST)
        if order is None or not isinstance(visit, ScriptedVisit):
            super().quest(visit, quest_id, method, params, now=now)
            return
        match order.fault:
            case "refuse" | "lose_quest":
                visit.marks[quest_id] = order
                super().quest(visit, quest_id, UNHEARD, params, now=now)
            case "delay_quest":
                carry_out = super().quest
                visit.at(
                    now + order.seconds,
                    lambda now: self._late(order, carry_out, visit, quest_id, method, params, now),
                )
            case "hang_up" | "restart_at" if not order.size:
                visit.marks[quest_id] = order
                super().quest(visit, quest_id, UNHEARD, params, now=now)
            case "kick":
                order.used += 1
                uid = params.get("from") if visit.visitor.uid is None else visit.visitor.uid
                if isinstance(uid, int):
                    self.kick(uid, now=now)
                super().quest(visit, quest_id, method, params, now=now)
            case _:
                visit.marks[quest_id] = order
                super().quest(visit, quest_id, method, params, now=now)

    def carried_out(
        self,
        effect: Effect,
        result: Result,
        fault: StoreFault | None,
        *,
        now: float,
    ) -> None:
        """A store has carried out *effect*; what a gate before a restart asked for is forgotten."""
        if self._under_way.pop(id(effect), None) is not None:
            super().carried_out(effect, result, fault, now=now)

    def effects(self) -> list[Effect]:
        """Take the effects that a store is to carry out; report each with ``carried_out``."""
        effects = super().effects()
        self._under_way.update((id(effect), effect) for effect in effects)
        return effects

    def restart(self) -> None:
        """End and begin again with what the store has kept; every visit is dropped."""
        visits = [*self._visits.values()]
        faults, settings, wall_ms = self.faults, self.settings, self.wall_ms
        make_token, store = self.make_token, self._store
        ScriptedGate.__init__(
            self, settings, wall_ms=wall_ms, make_token=make_token, store=store, faults=faults
        )
        for visit in visits:
            visit.abort(CloseReason(CloseKind.LOCAL, "the gate has restarted"))
            visit.ring()

    def look_at_orders(self) -> None:
        """Carry out the orders about users who are logged in."""
        for visit in [*self._visits.values()]:
            if isinstance(visit, ScriptedVisit):
                visit.look_at_orders()

    # --- private ---

    def _late(
        self,
        order: Order,
        carry_out: Callable[..., None],
        visit: ScriptedVisit,
        quest_id: int,
        method: str,
        params: Params,
        now: float,
    ) -> None:
        order.used += 1
        carry_out(visit, quest_id, method, params, now=now)
