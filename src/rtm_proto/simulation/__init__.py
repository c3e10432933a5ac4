"""A deterministic simulation: users and a gate, made of the real core, in a world of one seed.

    seed ─► Chance ─► Weather, Scenario ─► Users ─ Streams ─ Service (Gate, Store)
                                             └────► Ledger ◄────┘  ─► Verdict

    verdict = simulate(4711)            # the same digest on every machine and Python
    verdict.violation                   # None, or what was promised and is not so

The virtual clock, the network, the store and everybody's moods come from the seed; the Connection,
Desk, links, flows and Gate are the ones that the adapters drive. What is checked stands in
``ledger``; what can go wrong stands in ``weather``. Not loaded by ``import rtm_proto``.
"""

from .ledger import Violation
from .run import Simulation, Verdict, simulate
from .service import SimulatedGate, SimulatedStore
from .weather import CALM, Weather
from .world import Parts

__all__ = [
    "CALM",
    "Parts",
    "SimulatedGate",
    "SimulatedStore",
    "Simulation",
    "Verdict",
    "Violation",
    "Weather",
    "simulate",
]
