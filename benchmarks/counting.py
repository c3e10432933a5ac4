"""Counts what trips cost: seconds, Python's calls and lines, or a processor's instructions.

    python -m benchmarks.counting                   calls and lines of every row, as JSON
    python -m benchmarks.counting --marked ROW ...  the rows, to be run under callgrind

Under callgrind each row runs between two marks. A mark is a call of the C library's getppid(),
which nothing else here calls; at each mark callgrind writes down what was executed since the last
one. So one process counts everything, and what it takes to start is in no count. The same tree
gives the same counts to the last instruction, whatever else the machine does; another one, whose
heap begins at another place, differs by up to 0.3 %.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, NamedTuple

from .trips import ROWS, Row, Trip

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 128  # quests before anything is counted: the interpreter adapts, heaps grow
COUNTED = 256  # quests that are counted
MARK = "getppid"

_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)
_INLINED = {"<listcomp>", "<dictcomp>", "<setcomp>"}  # which are calls up to Python 3.11 only


class Cost(NamedTuple):
    """Of one quest: the core's own, and by hand."""

    core: float
    by_hand: float


class Steps(NamedTuple):
    """Of one quest: Python functions that were entered, and lines that were executed."""

    calls: float
    lines: float


class WarmTrip(NamedTuple):
    """A trip that was made often enough, how many quests it carries, and how often to make it."""

    trip: Trip
    quests: int
    times: int


def warm(make: Callable[[], Trip], quests: int) -> WarmTrip:
    """Prepare a trip, and make it until nothing about it is new."""
    trip = make()
    run(trip, max(WARM_UP // quests, 2))
    return WarmTrip(trip, quests, max(COUNTED // quests, 2))


def both(row: Row) -> Iterator[WarmTrip]:
    """The core's trip, then the one by hand."""
    yield warm(row.make, row.quests)
    yield warm(row.by_hand, 1)


def run(trip: Trip, times: int) -> None:
    """Make the trip so many times."""
    for _ in repeat(None, times):
        trip()


# --- seconds -------------------------------------------------------------------------------------


def seconds(rows: Sequence[Row], repeats: int) -> dict[str, list[Cost]]:
    """What a quest of each row took, *repeats* times; the core and the hand take turns."""
    prepared = [(row.name, list(both(row))) for row in rows]
    found: dict[str, list[Cost]] = {row.name: [] for row in rows}
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, (core, by_hand) in prepared:
                found[name].append(Cost(_timed(core), _timed(by_hand)))
    finally:
        gc.enable()
    return found


def _timed(it: WarmTrip) -> float:
    began = perf_counter()
    run(it.trip, it.times)
    return (perf_counter() - began) / (it.times * it.quests)


# --- calls and lines -----------------------------------------------------------------------------


def steps() -> dict[str, Steps]:
    """Calls and lines of every row, counted in a Python of its own: the same in every version."""
    done = _python([sys.executable, "-m", "benchmarks.counting"])
    found: dict[str, list[float]] = json.loads(done.stdout)
    return {name: Steps(*numbers) for name, numbers in found.items()}


def count_steps(row: Row) -> Steps:
    """Calls and lines of one quest of *row*, in this Python."""
    trip, quests, times = warm(row.make, row.quests)
    calls = lines = 0

    def inside(_frame: FrameType, event: str, _arg: Any) -> Callable[..., Any]:
        nonlocal lines
        lines += event == "line"
        return inside

    def enter(frame: FrameType, _event: str, _arg: Any) -> Callable[..., Any] | None:
        nonlocal calls
        if frame.f_code is run.__code__:
            return None
        calls += frame.f_code.co_name not in _INLINED
        return inside

    sys.settrace(enter)
    try:
        run(trip, times)
    finally:
        sys.settrace(None)
    carried = times * quests
    return Steps(round(calls / carried, 2), round(lines / carried, 2))


# --- instructions --------------------------------------------------------------------------------


def instructions(rows: Sequence[Row] = ROWS) -> dict[str, Cost]:
    """Instructions of each row, counted by callgrind. Raises FileNotFoundError without it."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise FileNotFoundError("valgrind is not on PATH")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        callgrind = ["--tool=callgrind", f"--callgrind-out-file={out}", f"--dump-before={MARK}"]
        program = [sys.executable, "-m", "benchmarks.counting", "--marked"]
        done = _python([valgrind, "-q", *callgrind, *program, *(row.name for row in rows)])
        dumps = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        totals = [int(_TOTALS.findall(dump.read_text())[0]) for dump in dumps]
    return read_totals(totals, json.loads(done.stdout))


def read_totals(totals: list[int], quests: Mapping[str, list[int]]) -> dict[str, Cost]:
    """The cost of one quest of each row: of every two totals the second is between two marks."""
    between = totals[1::2]
    if len(totals) != 4 * len(quests):
        raise RuntimeError(f"callgrind saw {len(totals)} marks of {4 * len(quests)}")
    return {
        name: Cost(*(between[2 * at + i] / numbers[i] for i in (0, 1)))
        for at, (name, numbers) in enumerate(quests.items())
    }


def make_marked_trips(names: Sequence[str]) -> dict[str, list[int]]:
    """Run the rows of these *names*, each between two marks; how many quests each has carried."""
    carried: dict[str, list[int]] = {}
    gc.disable()  # collecting is no part of a quest: none makes a cycle
    for row in (row for row in ROWS if row.name in names):
        carried[row.name] = []
        for trip, quests, times in both(row):
            os.getppid()
            run(trip, times)
            os.getppid()
            carried[row.name].append(times * quests)
    return carried


def _python(program: list[str]) -> subprocess.CompletedProcess[str]:
    """Run it where nothing differs from one time to the next."""
    environ = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(program, cwd=ROOT, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(program)}` exited {done.returncode}:\n{done.stderr}")
    return done


if __name__ == "__main__":
    _, *arguments = sys.argv
    if arguments[:1] == ["--marked"]:
        print(json.dumps(make_marked_trips(arguments[1:])))
    else:
        print(json.dumps({row.name: count_steps(row) for row in ROWS}))
