"""What the store is asked for, and who waits for it: nothing is said before it is kept.

a rule ──► ask(effect) ──► store ──► carried_out ──┬──► then: the answer, pushes
                                                   └──► 20011, where the store failed
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from ...codes import Code
from ...errors import StoreFault
from ...payload import Params
from ..actions import Action, Answer, Asked, Refusal, Refuse
from ..store import Effect, FindHistory, FindUnread, Result, SaveRecord, Table

T = TypeVar("T")

Then = Callable[[Result, float], None]
"""What follows once an effect is carried out: its result, and when."""


class _Waiting(NamedTuple):
    asked: Asked | None  # None: nobody waits for an answer
    effect: Effect
    then: Then
    holds: tuple[Hashable, ...]


class Keeping:
    """The actions and effects of all rules, in order; take and clear both lists."""

    def __init__(self, *, bound: int) -> None:
        """*bound*: quests that may wait for the store at once."""
        self.actions: list[Action] = []
        self.effects: list[Effect] = []
        self._bound = bound
        self._waiting: dict[int, _Waiting] = {}
        self._held: set[Hashable] = set()
        self._ids = 0

    def __len__(self) -> int:
        """How many quests and changes wait for the store."""
        return len(self._waiting)

    def under_way(self) -> Iterator[Effect]:
        """The effects that somebody waits for, in the order in which they were asked for."""
        return (waiting.effect for waiting in self._waiting.values())

    def next_id(self) -> int:
        """The id of the next effect; above 0."""
        self._ids += 1
        return self._ids

    def answer(self, asked: Asked, params: Params) -> None:
        """Say this to whoever asked."""
        self.actions.append(Answer(asked.visitor, asked.quest_id, params))

    def refuse(self, asked: Asked, code: int, text: str) -> None:
        """Say this to whoever asked."""
        self.actions.append(Refuse(asked.visitor, asked.quest_id, code, text))

    def free(self, key: Hashable) -> bool:
        """Whether no effect that holds *key* is under way."""
        return key not in self._held

    def check_free(self, key: Hashable, what: str) -> None:
        """Refuse with 20011 where it is not free."""
        if not self.free(key):
            text = f"{what} is being stored: try again in a moment"
            raise Refusal(Code.WORK_QUEUE_FULL, text)

    def ask(
        self, asked: Asked, effect: Effect, then: Then, *, holds: Iterable[Hashable] = ()
    ) -> None:
        """Ask the store; *then* says what follows. *holds*: for ``check_free``, until it is over.

        Refuses with 20011 where too many wait already.
        """
        if len(self._waiting) >= self._bound:
            raise Refusal(
                Code.WORK_QUEUE_FULL,
                f"the store is at {len(self._waiting)} quests, the limit is {self._bound}: "
                "try again in a moment",
            )
        self._hold(_Waiting(asked, effect, then, tuple(holds)))

    def save(
        self,
        asked: Asked,
        table: Table,
        key: int,
        value: str | None,
        then: Callable[[], None],
        *,
        answer: Params | None = None,
    ) -> None:
        """Keep a record; then comes the *answer*. There is one change of a record at a time."""
        self.check_free((table, key), f"{table.value} {key}")

        def kept(result: Result, now: float) -> None:
            self.answer(asked, answer or {})
            then()

        effect = SaveRecord(self.next_id(), table, key, value)
        self.ask(asked, effect, kept, holds=[(table, key)])

    def forget(self, table: Table, key: int) -> None:
        """Keep a record no more, which is of no use to anybody; it has to be free.

        Where the store fails, the record is there again when the next gate begins.
        """
        effect = SaveRecord(self.next_id(), table, key, None)
        self._hold(_Waiting(None, effect, _nothing, ((table, key),)))

    def change(
        self,
        asked: Asked,
        table: Table,
        records: dict[int, T],
        key: int,
        value: T | None,
        text: Callable[[T], str],
        *,
        answer: Params | None = None,
    ) -> None:
        """Keep *value*, first in the store, as *text* has it, and then in *records*.

        An empty one is forgotten in both. Otherwise as ``save``.
        """

        def kept() -> None:
            if value:
                records[key] = value
            else:
                records.pop(key, None)

        self.save(asked, table, key, text(value) if value else None, kept, answer=answer)

    def carried_out(
        self, effect: Effect, result: Result, fault: StoreFault | None, *, now: float
    ) -> None:
        """The store has done what it was asked for, or has failed."""
        waiting = self._waiting.pop(effect.effect_id, None)
        if waiting is None:
            return
        self._held.difference_update(waiting.holds)
        if fault is None:
            waiting.then(result, now)
        elif waiting.asked is not None:
            what = "read" if isinstance(effect, (FindHistory, FindUnread)) else "stored"
            self.refuse(waiting.asked, Code.WORK_QUEUE_FULL, f"not {what}: {fault}")

    # --- private ---

    def _hold(self, waiting: _Waiting) -> None:
        self._held.update(waiting.holds)
        self._waiting[waiting.effect.effect_id] = waiting
        self.effects.append(waiting.effect)


def _nothing(result: Result, now: float) -> None:
    """What follows for nobody."""
