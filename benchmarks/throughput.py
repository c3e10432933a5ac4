"""How much a gate of ours takes: files and messages a second, with either store.

    python -m benchmarks.throughput [--quick] [--runtime NAME ...] [--folder FOLDER] [--json FILE]

The gate is alone in its process and on its core where the system allows it; the senders share
another one. One sender does one send after the other; many do so beside each other. A send is over
when the gate has answered, so with the disk store what is counted has survived a power cut. Beside
it stands what the same disk takes for fsync alone: 4 KiB behind others, and a whole new file with
its name (write, fsync, rename, fsync of the folder).

    CPU   the gate's own processor time for one send
    RSS   the most memory that the gate's process has had, less what it had before the first send
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import trio

import rtm_asyncio
import rtm_trio
from rtm_proto.disk import DiskStore
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import Store
from rtm_proto.received import FileType

from .system import memory_kib, on_core

PID = 11_000_001
MANY = 16  # senders
READER = 1  # to whom everything is sent; never there, so that nothing is pushed
FIRST = 1001  # uid of the first sender
SECONDS = 4.0  # of one measurement
SIZES = {
    "message, 100 B": 100,
    "file, 1 KiB": 1024,
    "file, 100 KiB": 102_400,
    "file, 5 MiB": 5 << 20,
}
USERS = {uid: f"token-{uid}" for uid in (READER, *range(FIRST, FIRST + MANY))}


class Row(NamedTuple):
    """What one gate took of one kind of send."""

    runtime: str
    store: str
    work: str
    senders: int
    a_second: float
    mib_a_second: float
    cpu_us: float
    rss_mib: float


# --- the gate, in a process of its own ---


def serve(runtime: str, folder: str) -> None:
    """Run a gate until the standard input ends; each line of it is answered with our figures."""
    on_core(0, 0)
    store: Store = MemoryStore(max_bytes=1 << 40, history=1_000_000)
    if folder:
        store = DiskStore(folder)
    try:
        if runtime == "trio":
            trio.run(_serve, rtm_trio.serve_gate, store)
        else:
            options = {"use_uvloop": runtime == "uvloop"}
            anyio.run(_serve, rtm_asyncio.serve_gate, store, backend_options=options)
    finally:
        store.close()


async def _serve(serve_gate: Callable[..., AbstractAsyncContextManager[Any]], store: Store) -> None:
    async with serve_gate(pid=PID, users=USERS, store=store) as gate:
        print(gate.url, flush=True)
        await anyio.to_thread.run_sync(_tell_figures, abandon_on_cancel=True)


def _tell_figures() -> None:
    while sys.stdin.readline():
        print(time.process_time(), _most_memory(), flush=True)


def _most_memory() -> int:
    """The most that this process has had, in KiB."""
    try:
        return memory_kib(os.getpid(), "VmHWM")  # without our parent's
    except RuntimeError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Server:
    """The gate's process, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._line()

    def figures(self) -> tuple[float, float]:
        """Its processor time in seconds, and the most memory that it has had, in MiB."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        cpu, rss = self._line().split()
        return float(cpu), int(rss) / 1024

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the gate has ended with status {self._process.wait()}")
        return line.strip()


@contextmanager
def started(runtime: str, folder: str) -> Generator[Server]:
    """A gate that runs; *folder*: of its disk store, "" for the one in memory."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--serve", runtime, folder]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


# --- the senders ---


@asynccontextmanager
async def clients(url: str, count: int) -> AsyncGenerator[list[rtm_asyncio.Client]]:
    """So many users who are logged in."""
    if not count:
        yield []
        return
    uid = FIRST + count - 1
    async with (
        clients(url, count - 1) as others,
        rtm_asyncio.open_client(url, pid=PID, uid=uid, token=USERS[uid]) as client,
    ):
        yield [*others, client]


