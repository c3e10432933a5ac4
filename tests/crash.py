"""``./dev crash``: a gate with its store on a disk is killed again and again while files come in.

    ./dev crash                                   100 kills on each of trio and asyncio
    ./dev crash --times 5 --runtime trio --seed 7

64 uploads, small and large, are on their way all the time. The gate, a process of its own, gets
SIGKILL at any moment and is started again; what got no answer is sent again with its mid. In the
end: whatever was acknowledged is in the history, once, and can be downloaded, whole; no mid is kept
twice; nothing reached its receiver twice; nothing is left in the folder that nobody asked for. Exit
status 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

import anyio

import rtm_asyncio
import rtm_trio
from rtm_proto.disk import DiskStore
from rtm_proto.errors import RtmError, SendFailed
from rtm_proto.flows.relogin import ReloginPolicy
from rtm_proto.gate.store import StoredMessage
from rtm_proto.received import FileReceived, FileType

RUNTIMES: dict[str, Any] = {"trio": rtm_trio, "asyncio": rtm_asyncio}
HOST = "127.0.0.1"
PID = 1
BOB = 1000
SENDERS = (1001, 1002, 1003, 1004)
USERS = {uid: f"token of {uid}" for uid in (BOB, *SENDERS)}
AT_ONCE = 64  # uploads on their way
SIZES = (0, 100, 1_000, 10_000, 70_000, 300_000, 1_500_000)  # bytes
WEIGHTS = (1, 6, 6, 6, 6, 3, 1)
TIMEOUT = 5.0  # seconds of one send
TRIES = 100  # sendings of one file until it has to have arrived
LIFE = (0.05, 0.8)  # seconds that a gate lives, at least and at most
DOWNLOADS = 100
START_TIMEOUT = 30.0  # seconds
ENDLESS = 1 << 30  # messages of a conversation


class Wrong(Exception):
    """Something was not as promised."""


class Gate:
    """The process, and how long its starts have taken."""

    def __init__(self, folder: Path, runtime: str) -> None:
        ports = [_free_port(), _free_port()]
        self.url = f"tcp://{HOST}:{ports[0]}"
        self.starts: list[float] = []  # seconds from the program's start until it listens
        self.opened: list[float] = []  # seconds of these for the store
        self._args = [str(folder), *map(str, ports), runtime]
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        began = time.perf_counter()
        self._process = process = self._spawn()
        assert process.stdout is not None
        with anyio.fail_after(START_TIMEOUT):
            said = await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
        if not said.startswith("up "):
            raise Wrong(f"the gate did not start: it said {said!r}")
        self.starts.append(time.perf_counter() - began)
        self.opened.append(float(said.split()[1]))

    def _spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--serve", *self._args]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill(self) -> None:
        """End it without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@dataclass
