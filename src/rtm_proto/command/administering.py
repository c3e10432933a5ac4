"""``rtm admin``: asks the gate at a local socket, and waits for its answer by itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from ..connection import Connection
from ..errors import ConnectFailed, ConnectionLost, QuestRefused, QuestTimeout
from ..events import Answered, Closed, Lost, Refused
from ..link import StreamLink
from .acts import AdminQuest, outcome_lines
from .exits import Exit, UsageError
from .options import AdminOptions
from .screen import Screen

RECEIVE_SIZE = 65_536  # bytes


def administer(options: AdminOptions, screen: Screen) -> Exit:
    """Ask, and print the answer. Raises RtmError, OSError, UsageError, OutputGone."""
    answer: Mapping[str, object] = {}
    with _connected(options) as sock:
        connection = Connection(StreamLink(), ping=False)
        connection.connected(now=time.monotonic())
        for quest in options.quests:
            answer = _ask(sock, connection, quest, options.timeout)
    if screen.json:
        screen.result(answer)
    else:
        for line in outcome_lines(answer):
            screen.result(line)
    return Exit.DONE


def _connected(options: AdminOptions) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(options.timeout)
        sock.connect(options.socket)
    except (FileNotFoundError, ConnectionRefusedError, TimeoutError) as exc:
        sock.close()
        raise ConnectFailed(f"no gate listens at {options.socket}") from exc
    except OSError as exc:
        sock.close()
        if exc.errno is None:  # Python's own: the path is too long
            raise UsageError(f"{options.socket}: {exc}") from exc
        exc.filename = options.socket
        raise
    return sock


def _ask(
    sock: socket.socket, connection: Connection, quest: AdminQuest, timeout: float
) -> dict[str, object]:
    deadline = time.monotonic() + timeout
    connection.send_quest(quest.method, quest.params, deadline=None)
    while True:
        for data in connection.data_to_send():
            sock.sendall(data)
        for event in connection.events():
            match event:
                case Answered(_, params):
                    return params
                case Refused(_, code, text):
                    raise QuestRefused(quest.method, code, text)
                case Lost(_, reason) | Closed(reason):
                    raise ConnectionLost(quest.method, reason)
                case _:
                    pass  # the gate pings
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            received = sock.recv(RECEIVE_SIZE)
        except TimeoutError as exc:
            raise QuestTimeout(quest.method) from exc
        now = time.monotonic()
        if received:
            connection.receive_data(received, now=now)
        else:
            connection.receive_eof(now=now)
