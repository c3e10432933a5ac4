"""A simulation: one seed, one story, one verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..connection import MAX_UNSENT
from ..gate.gate import Held
from ..gate.store import Table, text_of_uids
from .chance import Chance
from .clock import Clock
from .ledger import Ledger, Violation
from .scenario import Scenario
from .service import GROUP, MakeGate, Service, SimulatedGate, SimulatedStore
from .trace import KEPT, Trace
from .user import User
from .weather import Sky, Weather, draw_weather
from .world import Parts, World

MAX_STEPS = 100_000  # more than this, and a story never ends; they have 400, and 20,000 at most
LAST = 1000.0  # seconds that a story may take after everybody has left
CHECK_EVERY = 32  # steps between two looks at what is held


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a seed has shown. ``digest`` is the same wherever this seed is run again."""

    seed: int
    digest: str
    violation: str | None
    steps: int
    seconds: float
    calls: int
    deliveries: int
    outcomes: dict[str, int]
    trace: list[str] = field(repr=False)
    fault: Exception | None = field(default=None, repr=False)
    """The exception behind a violation, with its traceback."""


class Simulation:
    """One seed; ``run`` it once."""

    def __init__(
        self,
        seed: int,
        *,
        parts: Parts | None = None,
        make_gate: MakeGate = SimulatedGate,
        make_store: Callable[[], SimulatedStore] = SimulatedStore,
        weather: Weather | None = None,
        scenario: Callable[[World, Service, list[User]], Scenario] = Scenario,
        users: int | None = None,
        max_steps: int = MAX_STEPS,
        keep: int | None = KEPT,
    ) -> None:
        """*parts*, *make_gate*, *make_store*: what it is made of. *weather*: instead of a drawn
        one. *scenario*: what happens. *users*: how many, instead of 2 to 4. *max_steps*: after
        which it is taken not to end. *keep*: how many of the last lines of the trace are kept;
        None for all.
        """
        self.seed = seed
        self._max_steps = max_steps
        chance = Chance(seed)
        self._clock = Clock()
        self._trace = Trace(self._clock, keep=keep)
        drawn = draw_weather(chance)
        self._sky = Sky(weather or drawn)
        uids = [1001 + n for n in range(users or chance.integer(2, 4))]
        tokens = {uid: f"login token of {uid}" for uid in uids}
        store = make_store()
        groups = {GROUP: frozenset(uids[:-1])}
        for gid, members in groups.items():
            store.save_record(Table.MEMBERS, gid, text_of_uids(members))
        self._ledger = Ledger(self._clock, self._sky, self._trace, groups)
        parts = parts or Parts()
        self._world = World(self._clock, chance, self._sky, self._trace, self._ledger, parts)
        self._service = self._world.service = Service(
            self._clock,
            chance,
            self._sky,
            self._trace,
            self._ledger,
            users=tokens,
            make_gate=make_gate,
            store=store,
            piece=chance.one_of(parts.pieces),
        )
        self._users = [User(self._world, uid, token) for uid, token in tokens.items()]
        self._scenario = scenario(self._world, self._service, self._users)

    def run(self) -> Verdict:
        """Let the story happen."""
        violation: str | None = None
        fault: Exception | None = None
        try:
            self._run()
        except Violation as exc:
            violation, fault = str(exc), exc
        except Exception as exc:  # nothing that happens here may be raised by the core
            violation, fault = f"{type(exc).__name__} was raised: {exc}", exc
        if violation is not None:
            self._trace.say("VIOLATION", violation)
        digest, lines = self._trace.digest(), self._trace.lines()
        self._abandon()
        ledger = self._ledger
        return Verdict(
            self.seed,
            digest,
            violation,
            self._clock.steps,
            self._clock.now,
            ledger.calls,
            ledger.deliveries,
            ledger.outcomes,
            lines,
            fault,
        )

    # --- private ---

    def _run(self) -> None:
        clock = self._clock
        end = float("inf")
        while clock.step():
            if clock.steps % CHECK_EVERY == 0:
                self._watch()
                if self._scenario.over and end == float("inf"):
                    end = clock.now + LAST
                if clock.steps > self._max_steps or clock.now > end:
                    raise Violation(f"it never ends: {clock.steps} steps")
        if not self._scenario.over:
            raise Violation("nothing happens any more, and not everything is done")
        self._check_nothing_left()

    def _watch(self) -> None:
        """No memory grows without bound."""
        service, gate = self._service, self._service.gate
        for user in self._users:
            user.watch()
        if gate is None:
            return
        service.tidy()
        held, users = gate.held(), len(self._users)
        if held.decisions.logins > users or held.decisions.rooms > users:
            raise Violation(f"more is logged in or entered than there are users: {held}")
        if held.visits > len(service.streams) or held.decisions.effects > service.under_way:
            raise Violation(f"the gate holds what is over: {held}")
        for stream in service.streams:
            if stream.visit is not None and stream.visit.unsent > MAX_UNSENT:
                raise Violation(f"{stream.visit} holds {stream.visit.unsent} unsent bytes")
        if held.decisions.tokens > self._ledger.tokens_issued:
            raise Violation(f"more tokens than were ever issued: {held}")

    def _check_nothing_left(self) -> None:
        self._service.tidy()
        gate = self._service.gate
        assert gate is not None  # one that is gone has an alarm set to come back
        held = gate.held()
        if held != Held(0, 0, 0, 0, replace(held.decisions, logins=0, rooms=0)):
            raise Violation(f"the gate still holds {held}")
        if held.decisions.effects or self._service.under_way or self._service.streams:
            raise Violation(f"something is still under way: {held}")
        for user in self._users:
            for connection in user.connections:
                if not connection.finished or connection.pending:
                    raise Violation(f"{user} still has {connection}")
        self._ledger.check_store(self._service.store)
        if self._service.store.drafts:
            raise Violation(f"the store still has {self._service.store.drafts} drafts")

    def _abandon(self) -> None:
        """Close what is still waiting, so that nothing of it is done at some later time."""
        self._ledger.closed = True
        for task in self._world.tasks:
            try:
                task.cancel()
            except (Violation, RuntimeError):
                pass  # it has been told already


def simulate(seed: int, **options: object) -> Verdict:
    """Run *seed*; *options* as for Simulation."""
    return Simulation(seed, **options).run()  # type: ignore[arg-type]
