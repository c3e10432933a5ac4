"""On what a scenario runs, and that nothing is left of it afterwards.

    in memory, no time passes    trio (virtual), asyncio (virtual), asyncio-uvloop
    TIMED                        trio (virtual), asyncio (virtual)
    SOCKETS                      trio-real, asyncio-real, asyncio-uvloop

uvloop cannot be given a clock, and a clock that jumps does not wait for a socket or a thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import looptime
import pytest
import trustme
from trio.testing import MockClock

from tests.contract.world import ASYNCIO, TRIO, Api

BACKENDS = ["trio", "asyncio", "asyncio-uvloop"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each case has a time limit, in seconds of a real clock.

    The thread ends the whole run: a signal cannot end a trio whose clock is virtual.
    """
    for item in items:
        if "contract" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(20, method="thread"))


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """What anyio's plugin runs the test on."""
    match request.param:
        case "trio":
            return "trio", {"clock": MockClock(autojump_threshold=0)}
        case "asyncio":
            return "asyncio", {"loop_factory": virtual_loop}
        case "trio-real":
            return "trio", {}
        case "asyncio-real":
            return "asyncio", {}
        case "asyncio-uvloop":
            return "asyncio", {"use_uvloop": True}
        case other:
            raise ValueError(f"no backend {other!r}")


def virtual_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose clock jumps to the next deadline once nothing else is to do."""
    loop = looptime.new_event_loop(start=0.0)
    end_threads = loop.shutdown_default_executor

    async def without_limit(timeout: float | None = None) -> None:
        await end_threads()

    # From Python 3.12 on asyncio waits at most 300 s for it: this clock would jump over them.
    loop.shutdown_default_executor = without_limit  # type: ignore[method-assign]
    return loop


@pytest.fixture
def api(anyio_backend_name: str) -> Api:
    """The adapter for the backend."""
    return TRIO if anyio_backend_name == "trio" else ASYNCIO


@pytest.fixture(autouse=True)
async def nothing_left(anyio_backend: object) -> AsyncIterator[None]:
    """No task and no socket outlives a test."""
    tasks = len(anyio.get_running_tasks())
    sockets = open_sockets()
    yield
    for _ in range(5):  # asyncio closes a transport in the next rounds of its loop
        await anyio.lowlevel.checkpoint()
    left = anyio.get_running_tasks()
    assert len(left) == tasks, left
    assert open_sockets() - sockets == set()


def open_sockets() -> set[str]:
    """The TCP sockets of this process (an event loop has some of another kind for itself)."""
    return {name for fd in os.listdir("/dev/fd") if (name := name_of_tcp(int(fd)))}


def name_of_tcp(fd: int) -> str | None:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
    except OSError:  # the one that the folder was read with
        return None
    with socket.socket(fileno=os.dup(fd)) as sock:
        tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        return f"{os.fstat(fd).st_ino} {sock.getsockname()}" if tcp else None


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the gates' certificates."""
    return trustme.CA()
