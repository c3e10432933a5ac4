"""For pytest: the fixture ``rtm_gate``, a scripted gate that runs on loopback.

    def test_my_app(rtm_gate):
        rtm_gate.faults.lose_answer("sendfile")
        my_app.send(rtm_gate.url, rtm_gate.pid, 1001, rtm_gate.users[1001], "photo.jpg")
        assert not rtm_gate.faults.unused

It has a thread of its own (see ``background``), so it goes with blocking tests, with pytest-trio,
with pytest-asyncio and with anyio's plugin. pytest finds it by itself where rtm-proto is installed;
until a test asks for it nothing but msgpack is loaded.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .background import RunningGate


@pytest.fixture
def rtm_gate_options() -> dict[str, Any]:
    """What ``rtm_gate`` is made with: the arguments of ``run_gate``. Override it to change them."""
    return {}


@pytest.fixture
def rtm_gate(rtm_gate_options: dict[str, Any]) -> Generator[RunningGate, None, None]:
    """A gate with faults to order, on loopback; a fresh one for each test, with an empty store."""
    try:
        from .background import run_gate

        with run_gate(**rtm_gate_options) as gate:
            yield gate
    except ImportError as exc:
        pytest.fail(f"rtm_gate: {exc}", pytrace=False)
