"""The service: a real Gate on a simulated network, with a store that takes time and crashes.

    dial ─► Stream ─► Wire ─► Visit ─► Gate ─► effects ─(time, faults, a crash)─► store ─► Gate

When the gate crashes, what the store was doing is kept or not, as it happens, and nobody hears of
it; the next gate begins with what ``store.kept`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..address import Address
from ..codes import Code
from ..errors import ConnectFailed, StoreFault
from ..gate.decisions import Body, Push, Refuse
from ..gate.gate import Gate
from ..gate.memory import MemoryStore
from ..gate.settings import GateSettings, Port
from ..gate.store import DropBody, Effect, Result, SaveFile, SaveRecord
from ..gate.visit import Visit
from ..payload import Params
from ..received import PUSHES
from .chance import Chance
from .clock import Clock, WallClock
from .ledger import Ledger
from .network import Stream
from .tasks import sleep_until
from .trace import Trace
from .weather import Sky
from .wire import Wire

PID = 11000001
HOST = "gate.test"
MAIN_PORT = 13321
FILE_PORT = 13461
GROUP = 7
ROOM = 9

TOKEN_CODES = (Code.RATE_LIMIT, Code.WORK_QUEUE_FULL, Code.UNKNOWN, Code.INVALID_CONNECTION, 299999)
TURNED_AWAY_CODES = (Code.RATE_LIMIT, Code.WORK_QUEUE_FULL, Code.SERVER_STOPPING, Code.SEND_ERROR)
DOUBTFUL_CODES = (Code.UNKNOWN, Code.TIMEOUT, Code.CONNECTION_CLOSED, Code.UNKNOWN_RTM)


class SimulatedStore(MemoryStore):
    """A store that keeps what it has confirmed; subclass it for one that does not."""

    @property
    def drafts(self) -> int:
        """Files of which something was written, and that are neither saved nor dropped."""
        return len(self._bodies)

    def fail(self, effect: Effect) -> None:
        """It is to fail at *effect*: what was written of a file that is not saved is forgotten."""
        if isinstance(effect, SaveFile):
            self.drop_body(effect.file.key)
        elif isinstance(effect, DropBody):
            self.drop_body(effect.key)

    def crash(self) -> None:
        """The process is gone, and the files that were still coming with it."""
        for key in [*self._bodies]:
            self.drop_body(key)


class SimulatedGate(Gate):
    """A gate with moods: quests that it delays, refuses, or carries out without an answer.

    ``mood`` is asked about every quest before the gate sees it; where it gives True, it has taken
    the quest upon itself.
    """

    mood: Callable[[Visit, int, str, Params], bool] | None = None

    def quest(
        self, visit: Visit, quest_id: int, method: str, params: Mapping[str, object], *, now: float
    ) -> None:
        """A visitor asks."""
        if self.mood is None or not self.mood(visit, quest_id, method, params):
            self.take(visit, quest_id, method, params, now=now)

    def take(self, visit: Visit, quest_id: int, method: str, params: Params, *, now: float) -> None:
        """The quest as the real gate takes it."""
        super().quest(visit, quest_id, method, params, now=now)

    def take_unheard(self, params: Params, method: str, *, now: float) -> None:
        """The same, for nobody: the answer goes nowhere."""
        nobody = Visit(self, "nobody", port=Port.FILES)
        super().quest(nobody, 0, method, params, now=now)

    def turn_away(self, params: Params) -> None:
        """A quest that no real gate has seen is over: what was written of its file is dropped."""
        body = params.get("file")
        if isinstance(body, Body) and body.written:
            self._effects.append(DropBody(self._effect_id(), body.key))


MakeGate = Callable[..., SimulatedGate]


class Service:
    """The gate that runs, if one does, and every stream to it."""

    def __init__(
        self,
        clock: Clock,
        chance: Chance,
        sky: Sky,
        trace: Trace,
        ledger: Ledger,
        *,
        users: Mapping[int, str],
        make_gate: MakeGate,
        store: SimulatedStore,
        piece: int,
    ) -> None:
        self.wall = WallClock(clock)
        self.store = store
        self.gate: SimulatedGate | None = None
        self.streams: dict[Stream, Wire] = {}
        self.crashes = 0
        self.on_stream: Callable[[Stream], None] | None = None
        """Called with each new stream, before a byte has passed."""
        self._clock = clock
        self._chance = chance
        self._sky = sky
        self._trace = trace
        self._ledger = ledger
        self._make_gate = make_gate
        self._settings = GateSettings(PID, users, f"{HOST}:{FILE_PORT}", piece=piece)
        self._arrived = 0
        self._under_way: dict[int, Effect] = {}  # by a number of our own
        self._effects = 0
        self.start()

    # --- what the network brings ---

    async def dial(self, address: Address, deadline: float, name: str) -> Stream:
        """A stream to the gate. Raises ConnectFailed."""
        weather, clock = self._sky.weather, self._clock
        if self._chance.happens(weather.unanswered):
            self._trace.say(name, "is not answered")
            await sleep_until(deadline)
            raise ConnectFailed(f"{address} did not answer in time")
        await sleep_until(min(deadline, clock.now + 2 * weather.latency))
        if clock.now >= deadline:
            raise ConnectFailed(f"{address} did not answer in time")
        if self.gate is None or self._chance.happens(weather.refused):
            self._trace.say(name, "is refused")
            raise ConnectFailed(f"could not connect to {address}: refused")
        self._arrived += 1
        stream = Stream(clock, self._chance, self._sky, self._trace, f"{name}.{self._arrived}")
        visit = self.gate.visit(
            stream.name, port=Port.FILES if address.port == FILE_PORT else Port.MAIN
        )

        def collect(now: float) -> None:
            visit.collect(now=now)
            self.carry_out_effects()

        wire = Wire(clock, self._chance, self._sky, stream.gate, visit, collect)
        visit.bell = wire.turn
        stream.visit = visit
        if self.on_stream is not None:
            self.on_stream(stream)
        self.streams[stream] = wire
        wire.start()
        return stream

    def tidy(self) -> None:
        """Forget the streams that have ended at the gate."""
        self.streams = {s: wire for s, wire in self.streams.items() if not wire.ended.rung}

    # --- what becomes of the gate ---

    def start(self) -> None:
        """A gate begins, with what the store has kept. Raises StoreFault."""
        if self.crashes and self._chance.happens(self._sky.weather.store_fault):
            self._trace.say("gate", "cannot start: the store fails")
            raise StoreFault("cannot be read")
        gate = self._make_gate(
            self._settings, wall_ms=self.wall.ms, make_token=self._make_token, store=self.store
        )
        gate.mood = self._mood
        self.gate = gate
        self._ledger.gate_started(self.store)
        self._trace.say("gate", "starts")

    def restart(self) -> None:
        """The gate comes back, if it is gone, as soon as its store lets it."""
        if self.gate is None:
            try:
                self.start()
            except StoreFault:
                self._clock.after(1.0, self.restart)

    def crash(self) -> None:
        """The gate's process is gone, with everything that it had in memory; it comes back."""
        if self.gate is None:
            return
        told = not self._chance.happens(self._sky.weather.half_open)
        self._clock.after(self._chance.between(0.0, 5.0), self.restart)
        self._trace.say("gate", "crashes" if told else "vanishes")
        self.gate = None
        self.crashes += 1
        streams, self.streams = self.streams, {}
        for stream, wire in streams.items():
            wire.kill()
            stream.vanish(told=told)
        under_way, self._under_way = self._under_way, {}
        for effect in under_way.values():
            if self._chance.happens(0.5) and isinstance(effect, (SaveFile, SaveRecord)):
                self._trace.say("store", "an effect is kept, and the gate is gone")
                self._keep(effect)
        self._ledger.gate_crashed()
        self.store.crash()

    def kick(self, uid: int) -> None:
        """End the login of *uid*."""
        if self.gate is not None:
            self._trace.say("gate", f"kicks {uid} out")
            self._ledger.kicked(uid)
            self.gate.kick(uid, now=self._clock.now)
            self.carry_out_effects()

    def carry_out_effects(self) -> None:
        """Begin what the gate wants to be stored."""
        if self.gate is None:
            return
        for effect in self.gate.effects():
            self._effects += 1
            number = self._effects
            self._ledger.asked_to_store(effect)
            self._under_way[number] = effect
            delay = self._sky.weather.store_time
            if not delay:
                self._carried_out(number)
                continue
            delay *= self._chance.number()
            if self._chance.happens(4 * self._sky.weather.crash):
                self._clock.after(delay * self._chance.number(), self.crash)
            self._clock.after(delay, lambda number=number: self._carried_out(number))  # type: ignore[misc]

    @property
    def under_way(self) -> int:
        """Effects that the store has not carried out yet."""
        return len(self._under_way)

    # --- private: the store ---

    def _carried_out(self, number: int) -> None:
        effect, gate = self._under_way.pop(number, None), self.gate
        if effect is None or gate is None:
            return  # the gate that asked is gone
        if self._chance.happens(self._sky.weather.store_fault):
            self._trace.say("store", f"fails at effect {number}")
            self.store.fail(effect)
            gate.carried_out(effect, None, StoreFault("no space left"), now=self._clock.now)
        else:
            result, fault = self._keep(effect)
            self._ledger.store_answers(effect, fault)
            gate.carried_out(effect, result, fault, now=self._clock.now)
            if fault is None and isinstance(effect, SaveFile):
                self._double(effect)
        self.carry_out_effects()

    def _keep(self, effect: Effect) -> tuple[Result, StoreFault | None]:
        try:
            result = self.store.carry_out(effect)
        except StoreFault as fault:
            return None, fault
        match effect:
            case SaveFile():
                self._trace.say(
                    "store", f"keeps {effect.file.name} as mid {effect.messages[0].mid}"
                )
            case SaveRecord():
                self._trace.say("store", f"keeps {effect.table.value} {effect.value}")
            case _:
                pass
        self._ledger.stored(effect)
        return result, None

    # --- private: moods ---

    def _make_token(self) -> str:
        token = self._chance.bytes(16).hex()
        self._ledger.token_issued(token)
        return token

    def _mood(self, visit: Visit, quest_id: int, method: str, params: Params) -> bool:
        weather, chance = self._sky.weather, self._chance
        if method == "filetoken":
            if chance.happens(weather.token_refused):
                self._refuse(visit, quest_id, chance.one_of(TOKEN_CODES), method)
                return True
            if chance.happens(weather.token_delayed):
                delay = chance.between(0.0, 30.0) * chance.number()
                self._trace.say("gate", f"takes {delay:.3f} s for a token of {visit.visitor.uid}")
                self._clock.after(delay, lambda: self._late(visit, quest_id, method, params))
                return True
        elif method.startswith("send"):
            if chance.happens(weather.turned_away) and self.gate is not None:
                self.gate.turn_away(params)
                self._refuse(visit, quest_id, chance.one_of(TURNED_AWAY_CODES), method)
                return True
            if chance.happens(weather.swallowed) and self.gate is not None:
                self._trace.say("gate", "loses the answer to a send")
                self.gate.take_unheard(params, method, now=self._clock.now)
                if chance.happens(0.5):
                    self._refuse(visit, quest_id, chance.one_of(DOUBTFUL_CODES), method)
                return True
        return False

    def _late(self, visit: Visit, quest_id: int, method: str, params: Params) -> None:
        gate = self.gate
        if gate is not None and not visit.finished:
            gate.take(visit, quest_id, method, params, now=self._clock.now)
            visit.ring()

    def _refuse(self, visit: Visit, quest_id: int, code: int, method: str) -> None:
        self._trace.say("gate", f"refuses {method} with {int(code)} by mood")
        self._ledger.code_given(int(code))
        refusal = Refuse(visit.visitor, quest_id, code, "by mood")
        visit.answer(refusal, now=self._clock.now)

    def _double(self, effect: SaveFile) -> None:
        """Let a push come once more, now or later, to whoever is entitled and logged in then."""
        weather, chance = self._sky.weather, self._chance
        if chance.happens(weather.doubled):
            delay = chance.between(0.0, 10.0) * chance.number()
            self._clock.after(delay, lambda: self._push_again(effect))

    def _push_again(self, effect: SaveFile) -> None:
        (message,) = effect.messages
        method = next(name for name, kind in PUSHES.items() if kind is message.kind)
        params: Params = {
            "from": message.sender,
            message.kind.value: message.target,
            "mid": message.mid,
            "mtype": message.mtype,
            "msg": message.msg,
            "attrs": message.attrs,
            "mtime": message.mtime,
        }
        for presence in self._ledger.receivers(effect):
            visit = presence.visit
            if visit is not None and not visit.finished:
                self._trace.say("gate", f"pushes mid {message.mid} to {presence.uid} once more")
                visit.push(Push(visit.visitor, method, params), now=self._clock.now)
                visit.ring()
