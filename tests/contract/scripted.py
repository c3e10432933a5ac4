"""A peer that does what a test says: the server side of a client's connections, step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from rtm_proto.address import Address
from rtm_proto.link import Link, StreamLink
from rtm_proto.package import Kind, Package, encode_answer, encode_quest
from rtm_proto.payload import Params, decode, encode
from rtm_proto.websocket import WebSocketLink
from tests.contract.streams import End
from tests.contract.world import ALICE, PID, Api, Client

TOKEN = {"token": "t" * 32, "endpoint": "files.test:4"}


class Peer:
    """The far end of one connection."""

    def __init__(self, end: End, address: Address) -> None:
        self.end = end
        self.address = address
        self.link: Link = WebSocketLink.server() if address.websocket else StreamLink()
        self.answered: list[int] = []  # seqs of our quests that the client has answered
        self._quests: list[Package] = []
        self._seq = 0

    async def open(self) -> None:
        """Do the link's handshake."""
        self.link.start()
        while not self.link.is_open:
            await self._feed()

    async def quest(self, method: str) -> Package:
        """Wait for the next quest, which is *method*."""
        package = await self.any_quest()
        assert package.method.decode() == method, package
        return package

    async def any_quest(self) -> Package:
        """Wait for the next quest of whatever method, pings apart."""
        while True:
            while not self._quests:
                await self._feed()
            package = self._quests.pop(0)
            if package.method != b"*ping":
                return package

    async def answer(self, quest: Package, params: Params) -> None:
        """Answer it."""
        await self.send(encode_answer(encode(params), quest.seq))

    async def refuse(self, quest: Package, code: int, text: str = "no") -> None:
        """Refuse it."""
        payload = encode({"code": code, "ex": text})
        await self.send(encode_answer(payload, quest.seq, status=1))

    async def ask(self, method: str, params: Params) -> int:
        """Send a quest of our own; its seq."""
        self._seq += 1
        await self.send(encode_quest(method.encode(), encode(params), self._seq))
        return self._seq

    async def send(self, package: bytes) -> None:
        """Send a package."""
        self.link.send_package(package)
        await self._flush()

    async def read_on(self) -> None:
        """Read until the client is gone; answer nothing."""
        while data := await self.end.receive():
            self._take(data)

    async def log_in(self) -> None:
        """The handshake, and a login that succeeds."""
        await self.open()
        await self.answer(await self.quest("auth"), {"ok": True})

    async def answers(self, count: int) -> None:
        """Wait until the client has answered *count* quests of ours."""
        while len(self.answered) < count:
            await self._feed()

    async def give_token(self) -> None:
        """Answer the next quest, which wants a file token."""
        await self.answer(await self.quest("filetoken"), TOKEN)

    async def give_tokens(self) -> None:
        """Let the client in, give it file tokens until it leaves."""
        await self.log_in()
        while (quest := await self.any_quest()).method == b"filetoken":
            await self.answer(quest, TOKEN)
        await self.answer(quest, {})
        await self.read_on()

    async def _feed(self) -> None:
        data = await self.end.receive()
        if not data:
            raise EOFError
        self._take(data)
        await self._flush()

    def _take(self, data: bytes) -> None:
        self.link.receive_data(data, now=anyio.current_time())
        for package in self.link.packages():
            if package.kind == Kind.ANSWER:
                self.answered.append(package.seq)
            else:
                self._quests.append(package)

    async def _flush(self) -> None:
        for data in self.link.data_to_send():
            await self.end.send(bytes(data))


Script = Callable[[Peer], Awaitable[None]]


class Scripts:
    """The ``connect`` of a client: each connection is served by the next script, then by the last.

    A script that ends, in whatever way, hangs up.
    """

    def __init__(
        self, api: Api, tasks: anyio.abc.TaskGroup, *scripts: Script, narrow: bool = False
    ) -> None:
        self.connections = 0
        self._api = api
        self._tasks = tasks
        self._scripts = scripts
        self._narrow = narrow

    async def connect(self, address: Address) -> Any:
        """A stream to the next script; a *narrow* one from the second on."""
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        near, far = self._api.stream_pair(narrow=self._narrow and self.connections > 0)
        self.connections += 1
        await anyio.lowlevel.checkpoint()
        self._tasks.start_soon(self._serve, script, End(far), address)
        return near

    def client(self, scheme: str = "tcp", **options: Any) -> AbstractAsyncContextManager[Client]:
        """A client of this peer."""
        options = {"token": "any", "connect": self.connect, "relogin": None, **options}
        return self._api.open_client(f"{scheme}://gate.test", pid=PID, uid=ALICE, **options)

    async def _serve(self, script: Script, end: End, address: Address) -> None:
        peer = Peer(end, address)
        try:
            await script(peer)
        except (EOFError, OSError):
            pass  # the client was faster
        finally:
            with anyio.CancelScope(shield=True):
                await end.close()


def params_of(package: Package) -> dict[str, object]:
    """What a package carries."""
    return decode(package.payload)
