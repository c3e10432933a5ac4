"""Faults planted on purpose: each is a simulation made of real parts and one broken one.

    ./dev simulate --planted [--most N]    the long form: seeds until each is found

A simulation that finds nothing proves nothing; one that finds each of these does look.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtm_proto.codes import Code
from rtm_proto.connection import Connection
from rtm_proto.desk import Inbox
from rtm_proto.errors import FileNotSent, OutcomeUnknown, SendFailed, StoreFault
from rtm_proto.events import QuestId
from rtm_proto.flows.steps import Ask, Flow
from rtm_proto.flows.transfer import FileSent, Transfer
from rtm_proto.gate.decisions import Decisions, Push, Refuse, Visitor
from rtm_proto.gate.settings import GateSettings
from rtm_proto.gate.store import (
    DropBody,
    Effect,
    Result,
    SaveFile,
    Store,
    StoredFile,
    StoredMessage,
    WriteBody,
)
from rtm_proto.gate.tokens import Tokens
from rtm_proto.gate.visit import Visit
from rtm_proto.link import Buffer
from rtm_proto.mids import MidFilter
from rtm_proto.payload import Params
from rtm_proto.simulation import Parts, SimulatedGate, SimulatedStore, Simulation, Verdict

# --- gates that decide wrongly -------------------------------------------------------------------


class _Deciding(SimulatedGate):
    """A gate with decisions of another kind; ``remembers``: what it begins with."""

    decides: type[Decisions] = Decisions
    remembers: tuple[str, ...] = ("groups", "messages")

    def __init__(
        self,
        settings: GateSettings,
        *,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        store: Store,
    ) -> None:
        super().__init__(settings, wall_ms=wall_ms, make_token=make_token, store=store)
        kept = store.kept(0)
        self.decisions = self.decides(
            pid=settings.pid,
            users=settings.users,
            endpoint=settings.endpoint,
            file_url=f"http://{settings.endpoint}/files",
            wall_ms=wall_ms,
            make_token=make_token,
            kept=replace(
                kept,
                records=kept.records if "groups" in self.remembers else (),
                messages=kept.messages if "messages" in self.remembers else (),
            ),
        )


class _WithoutDedup(Decisions):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mail.mids = MidFilter(bound=0)


class _Reusable(Tokens):
    def spend(self, token: str) -> None:
        """It stays good."""


class _WithReusableTokens(Decisions):
    def __init__(self, *, make_token: Callable[[], str], **options: Any) -> None:
        super().__init__(make_token=make_token, **options)
        self.files.tokens = _Reusable(make_token)


class _Telling(Decisions):
    """Knows who is logged in, and says more or less than it should."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.known: dict[int, Visitor] = {}

    def quest(
        self, visitor: Visitor, quest_id: QuestId, method: str, params: Params, *, now: float
    ) -> None:
        super().quest(visitor, quest_id, method, params, now=now)
        if visitor.uid is not None:
            self.known[visitor.uid] = visitor

    def carried_out(
        self, effect: Effect, result: Result, fault: StoreFault | None, *, now: float
    ) -> None:
        before = len(self.actions)
        super().carried_out(effect, result, fault, now=now)
        pushes = [action for action in self.actions[before:] if isinstance(action, Push)]
        if isinstance(effect, SaveFile) and pushes:
            self.amend(pushes, effect.messages[0].sender)

    def amend(self, pushes: list[Push], sender: int) -> None:
        raise NotImplementedError

    def push_to(self, uids: list[int], pushes: list[Push]) -> None:
        told = {push.visitor for push in pushes}
        for uid in uids:
            visitor = self.known.get(uid)
            if visitor is not None and visitor not in told:
                self.actions.append(Push(visitor, pushes[0].method, pushes[0].params))


class _TellingTheSender(_Telling):
    def amend(self, pushes: list[Push], sender: int) -> None:
        self.push_to([sender], pushes)


class _TellingEverybody(_Telling):
    def amend(self, pushes: list[Push], sender: int) -> None:
        self.push_to([uid for uid in self.known if uid != sender], pushes)


class _Forgetful(_Telling):
    def amend(self, pushes: list[Push], sender: int) -> None:
        if len(pushes) > 1:
            self.actions.remove(pushes[-1])


class _Trusting(Decisions):
    """Takes what was pushed for delivered."""

    def carried_out(
        self, effect: Effect, result: Result, fault: StoreFault | None, *, now: float
    ) -> None:
        super().carried_out(effect, result, fault, now=now)
        for action in self.actions:
            if isinstance(action, Push) and action.message_id is not None:
                self.delivered(action.visitor, action.message_id)


class _NeverLoggingOut(Decisions):
    def left(self, visitor: Visitor) -> None:
        """The login stays."""


