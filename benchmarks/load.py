"""A gate among many: what a good client notices of 10,000 idle users and 1,000 slow strangers.

    python -m benchmarks.load [--quick] [--runtime NAME ...] [--json FILE]

`rtm gate` runs in a process of its own, on a core of its own where the system allows it. Another
process is the crowd, a third one the good client: it asks all the time, and sends a file of 1 KiB
now and then. Three rows: the client alone; beside the idle users, who are logged in, keep still and
answer their pings; and beside these and the slow strangers, each of whom says a byte a second of
a request that never ends (slow-loris), and comes again as soon as he is dropped.

    p50, p99, most   milliseconds from a question to its answer
    KiB              the gate's resident memory for each connection more than in the first row
    dropped          slow strangers who were dropped in that time

The crowd comes from sixteen addresses (127.0.0.2 and up): ports would run out, and one address has
no more than `max_per_address` places.
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
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import rtm_asyncio
from rtm_proto.package import Kind, Splitter, encode_answer, encode_quest
from rtm_proto.payload import EMPTY, encode
from rtm_proto.received import FileType

from .system import memory_kib, on_core

PID = 11_000_001
GOOD = 1  # uid of the good client
FIRST = 1001  # uid of the first idle user
IDLE, SLOW = 10_000, 1_000
ADDRESSES = 16
AT_ONCE = 100  # of the crowd that connect at the same time
SECONDS = 20.0  # of each row
PACE = 0.01  # seconds between two questions
FILE_EVERY = 10  # questions
GOAL_MS = 50.0  # of p99 (reliability: a good client's p99 beside such a crowd)
DRIP = 1.0  # seconds between two bytes of a slow stranger


class Row(NamedTuple):
    """What the good client noticed in one row."""

    runtime: str
    crowd: str
    p50: float
    p99: float
    most: float
    file_p99: float
    kib: float | None
    cpu: float  # of one core, that the gate took
    dropped: int


# --- the crowd, in a process of its own ----------------------------------------------------------


class IdleUser(asyncio.Protocol):
    """Logs in, answers what it is asked, and keeps still."""

    def __init__(self, uid: int, done: asyncio.Event) -> None:
        self._uid = uid
        self._done = done
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        login = {"pid": PID, "uid": self._uid, "token": f"token-{self._uid}", "version": "load-1"}
        transport.write(encode_quest(b"auth", encode(login), 1))

    def data_received(self, data: bytes) -> None:
        """Answer pings."""
        assert self._transport is not None
        for package in self._splitter.feed(data):
            if package.kind == Kind.TWOWAY:
                self._transport.write(encode_answer(EMPTY, package.seq))
            else:
                self._done.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """That is not to happen."""
        print(f"lost {self._uid} {exc}", flush=True)


class SlowStranger(asyncio.Protocol):
    """Begins a request, and says a byte of it from time to time."""

    def __init__(self, gone: asyncio.Event) -> None:
        self.transport: asyncio.Transport | None = None
        self._gone = gone

    def itself(self) -> SlowStranger:
        """What asyncio wants to be made."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"GET /files/ HTTP/1.1\r\nX: ")

    def connection_lost(self, exc: Exception | None) -> None:
        """Dropped."""
        self._gone.set()


