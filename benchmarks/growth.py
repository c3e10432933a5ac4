"""Whether what we cost grows straight: with quests in flight, connections, and bytes of a file.

Each figure is taken by itself, one after the other in one process, so that none disturbs another:
processor time with nothing beside it, the longest turn of the loop while a second task takes every
turn it can get, and the most that is allocated under tracemalloc.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from . import work
from .peers.calls import Asker, Client
from .work import KIB, Figures, Opener, Row, Runtime

KINDS = ("growth of quests", "growth of files", "growth of connections")
CLIENTS = ("rtm_asyncio", "rtm_trio")
HEADS = {  # of each kind: what is counted, and the figures with their heads
    KINDS[0]: ("quests in flight", {"cpu_us": "CPU us a quest", "kib": "KiB in all"}),
    KINDS[1]: ("file", {"cpu_ms": "CPU ms", "kib": "KiB"}),
    KINDS[2]: ("connections", {"cpu_us": "CPU us to log in", "kib": "KiB each"}),
}
STALL = {"stall_ms": "longest turn, ms", "stall_cpu_ms": "of it CPU, ms"}


async def of_quests(client: Asker, runtime: Runtime, count: int, in_flight: int) -> Figures:
    """So many quests at the same time."""
    figures = await work.quests(client, runtime, count, in_flight)
    wall, cpu = await work.longest_turns(
        runtime, lambda: work.ask_many(client, runtime, count, in_flight)
    )
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await work.ask_many(client, runtime, 2 * in_flight, in_flight)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    turns = {"stall_ms": wall * 1e3, "stall_cpu_ms": cpu * 1e3}
    return {**figures, **turns, "kib": (peak - before) / KIB}


async def of_files(client: Client, runtime: Runtime, path: Path, count: int) -> Figures:
    """A file of that size."""
    return {
        **await work.files(client, path, count),
        **await work.stall(client, runtime, path, min(count, 5)),
        **await work.memory(client, path),
    }


async def of_connections(open_client: Opener, url: str, runtime: Runtime, count: int) -> Figures:
    """So many connections that are idle; the turns are those of logging in and out."""
    figures = await work.idle(open_client, url, runtime, count)
    wall, cpu = await work.longest_turns(
        runtime, lambda: work.idle(open_client, url, runtime, count)
    )
    return {**figures, "stall_ms": wall * 1e3, "stall_cpu_ms": cpu * 1e3}


def tables(
    rows: Sequence[Row], samples: Mapping[tuple[str, str], Mapping[str, list[float]]]
) -> list[list[list[str]]]:
    """A table for each kind and client: a line for each size, medians."""
    made: list[list[list[str]]] = []
    for kind in KINDS:
        counted, shown = HEADS[kind]
        figures = shown | STALL
        for client in CLIENTS:
            lines = [
                [
                    row.name.partition(", ")[2],
                    *(f"{median(of[each]):,.{_digits(median(of[each]))}f}" for each in figures),
                ]
                for row in rows
                if row.kind == kind and (of := samples.get((client, row.name)))
            ]
            if lines:
                made.append([[f"{client}, {counted}", *figures.values()], *lines])
    return made


def _digits(value: float) -> int:
    """How many behind the point: none of a large number."""
    return 0 if value >= 100 else 1 if value >= 10 else 2
