"""The simulation: one seed, one story; what it looks at, and what befalls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import msgpack
import pytest

import rtm_proto
from rtm_proto.simulation import CALM, Simulation, Verdict, Weather, simulate
from rtm_proto.simulation.chance import Chance
from rtm_proto.simulation.weather import draw_weather
from tests.planted import FAULTS

SEEDS = 150

DIGESTS = """
import sys
from rtm_proto.simulation import simulate
print(*(simulate(seed).digest for seed in range(12)))
"""


@cache
def stories() -> list[Verdict]:
    """The first seeds, with all that they say."""
    return [Simulation(seed, keep=None).run() for seed in range(SEEDS)]


def digests(python: str, hash_seed: str = "0") -> str | None:
    """What another process makes of the first seeds; None if that Python cannot."""
    # A foreign msgpack has no C part there, and the bytes are the same without it.
    folders = [Path(rtm_proto.__file__).parents[1], Path(msgpack.__file__).parents[1]]
    environ = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([python, "-c", DIGESTS], env=environ, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def other_pythons() -> list[Path]:
    """Pythons that stand beside this one, as pyenv and uv put them; the newest of each version."""
    found: dict[str, Path] = {}
    for path in sorted(Path(sys.base_prefix).parent.glob("*/bin/python3.*[0-9]")):
        version = path.name.removeprefix("python3.")
        if version.isdigit() and int(version) >= 11 and int(version) != sys.version_info.minor:
            found[version] = path
    return [*found.values()]


def test_the_first_seeds_show_no_violation() -> None:
    failed = [verdict for verdict in stories() if verdict.violation is not None]
    assert not failed, "\n".join(failed[0].trace[-60:])


def test_the_same_seed_is_the_same_story() -> None:
    for first in stories()[:20]:
        again = Simulation(first.seed, keep=None).run()
        assert again == first
        assert simulate(first.seed).trace == first.trace[-60:]
    assert len({verdict.digest for verdict in stories()}) == SEEDS


@pytest.mark.parametrize("hash_seed", ["1", "2", "random"])
def test_the_order_of_hashes_does_not_matter(hash_seed: str) -> None:
    mine = " ".join(verdict.digest for verdict in stories()[:12])
    assert digests(sys.executable, hash_seed) == mine


def test_every_python_tells_the_same_story() -> None:
    pythons = [sys.executable, *map(str, other_pythons())]
    told = {python: digests(python) for python in pythons}
    told = {python: text for python, text in told.items() if text is not None}  # no msgpack there
    assert sys.executable in told
    mine = " ".join(verdict.digest for verdict in stories()[:12])
    assert told == dict.fromkeys(told, mine)


@pytest.mark.parametrize(
    "what",
    [
        "is cut after",
        "breaks: half open",
        "breaks: reset",
        "breaks: dropped",
        "a reader stops",
        "is refused",
        "is not answered",
        "gate           crashes",
        "gate           vanishes",
        "gate           kicks",
        "a wall clock jumps by -86400000 ms",
        "a wall clock jumps by 300000 ms",
        "store          fails",
        "store          keeps members",
        "once more",
        "refuses filetoken",
        "s for a token of",
        "refuses sendfile",
        "loses the answer",
        "cannot start: the store fails",
        "has lost",
        "is kept, and the gate is gone",
        "the caller has left",
        "announced",
        "uses the token of",
        "duplicate=True",
        "attempt 3",
        "reads KickedOut",
        "reads Disconnected",
        "FileRefused",
        "OutcomeUnknown",
    ],
)
def test_every_kind_of_trouble_comes_up(what: str) -> None:
    assert sum(any(what in line for line in verdict.trace) for verdict in stories()) >= 1


def test_in_a_calm_everything_is_sent_at_once_and_reaches_everybody() -> None:
    verdicts = [simulate(seed, weather=CALM) for seed in range(10)]
    for verdict in verdicts:
        assert verdict.violation is None
        assert set(verdict.outcomes) <= {"FileSent"}
    assert sum(verdict.deliveries for verdict in verdicts) > 10


def test_the_weather_differs_from_seed_to_seed() -> None:
    drawn = [draw_weather(Chance(seed)) for seed in range(400)]
    calm = sum(weather.calm for weather in drawn)
    assert 20 < calm < 100
    for name in Weather.__slots__:
        values = Counter(getattr(weather, name) for weather in drawn)
        assert len(values) > 1, name


def test_a_user_who_leaves_while_logging_in_again_is_gone() -> None:
    """The new link stood for ever: the old one was closed, and nobody looked at what came."""
    assert simulate(68960).violation is None


def test_a_violation_is_told_with_the_end_of_the_story() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "any error is told as FileSent")
    found = fault.find(300)
    assert found is not None
    _, verdict = found
    assert verdict.violation is not None
    assert "VIOLATION" in verdict.trace[-1] and verdict.violation in verdict.trace[-1]
    assert str(verdict.fault) == verdict.violation
    assert len(verdict.trace) <= 60
