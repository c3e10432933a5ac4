"""``./dev bench``: our clients against every client that could be taken instead, side by side.

    ./dev bench                 each client and row five times, in turn
    ./dev bench --quick         once, fewer operations, the rows that a goal is set for
    ./dev bench --long          also how ours grow: to 10,000 quests, 5,000 connections, 1 GiB
    ... --only NAME             clients and rows with NAME in their name; may be repeated
    ... --json FILE             every figure of every repetition
    ... --markdown FILE         the tables into FILE, between its two marks
    ... --from FILE             no run: the tables of what such FILEs have; may be repeated
    ... --list                  the names of clients and rows

Each figure comes from a process of its own: the client on one core, one server for all on another.
What is compared is the processor time of the client; the goals are in ``goals``.

Exit status: 0 whatever the speed, 1 when a client crashed or did its work wrongly, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from . import growth
from .clients import BLOCKING, CLIENTS, FILTERS, Entry
from .goals import GOALS, Outcome, Samples, Verdict, judge, middle, ratio
from .work import MIB, ROWS, Row

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
QUICKER = 10  # times fewer operations in the quick form
CLIENT_CORE, SERVER_CORE = 0, 1
TIME_LIMIT = 300.0  # seconds for one client in one row
BUSY_ABOVE = 0.5  # load average over the last minute, above which figures scatter
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
VERSIONS = (
    "rtm-proto msgpack wsproto h11 trio anyio uvloop websockets picows aiohttp trio-websocket "
    "httpx-ws"
).split()
FIGURES = {
    "quests": ("cpu_us", "wall_us"),
    "pushes": ("cpu_us", "wall_us"),
    "file": ("cpu_ms", "wall_ms"),
    "stall": ("stall_ms", "stall_cpu_ms"),
    "memory": ("kib",),
    "idle": ("kib", "cpu_us"),
    "dedup": ("us_an_id", "bytes_an_id"),
}
OF_FILES = ("file", "stall", "memory", "growth of files")
HEADS = {
    "cpu_us": "CPU us",
    "wall_us": "wall us",
    "cpu_ms": "CPU ms",
    "wall_ms": "wall ms",
    "stall_ms": "ms",
    "stall_cpu_ms": "CPU ms",
    "kib": "KiB",
    "us_an_id": "CPU us an id",
    "bytes_an_id": "bytes an id",
}

Name = tuple[str, str]
"""A client and a row."""


class Found(NamedTuple):
    """What a run has given."""

    samples: dict[Name, dict[str, list[float]]]
    absent: dict[str, str]
    """Clients that could not be measured, and why."""
    failed: list[str]


class Place(NamedTuple):
    """Where the clients find the server and the files."""

    port: int
    folder: Path


def main(args: Sequence[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Our clients against all others, side by side."
    )
    parser.add_argument("--quick", action="store_true", help="once, and less of it")
    parser.add_argument("--long", action="store_true", help="also what takes long")
    parser.add_argument("--only", action="append", metavar="NAME", help="clients, rows with NAME")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"default: {REPEATS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every single figure")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into FILE")
    parser.add_argument("--from", action="append", type=Path, metavar="FILE", dest="files")
    parser.add_argument("--list", action="store_true", help="the names of clients and rows")
    options = parser.parse_args(args)
    rows = [
        row for row in ROWS if (row.goal or not options.quick) and (options.long or not row.long)
    ]
    plan = make_plan(rows, options.only or [])
    if options.list or not plan:
        print("clients: " + "; ".join(entry.name for entry in CLIENTS))
        print("rows: " + "; ".join(row.name for row in ROWS))
        return 0 if options.list else 2
    repeats = options.repeat or (1 if options.quick else REPEATS)
    if options.files:
        head, found = from_files(options.files)
        measured = {row for _, row in found.samples}
        plan = [(row, clients_of(row)) for row in ROWS if row.name in measured]
        print("\n".join(head) + "\n")
    else:
        head = about_machine()
        print("\n".join(head) + "\n", flush=True)
        with a_place(plan) as place:
            found = run(plan, place, repeats, quicker=QUICKER if options.quick else 1)
    outcomes = [judge(goal, found.samples) for goal in GOALS]
    print(report(plan, found, outcomes))
    if options.json:
        options.json.write_text(json.dumps(as_json(head, found, outcomes), indent=1) + "\n")
    if options.markdown:
        text = markdown(head, plan, found, outcomes)
        options.markdown.write_text(put_between(options.markdown.read_text(), text))
    if found.failed:
        print("\nFAILED:\n" + "\n".join(found.failed), file=sys.stderr)
    return 1 if found.failed else 0


# --- what is to be done --------------------------------------------------------------------------


def make_plan(rows: Sequence[Row], only: Sequence[str]) -> list[tuple[Row, list[str]]]:
    """Each row with its clients; a word of *only* chooses clients, rows, or both."""
    row_words = [word for word in only if any(word in row.name for row in ROWS)]
    names = [entry.name for entry in CLIENTS] + list(FILTERS)
    client_words = [word for word in only if any(word in name for name in names)]
    unknown = set(only) - set(row_words) - set(client_words)
    if unknown:
        print(f"nothing is called {', '.join(sorted(unknown))}", file=sys.stderr)
        return []
    plan: list[tuple[Row, list[str]]] = []
    for row in rows:
        if row_words and not any(word in row.name for word in row_words):
            continue
        able = clients_of(row)
        chosen = [n for n in able if not client_words or any(word in n for word in client_words)]
        if chosen:
            plan.append((row, chosen))
    return plan


def clients_of(row: Row) -> list[str]:
    """Who can do the work of *row*."""
    if row.kind == "dedup":
        return list(FILTERS)
    if row.kind in growth.KINDS:
        return list(growth.CLIENTS)
    return [entry.name for entry in CLIENTS if can_do(entry, row)]


def can_do(entry: Entry, row: Row) -> bool:
    """A blocking client has no loop that could stall, and no task that waits."""
    if entry.only:
        return entry.only == row.name
    return entry.runtime != BLOCKING or row.kind in ("quests", "pushes", "file")


# --- doing it ------------------------------------------------------------------------------------


@contextmanager
def a_place(plan: Sequence[tuple[Row, list[str]]]) -> Generator[Place]:
    """A server that runs, and the files of the rows of *plan*."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        block = os.urandom(MIB)
        for size in {row.size for row, _ in plan if row.kind in OF_FILES}:
            with file_of(folder, size).open("wb") as file:
                for _ in range(size // MIB):
                    file.write(block)
                file.write(block[: size % MIB])
        core = [str(SERVER_CORE)] if pinned() else []
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *core],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None and server.stdout is not None
        try:
            yield Place(int(server.stdout.readline()), folder)
        finally:
            server.stdin.close()
            server.wait(10)
            server.stdout.close()


