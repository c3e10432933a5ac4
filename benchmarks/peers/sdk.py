"""The official FPNN SDK for Python: threads over raw TCP.

It is on no package index: put the folder that holds its package ``fpnn`` on PYTHONPATH. It speaks
FPNN only, so the file quest is made here, as the RTM server SDK on top of it does.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from . import calls, library
from .calls import TIMEOUT, Calls, Pushed, Refused, place
from .wire import Params

_fpnn: Any = library("fpnn")


class _Answered(_fpnn.QuestCallback):  # type: ignore[misc]  # it is Any, installed or not
    """Counts an answer, and lets the next quest go."""

    def __init__(self, room: threading.Semaphore, failed: list[str]) -> None:
        self.room = room
        self.failed = failed

    def callback(self, answer: Any) -> None:
        """An answer came, in some thread."""
        if answer.is_error():
            self.failed.append(str(answer))
        self.room.release()


class _Processor(_fpnn.QuestProcessor):  # type: ignore[misc]  # it is Any, installed or not
    """Takes pushes."""

    def __init__(self, wanted: int) -> None:
        self.told: list[Pushed] = []
        self.all_came = threading.Event()
        self._calls = Calls(self.told.append)
        self._lock = threading.Lock()
        self._wanted = wanted

    def pushmsg(self, connection: Any, quest: Any) -> Any:
        """A push came, in some thread; gives its answer."""
        with self._lock:
            self._calls.pushed(quest.params_map)
            if len(self.told) == self._wanted:
                self.all_came.set()
        return _fpnn.Answer()


class Sdk:
    """A user over the SDK's client."""

    def __init__(self, url: str) -> None:
        host, port, _ = place(url)
        self._client = _fpnn.TCPClient(host, port)
        self._client.set_quest_timeout(int(TIMEOUT * 1000))
        self._mid = 0
        self.quest("auth", calls.login())

    def close(self) -> None:
        """End the connection and the SDK's threads."""
        self._client.destory()  # its own spelling

    def quest(self, method: str, params: Params) -> Params:
        """Ask, and wait for the answer."""
        return _ask(self._client, method, params)

    def quests(self, method: str, params: Params, count: int, in_flight: int) -> int:
        """Ask *count* times, *in_flight* at once; how many answers came."""
        if in_flight == 1:
            for _ in range(count):
                self.quest(method, params)
            return count
        room, failed = threading.Semaphore(in_flight), list[str]()
        for _ in range(count):
            room.acquire()
            self._client.send_quest(_fpnn.Quest(method, params=params), _Answered(room, failed))
        for _ in range(in_flight):
            room.acquire()
        return count - len(failed)

    def pushes(self, count: int, *, file: bool) -> int:
        """Ask for pushes, answer them; how many came that were not seen before."""
        processor = _Processor(count)
        self._client.set_quest_processor(processor)
        self.quest("bench.push", {"count": count, "file": file})
        processor.all_came.wait(TIMEOUT)
        return len(processor.told)

    def send_file(self, path: Path) -> int:
        """Send a file on a connection of its own."""
        self._mid += 1
        granted = self.quest("filetoken", calls.token_quest())
        host, port, _ = place(f"tcp://{granted['endpoint']}")
        gate = _fpnn.TCPClient(host, port)
        try:
            answer = _ask(gate, "sendfile", calls.file_quest(path, granted["token"], self._mid))
        finally:
            gate.close()
        mtime: int = answer["mtime"]
        return mtime


def _ask(client: Any, method: str, params: Params) -> Params:
    answer = client.send_quest(_fpnn.Quest(method, params=params))
    if answer.is_error():
        raise Refused(str(answer))
    found: Params = answer.params_map
    return found
