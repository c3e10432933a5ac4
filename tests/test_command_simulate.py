"""``rtm simulate``: what it prints, and its exit status."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import Any

import pytest

from rtm_proto.command import main
from rtm_proto.command.exits import Exit, UsageError
from rtm_proto.command.options import SimulateOptions
from rtm_proto.command.parser import parse
from rtm_proto.command.screen import Screen
from rtm_proto.command.simulating import run_seeds
from rtm_proto.simulation import Simulation, simulate
from tests.planted import FAULTS

FAULT = next(fault for fault in FAULTS if fault.name == "the gate hoards visits")


def options(*argv: str) -> SimulateOptions:
    read = parse(["simulate", *argv], {}, program="rtm", runtime=None).options
    assert isinstance(read, SimulateOptions)
    return read


def failing(json: bool) -> tuple[int, str, str]:
    """Seed 0 with a planted fault: exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    screen = Screen("rtm simulate", out, err, {}, json=json)
    made = partial(Simulation, **FAULT.options)
    status = run_seeds(SimulateOptions(range(1), False), screen, make=made)
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("text", "seeds"), [("0..99", range(100)), ("7", range(7, 8)), ("7..7", range(7, 8))]
)
def test_seeds_are_a_range_with_both_ends_or_one(text: str, seeds: range) -> None:
    assert options("--seeds", text) == SimulateOptions(seeds, False)


def test_what_is_not_said_is_a_thousand_seeds() -> None:
    assert options() == SimulateOptions(range(1000), False)
    assert options("--trace").trace


@pytest.mark.parametrize(
    "text", ["", "a", "1..", "..1", "2..1", "-1", "1...2", "1..99999999999999999999"]
)
def test_seeds_that_are_none_are_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected A\.\.B or one seed"):
        options(f"--seeds={text}")


def test_good_seeds_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--seeds", "0..4"]) == Exit.DONE
    out, err = capsys.readouterr()
    assert out.startswith("5 seeds, 0 violations, ") and "FileSent" in out
    assert len(out.splitlines()) == 1 and err == ""


def test_good_seeds_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--seeds", "3..4", "--json"]) == Exit.DONE
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    verdicts = [simulate(3), simulate(4)]
    assert (summary["seeds"], summary["violations"], summary["failed"]) == (2, 0, [])
    assert summary["calls"] == sum(verdict.calls for verdict in verdicts)
    assert summary["deliveries"] == sum(verdict.deliveries for verdict in verdicts)
    assert summary["seeds_per_second"] > 0


def test_a_trace_is_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--seeds", "5", "--trace"]) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    verdict = Simulation(5, keep=None).run()
    assert lines[:-3] == verdict.trace
    assert lines[-3:-1] == ["seed 5 ends well", f"digest {verdict.digest}"]


def test_a_seed_that_fails_says_how_to_replay_it() -> None:
    status, out, _ = failing(json=False)
    lines = out.splitlines()
    assert status == Exit.REFUSED
    assert "VIOLATION" in lines[-5]
    assert lines[-4].startswith("seed 0 FAILS: the gate holds what is over")
    assert lines[-2] == "replay it with: rtm simulate --seeds 0 --trace"
    assert lines[-1].startswith("1 seed, 1 violation, ")


def test_a_seed_that_fails_is_an_object_of_its_own() -> None:
    status, out, _ = failing(json=True)
    failure, summary = (json.loads(line) for line in out.splitlines())
    assert status == Exit.REFUSED
    assert failure["seed"] == 0 and "holds what is over" in failure["violation"]
    assert failure["replay"] == "rtm simulate --seeds 0 --trace"
    assert failure["trace"] and len(failure["digest"]) == 64
    assert summary["failed"] == [0]


def test_a_long_run_says_how_far_it_is() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen("rtm simulate", out, err, {})
    times = iter(float(6 * n) for n in range(100))
    assert run_seeds(SimulateOptions(range(3), False), screen, clock=lambda: next(times)) == 0
    assert "rtm simulate: 2 of 3 seeds, " in err.getvalue()
