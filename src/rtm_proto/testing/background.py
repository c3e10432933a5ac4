"""A scripted gate on loopback, in a thread of its own: for tests on any runtime, or on none.

    with run_gate(users={1001: "secret"}) as gate:
        gate.faults.refuse("sendfile", Code.BLOCKED_USER)
        ...  # whatever connects to gate.url

The thread runs asyncio or trio, whichever is there: the test does not notice. What is called here
blocks for a moment at most, also inside an event loop.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import Context
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from ..gate.memory import MemoryStore
from ..gate.store import StoredFile, StoredMessage
from .scripted import Faults, ScriptedGate

Result = TypeVar("Result")
Soon = Callable[[Callable[[], object]], object]
"""Has something called in the gate's thread, soon."""
Runtime = Literal["asyncio", "trio"]

PID = 11_000_001
USERS: Mapping[int, str] = {1001: "secret-1001", 1002: "secret-1002", 1003: "secret-1003"}
"""The login token of each uid, where none are given."""

CALL_TIMEOUT = 10.0  # seconds for anything that is called in the thread, its start and its end


class _Store(MemoryStore):
    """A store whose files can be listed."""

    def files(self) -> list[tuple[StoredFile, bytes]]:
        """Every file with its bytes, oldest first."""
        return [(file, self.read_file(file.key, 0, file.size)) for file, *_ in self._files.values()]


class _Server(Protocol):
    """What ``serve_gate`` of either adapter gives."""

    visits: int

    @property
    def url(self) -> str: ...
    def kick(self, uid: int) -> bool: ...


_Started = Future[tuple[_Server, Soon, Callable[[], None]]]  # the server, and how to stop it
_Serving = AbstractAsyncContextManager[_Server]


class RunningGate:
    """A gate that runs in a thread; made by ``run_gate``.

    ``url`` is what a client connects to with ``pid`` and one of ``users`` (their login tokens, by
    uid); ``faults`` is where its faults are ordered.
    """

    def __init__(
        self,
        server: _Server,
        store: _Store,
        faults: Faults,
        pid: int,
        users: Mapping[int, str],
        soon: Soon,
    ) -> None:
        """For ``run_gate``."""
        self.url = server.url
        self.pid = pid
        self.users = users
        self.faults = faults
        self._server = server
        self._store = store
        self._soon = soon

    def __repr__(self) -> str:
        return f"<RunningGate {self.url}>"

    @property
    def visits(self) -> int:
        """How many streams it serves right now."""
        return self.call(lambda: self._server.visits)

    def messages(self) -> list[StoredMessage]:
        """Every message that was stored, conversation by conversation, oldest first."""
        return self.call(self._store.messages)

    def files(self) -> list[tuple[StoredFile, bytes]]:
        """Every file that was stored, with its bytes, oldest first."""
        return self.call(self._store.files)

    def kick(self, uid: int) -> bool:
        """End the login of *uid*; whether there was one."""
        return self.call(lambda: self._server.kick(uid))

    def call(self, function: Callable[[], Result]) -> Result:
        """What *function* gives, or raises, called in the gate's thread."""
        done: Future[Result] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except Exception as exc:  # it belongs to whoever called
                done.set_exception(exc)

        self._soon(call)
        return done.result(CALL_TIMEOUT)


@contextmanager
def run_gate(
    *,
    pid: int = PID,
    users: Mapping[int, str] | None = None,
    runtime: Runtime | None = None,
    faults: Faults | None = None,
    **options: Any,
) -> Generator[RunningGate, None, None]:
    """Run a ScriptedGate on loopback; leaving the block ends it, and everything that it serves.

    *users*: the login token of each uid (default: USERS). *runtime*: what its thread runs (default:
    whichever is installed). *faults*: orders that were made before. *options*: as for
    ``serve_gate``.

    Raises ImportError when neither runtime is installed, RuntimeError when it does not start or
    end in time.
    """
    kept = _Store()
    book = Faults() if faults is None else faults
    names = dict(USERS if users is None else users)
    name, serve_gate = _adapter(runtime)
    make_gate = partial(ScriptedGate, faults=book)
    serving = serve_gate(pid=pid, users=names, store=kept, make_gate=make_gate, **options)
    started: _Started = Future()
    main = _run_trio if name == "trio" else _run_asyncio

    def run() -> None:
        try:
            main(serving, started)
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    thread = threading.Thread(target=run, name="rtm gate", daemon=True)
    thread.start()
    server, soon, stop = started.result(CALL_TIMEOUT)
    gate = RunningGate(server, kept, book, pid, names, soon)
    directly, book.call = book.call, gate.call
    try:
        yield gate
    finally:
        book.call = directly
        soon(stop)
        thread.join(CALL_TIMEOUT)
        if thread.is_alive():
            raise RuntimeError(f"the gate did not end in {CALL_TIMEOUT:g} s")


# --- private -------------------------------------------------------------------------------------


def _adapter(runtime: Runtime | None) -> tuple[str, Callable[..., _Serving]]:
    """The name of the runtime, and its adapter's ``serve_gate``."""
    names = ("asyncio", "trio") if runtime is None else (runtime,)
    missing: ImportError | None = None
    for name in names:
        try:
            return name, importlib.import_module(f"rtm_{name}").serve_gate
        except ImportError as exc:
            missing = missing or exc
    raise ImportError(
        "a gate needs a runtime: pip install 'rtm-proto[testing]' (asyncio) or 'rtm-proto[trio]' "
        f"({missing})"
    ) from missing


def _run_asyncio(serving: _Serving, started: _Started) -> None:
    import asyncio

    async def main() -> None:
        stop = asyncio.Event()
        async with serving as server:
            loop = asyncio.get_running_loop()

            def soon(function: Callable[[], object]) -> object:
                # not in the caller's context: there, anyio would find the caller's runtime
                return Context().run(asyncio.run_coroutine_threadsafe, call(function), loop)

            started.set_result((server, soon, stop.set))
            await stop.wait()

    async def call(function: Callable[[], object]) -> None:
        function()  # in a task: outside of any, anyio knows no time

    asyncio.run(main())


def _run_trio(serving: _Serving, started: _Started) -> None:
    import trio

    async def main() -> None:
        stop = trio.Event()
        async with serving as server:
            token = trio.lowlevel.current_trio_token()
            started.set_result((server, token.run_sync_soon, stop.set))
            await stop.wait()

    trio.run(main)
