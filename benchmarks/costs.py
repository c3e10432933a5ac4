"""``./dev costs``: what a small quest costs the core, and whether it has risen.

    ./dev costs             a table: microseconds, instructions, calls and lines of one quest
    ./dev costs --check     fail where a count is more than 2 % above the accepted one
    ./dev costs --accept    accept what is counted now: for a cost that is known and wanted
    ... --quick             calls and lines only, without valgrind and clock; the tests do this

Seconds are told, never judged: they scatter. Counts do not: instructions under callgrind repeat
to the last one, calls and lines are the same in every version of Python. The accepted counts stand
in costs.json; a call more is already too much.

Exit status: 0 fine, 1 something costs more, 2 usage, 3 valgrind is not installed, 4 nothing was
accepted for this build of Python and these versions yet.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import counting
from .counting import Cost, Steps
from .trips import ROWS

ACCEPTED = Path(__file__).with_name("costs.json")
TOLERANCE = 0.02  # of lines and instructions; what a change elsewhere may move them by
REPEATS = 9  # of each timing
NO_VALGRIND = 3
NOTHING_ACCEPTED = 4

Counts = dict[str, dict[str, float]]
"""What is counted ("calls", "lines", "instructions, <build>"), and how many for each row."""


class Difference(NamedTuple):
    """A count that is not what was accepted; ``worse`` fails a check."""

    text: str
    worse: bool


def main(args: Sequence[str], accepted: Path = ACCEPTED) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="./dev costs", description="What a small quest costs.")
    parser.add_argument("--check", action="store_true", help="fail where a count has risen")
    parser.add_argument("--accept", action="store_true", help="accept the counts of now")
    parser.add_argument("--quick", action="store_true", help="calls and lines only")
    options = parser.parse_args(args)

    steps = counting.steps()  # first: it leaves the caches of imports as callgrind's run finds them
    counts: Counts = {
        "calls": {name: cost.calls for name, cost in steps.items()},
        "lines": {name: cost.lines for name, cost in steps.items()},
    }
    seconds: Mapping[str, list[Cost]] = {}
    instructions: Mapping[str, Cost] = {}
    status = 0
    if not options.quick:
        if not (options.check or options.accept):
            seconds = counting.seconds(ROWS, REPEATS)
        try:
            instructions = counting.instructions()
        except FileNotFoundError as exc:
            print(f"{exc}: `apt-get install valgrind`, or --quick to do without", file=sys.stderr)
            status = NO_VALGRIND
        else:
            counts[f"instructions, {build()}"] = {
                name: round(cost.core) for name, cost in instructions.items()
            }

    print(f"One small quest, {build()}\n")
    print(table(steps, seconds, instructions))
    known: Counts = json.loads(accepted.read_text()) if accepted.exists() else {}
    if options.accept:
        accepted.write_text(json.dumps({**known, **counts}, indent=1, sort_keys=True) + "\n")
        print("\naccepted")
    elif options.check:
        differences = compare(counts, known)
        print("\n" + ("\n".join(text for text, _ in differences) or "as accepted"))
        missing = counts.keys() - known.keys()
        for what in sorted(missing):
            print(f"nothing was accepted yet for {what}: ./dev costs --accept")
        if any(worse for _, worse in differences):
            return 1
        if missing:
            return NOTHING_ACCEPTED
    return status


def build() -> str:
    """What instruction counts depend on beside the core: Python's build, the C parts' versions."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return ", ".join(
        (
            f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}",
            f"{platform.python_compiler()}{' with PGO' if optimised else ''}",
            platform.machine(),
            *(f"{name} {version(name)}" for name in ("msgpack", "websockets")),
        )
    )


def compare(counts: Counts, accepted: Counts) -> list[Difference]:
    """Where *counts* are not what was accepted, of what was accepted at all."""
    differences: list[Difference] = []
    for what in counts.keys() & accepted.keys():
        tolerance = 0.0 if what == "calls" else TOLERANCE
        for name, now in counts[what].items():
            then = accepted[what].get(name)
            kind = what.partition(",")[0]
            if then is None:
                differences.append(Difference(f"{name}: {kind} {now:,g}: not accepted yet", True))
                continue
            text = f"{name}: {kind} {then:,.10g} -> {now:,.10g} ({now / then - 1:+.1%})"
            if now > then * (1 + tolerance):
                differences.append(Difference(f"{text}: more than accepted", True))
            elif now < then * (1 - tolerance):
                better = f"{text}: less than accepted, ./dev costs --accept lowers it"
                differences.append(Difference(better, False))
    return sorted(differences)


def table(
    steps: Mapping[str, Steps], seconds: Mapping[str, list[Cost]], instructions: Mapping[str, Cost]
) -> str:
    """The figures of every row; "x hand" is the core's cost by that of the same work by hand."""
    heads = ["", "best us", "median", "x hand", "instructions", "x hand", "calls", "lines"]
    lines = [heads]
    for name, (calls, executed) in steps.items():
        line = [name, "", "", "", "", "", f"{calls:.1f}", f"{executed:.1f}"]
        if times := seconds.get(name):
            best = min(time.core for time in times)
            middle = median(time.core for time in times)
            line[1:3] = f"{best * 1e6:.2f}", f"{middle * 1e6:.2f}"
            line[3] = f"{best / min(time.by_hand for time in times):.2f}"
        if cost := instructions.get(name):
            line[4:6] = f"{cost.core:,.0f}", f"{cost.core / cost.by_hand:.2f}"
        lines.append(line)
    shown = [at for at in range(len(heads)) if at == 0 or any(line[at] for line in lines[1:])]
    widths = {at: max(len(line[at]) for line in lines) for at in shown}
    return "\n".join(
        "  ".join(
            line[at].ljust(widths[at]) if at == 0 else line[at].rjust(widths[at]) for at in shown
        ).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
