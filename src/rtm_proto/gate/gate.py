"""The gate as a whole, pure: visits from their first byte, the decisions, the store's effects.

    bytes ─► Visit ─► Front ─► Connection ─► Decisions ─► answers, pushes ─► Visits ─► bytes
                         └──► FileExchange (GET)  └──► effects ─► store ─► carried_out

An adapter gives each accepted stream a visit, drives it like a client's connection, carries out
the effects and rings what ``Visit.bell`` tells it to. Main port and file port differ in what a
visitor may send, and in whether it has to log in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from ..codes import Code
from ..errors import StoreFault
from . import decisions, notes
from .decisions import MID_WINDOW, Answer, Decisions, Part, Push, Refuse, Visitor
from .downloads import Downloads
from .figures import Figures
from .notes import Fact, Note
from .settings import GateSettings, Port
from .store import (
    DropBody,
    Effect,
    FindFile,
    FindUsed,
    Kept,
    MakeThumbnail,
    ReadFile,
    Result,
    Store,
    StoredFile,
    Tidy,
    Used,
    WriteBody,
)
from .uploads import Uploads
from .visit import Visit

STATS = "stats"  # a quest of operators: how the gate is


@dataclass(frozen=True, slots=True)
class Held:
    """How much a gate holds right now: visits, effects of downloads and uploads under way, bodies
    whose token has not come, and what is decided on."""

    visits: int
    downloads: int
    uploads: int
    unproven: int
    decisions: decisions.Held


class Gate:
    """Every visit, the decisions over them, and the effects that a store is to carry out."""

    visit_class: type[Visit] = Visit
    """What ``visit`` makes; called as Visit is."""

    def __init__(
        self,
        settings: GateSettings,
        *,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        store: Store | None = None,
    ) -> None:
        """*wall_ms*: milliseconds since 1970. *make_token*: a fresh text of 128 random bits.

        *store*: read once, here, for what it has kept from before; where links are signed for the
        first time, their key is kept in it. Raises StoreFault.
        """
        self.settings = settings
        self.wall_ms = wall_ms
        kept = Kept() if store is None else store.kept(wall_ms() - int(MID_WINDOW * 1000))
        self.downloads = Downloads.of(
            settings,
            kept,
            store=store,
            wall_ms=wall_ms,
            make_token=make_token,
            effect_id=self._effect_id,
        )
        self.decisions = Decisions(
            pid=settings.pid,
            users=settings.users,
            endpoint=settings.endpoint,
            tls_endpoint=settings.tls_endpoint,
            file_url=settings.url_of_files,
            wall_ms=wall_ms,
            make_token=make_token,
            secret=settings.secret,
            limits=settings.limits,
            links=self.downloads.links,
            pictures=settings.make_thumbnail is not None,
            recognise=settings.recognise,
            kept=kept,
        )
        self.figures = Figures([*self.decisions.methods, STATS])
        self.started_ms = wall_ms()
        self.draining = False
        """Whether it stops: new quests are refused."""
        self.store_fails = False
        """Whether the last effect failed for what is none of the store's own rules (a disk)."""
        self.on_drained: Callable[[], None] | None = None
        """Called once while it stops and nothing is under way any more."""
        self._busy: set[Visit] = set()  # while it stops
        self._notes: list[Note] = []
        self._visits: dict[Visitor, Visit] = {}
        self._effects: list[Effect] = []
        self._fetching: dict[int, Visit] = {}  # effects of downloads, by effect id
        self._writing: dict[int, Visit] = {}  # the same of uploads
        self._effect_ids = 0  # below 0; those of the decisions are above
        self._unproven: set[object] = set()
        self._make_token = make_token

    def __repr__(self) -> str:
        return f"<Gate pid={self.settings.pid} {len(self._visits)} visits>"

    def visit(self, name: str, *, port: Port, tls: bool = False, peer: str | None = None) -> Visit:
        """A stream was accepted; *name* and the address of the *peer* are for logs."""
        visit = self.visit_class(self, name, port=port, tls=tls, peer=peer)
        self._visits[visit.visitor] = visit
        self.figures.came[visit.port.value] += 1
        facts: dict[str, Fact] = {"visit": visit.visitor.name, "port": visit.port.value}
        self.note(notes.DEBUG, "came", visit, facts)
        return visit

    def visits(self) -> list[Visit]:
        """Those that are there."""
        return [*self._visits.values()]

    def no_place(self, port: Port, peer: str | None, why: str) -> None:
        """There was no place for a stream."""
        self.figures.turned_away[port.value] += 1
        facts: dict[str, Fact] = {"port": port.value, "peer": peer, "why": why}
        self._notes.append(Note(notes.DEBUG, "turned away", facts))

    def drain(self, *, now: float) -> None:
        """Stop: refuse what is asked from now on, and see through what is under way.

        ``on_drained`` is called when that is done, perhaps at once; then, or when it has taken
        long enough, ``stop``.
        """
        if self.draining:
            return
        self.draining = True
        self._notes.append(Note(notes.INFO, "stopping", {"connections": len(self._visits)}))
        self._busy = {visit for visit in self._visits.values() if visit.busy}
        for visit in self.visits():
            if not visit.port.local:
                visit.drain(now=now)
                visit.ring()
        self._look_for_the_end()

    def stop(self, *, now: float) -> None:
        """Close everything, politely; whoever is watched by may go on watching."""
        for visit in self.visits():
            if not visit.port.local:
                visit.stop(now=now)
                visit.ring()

    def tidy(self) -> None:
        """Let the store forget what is too old."""
        self.decisions.tidy()
        self._effects.append(Tidy(self._effect_id(), self.wall_ms()))
        self._take_effects()

    def take_notes(self) -> list[Note]:
        """Take what there is to say for a log."""
        taken, self._notes = self._notes, []
        return taken

    def kick(self, uid: int, *, now: float) -> bool:
        """End the login of *uid*; whether there was one."""
        kicked = self.decisions.kick(uid)
        self._act(None, now)
        return kicked

    def uploads(self, visitor: Visitor) -> Uploads:
        """For a visit: its large quests."""
        return Uploads(
            visitor,
            check=self.decisions.refusal_before_body,
            make_key=self._make_token,
            effect_id=self._effect_id,
            unproven=self._unproven,
            piece=self.settings.piece,
        )

    def effects(self) -> list[Effect]:
        """Take the effects that a store is to carry out; report each with ``carried_out``."""
        thumbnails = self.downloads.thumbnails
        effects = [*self._effects, *thumbnails.effects]
        self._effects, thumbnails.effects = [], []
        return effects

    def carried_out(
        self,
        effect: Effect,
        result: Result,
        fault: StoreFault | None,
        *,
        now: float,
    ) -> None:
        """A store has carried out *effect* with *result*, or failed with *fault*."""
        self.store_fails = fault is not None and fault.__cause__ is not None
        if isinstance(effect, WriteBody):
            writer = self._writing.pop(effect.effect_id, None)
            if writer is not None:
                writer.written(effect.key, fault, now=now)
                writer.ring()
            return
        if isinstance(effect, (FindFile, ReadFile, FindUsed)):
            visit = self._fetching.pop(effect.effect_id, None)
            if visit is None:
                return
            if isinstance(effect, FindUsed):
                visit.told_used(result if isinstance(result, Used) else None, now=now)
            elif isinstance(effect, FindFile):
                visit.found(result if isinstance(result, StoredFile) else None, fault)
            else:
                visit.read(result if isinstance(result, bytes) else None, fault)
            visit.ring()
            return
        if isinstance(effect, MakeThumbnail):
            data = result if isinstance(result, bytes) else None
            self.downloads.thumbnails.made(effect.file, data, failed=fault is not None)
            return
        self.decisions.carried_out(effect, result, fault, now=now)
        self._act(None, now)

    def held(self) -> Held:
        """How much is held, for figures and for tests: without visits it goes back to nothing."""
        return Held(
            len(self._visits),
            len(self._fetching),
            len(self._writing),
            len(self._unproven),
            self.decisions.held(),
        )

    # --- for the visits ---

    def quest(
        self, visit: Visit, quest_id: int, method: str, params: Mapping[str, object], *, now: float
    ) -> None:
        """A visitor asks."""
        if method == STATS and visit.visitor.operator:
            visit.wants_stats(quest_id)
            self.ask_used(visit)
            return
        self.decisions.quest(visit.visitor, quest_id, method, params, now=now)
        self._act(visit, now)

    def delivered(self, visit: Visit, message_id: int) -> None:
        """A visitor has answered the push of a message."""
        self.decisions.delivered(visit.visitor, message_id)
        self._take_effects()

    def answered(self, visit: Visit, method: str, action: Answer | Refuse) -> None:
        """A visitor has its answer, or its refusal."""
        code = action.code if isinstance(action, Refuse) else 0
        self.figures.quest_ended(method, code)
        facts: dict[str, Fact] = {"visit": visit.visitor.name, "uid": visit.visitor.uid}
        if method == "auth":
            came_in = not code and visit.visitor.uid is not None
            self.figures.logins["ok" if came_in else "refused"] += 1
            level, event = (notes.INFO, "logged in") if came_in else (notes.WARNING, "no login")
            self.note(level, event, visit, {**facts, "code": code} if code else facts)
        elif code:
            # what is the gate's own trouble is worth more attention than what is the visitor's
            level = notes.WARNING if code == Code.WORK_QUEUE_FULL else notes.INFO
            known = method if method in self.decisions.methods else "unknown"
            self.note(level, "refused", visit, {**facts, "method": known, "code": code})

    def note(self, level: int, event: str, visit: Visit, facts: Mapping[str, Fact]) -> None:
        """Something for the log, about a visit."""
        self._notes.append(Note(level, event, {**facts, "peer": visit.peer}))

    def look_for_the_end(self, visit: Visit) -> None:
        """Something was done with *visit* while the gate stops."""
        if visit.busy:
            self._busy.add(visit)
        else:
            self._busy.discard(visit)
        self._look_for_the_end()

    def left(self, visit: Visit) -> None:
        """A visit is over."""
        self._visits.pop(visit.visitor, None)
        for effect_id in [key for key, value in self._fetching.items() if value is visit]:
            del self._fetching[effect_id]
        self.downloads.thumbnails.left(visit)
        self.decisions.left(visit.visitor)
        if self.draining:
            self.look_for_the_end(visit)

    def keep(self, visit: Visit, effect: WriteBody | DropBody) -> None:
        """A large quest goes on, or ends."""
        if isinstance(effect, WriteBody):
            self._writing[effect.effect_id] = visit
        self._effects.append(effect)

    def find(self, visit: Visit, key: str) -> None:
        """A visitor wants a file."""
        self._effects.append(FindFile(self._fetch_id(visit), key))

    def ask_used(self, visit: Visit) -> None:
        """A visitor wants to know how much the store holds."""
        self._effects.append(FindUsed(self._fetch_id(visit)))

    def read(self, visit: Visit, key: str, offset: int, length: int) -> None:
        """A visitor wants a part of a file."""
        self._effects.append(ReadFile(self._fetch_id(visit), key, offset, length))

    # --- private ---

    def _fetch_id(self, visit: Visit) -> int:
        effect_id = self._effect_id()
        self._fetching[effect_id] = visit
        return effect_id

    def _effect_id(self) -> int:
        self._effect_ids -= 1
        return self._effect_ids

    def _look_for_the_end(self) -> None:
        if not self._busy and self.on_drained is not None:
            self.on_drained()
            self.on_drained = None

    def _act(self, current: Visit | None, now: float) -> None:
        """Say what was decided; then ring every visit that is not being driven right now."""
        rung: dict[Visit, None] = {}
        actions, self.decisions.actions = self.decisions.actions, []
        for action in actions:
            visit = self._visits.get(action.visitor)
            if visit is None:
                continue  # gone meanwhile
            match action:
                case Answer() | Refuse():
                    visit.answer(action, now=now)
                case Push():
                    visit.push(action, now=now)
                case Part():
                    visit.part(action, now=now)
                case _:
                    assert_never(action)
            if visit is not current:
                rung[visit] = None
        self._take_effects()
        for visit in rung:
            visit.ring()

    def _take_effects(self) -> None:
        self._effects += self.decisions.effects
        self.decisions.effects = []