class Run:
    """Some kills, and what came of the files meanwhile."""

    runtime: str
    times: int
    folder: Path
    chance: random.Random
    acknowledged: dict[int, tuple[int, str]] = field(default_factory=dict[int, "tuple[int, str]"])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    received: Counter[int] = field(default_factory=Counter[int])
    bytes: int = 0
    ending: bool = False
    mid: int = 0

    async def __call__(self) -> str:
        """Do it; a summary. Raises Wrong."""
        gate = Gate(self.folder, self.runtime)
        try:
            await gate.start()
            await self._talk(gate)
            gate.kill()
            messages = self._check()
            await gate.start()
            await self._download(messages)
        finally:
            gate.kill()
        missed = len(messages) - len(self.received)
        counts = ", ".join(f"{count} {what}" for what, count in self.outcomes.most_common())
        ms = [
            f"{statistics.median(s):.3f} s, at most {max(s):.3f} s"
            for s in (gate.starts, gate.opened)
        ]
        return (
            f"{self.runtime}: {self.times} kills during {AT_ONCE} parallel uploads; "
            f"{len(messages)} files of {self.bytes / 1e6:.0f} MB acknowledged ({counts}); all in "
            f"history once and whole; {len(self.received)} pushed, none twice, {missed} for the "
            f"receiver to find; a start takes {ms[0]}, of it the store {ms[1]}"
        )

    async def _talk(self, gate: Gate) -> None:
        policy = ReloginPolicy(first_pause=0.02, longest_pause=0.1)
        async with contextlib.AsyncExitStack() as stack:

            async def client(uid: int) -> rtm_asyncio.Client:
                return await stack.enter_async_context(
                    rtm_asyncio.open_client(
                        gate.url,
                        pid=PID,
                        uid=uid,
                        token=USERS[uid],
                        file_route="direct",
                        relogin=policy,
                        max_uploads=AT_ONCE,
                    )
                )

            bob = await client(BOB)
            senders = [await client(uid) for uid in SENDERS]
            async with anyio.create_task_group() as reading:
                reading.start_soon(self._read, bob)
                async with anyio.create_task_group() as sending:
                    for number in range(AT_ONCE):
                        at = number % len(SENDERS)
                        sending.start_soon(self._send, senders[at], SENDERS[at])
                    for _ in range(self.times):
                        await anyio.sleep(self.chance.uniform(*LIFE))
                        gate.kill()
                        await gate.start()
                    self.ending = True
                reading.cancel_scope.cancel()

    async def _read(self, bob: rtm_asyncio.Client) -> None:
        async for event in bob.events():
            if isinstance(event, FileReceived):
                self.received[event.mid] += 1

    async def _send(self, client: rtm_asyncio.Client, uid: int) -> None:
        """One file after the other, each until it is acknowledged."""
        while not self.ending:
            self.mid += 1
            mid = self.mid
            body = random.Random(mid).randbytes(self.chance.choices(SIZES, WEIGHTS)[0])
            for _ in range(TRIES):
                try:
                    sent = await client.send_file(FileType.FILE, BOB, body, mid, TIMEOUT)
                except SendFailed as exc:
                    self.outcomes[type(exc).__name__] += 1
                    await anyio.sleep(0.02)
                else:
                    self.outcomes["FileSent, a duplicate" if sent.duplicate else "FileSent"] += 1
                    self.acknowledged[mid] = (uid, md5(body).hexdigest())
                    self.bytes += len(body)
                    break
            else:
                raise Wrong(f"mid {mid} does not arrive in {TRIES} sendings")

    def _check(self) -> list[StoredMessage]:
        """What the folder holds now that everything was acknowledged; all its messages."""
        store = DiskStore(self.folder)
        try:
            messages = [*store.kept(0).messages]
            kept = Counter(message.mid for message in messages)
            for text, mids in (
                ("acknowledged and not kept", self.acknowledged.keys() - kept.keys()),
                ("kept and never acknowledged", kept.keys() - self.acknowledged.keys()),
                ("kept more than once", {mid for mid, count in kept.items() if count > 1}),
                ("received more than once", {m for m, n in self.received.items() if n > 1}),
                ("received and not kept", self.received.keys() - kept.keys()),
            ):
                if mids:
                    raise Wrong(f"{len(mids)} mids are {text}: {sorted(mids)[:5]}")
            for message in messages:
                self._check_file(store, message)
            if store.missing:
                raise Wrong(f"{store.missing} bodies are missing")
            if store.used().files != len(messages):
                raise Wrong(f"{store.used().files} files are kept for {len(messages)} messages")
        finally:
            store.close()
        if drafts := os.listdir(self.folder / "drafts"):
            raise Wrong(f"{len(drafts)} drafts are left")
        return messages

    def _check_file(self, store: DiskStore, message: StoredMessage) -> None:
        uid, digest = self.acknowledged[message.mid]
        file = store.find_file(message.file or "")
        if file is None or message.sender != uid:
            raise Wrong(f"{message} has no file, or another sender than {uid}")
        body = store.read_file(file.key, 0, file.size)
        if md5(body).hexdigest() != digest or file.digest != digest:
            raise Wrong(f"the file of {message} is another one than was sent")

    async def _download(self, messages: Sequence[StoredMessage]) -> None:
        """Some of them over HTTP, from a gate that was just killed and started."""
        for message in self.chance.sample(messages, min(DOWNLOADS, len(messages))):
            saved = await rtm_asyncio.download(json.loads(message.msg)["url"], self.folder)
            if saved.md5 != self.acknowledged[message.mid][1]:
                raise Wrong(f"the download of {message} is another file than was sent")
            saved.path.unlink()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def _serve(folder: Path, port: int, file_port: int, adapter: Any) -> None:
    """The child: a gate until it is killed."""
    began = time.perf_counter()
    store = DiskStore(folder, history=ENDLESS, reserve=0)
    opened = time.perf_counter() - began
    async with adapter.serve_gate(
        pid=PID, users=USERS, host=HOST, port=port, file_port=file_port, store=store
    ):
        print(f"up {opened:.6f}", flush=True)
        await anyio.sleep_forever()


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="./dev crash", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=100, help="kills on each runtime")
    parser.add_argument("--runtime", choices=[*RUNTIMES], action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        folder, port, file_port, name = options.serve
        anyio.run(_serve, Path(folder), int(port), int(file_port), RUNTIMES[name], backend=name)
        return 0
    for name in options.runtime or RUNTIMES:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(name, options.times, Path(folder) / "store", random.Random(options.seed))
            try:
                print(anyio.run(run.__call__))
            except (Wrong, RtmError, BaseExceptionGroup) as exc:
                print(f"{name}: WRONG: {exc!r}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
