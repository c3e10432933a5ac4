"""One client does the work of one row, in a process of its own.

    python -m benchmarks.work '{"client": ..., "row": ..., "port": ..., "core": ...}'

Prints one JSON object: ``{"figures": {...}}``, or ``{"absent": why}``. A wrong result (an answer
too few, a file whose md5 differs at the server) is an error, and no figure.

    quests    cpu_us, wall_us                 of one quest
    pushes    cpu_us, wall_us                 of one push, until its reader has it
    file      cpu_ms, wall_ms                 of one file: token, connection, body, answer
    stall     stall_ms, stall_cpu_ms          the longest turn of the event loop during one file,
                                              by the clock and by this thread's processor time
    memory    kib                             the most that one upload allocates, by tracemalloc
    idle      kib, cpu_us                     of RSS for each connection that is logged in, and what
                                              connecting and logging in takes
    growth    all of these for what it is of, see ``growth``
    dedup     us_an_id, bytes_an_id
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from hashlib import md5
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

import trio

from rtm_proto.mids import MidFilter

from .clients import BLOCKING, BY_NAME
from .peers import Absent
from .peers.calls import Asker, Client
from .server import HELLO, MTIME

KIB = 1024
MIB = 1024 * 1024
PARAMS = {"uid": 1002, "text": "hello!"}  # 20 bytes of msgpack
LOGINS = 50  # at once, where many connections are opened

Figures = dict[str, float]


class Row(NamedTuple):
    """A line of work; ``size`` is the number in flight, of bytes, connections or ids."""

    name: str
    kind: str
    size: int
    times: int  # operations that are measured
    long: bool = False  # in the long form only
    goal: bool = False  # a goal is set for it: the quick form has these


ROWS = (
    Row("quests, 1 in flight", "quests", 1, 3000, goal=True),
    Row("quests, 10 in flight", "quests", 10, 10_000),
    Row("quests, 100 in flight", "quests", 100, 20_000, goal=True),
    Row("quests, 1,000 in flight", "quests", 1000, 20_000),
    Row("pushes", "pushes", 0, 20_000, goal=True),
    Row("pushes of files", "pushes", 1, 10_000),
    Row("file, 5 MiB", "file", 5 * MIB, 20, goal=True),
    Row("loop stall, 5 MiB", "stall", 5 * MIB, 10, goal=True),
    Row("memory, 5 MiB", "memory", 5 * MIB, 1, goal=True),
    Row("memory, 64 MiB", "memory", 64 * MIB, 1, goal=True),
    Row("idle, 100 connections", "idle", 100, 1),
    Row("idle, 500 connections", "idle", 500, 1, goal=True),
    Row("dedup, 100,000 ids", "dedup", 100_000, 1, goal=True),
    Row("growth, 1", "growth of quests", 1, 3000, long=True),
    Row("growth, 10", "growth of quests", 10, 10_000, long=True),
    Row("growth, 100", "growth of quests", 100, 20_000, long=True),
    Row("growth, 1,000", "growth of quests", 1000, 20_000, long=True),
    Row("growth, 10,000", "growth of quests", 10_000, 50_000, long=True),
    Row("growth, 1 B", "growth of files", 1, 50, long=True),
    Row("growth, 100 KiB", "growth of files", 100 * KIB, 50, long=True),
    Row("growth, 1 MiB", "growth of files", MIB, 50, long=True),
    Row("growth, 5 MiB", "growth of files", 5 * MIB, 20, long=True),
    Row("growth, 64 MiB", "growth of files", 64 * MIB, 3, long=True),
    Row("growth, 1 GiB", "growth of files", 1024 * MIB, 1, long=True),
    Row("growth, 1 idle", "growth of connections", 1, 1, long=True),
    Row("growth, 10 idle", "growth of connections", 10, 1, long=True),
    Row("growth, 100 idle", "growth of connections", 100, 1, long=True),
    Row("growth, 1,000 idle", "growth of connections", 1000, 1, long=True),
    Row("growth, 5,000 idle", "growth of connections", 5000, 1, long=True),
)
ROW_BY_NAME = {row.name: row for row in ROWS}


class WrongResult(Exception):
    """A client did not do the work; the text says what came and what was expected."""


class Blocking(Protocol):
    """A client without a runtime."""

    def quest(self, method: str, params: dict[str, Any]) -> dict[str, Any]: ...

    def quests(self, method: str, params: dict[str, Any], count: int, in_flight: int) -> int: ...

    def pushes(self, count: int, *, file: bool) -> int: ...

    def send_file(self, path: Path) -> int: ...

    def close(self) -> None: ...


class Stopwatch:
    """Processor time of this process, and the time on the wall."""

    def __init__(self) -> None:
        gc.collect()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def figures(self, count: int, unit: str, in_a_second: float) -> Figures:
        """What one of *count* operations has taken."""
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        return {
            f"cpu_{unit}": cpu / count * in_a_second,
            f"wall_{unit}": wall / count * in_a_second,
        }


# --- runtimes ------------------------------------------------------------------------------------


class OnAsyncio:
    """What the work needs of a runtime."""

    @staticmethod
    async def together(jobs: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Run all of them at the same time."""
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job())

    @staticmethod
    async def turn() -> None:
        """Let everybody else have a turn."""
        await asyncio.sleep(0)

    semaphore = staticmethod(asyncio.Semaphore)
    event = staticmethod(asyncio.Event)
    sleep = staticmethod(asyncio.sleep)


