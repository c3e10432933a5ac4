"""The goals, each a row: what is measured, against what, and how much is allowed.

A goal is met when each of its checks is: a figure of ours, divided by the same figure of another
client in the same run where one is named, is at most the limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from statistics import median
from typing import NamedTuple

Samples = Mapping[tuple[str, str], Mapping[str, list[float]]]
"""(client, row) -> figure -> what each repetition gave."""


class Check(NamedTuple):
    """*figure* of *client* in *row*, by that of *peer* if one is named, is at most *limit*."""

    client: str
    row: str
    figure: str
    limit: float
    peer: str = ""


class Goal(NamedTuple):
    """A row of the table of goals."""

    work: str
    goal: str
    checks: tuple[Check, ...]


class Verdict(Enum):
    """What came of a goal."""

    MET = "met"
    NOT_MET = "not met"
    UNKNOWN = "not measured"


class Outcome(NamedTuple):
    """A goal with its verdict, and what was measured, in words."""

    goal: Goal
    verdict: Verdict
    measured: list[str]


def middle(samples: Samples, client: str, row: str, figure: str) -> float | None:
    """The median of a figure, or None where it was not measured."""
    values = samples.get((client, row), {}).get(figure)
    return median(values) if values else None


def ratio(samples: Samples, client: str, peer: str, row: str, figure: str) -> float | None:
    """The median of *client* by that of *peer*."""
    ours, theirs = (middle(samples, name, row, figure) for name in (client, peer))
    return ours / theirs if ours is not None and theirs else None


def value_of(samples: Samples, check: Check) -> float | None:
    """What a check compares with its limit."""
    ours = middle(samples, check.client, check.row, check.figure)
    if not check.peer:
        return ours
    theirs = middle(samples, check.peer, check.row, check.figure)
    return ours / theirs if ours is not None and theirs else None


def judge(goal: Goal, samples: Samples) -> Outcome:
    """What came of *goal*. One check that fails is enough; one that lacks leaves it open."""
    verdict = Verdict.MET
    measured: list[str] = []
    for check in goal.checks:
        value = value_of(samples, check)
        if value is None:
            measured.append(f"{check.client}: not measured{beside(check)}")
            if verdict is Verdict.MET:
                verdict = Verdict.UNKNOWN
            continue
        measured.append(f"{check.client}: {said(check, value)}")
        if value > check.limit:
            verdict = Verdict.NOT_MET
    return Outcome(goal, verdict, measured)


def said(check: Check, value: float) -> str:
    """A checked value in words."""
    mark = "" if value <= check.limit else " (!)"
    if check.peer:
        return f"{value:.2f} x {check.peer}{mark}"
    number, unit = f"{value:.3g}", _UNITS[check.figure]
    where = f" for {check.row.split(', ')[1]}" if check.figure == "kib" else ""
    return f"{number} {unit}{where}{mark}"


def beside(check: Check) -> str:
    """The peer that a value lacks, in words."""
    return f" beside {check.peer}" if check.peer else ""


def _small(row: str, pairs: Iterable[tuple[str, str, float]]) -> tuple[Check, ...]:
    return tuple(Check(client, row, "cpu_us", limit, peer) for client, peer, limit in pairs)


_UNITS = {"stall_ms": "ms", "kib": "KiB", "us_an_id": "us an id", "bytes_an_id": "bytes an id"}
_ASYNCIO, _TRIO = "rtm_asyncio", "rtm_trio"
_FILE, _STALL = "file, 5 MiB", "loop stall, 5 MiB"

GOALS = (
    Goal(
        "small quests, 100 in flight, asyncio",
        "at most 0.5 x picows, 0.25 x websockets",
        _small(
            "quests, 100 in flight", [(_ASYNCIO, "picows", 0.5), (_ASYNCIO, "websockets", 0.25)]
        ),
    ),
    Goal(
        "small quests, 100 in flight, trio",
        "at most 0.1 x trio-websocket, 0.15 x websockets.trio",
        _small(
            "quests, 100 in flight",
            [(_TRIO, "trio-websocket", 0.1), (_TRIO, "websockets.trio", 0.15)],
        ),
    ),
    Goal(
        "small quest, 1 in flight, asyncio",
        "at most 0.9 x picows, 0.6 x websockets",
        _small("quests, 1 in flight", [(_ASYNCIO, "picows", 0.9), (_ASYNCIO, "websockets", 0.6)]),
    ),
    Goal(
        "small quest, 1 in flight, trio",
        "at most 0.3 x trio-websocket",
        _small("quests, 1 in flight", [(_TRIO, "trio-websocket", 0.3)]),
    ),
    Goal(
        "pushes received, deduplicated and answered",
        "at most 0.8 x picows (asyncio), 0.08 x trio-websocket (trio)",
        _small("pushes", [(_ASYNCIO, "picows", 0.8), (_TRIO, "trio-websocket", 0.08)]),
    ),
    Goal(
        "5 MiB send_file over TCP",
        "at most 1.15 x the floor",
        tuple(Check(f"{name}, tcp", _FILE, "cpu_ms", 1.15, "floor") for name in (_ASYNCIO, _TRIO)),
    ),
    Goal(
        "5 MiB send_file over WebSocket",
        "at most 1.5 x the floor, 1.1 x picows",
        tuple(
            Check(name, _FILE, "cpu_ms", limit, peer)
            for name in (_ASYNCIO, _TRIO)
            for peer, limit in (("floor", 1.5), ("picows", 1.1))
        ),
    ),
    Goal(
        "longest loop stall during it",
        "at most 2 ms, 0.1 x picows",
        tuple(
            Check(name, _STALL, "stall_ms", limit, peer)
            for name in (_ASYNCIO, _TRIO)
            for peer, limit in (("", 2.0), ("picows", 0.1))
        ),
    ),
    Goal(
        "memory of an upload in flight",
        "at most 0.25 MiB, whatever the file's size",
        tuple(
            Check(name, f"memory, {size} MiB", "kib", 256)
            for name in (_ASYNCIO, _TRIO)
            for size in (5, 64)
        ),
    ),
    Goal(
        "idle connection",
        "at most 16 KiB",
        tuple(Check(name, "idle, 500 connections", "kib", 16) for name in (_ASYNCIO, _TRIO)),
    ),
    Goal(
        "100,000 ids remembered for dedup",
        "at most 1 us an id, 200 bytes an id",
        (
            Check("MidFilter", "dedup, 100,000 ids", "us_an_id", 1.0),
            Check("MidFilter", "dedup, 100,000 ids", "bytes_an_id", 200.0),
        ),
    ),
)
