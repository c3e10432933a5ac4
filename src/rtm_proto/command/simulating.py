"""``rtm simulate``: runs seeds of ``rtm_proto.simulation``, and prints what they have shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic

from ..simulation import Simulation, Verdict
from ..simulation.trace import KEPT
from .exits import Exit
from .options import SimulateOptions
from .screen import RED, Screen

TELL_EVERY = 10.0  # seconds between two lines of how far it is


def run_seeds(
    options: SimulateOptions,
    screen: Screen,
    *,
    make: Callable[..., Simulation] = Simulation,
    clock: Callable[[], float] = monotonic,
) -> Exit:
    """Run every seed; print those that fail, and what came of all. Raises OutputGone."""
    began = told = clock()
    outcomes: Counter[str] = Counter()
    failed: list[int] = []
    calls = deliveries = done = 0
    for seed in options.seeds:
        verdict = make(seed, keep=None if options.trace else KEPT).run()
        done += 1
        calls += verdict.calls
        deliveries += verdict.deliveries
        outcomes.update(verdict.outcomes)
        if verdict.violation is not None:
            failed.append(seed)
        if verdict.violation is not None or options.trace:
            _show(verdict, screen)
        if clock() - told >= TELL_EVERY:
            told = clock()
            rate = done / (told - began)
            screen.say(f"{done} of {len(options.seeds)} seeds, {rate:.1f} a second")
    seconds = clock() - began
    rate = round(done / seconds, 1) if seconds else 0.0
    if screen.json:
        screen.result(
            {
                "seeds": done,
                "violations": len(failed),
                "failed": failed,
                "seconds": round(seconds, 3),
                "seeds_per_second": rate,
                "calls": calls,
                "deliveries": deliveries,
                "outcomes": dict(sorted(outcomes.items())),
            }
        )
    else:
        what = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
        count = f"{len(failed)} violation{'' if len(failed) == 1 else 's'}"
        screen.result(
            f"{done} seed{'' if done == 1 else 's'}, {count}, {rate} seeds a second; "
            f"{calls} sendings ({what or 'none'}), {deliveries} deliveries"
        )
    return Exit.REFUSED if failed else Exit.DONE


def _show(verdict: Verdict, screen: Screen) -> None:
    replay = f"rtm simulate --seeds {verdict.seed} --trace"
    if screen.json:
        screen.result(
            {
                "seed": verdict.seed,
                "violation": verdict.violation,
                "digest": verdict.digest,
                "replay": replay,
                "trace": verdict.trace,
            }
        )
        return
    for line in verdict.trace:
        screen.result(line)
    end = "ends well" if verdict.violation is None else f"FAILS: {verdict.violation}"
    text = f"seed {verdict.seed} {end}"
    screen.result(text if verdict.violation is None else screen.paint(text, RED))
    screen.result(f"digest {verdict.digest}")
    if verdict.violation is not None:
        screen.result(f"replay it with: {replay}")
