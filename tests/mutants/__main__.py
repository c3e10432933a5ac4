"""``./dev mutants``: whether the tests of the core notice every small change of it.

    ./dev mutants                         the whole core: about an hour of one CPU
    ./dev mutants payload gate/http       these modules
    ./dev mutants payload:scan            one function of a module
    ./dev mutants --sample 20             twenty mutants of each module
    ./dev mutants payload --list          what there is, without running anything

What a mutant is, and that the words of messages do not count, stands in mutations.py. A module is
tested by its own file of tests only (see core.py), with fewer hypothesis examples than elsewhere,
always the same ones. A mutant that is not noticed has survived: it shows a test that is missing, or
it behaves as the module does. The latter stand in accepted.toml, with the reason; an entry there
that names no mutant, or one that is killed, is as wrong as a survivor that is not there.

Why not mutmut 3 (3.8 was tried): it changes functions without decorators only, so no limit, no
table, no enum, no default of a field and no property, and what runs while a module is imported it
cannot kill; a mutant is a number that changes with the function, so nothing can be said about one
for good; it has no list of accepted survivors; it chooses tests by what they happen to touch, not a
module's own; and most of what survives it in a decoder are words of error messages.

Exit status: 0 all is well, 1 it is not, 2 usage, 3 there is no fork here.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .core import Module, modules_of
from .mutations import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/rtm_proto"
TESTS = ROOT / "tests"
ACCEPTED = Path(__file__).resolve().parent / "accepted.toml"

Reasons = Mapping[str, Mapping[str, str]]
"""For each function: the text of a mutant, and why it may survive."""


ROW = "{:<16} {:>8,} {:>7,} {:>10,} {:>9,} {:>9,} {:>8} {:>10}"
HEAD = ROW.replace(",", "").format(
    "module", "mutants", "killed", "timed out", "survived", "accepted", "killed", "explained"
)


def main(
    args: list[str],
    *,
    package: Path = PACKAGE,
    tests: Path = TESTS,
    accepted: Path = ACCEPTED,
) -> int:
    """Returns the exit status."""
    modules = {module.name: module for module in modules_of(package, tests)}
    parser = argparse.ArgumentParser(prog="./dev mutants", description="Do the tests notice?")
    parser.add_argument(
        "modules", metavar="MODULE[:FUNCTION]", nargs="*", help=f"of {', '.join(modules)}"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants of each")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="at a time (default 1)")
    parser.add_argument("--list", action="store_true", help="show the mutants, run nothing")
    options = parser.parse_args(args)
    asked: dict[str, list[str]] = {}
    for each in options.modules or modules:
        name, _, function = each.partition(":")
        if name not in modules:
            parser.error(f"no module {name!r}: there are {', '.join(modules)}")
        asked.setdefault(name, []).append(function)
    reasons: Mapping[str, Reasons] = tomllib.loads(accepted.read_text())
    if options.list:
        for name, functions in asked.items():
            show(modules[name], functions, reasons.get(name, {}))
        return 0
    if not hasattr(os, "fork"):
        print("mutants: every mutant runs in a forked process, which is not to be had here")
        return 3
    return run_all(
        {modules[name]: functions for name, functions in asked.items()},
        reasons,
        [*unfounded(modules, reasons)],
        sample=options.sample,
        jobs=options.jobs,
    )


def run_all(
    asked: Mapping[Module, list[str]],
    reasons: Mapping[str, Reasons],
    faults: list[str],
    *,
    sample: int | None,
    jobs: int,
) -> int:
    """Run the tests of each module, and print its line of the table and below it what is wrong.

    Returns the exit status; *faults* are known already.
    """
    print("".join(f"{fault}\n" for fault in faults) + HEAD)
    total: Counter[str] = Counter()
    for module, functions in asked.items():
        counts, wrong = run(module, functions, reasons.get(module.name, {}), sample, jobs)
        print("\n  ".join([row(module.name, counts), *wrong]), flush=True)
        faults = [*faults, *wrong]
        total.update(counts)
    if len(asked) > 1:
        print(row("all", total))
    return 1 if faults else 0


def unfounded(modules: Mapping[str, Module], reasons: Mapping[str, Reasons]) -> Iterator[str]:
    """What is accepted and is no mutant."""
    for name, functions in reasons.items():
        if name not in modules:
            yield f"{name}: accepted, but there is no such module"
            continue
        there = {mutant.name for mutant in modules[name].mutants()}
        for function, texts in functions.items():
            for text in texts:
                if f"{function}: {text}" not in there:
                    yield f"{name} {function}: {text}: accepted, but there is no such mutant"


def run(
    module: Module, functions: list[str], why: Reasons, sample: int | None, jobs: int
) -> tuple[Counter[str], list[str]]:
    """Run the tests of *module* against its mutants, or those of *functions*.

    Returns how many there were of each kind, and what is wrong: survivors without a reason, and
    reasons for what does not survive.
    """
    from . import running  # where there is no fork, it cannot be imported

    print(f"mutants: {module.name} ...", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    tree = module.tree()
    chosen = _of(functions, mutants(tree))
    chosen = chosen if sample is None else _spread(chosen, sample)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    try:
        for mutant, verdict in running.verdicts(module, tree, chosen, jobs=jobs):
            counts[verdict.value] += 1
            accepted = mutant.text in why.get(mutant.function, {})
            place = f"{module.dotted.replace('.', '/')}.py:{mutant.line} {mutant.name}"
            if accepted and verdict is running.Verdict.SURVIVED:
                counts["accepted"] += 1
            elif accepted:
                wrong.append(f"{place}: accepted, but it is killed")
            elif verdict is running.Verdict.SURVIVED:
                wrong.append(place)
    except running.NotRun as exc:
        wrong.append(str(exc))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return counts, wrong


def show(module: Module, functions: list[str], why: Reasons) -> None:
    """Print the mutants of *module*, with the reasons why some may survive."""
    for mutant in _of(functions, module.mutants()):
        reason = why.get(mutant.function, {}).get(mutant.text)
        print(f"{module.name}:{mutant.line} {mutant.name}{f'  # {reason}' if reason else ''}")


def row(name: str, counts: Counter[str]) -> str:
    """How much was killed, and how much killed or accepted."""
    killed, late, survived = counts["killed"], counts["timed out"], counts["survived"]
    made, noticed, accepted = killed + late + survived, killed + late, counts["accepted"]
    shares = _share(noticed, made), _share(noticed + accepted, made)
    return ROW.format(name, made, killed, late, survived, accepted, *shares)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _of(functions: list[str], every: list[Mutant]) -> list[Mutant]:
    """Those of *functions* and of what stands inside them; an empty name is the whole module."""
    starts = tuple(function and f"{function}." for function in functions)
    return [each for each in every if f"{each.function}.".startswith(starts)]


def _spread(every: Sequence[Mutant], count: int) -> list[Mutant]:
    """*count* of them, evenly spread: the same ones each time."""
    if count >= len(every):
        return [*every]
    return [every[number * len(every) // count] for number in range(count)]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