async def send_for(seconds: float, url: str, work: str, senders: int) -> tuple[int, float]:
    """How many sends were answered, and in how many seconds."""
    size, sent = SIZES[work], 0
    body = os.urandom(size)

    async def keep_sending(client: rtm_asyncio.Client, number: int) -> None:
        nonlocal sent
        while time.perf_counter() < until:
            number += MANY
            if work.startswith("message"):
                params = {"to": READER, "mid": number, "mtype": 51, "msg": "x" * size, "attrs": ""}
                await client.quest("sendmsg", params)
            else:  # no two files are the same: what the store has already would be kept for nothing
                file = number.to_bytes(8, "big") + body[8:]
                await client.send_file(FileType.FILE, READER, file, timeout=60)
            sent += 1

    async with clients(url, senders) as users, asyncio.TaskGroup() as tasks:
        begun = time.perf_counter()
        until = begun + seconds
        base = time.time_ns()
        for place, client in enumerate(users):
            tasks.create_task(keep_sending(client, base + place))
    return sent, time.perf_counter() - begun


def measure(runtime: str, store: str, work: str, senders: int, seconds: float, at: str) -> Row:
    """One row: a gate of its own, warmed up for a fifth of the time."""
    with tempfile.TemporaryDirectory(dir=at) as folder:
        with started(runtime, folder if store == "disk" else "") as server:
            asyncio.run(send_for(seconds / 5, server.url, work, senders))
            cpu_before, rss_before = server.figures()
            sent, took = asyncio.run(send_for(seconds, server.url, work, senders))
            cpu, rss = server.figures()
    rate = sent / took
    return Row(
        runtime, store, work, senders, rate, rate * SIZES[work] / (1 << 20),
        (cpu - cpu_before) / sent * 1e6, rss - rss_before,
    )  # fmt: skip


# --- the disk alone ---


def appends_a_second(at: str, seconds: float) -> float:
    """4 KiB behind others, each made safe."""
    with tempfile.TemporaryFile(dir=at, buffering=0) as file:

        def append() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        return _rate(append, seconds)


def new_files_a_second(at: str, seconds: float, size: int) -> float:
    """A new file of *size* bytes, its name made safe too."""
    with tempfile.TemporaryDirectory(dir=at) as folder:
        place, body, numbers = os.open(folder, os.O_RDONLY), os.urandom(size), count()

        def make() -> None:
            draft = Path(folder, "draft")
            with draft.open("wb", buffering=0) as file:
                file.write(body)
                os.fsync(file.fileno())
            draft.rename(Path(folder, str(next(numbers))))
            os.fsync(place)

        try:
            return _rate(make, seconds)
        finally:
            os.close(place)


def _rate(work: Callable[[], object], seconds: float) -> float:
    begun, done = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        work()
        done += 1
    return done / (time.perf_counter() - begun)


# --- the whole ---


def main(arguments: list[str]) -> None:
    """Measure, and print the tables."""
    if arguments[:1] == ["--serve"]:
        serve(*arguments[1:])
        return
    parser = argparse.ArgumentParser(
        prog="./dev throughput", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="less of it: does everything work?")
    parser.add_argument("--runtime", action="append", choices=["asyncio", "uvloop", "trio"])
    parser.add_argument("--folder", default=".", help="on the disk that is to be measured")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    seconds = 0.3 if options.quick else SECONDS
    on_core(0, 1)
    rows: list[Row] = []
    print("\n| gate | store | work | senders | a second | MiB/s | CPU, us | RSS, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for runtime in options.runtime or ["uvloop", "trio"]:
        for store in ("memory", "disk"):
            for work in SIZES:
                for senders in (1, MANY):
                    row = measure(runtime, store, work, senders, seconds, options.folder)
                    rows.append(row)
                    print(
                        f"| {runtime} | {store} | {work} | {senders} | {row.a_second:,.0f} | "
                        f"{row.mib_a_second:,.1f} | {row.cpu_us:,.0f} | {row.rss_mib:,.1f} |",
                        flush=True,
                    )
    alone = {"append 4 KiB, fsync": appends_a_second(options.folder, seconds)} | {
        f"new file of {size:,} B, safe with its name": new_files_a_second(
            options.folder, seconds, size
        )
        for size in (1024, 102_400, 5 << 20)
    }
    print("\n| the disk alone | a second |\n|---|---|")
    for name, rate in alone.items():
        print(f"| {name} | {rate:,.0f} |")
    if options.json:
        told = {"rows": [row._asdict() for row in rows], "disk": alone}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
