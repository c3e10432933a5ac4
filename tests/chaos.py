"""``./dev chaos``: thousands of sends over sockets, through a proxy of ill will; each outcome true.

    ./dev chaos                              10,000 sends on each of trio, asyncio and uvloop
    ./dev chaos --sends 500 --runtime trio --seed 7

The sender's links all go through the proxy, which delays, trickles, cuts behind some byte, resets,
and sends again, on a connection of its own, what it has carried to the file gate. Checked for every
send: what was said to be sent is stored, once, and reaches the receiver, once; what was said not to
be sent never is. What is unknown is sent again with its mid. Exit status 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc

import rtm_asyncio
import rtm_trio
from rtm_proto.errors import FileNotSent, FileRefused, OutcomeUnknown, RtmError
from rtm_proto.flows.relogin import ReloginPolicy
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import StoredFile, StoredMessage
from rtm_proto.received import FileReceived, FileType

RUNTIMES: dict[str, tuple[Any, dict[str, Any]]] = {
    "trio": (rtm_trio, {"backend": "trio"}),
    "asyncio": (rtm_asyncio, {"backend": "asyncio"}),
    "uvloop": (rtm_asyncio, {"backend": "asyncio", "backend_options": {"use_uvloop": True}}),
}
HOST = "127.0.0.1"
ALICE, BOB = 1001, 1002
USERS = {ALICE: "alice", BOB: "bob"}
AT_ONCE = 20  # sends at the same time
TIMEOUT = 5.0  # seconds of one send
TRIES = 50  # sendings of one file until it has to have arrived


class Wrong(Exception):
    """Something was not as promised."""


class Store(MemoryStore):
    """Counts what it was made to keep."""

    def __init__(self) -> None:
        super().__init__(max_bytes=1 << 40)
        self.times: Counter[int] = Counter()

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        """Keep the messages; the bytes were seen, and are not needed."""
        super().save_file(file, messages, rest)
        self._files.pop(file.key)
        self._bytes -= file.size
        self.times.update(message.mid for message in messages)


@dataclass
class Proxy:
    """Carries connections to a port, badly."""

    chance: random.Random
    target: int = 0
    replays: bool = False
    done: Counter[str] = field(default_factory=Counter[str])

    async def serve(self, near: anyio.abc.SocketStream) -> None:
        """Carry one connection, as its fate will have it."""
        chance = self.chance
        cut = chance.choice((None, None, None, 300, 3_000, 100_000))
        fate = {
            "cut": None if cut is None else chance.randint(0, cut),
            "delay": chance.choice((0.0, 0.0, 0.005, 0.02)),
            "trickle": chance.random() < 0.1,
            "way": chance.choice(("up", "down")),
            "reset": chance.random() < 0.5,
        }
        try:
            far = await anyio.connect_tcp(HOST, self.target)
        except OSError:
            return
        said = bytearray()
        async with near, far:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pump, near, far, fate, "up", said, tasks)
                    tasks.start_soon(self._pump, far, near, fate, "down", None, tasks)
        if self.replays and chance.random() < 0.2:
            await self._say_again(bytes(said))

    async def _pump(
        self,
        source: anyio.abc.SocketStream,
        sink: anyio.abc.SocketStream,
        fate: dict[str, Any],
        way: str,
        said: bytearray | None,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        left = fate["cut"] if fate["way"] == way else None
        try:
            async for data in source:
                if said is not None:
                    said += data
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                await anyio.sleep(fate["delay"] * self.chance.random())
                step = max(1, len(data) // 5) if fate["trickle"] else len(data) or 1
                for at in range(0, len(data), step):
                    await sink.send(data[at : at + step])
                    if fate["trickle"]:
                        await anyio.sleep(0.002)
                if left == 0:
                    self.done["cut"] += 1
                    if fate["reset"]:
                        self.done["reset"] += 1
                        for stream in (source, sink):
                            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                            linger = struct.pack("ii", 1, 0)
                            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    tasks.cancel_scope.cancel()
                    return
            await sink.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, RuntimeError):
            tasks.cancel_scope.cancel()  # uvloop raises the last one where a transport is closed

    async def _say_again(self, said: bytes) -> None:
        """The same bytes, from somebody else."""
        self.done["replayed"] += 1
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream):
            async with await anyio.connect_tcp(HOST, self.target) as far:
                with anyio.move_on_after(1.0):
                    await far.send(said)
                    while True:
                        await far.receive()


@dataclass
class Run:
    """Some sends on one runtime, and what came of them."""

    adapter: Any
    sends: int
    chance: random.Random
    outcomes: Counter[str] = field(default_factory=Counter[str])
    sent: set[int] = field(default_factory=set[int])
    not_sent: set[int] = field(default_factory=set[int])
    received: Counter[int] = field(default_factory=Counter[int])
    store: Store = field(default_factory=Store)
    lost: int = 0

    async def __call__(self) -> Counter[str]:
        """Do it; what the proxies did. Raises Wrong."""
        main, files = Proxy(self.chance), Proxy(self.chance, replays=True)
        main_port = await anyio.create_tcp_listener(local_host=HOST)
        file_port = await anyio.create_tcp_listener(local_host=HOST)
        endpoint = f"{HOST}:{_port(file_port)}"
        async with main_port, file_port, anyio.create_task_group() as tasks:
            async with self.adapter.serve_gate(
                pid=1, users=USERS, store=self.store, endpoint=endpoint
            ) as gate:
                main.target, files.target = gate.address.port, gate.file_address.port
                tasks.start_soon(main_port.serve, main.serve)
                tasks.start_soon(file_port.serve, files.serve)
                await self._talk(gate.address.port, _port(main_port))
            tasks.cancel_scope.cancel()
        self._check()
        return main.done + files.done

    async def _talk(self, port: int, through: int) -> None:
        places = anyio.CapacityLimiter(AT_ONCE)
        policy = ReloginPolicy(first_pause=0.05, longest_pause=0.2)
        async with (
            self.adapter.open_client(
                f"tcp://{HOST}:{port}", pid=1, uid=BOB, token=USERS[BOB]
            ) as bob,
            anyio.create_task_group() as reading,
        ):
            reading.start_soon(self._read, bob)
            async with self._alice(through, policy) as alice, anyio.create_task_group() as tasks:
                for _ in range(self.sends):
                    await places.acquire_on_behalf_of(slot := object())
                    tasks.start_soon(self._deliver, alice, places, slot)
            with anyio.move_on_after(10):
                while self.received.keys() != self.store.times.keys():  # noqa: ASYNC110 - no event
                    await anyio.sleep(0.05)
            reading.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def _alice(self, through: int, policy: ReloginPolicy) -> AsyncGenerator[Any, None]:
        """The sender; the first login is tried until the proxy lets it through."""
        scheme = self.chance.choice(("tcp", "ws"))
        while True:
            try:
                async with self.adapter.open_client(
                    f"{scheme}://{HOST}:{through}",
                    pid=1,
                    uid=ALICE,
                    token=USERS[ALICE],
                    file_route="direct",
                    login_timeout=2.0,
                    relogin=policy,
                    max_uploads=AT_ONCE,
                ) as alice:
                    yield alice
                return
            except RtmError:
                if self.outcomes:
                    raise

    async def _read(self, bob: Any) -> None:
        async for event in bob.events():
            if isinstance(event, FileReceived):
                self.received[event.mid] += 1

    async def _deliver(self, alice: Any, places: anyio.CapacityLimiter, slot: object) -> None:
        """Send a file until it has arrived, or certainly has not."""
        body = os.urandom(self.chance.choice((0, 10, 1_000, 70_000, 200_000)))
        mid = 0
        try:
            for _ in range(TRIES):
                try:
                    sent = await alice.send_file(FileType.FILE, BOB, body, mid, TIMEOUT)
                except (FileNotSent, FileRefused) as exc:
                    self._count(exc)
                    if mid == 0:
                        self.not_sent.add(exc.mid)
                        return
                except OutcomeUnknown as exc:
                    self._count(exc)
                    mid = exc.mid
                else:
                    self.outcomes["FileSent, a duplicate" if sent.duplicate else "FileSent"] += 1
                    self.sent.add(sent.mid)
                    if self.store.times[sent.mid] != 1:
                        raise Wrong(f"{sent} is kept {self.store.times[sent.mid]} times")
                    return
            raise Wrong(f"mid {mid} does not arrive in {TRIES} sendings")
        finally:
            places.release_on_behalf_of(slot)

    def _count(self, exc: Exception) -> None:
        self.outcomes[type(exc).__name__] += 1

    def _check(self) -> None:
        kept = self.store.times
        for text, mids in (
            ("were said not to be sent, and are kept", self.not_sent & kept.keys()),
            ("are kept, and nobody knows of them", kept.keys() - self.sent),
            ("were said to be sent, and are not kept", self.sent - kept.keys()),
            ("are kept more than once", {mid for mid, count in kept.items() if count > 1}),
            ("were received more than once", {m for m, n in self.received.items() if n > 1}),
            ("did not reach the receiver", kept.keys() - self.received.keys()),
        ):
            if mids:
                raise Wrong(f"{len(mids)} mids {text}: {sorted(mids)[:5]}")


def _port(listener: Any) -> int:
    port: int = listener.extra(anyio.abc.SocketAttribute.local_port)
    return port


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sends", type=int, default=10_000, help="on each runtime")
    parser.add_argument("--runtime", choices=[*RUNTIMES], action="append")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    for name in options.runtime or RUNTIMES:
        adapter, how = RUNTIMES[name]
        run = Run(adapter, options.sends, random.Random(options.seed))
        began = time.perf_counter()
        try:
            done = anyio.run(run.__call__, **how)
        except (Wrong, BaseExceptionGroup) as exc:
            print(f"{name}: WRONG: {exc!r}", file=sys.stderr)
            return 1
        seconds = time.perf_counter() - began
        outcomes = ", ".join(f"{count} {what}" for what, count in run.outcomes.most_common())
        fates = ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
        print(f"{name}: {options.sends} files in {seconds:.0f} s: {outcomes}; {fates}; all true")
    return 0


if __name__ == "__main__":
    sys.exit(main())