def file_of(folder: Path, size: int) -> Path:
    """The file with *size* bytes."""
    return folder / f"{size}.bin"


def pinned() -> bool:
    """Whether client and server can each have a core."""
    return hasattr(os, "sched_setaffinity") and {CLIENT_CORE, SERVER_CORE} <= os.sched_getaffinity(
        0
    )


def run(
    plan: Sequence[tuple[Row, list[str]]], place: Place, repeats: int, *, quicker: int
) -> Found:
    """Do all of *plan*: in each row the clients take turns."""
    found = Found({}, {}, [])
    for row, clients in plan:
        for repeat in range(repeats):
            for client in clients:
                if client not in found.absent:
                    told(f"{row.name}, {repeat + 1} of {repeats}: {client}")
                    run_one(client, row, place, max(row.times // quicker, 1), found)
    told("")
    return found


def run_one(client: str, row: Row, place: Place, count: int, found: Found) -> None:
    """One client, one row, once, in a process of its own."""
    job = {
        "client": client,
        "row": row.name,
        "port": place.port,
        "path": str(file_of(place.folder, row.size)),
        "count": count,
        "core": CLIENT_CORE if pinned() else None,
    }
    program = [sys.executable, "-m", "benchmarks.work", json.dumps(job)]
    try:
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        found.failed.append(f"{client}: {row.name}: not done in {TIME_LIMIT:g} s")
        return
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = done.stderr.strip().splitlines()[-8:]
        found.failed.append(f"{client}: {row.name}: exit {done.returncode}\n  " + "\n  ".join(last))
        return
    result: dict[str, Any] = json.loads(lines[-1])
    if "absent" in result:
        found.absent[client] = result["absent"]
        return
    figures: dict[str, float] = result["figures"]
    kept = found.samples.setdefault((client, row.name), {})
    for name, value in figures.items():
        kept.setdefault(name, []).append(value)


def told(text: str) -> None:
    """Say on a terminal what is going on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)


# --- telling it ----------------------------------------------------------------------------------


def about_machine() -> list[str]:
    """Versions, machine and load, and a warning where figures will scatter."""
    versions: list[str] = []
    for name in VERSIONS:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} none")
    uname = platform.uname()
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {platform.python_implementation()} "
        f"{platform.python_version()} ({'' if optimised else 'not '}optimised), "
        f"{uname.system} {uname.release}, {cpu_model()}, {os.cpu_count()} cores",
        ", ".join(versions),
    ]
    if not pinned():
        lines.append("client and server are not on cores of their own here")
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()
        lines.append("load average " + ", ".join(f"{each:.2f}" for each in load))
        if load[0] > BUSY_ABOVE:
            lines.append("WARNING: the machine is busy: the figures scatter, ratios hold better")
    return lines


def cpu_model() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return platform.machine()


def reference(row: Row, client: str) -> str:
    """Whom *client* is compared with in *row*."""
    if row.kind == "file":
        return "floor"
    if client.startswith("bare"):
        return "floor"
    if row.kind == "dedup":
        return FILTERS[1]
    on_trio = "trio" in client
    return "trio-websocket" if on_trio else "picows"


def tables(plan: Sequence[tuple[Row, list[str]]], samples: Samples) -> list[list[list[str]]]:
    """A table for each row in which clients are compared, then those of growth."""
    compared = [(row, clients) for row, clients in plan if row.kind not in growth.KINDS]
    made = [row_table(row, clients, samples) for row, clients in compared]
    return made + growth.tables([row for row, _ in plan], samples)


def row_table(row: Row, clients: Sequence[str], samples: Samples) -> list[list[str]]:
    """The figures of one row, a line for each client that has any."""
    first, *others = FIGURES[row.kind]
    head = [row.name, HEADS[first], "best", *(HEADS[each] for each in others), "ratio"]
    lines = [head]
    for client in clients:
        values = samples.get((client, row.name), {}).get(first)
        if not values:
            continue
        line = [client, shown(median(values)), shown(min(values))]
        line += [shown(middle(samples, client, row.name, each) or 0.0) for each in others]
        peer = reference(row, client)
        by = ratio(samples, client, peer, row.name, first)
        line.append("" if by is None or peer == client else f"{by:.2f} x {peer}")
        lines.append(line)
    return lines


def goal_table(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Each goal, its verdict and what was measured."""
    lines = [["goal", "", "", "measured"]]
    for goal, verdict, measured in outcomes:
        lines.append([goal.work, goal.goal, verdict.value, "; ".join(measured)])
    return lines


def shown(value: float) -> str:
    """Three digits, more only before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def remarks(found: Found, outcomes: Sequence[Outcome]) -> list[str]:
    """What the tables do not say."""
    lines = [f"not measured: {client}: {why}" for client, why in found.absent.items()]
    count = dict.fromkeys(Verdict, 0)
    for outcome in outcomes:
        count[outcome.verdict] += 1
    lines.append("goals: " + ", ".join(f"{n} {verdict.value}" for verdict, n in count.items()))
    ceiling = middle(found.samples, "floor", "quests, 100 in flight", "wall_us")
    if ceiling:
        lines.append(f"the server answers at least {1e6 / ceiling:,.0f} quests a second")
    return lines


def report(plan: Sequence[tuple[Row, list[str]]], found: Found, outcomes: Sequence[Outcome]) -> str:
    """All tables as text."""
    parts = [aligned(table) for table in tables(plan, found.samples)]
    _, *lines = goal_table(outcomes)
    goals = "\n".join(
        f"{verdict:<12}  {work}: {goal}\n" + f"{'':<14}{measured}"
        for work, goal, verdict, measured in lines
    )
    return "\n\n".join([*parts, goals, "\n".join(remarks(found, outcomes))])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table in columns: the first to the left, the others to the right."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(
    head: Sequence[str],
    plan: Sequence[tuple[Row, list[str]]],
    found: Found,
    outcomes: Sequence[Outcome],
) -> str:
    """All tables as Markdown."""
    parts = ["\n".join(f"- {line}" for line in head), table_of(goal_table(outcomes))]
    parts += [table_of(table) for table in tables(plan, found.samples)]
    parts.append("\n".join(f"- {line}" for line in remarks(found, outcomes)))
    return "\n\n".join(parts)


def table_of(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *others = lines
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *others))


def put_between(text: str, figures: str) -> str:
    """*text* with *figures* between its two marks. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"a page for figures has the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{figures}\n\n{end}{after}"


def as_json(head: Sequence[str], found: Found, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Everything, with stable keys."""
    return {
        "about": list(head),
        "samples": [
            {"client": client, "row": row, "figures": figures}
            for (client, row), figures in found.samples.items()
        ],
        "goals": [
            {
                "work": goal.work,
                "goal": goal.goal,
                "verdict": verdict.value,
                "measured": measured,
            }
            for goal, verdict, measured in outcomes
        ],
        "absent": found.absent,
        "failed": found.failed,
    }


def from_files(paths: Sequence[Path]) -> tuple[list[str], Found]:
    """What several runs have written by ``as_json``, together; about the machine says the first."""
    head: list[str] = []
    found = Found({}, {}, [])
    for path in paths:
        told: dict[str, Any] = json.loads(path.read_text())
        head = head or told["about"]
        found.absent.update(told["absent"])
        found.failed.extend(told["failed"])
        for sample in told["samples"]:
            kept = found.samples.setdefault((sample["client"], sample["row"]), {})
            for name, values in sample["figures"].items():
                kept.setdefault(name, []).extend(values)
    return head, found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