async def crowd(host: str, port: int, idle: int, slow: int) -> None:
    """Be there, until stdin ends; says ``ready``, and how many slow ones were dropped so far."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(AT_ONCE)
    dropped = 0

    def address(number: int) -> tuple[str, int]:
        return (f"127.0.0.{2 + number % ADDRESSES}", 0)

    async def come(number: int) -> None:
        async with gate:
            done = asyncio.Event()
            uid = FIRST + number
            await loop.create_connection(
                lambda: IdleUser(uid, done), host, port, local_addr=address(number)
            )
            await done.wait()

    async def drip(number: int, come_in: asyncio.Event) -> None:
        nonlocal dropped
        while True:
            gone = asyncio.Event()
            stranger = SlowStranger(gone)
            await loop.create_connection(stranger.itself, host, port, local_addr=address(number))
            come_in.set()
            while not gone.is_set() and stranger.transport is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), DRIP)
                stranger.transport.write(b"x")
            dropped += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(idle):
            tasks.create_task(come(number))
    there = [asyncio.Event() for _ in range(slow)]
    strangers = [loop.create_task(drip(number, event)) for number, event in enumerate(there)]
    for event in there:
        await event.wait()
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(f"dropped {dropped}", flush=True)
    for task in strangers:
        task.cancel()


# --- the gate and the good client ----------------------------------------------------------------


@contextmanager
def gate(runtime: str, users: int) -> Generator[tuple[subprocess.Popen[str], str]]:
    """`rtm gate` in a process of its own, and its URL."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gate.toml"
        tokens = [f'{uid} = "token-{uid}"' for uid in (GOOD, *range(FIRST, FIRST + users))]
        config.write_text(
            f"pid = {PID}\nport = 0\nfile_port = 0\nmax_connections = 15000\n"
            "[users]\n" + "\n".join(tokens) + "\n"
        )
        command = [sys.executable, "-m", f"rtm_{runtime}", "gate", "--config", str(config), "-q"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                url = process.stdout.readline().split()[1]
                on_core(process.pid, 0)
                yield process, url
            finally:
                process.terminate()
                process.wait()


@contextmanager
def crowd_of(url: str, idle: int, slow: int) -> Generator[subprocess.Popen[str]]:
    """The crowd, once all of it is there."""
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "benchmarks.load", "--crowd", port, str(idle), str(slow)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            said = process.stdout.readline()
            if said != "ready\n":
                raise RuntimeError(f"the crowd did not come: {said!r}")
            yield process
        finally:
            process.stdin.close()
            process.kill()


def dropped_so_far(process: subprocess.Popen[str]) -> int:
    """How many of the slow ones were dropped; anything else that it has to say is a failure."""
    assert process.stdout is not None and process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    said = process.stdout.readline()
    if not said.startswith("dropped "):
        raise RuntimeError(f"the crowd: {said!r}")
    return int(said.split()[1])


def cpu_of(pid: int) -> float:
    """Processor time so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ask(url: str, seconds: float) -> tuple[list[float], list[float]]:
    """The good client: milliseconds of each question, and of each file."""
    questions: list[float] = []
    files: list[float] = []
    async with rtm_asyncio.open_client(url, pid=PID, uid=GOOD, token=f"token-{GOOD}") as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            await client.quest("getuserrooms", {})
            questions.append((time.perf_counter() - began) * 1000)
            if len(questions) % FILE_EVERY == 0:
                began = time.perf_counter()
                await client.send_file(FileType.FILE, 2, b"x" * 1024)
                files.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PACE)
    return questions, files


def share(times: list[float], part: float) -> float:
    """The time that this part of them is not above."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def measure(runtime: str, idle: int, slow: int, seconds: float) -> list[Row]:
    """All three rows."""
    rows: list[Row] = []
    with gate(runtime, idle) as (process, url):
        asyncio.run(ask(url, 1.0))  # all is loaded
        before = memory_kib(process.pid, "VmRSS")

        def row(name: str, more: int, others: subprocess.Popen[str] | None) -> None:
            cpu, began = cpu_of(process.pid), time.perf_counter()
            dropped = 0 if others is None else dropped_so_far(others)
            questions, files = asyncio.run(ask(url, seconds))
            took = time.perf_counter() - began
            kib = (memory_kib(process.pid, "VmRSS") - before) / more if more else None
            rows.append(
                Row(
                    runtime,
                    name,
                    share(questions, 0.5),
                    share(questions, 0.99),
                    max(questions),
                    share(files, 0.99),
                    kib,
                    (cpu_of(process.pid) - cpu) / took,
                    0 if others is None else dropped_so_far(others) - dropped,
                )
            )
            print(words(rows[-1]), flush=True)

        row("nobody", 0, None)
        with crowd_of(url, idle, 0) as quiet:
            row(f"{idle:,} idle", idle, quiet)
            with crowd_of(url, 0, slow) as slow_ones:
                row(f"and {slow:,} slow", idle + slow, slow_ones)
                dropped_so_far(quiet)
    return rows


def words(row: Row) -> str:
    """*row* on one line."""
    kib = "-" if row.kib is None else f"{row.kib:.1f}"
    return (
        f"{row.runtime:<8} {row.crowd:<14} p50 {row.p50:6.2f}  p99 {row.p99:6.2f}  most "
        f"{row.most:7.2f} ms   file p99 {row.file_p99:6.2f} ms   {kib:>5} KiB each   "
        f"gate {row.cpu:4.0%} of a core   {row.dropped} dropped"
    )


def main() -> int:
    """Run it; 1 where a good client waited too long."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of the crowd, 2 s a row")
    parser.add_argument("--runtime", action="append", choices=("asyncio", "trio"))
    parser.add_argument("--json", metavar="FILE", help="the figures, for other programs")
    parser.add_argument("--crowd", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if args.crowd is not None:
        on_core(0, 1)
        port, idle, slow = args.crowd
        asyncio.run(crowd("127.0.0.1", port, idle, slow))
        return 0
    on_core(0, 1)
    part, seconds = (100, 2.0) if args.quick else (1, SECONDS)
    rows: list[Row] = []
    for runtime in args.runtime or ("asyncio", "trio"):
        rows += measure(runtime, IDLE // part, SLOW // part, seconds)
    if args.json is not None:
        found: list[dict[str, Any]] = [row._asdict() for row in rows]
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")
    late = [row for row in rows if row.p99 > GOAL_MS]
    for row in late:
        print(f"{row.runtime}, {row.crowd}: p99 {row.p99:.1f} ms is over {GOAL_MS:g} ms")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
