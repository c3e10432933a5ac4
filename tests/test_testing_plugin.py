"""The fixture ``rtm_gate``, in test runs of its own: who can use it, and that nothing is left."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

APP = """
import threading
from rtm_proto import FileRefused, FileType

async def send(rtm, gate, body=b"a picture"):
    async with rtm.open_client(
        gate.url, pid=gate.pid, uid=1001, token=gate.users[1001]
    ) as client:
        return await client.send_file(FileType.IMAGE, to=1002, file=body)
"""
OTHERS = ("timeout", "cacheprovider", "looptime_plugin", "looptime_timeproxies")
QUIET = ("-W", "error", *(f"-pno:{name}" for name in (*OTHERS, "looptime_chronometers")))


@pytest.fixture(autouse=True)
def app(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(app=APP)
    pytester.makeini("[pytest]\npythonpath = .\n")


def run(pytester: pytest.Pytester, test: str, *options: str, **outcomes: int) -> pytest.RunResult:
    """A test run of its own, in a process of its own."""
    pytester.makepyfile(test_it=test)
    result = pytester.runpytest_subprocess(*QUIET, *options)
    result.assert_outcomes(**outcomes)
    return result


def test_any_runtime_and_none_can_use_it(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        """
        import asyncio, socket
        import pytest, trio
        import rtm_asyncio, rtm_trio
        from app import FileRefused, send

        def test_blocking(rtm_gate):
            rtm_gate.faults.refuse("sendfile", 200057)
            for rtm, run in ((rtm_trio, trio.run), (rtm_asyncio, lambda f, *a: asyncio.run(f(*a)))):
                if rtm is rtm_trio:
                    with pytest.raises(FileRefused):
                        run(send, rtm, rtm_gate)
                run(send, rtm, rtm_gate)
            assert [body for _, body in rtm_gate.files()] == [b"a picture"] * 2
            assert [message.target for message in rtm_gate.messages()] == [1002] * 2
            assert not rtm_gate.faults.unused

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"])
        async def test_in_a_loop(rtm_gate, anyio_backend):
            rtm = rtm_trio if anyio_backend == "trio" else rtm_asyncio
            assert rtm_gate.files() == []  # a fresh one
            async with rtm.open_client(
                rtm_gate.url, pid=rtm_gate.pid, uid=1003, token=rtm_gate.users[1003]
            ) as client:
                rtm_gate.faults.push(1003, "pushsomething")
                assert rtm_gate.visits == 1
                assert rtm_gate.kick(1003) and not rtm_gate.kick(1003)
                names = [type(event).__name__ async for event in client.events()]
            assert names in (
                ["UnknownPush", "KickedOut", "Disconnected"], ["KickedOut", "Disconnected"]
            )
            rtm_gate.faults.orders.clear()
        """,
        passed=3,
    )


def test_nothing_is_left_of_it_whatever_the_test_has_done(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        """
        import os, socket, threading

        left = []

        def test_that_leaves_a_stream_open(rtm_gate):
            host, port = rtm_gate.url.split("/")[2].split(":")
            left.append(socket.create_connection((host, int(port))))
            left.append(rtm_gate)
            while rtm_gate.visits < 1:
                pass
            assert "rtm gate" in [thread.name for thread in threading.enumerate()]

        def test_that_it_is_gone():
            stream, gate = left
            stream.settimeout(5)
            try:
                assert stream.recv(1) == b""
            except ConnectionError:
                pass
            stream.close()
            assert threading.active_count() == 1
            host, port = gate.url.split("/")[2].split(":")
            try:
                socket.create_connection((host, int(port))).close()
            except OSError:
                return
            raise AssertionError("it still listens")
        """,
        passed=2,
    )


def test_it_is_made_as_the_user_says(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        """
        import pytest, rtm_trio, trio
        from app import FileRefused
        from rtm_proto import FileType
        from rtm_proto.gate.decisions import Limits

        @pytest.fixture(params=["trio", "asyncio"])
        def rtm_gate_options(request):
            return {
                "runtime": request.param, "pid": 7, "users": {5: "five"},
                "limits": Limits(max_file=10),
            }

        def test_it(rtm_gate):
            assert (rtm_gate.pid, rtm_gate.users) == (7, {5: "five"})

            async def main():
                async with rtm_trio.open_client(rtm_gate.url, pid=7, uid=5, token="five") as five:
                    await five.send_file(FileType.IMAGE, to=6, file=b"0123456789")
                    with pytest.raises(FileRefused, match="200031"):
                        await five.send_file(FileType.IMAGE, to=6, file=b"0123456789a")

            trio.run(main)

        @pytest.mark.parametrize("rtm_gate_options", [{"host": "192.0.2.1"}])
        def test_that_cannot_be(rtm_gate):
            raise AssertionError("nobody should get here")
        """,
        passed=2,
        errors=1,
    )


def test_a_runtime_that_is_missing_is_named(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import sys
        for name in ("rtm_asyncio", "rtm_trio"):
            sys.modules[name] = None
        """
    )
    result = run(
        pytester,
        """
        def test_it(rtm_gate):
            raise AssertionError("nobody should get here")
        """,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        ["rtm_gate: a gate needs a runtime: pip install 'rtm-proto*testing*' (asyncio) or *"]
    )


@pytest.mark.parametrize("missing", ["h11", "wsproto"])
def test_what_the_gate_needs_is_named_too(pytester: pytest.Pytester, missing: str) -> None:
    pytester.makeconftest(f"import sys\nsys.modules[{missing!r}] = None\n")
    result = run(pytester, "def test_it(rtm_gate):\n    raise AssertionError\n", errors=1)
    result.stdout.fnmatch_lines([f"rtm_gate: *needs {missing}: pip install*"])


def test_nothing_is_loaded_until_a_test_asks_for_it(pytester: pytest.Pytester) -> None:
    """Neither for who has rtm-proto installed for other reasons, nor for who lacks an extra."""
    run(
        pytester,
        """
        import sys

        def test_it():
            names = {"trio", "hypothesis", "wsproto", "h11", "rtm_trio", "rtm_asyncio"}
            names |= {"rtm_proto.testing.background", "rtm_proto.gate"}
            assert not names & set(sys.modules)
        """,
        *("-p", "no:hypothesispytest", "-p", "no:anyio"),
        passed=1,
    )


def test_pytest_finds_it_by_itself(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*QUIET, "--fixtures")
    result.stdout.fnmatch_lines(["rtm_gate -- *", "*A gate with faults to order*"])