class OnTrio:
    """The same on trio."""

    @staticmethod
    async def together(jobs: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Run all of them at the same time."""
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(job)

    @staticmethod
    async def turn() -> None:
        """Let everybody else have a turn."""
        await trio.lowlevel.checkpoint()

    semaphore = staticmethod(trio.Semaphore)
    event = staticmethod(trio.Event)
    sleep = staticmethod(trio.sleep)


Runtime = type[OnAsyncio] | type[OnTrio]
Opener = Callable[[str], AbstractAsyncContextManager[Client]]


def on_runtime(name: str, work: Callable[[Runtime], Coroutine[Any, Any, Figures]]) -> Figures:
    """Run *work* on the runtime called *name*. Raises Absent."""
    if name == "trio":
        return trio.run(work, OnTrio)
    if name == "asyncio":
        return asyncio.run(work(OnAsyncio))
    if sys.platform == "win32":
        raise Absent("uvloop is not for Windows")
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work(OnAsyncio))


# --- the work ------------------------------------------------------------------------------------


async def quests(client: Asker, runtime: Runtime, count: int, in_flight: int) -> Figures:
    """Small quests, so many at the same time."""
    await ask_many(client, runtime, max(count // 10, min(in_flight, 1000)), in_flight)
    watch = Stopwatch()
    await ask_many(client, runtime, count, in_flight)
    return watch.figures(count, "us", 1e6)


async def ask_many(client: Asker, runtime: Runtime, total: int, in_flight: int) -> None:
    """So many quests, *in_flight* of them at the same time."""
    left = total

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            expect("an answer", await client.quest("hello", PARAMS), HELLO)

    await runtime.together([worker] * min(in_flight, total))


async def pushes(client: Client, count: int, *, file: bool) -> Figures:
    """Pushes, each answered, given out once and taken by its reader."""

    async def take(total: int) -> None:
        await client.quest("bench.push", {"count": total, "file": file})
        for _ in range(total):
            await client.next_push()

    await take(max(count // 10, 1))
    watch = Stopwatch()
    await take(count)
    figures = watch.figures(count, "us", 1e6)
    told = await client.quest("bench.told", {})
    expect("what became of the pushes", told, {"answered": count, "refused": 0})
    return figures


async def files(client: Client, path: Path, count: int) -> Figures:
    """Files, one after the other."""
    await send_hashed(client, path)
    watch = Stopwatch()
    for _ in range(count):
        expect("mtime", await client.send_file(path), MTIME)
    figures = watch.figures(count, "ms", 1e3)
    await check_files(client, path, count)
    return figures


async def stall(client: Client, runtime: Runtime, path: Path, count: int) -> Figures:
    """The longest turn of the loop during a file; the median over *count* files."""
    await send_hashed(client, path)
    by_clock: list[float] = []
    by_cpu: list[float] = []
    for _ in range(count):
        longest = await longest_turns(runtime, lambda: client.send_file(path))
        by_clock.append(longest[0])
        by_cpu.append(longest[1])
    await check_files(client, path, count)
    return {"stall_ms": median(by_clock) * 1e3, "stall_cpu_ms": median(by_cpu) * 1e3}


async def longest_turns(
    runtime: Runtime, work: Callable[[], Coroutine[Any, Any, object]]
) -> tuple[float, float]:
    """Seconds of the longest turn of the loop during *work*, by the clock and of this thread."""
    longest = longest_cpu = 0.0
    over = False

    async def do() -> None:
        nonlocal over
        await work()
        over = True

    async def watch() -> None:
        nonlocal longest, longest_cpu
        wall, cpu = time.perf_counter(), time.thread_time()
        while not over:
            await runtime.turn()
            now, now_cpu = time.perf_counter(), time.thread_time()
            longest, longest_cpu = max(longest, now - wall), max(longest_cpu, now_cpu - cpu)
            wall, cpu = now, now_cpu

    await runtime.together([watch, do])
    return longest, longest_cpu


async def memory(client: Client, path: Path) -> Figures:
    """What one upload allocates at the most, beyond what was there before it."""
    await send_hashed(client, path)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    await client.send_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await check_files(client, path, 1)
    return {"kib": (peak - before) / KIB}


async def idle(open_client: Opener, url: str, runtime: Runtime, count: int) -> Figures:
    """What a connection takes of RSS, with the task that holds it."""
    room, leave = runtime.semaphore(LOGINS), runtime.event()
    is_open = 0
    figures: Figures = {}

    async def hold() -> None:
        nonlocal is_open
        await room.acquire()
        async with open_client(url):
            room.release()
            is_open += 1
            await leave.wait()

    async def measure() -> None:
        before, began = rss(), time.process_time()
        await runtime.together([lambda: grow(before, began), *[hold] * count])

    async def grow(before: int, began: float) -> None:
        while is_open < count:
            await runtime.sleep(0.01)
        cpu = time.process_time() - began
        await runtime.sleep(0.1)
        gc.collect()
        figures["kib"] = (rss() - before) / count / KIB
        figures["cpu_us"] = cpu / count * 1e6
        leave.set()

    async with open_client(url):  # what is loaded and allocated once
        gc.collect()
        await measure()
    return figures


async def send_hashed(client: Client, path: Path) -> None:
    """Send a file once, and compare the md5 that the server took of it."""
    await client.quest("bench.hash", {"on": True})
    expect("mtime", await client.send_file(path), MTIME)
    await client.quest("bench.hash", {"on": False})
    came = (await client.quest("bench.files", {}))["files"]
    expect("the file at the server", came, hashed(path))


async def check_files(client: Client, path: Path, count: int) -> None:
    """Were *count* whole files counted at the server?"""
    came = (await client.quest("bench.files", {}))["files"]
    expect("the files at the server", came, counted(path, count))


def counted(path: Path, count: int) -> list[dict[str, object]]:
    """What the server has to tell of *count* files that it did not hash."""
    return [{"size": path.stat().st_size, "right": True}] * count


def hashed(path: Path) -> list[dict[str, object]]:
    """What the server has to tell of one file that it hashed."""
    with path.open("rb") as file:
        digest = md5(usedforsecurity=False)
        while piece := file.read(MIB):
            digest.update(piece)
    return [{"size": path.stat().st_size, "md5": digest.hexdigest(), "right": True}]


def blocking(client: Blocking, row: Row, path: Path, count: int) -> Figures:
    """The same work for a client that waits by itself."""
    if row.kind == "quests":
        client.quests("hello", PARAMS, max(count // 10, 1), row.size)
        watch = Stopwatch()
        expect("answers", client.quests("hello", PARAMS, count, row.size), count)
        return watch.figures(count, "us", 1e6)
    if row.kind == "pushes":
        client.pushes(max(count // 10, 1), file=bool(row.size))
        watch = Stopwatch()
        expect("pushes", client.pushes(count, file=bool(row.size)), count)
        return watch.figures(count, "us", 1e6)
    client.quest("bench.hash", {"on": True})
    expect("mtime", client.send_file(path), MTIME)
    client.quest("bench.hash", {"on": False})
    expect("the file at the server", client.quest("bench.files", {})["files"], hashed(path))
    watch = Stopwatch()
    for _ in range(count):
        client.send_file(path)
    figures = watch.figures(count, "ms", 1e3)
    expect("files at the server", client.quest("bench.files", {})["files"], counted(path, count))
    return figures


def dedup(name: str, count: int) -> Figures:
    """Ids that were not seen before: the time for each; then again, the bytes for each."""

    def empty() -> Callable[[int], bool]:
        if name == "MidFilter":
            mids = MidFilter(bound=count)

            return lambda mid: mids.seen(("pushmsg", 1002, 1001, mid), now=float(mid & 0xFF))
        known: dict[tuple[int, int], None] = {}

        def looked_up(mid: int) -> bool:
            if (1002, mid) in known:
                return True
            known[1002, mid] = None
            if len(known) > count:
                del known[next(iter(known))]
            return False

        return looked_up

    first = 1 << 60
    seen = empty()
    watch = Stopwatch()
    new = sum(not seen(first + i) for i in range(count))
    figures = watch.figures(count, "us", 1e6)
    expect("new ids", new, count)
    expect("known ids", sum(seen(first + i) for i in range(count)), count)
    del seen
    gc.collect()
    tracemalloc.start()
    seen = empty()
    before, _ = tracemalloc.get_traced_memory()
    for i in range(count):
        seen(first + i)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"us_an_id": figures["cpu_us"], "bytes_an_id": (after - before) / count}


def rss() -> int:
    """Bytes of memory that this process has; raises Absent where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError as exc:
        raise Absent("only Linux tells what memory a process has") from exc
    return pages * os.sysconf("SC_PAGE_SIZE")


def expect(what: str, came: object, expected: object) -> None:
    """Raise WrongResult unless they are equal."""
    if came != expected:
        raise WrongResult(f"{what}: expected {expected!r}, got {came!r}")


def work_of(
    name: str, row: Row, url: str, path: Path, count: int
) -> Callable[[Runtime], Coroutine[Any, Any, Figures]]:
    """The work of *row* for a client that has a runtime. Raises Absent."""
    from . import growth  # which is made of what stands here

    open_client: Opener = BY_NAME[name].load()

    async def work(runtime: Runtime) -> Figures:
        if row.kind == "idle":
            return await idle(open_client, url, runtime, row.size)
        if row.kind == "growth of connections":
            return await growth.of_connections(open_client, url, runtime, row.size)
        async with open_client(url) as client:
            todo: Awaitable[Figures]
            match row.kind:
                case "quests":
                    todo = quests(client, runtime, count, row.size)
                case "pushes":
                    todo = pushes(client, count, file=bool(row.size))
                case "file":
                    todo = files(client, path, count)
                case "stall":
                    todo = stall(client, runtime, path, count)
                case "growth of quests":
                    todo = growth.of_quests(client, runtime, count, row.size)
                case "growth of files":
                    todo = growth.of_files(client, runtime, path, count)
                case _:  # memory
                    todo = memory(client, path)
            return await todo

    return work


def measure(name: str, row: Row, port: int, path: Path, count: int) -> Figures:
    """What the client called *name* takes for *row*. Raises Absent, WrongResult."""
    if row.kind == "dedup":
        return dedup(name, row.size)
    entry = BY_NAME[name]
    url = f"{entry.scheme}://127.0.0.1:{port}"
    if entry.scheme == "ws":
        url += "/service/websocket"
    if entry.runtime != BLOCKING:
        return on_runtime(entry.runtime, work_of(name, row, url, path, count))
    client: Blocking = entry.load()(url)
    try:
        return blocking(client, row, path, count)
    finally:
        client.close()


def main(job: dict[str, Any]) -> None:
    """Do *job* and print what it took."""
    if job["core"] is not None:
        os.sched_setaffinity(0, {job["core"]})
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        row = ROW_BY_NAME[job["row"]]
        found = measure(job["client"], row, job["port"], Path(job["path"]), job["count"])
    except Absent as exc:
        print(json.dumps({"absent": str(exc)}))
    else:
        print(json.dumps({"figures": found}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