class _Denying(SimulatedGate):
    """Says now and then that somebody may not log in, for no reason."""

    def take(self, visit: Visit, quest_id: int, method: str, params: Params, *, now: float) -> None:
        if method == "auth" and now > 1001.0:
            visit.answer(Refuse(visit.visitor, quest_id, Code.LOGIN_DENIED, "denied"), now=now)
        else:
            super().take(visit, quest_id, method, params, now=now)


def _deciding(kind: type[Decisions]) -> type[SimulatedGate]:
    return type("Gate", (_Deciding,), {"decides": kind})


class _ForgettingMids(_Deciding):
    remembers = ("groups",)


class _ForgettingGroups(_Deciding):
    remembers = ("messages",)


class _Hasty(SimulatedGate):
    """Answers before the store has confirmed."""

    def effects(self) -> list[Effect]:
        effects = super().effects()
        for effect in effects:
            if isinstance(effect, SaveFile):
                super().carried_out(effect, None, None, now=0.0)
        return effects


class _Deaf(SimulatedGate):
    """Never lets the asker know that the store has failed."""

    def carried_out(
        self,
        effect: Effect,
        result: Result,
        fault: StoreFault | None,
        *,
        now: float,
    ) -> None:
        super().carried_out(effect, result, None, now=now)


class _Hoarding(SimulatedGate):
    """Keeps what it holds of a visit that is over."""

    def left(self, visit: Visit) -> None:
        pass


class _WriteBehind(SimulatedStore):
    """Confirms a file, and writes it down when the next one comes."""

    def __init__(self) -> None:
        super().__init__()
        self._late: list[tuple[StoredFile, Sequence[StoredMessage], bytes]] = []

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        self._flush()
        self._late.append((file, messages, rest))

    def crash(self) -> None:
        self._late.clear()
        super().crash()

    def _flush(self) -> None:
        late, self._late = self._late, []
        for item in late:
            super().save_file(*item)


class _Careless(SimulatedStore):
    """Does not know any more who has not got what, when it begins again."""

    def crash(self) -> None:
        self._waiting.clear()
        super().crash()


class _Hoarder(SimulatedStore):
    """Never forgets what was written of a file that will not come."""

    def drop_body(self, key: str) -> None:
        pass


class _Scribbling(SimulatedGate):
    """Gives the store other bytes than came."""

    def keep(self, visit: Visit, effect: WriteBody | DropBody) -> None:
        if isinstance(effect, WriteBody):
            effect = replace(effect, data=effect.data[:-1] + b"?")
        super().keep(visit, effect)


# --- clients that behave wrongly -----------------------------------------------------------------


class _Untimed(Connection):
    """A quest of its never times out."""

    def send_quest(self, method: str, params: Params, *, deadline: float | None) -> QuestId:
        return super().send_quest(method, params, deadline=None)


class _Tardy(Connection):
    """A quest of its times out half a second too late."""

    def send_quest(self, method: str, params: Params, *, deadline: float | None) -> QuestId:
        later = None if deadline is None else deadline + 0.5
        return super().send_quest(method, params, deadline=later)


class _Tearing(Connection):
    """Loses the last byte of a large piece, and goes on as if nothing were."""

    def send_piece(self, quest_id: QuestId, piece: Buffer) -> None:
        super().send_piece(quest_id, piece[:-1] if len(piece) > 400 else piece)


class _Garbling(Connection):
    """Changes a byte of a large piece."""

    def send_piece(self, quest_id: QuestId, piece: Buffer) -> None:
        changed = bytes([piece[0] ^ 1]) + bytes(piece[1:]) if len(piece) > 400 else piece
        super().send_piece(quest_id, changed)


class _TokenSaver(Transfer):
    """Uses the token of the first attempt for all."""

    def run(self) -> Flow[FileSent]:
        flow = super().run()
        saved: object = None
        outcome: object = None
        error: Exception | None = None
        while True:
            try:
                step = flow.send(outcome) if error is None else flow.throw(error)
            except StopIteration as stop:
                result: FileSent = stop.value
                return result
            outcome = error = None
            if isinstance(step, Ask) and saved is not None:
                outcome = saved
                continue
            try:
                outcome = yield step
            except Exception as exc:
                error = exc
            else:
                saved = outcome if isinstance(step, Ask) else saved


class _Optimist(Transfer):
    """Says that a file was sent, whatever has happened."""

    def run(self) -> Flow[FileSent]:
        try:
            return (yield from super().run())
        except SendFailed:
            return FileSent(self.mid, None, self.attempts, False)


class _Pessimist(Transfer):
    """Says that a file was not sent where nobody knows."""

    def run(self) -> Flow[FileSent]:
        try:
            return (yield from super().run())
        except OutcomeUnknown as exc:
            raise FileNotSent(mid=exc.mid, stage=exc.stage, cause=exc.cause) from exc


