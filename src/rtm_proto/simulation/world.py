"""What all users of one simulation share, and the parts that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ..connection import Connection
from ..desk import Desk, Inbox
from ..flows.transfer import Transfer
from ..link import Link
from .chance import Chance
from .clock import Clock
from .ledger import Ledger
from .service import Service
from .tasks import Task
from .trace import Trace
from .weather import Sky


@dataclass(frozen=True, slots=True)
class Parts:
    """What a simulation is put together from: the real parts, or broken ones to be found."""

    connection: Callable[[Link], Connection] = Connection
    desk: Callable[[Connection, Inbox | None], Desk] = Desk
    inbox: Callable[..., Inbox] = Inbox
    transfer: Callable[..., Transfer] = Transfer
    schemes: tuple[str, ...] = ("ws", "tcp")
    """What users speak, one or the other."""
    pieces: tuple[int, ...] = (64, 1_000, 65_536)
    """In pieces of how many bytes the gate takes files: small ones, for small files."""


class World:
    """What all users of one simulation share."""

    def __init__(
        self, clock: Clock, chance: Chance, sky: Sky, trace: Trace, ledger: Ledger, parts: Parts
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.sky = sky
        self.trace = trace
        self.ledger = ledger
        self.parts = parts
        self.tasks: list[Task] = []
        self.service: Service

    def start(self, work: Coroutine[Any, Any, None]) -> Task:
        """Let a coroutine be carried out."""
        task = Task(self.clock, work)
        self.tasks.append(task)
        return task