def _renewing(*args: Any, mid: int, repeat: bool, **options: Any) -> Transfer:
    """Sends again with a new mid."""
    return Transfer(*args, mid=mid + repeat, repeat=repeat, **options)


def _first_time(*args: Any, repeat: bool, **options: Any) -> Transfer:
    """Does not know that a sending is a repeated one."""
    return Transfer(*args, repeat=False, **options)


# --- the list ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and what the violation that it has to lead to says (a part of it)."""

    name: str
    shows: str
    options: Mapping[str, Any] = field(repr=False)

    def run(self, seed: int) -> Verdict:
        """One seed with the fault in it."""
        return Simulation(seed, **self.options).run()

    def find(self, most: int) -> tuple[int, Verdict] | None:
        """How many seeds it takes, and what the last one says; None beyond *most*."""
        for seed in range(most):
            verdict = self.run(seed)
            if verdict.violation is not None:
                return seed + 1, verdict
        return None


def _gate(kind: type[SimulatedGate]) -> Mapping[str, Any]:
    return {"make_gate": kind}


def _parts(**parts: Any) -> Mapping[str, Any]:
    return {"parts": Parts(**parts)}


def _unfiltered(uid: int, *, limit: int) -> Inbox:
    return Inbox(uid, limit=limit, mids=MidFilter(bound=0))


def _without_keepalive(link: Any) -> Connection:
    return Connection(link, silence=1e6)


FAULTS = [
    Fault("the gate stores a mid twice", "stored twice", _gate(_deciding(_WithoutDedup))),
    Fault("the gate forgets mids at a restart", "stored twice", _gate(_ForgettingMids)),
    Fault("the gate forgets groups at a restart", "", _gate(_ForgettingGroups)),
    Fault("the gate takes a spent token", "nobody sent", _gate(_deciding(_WithReusableTokens))),
    Fault("the gate answers before the store", "not stored", _gate(_Hasty)),
    Fault("the gate does not hear of the store's fault", "", _gate(_Deaf)),
    Fault(
        "the gate pushes to the sender too", "to its sender", _gate(_deciding(_TellingTheSender))
    ),
    Fault("the gate pushes to others", "it is for", _gate(_deciding(_TellingEverybody))),
    Fault("the gate loses a push", "never got", _gate(_deciding(_Forgetful))),
    Fault("the gate hoards visits", "holds", _gate(_Hoarding)),
    Fault("the gate keeps logins", "still holds", _gate(_deciding(_NeverLoggingOut))),
    Fault("the gate denies logins", "cannot log in", _gate(_Denying)),
    Fault("the store loses what it confirmed", "has lost it", {"make_store": _WriteBehind}),
    Fault("the gate takes a push for delivered", "who never got", _gate(_deciding(_Trusting))),
    Fault("the store forgets what is unread", "nor unread", {"make_store": _Careless}),
    Fault("the store keeps what was dropped", "drafts", {"make_store": _Hoarder}),
    Fault("the gate scribbles in a piece", "with other bytes", _gate(_Scribbling)),
    Fault("the receiver's filter forgets", "seen twice", _parts(inbox=_unfiltered)),
    Fault("a quest never times out", "", _parts(connection=_Untimed)),
    Fault("a quest times out late", "after its deadline", _parts(connection=_Tardy)),
    Fault("nobody looks whether the link lives", "", _parts(connection=_without_keepalive)),
    Fault("a body is torn", "", _parts(connection=_Tearing)),
    Fault("a body is garbled", "", _parts(connection=_Garbling)),
    Fault("a token is used for two attempts", "second attempt", _parts(transfer=_TokenSaver)),
    Fault("any error is told as FileSent", "is not stored", _parts(transfer=_Optimist)),
    Fault("unknown is told as FileNotSent", "is stored", _parts(transfer=_Pessimist)),
    Fault("sent again with a new mid", "ends with mid", _parts(transfer=_renewing)),
    Fault("a repeat is not known as one", "no reason", _parts(transfer=_first_time)),
]


def main(argv: list[str]) -> int:
    """Find each, from seed 0 on; the exit status is 1 if one stays hidden."""
    parser = argparse.ArgumentParser(description="How many seeds each planted fault takes.")
    parser.add_argument("--most", type=int, default=10_000, help="seeds for each (default: 10000)")
    most: int = parser.parse_args(argv).most
    hidden = 0
    for fault in FAULTS:
        found = fault.find(most)
        if found is None:
            hidden += 1
            print(f"{'-':>6}  {fault.name}: NOT FOUND in {most} seeds", flush=True)
        else:
            print(f"{found[0]:>6}  {fault.name}: {found[1].violation}", flush=True)
    return 1 if hidden else 0
