"""Seeing every package: a Link around a Link that tells a hook what passes.

    hook ◄── packages in and out
    bytes ◄─► the link inside ◄─► TracedLink ◄─► Connection

Packages over WHOLE_TO bytes are told in parts. Their payloads hold tokens and messages: what a hook
writes down is the business of whoever gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from .events import CloseReason
from .link import Buffer, Link
from .package import MAX_PACKAGE, Package, Splitter

WHOLE_TO = 65_536  # bytes of the largest package that the hook is told whole

Hook = Callable[[Literal["in", "out"], Package], object]
"""Called with each package, as it comes in or goes out."""


class TracedLink(Link):
    """Does what the link inside does, and tells *hook* of each package."""

    def __init__(self, inside: Link, hook: Hook) -> None:
        """What *hook* raises is raised where the package is sent or received."""
        super().__init__()
        self._inside = inside
        self._hook = hook
        self._sent = Splitter(MAX_PACKAGE, WHOLE_TO)
        self._copy()

    def start(self) -> None:
        """As the link inside."""
        self._inside.start()
        self._copy()

    def ping(self) -> bool:
        """As the link inside."""
        return self._inside.ping()

    def close(self, reason: CloseReason) -> None:
        """As the link inside."""
        self._inside.close(reason)
        self._copy()

    def set_max_package(self, size: int) -> None:
        """As the link inside."""
        self._inside.set_max_package(size)

    def set_max_whole(self, size: int) -> None:
        """As the link inside."""
        self._inside.set_max_whole(size)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """As the link inside."""
        self._inside.receive_data(data, now=now)
        self._copy()

    def receive_eof(self) -> None:
        """As the link inside."""
        self._inside.receive_eof()
        self._copy()

    def packages(self) -> list[Package]:
        """Those of the link inside."""
        packages = self._inside.packages()
        for package in packages:
            self._hook("in", package)
        return packages

    def data_to_send(self) -> list[Buffer]:
        """That of the link inside."""
        return self._inside.data_to_send()

    # --- private ---

    def _copy(self) -> None:
        inside = self._inside
        self.is_open, self.ended, self.fault = inside.is_open, inside.ended, inside.fault

    def _tell_sent(self, data: Buffer) -> None:
        for package in self._sent.feed(data):
            self._hook("out", package)

    def _check_idle(self) -> None:
        self._inside._check_idle()

    def _send_whole(self, package: bytes) -> None:
        self._inside.send_package(package)
        self._tell_sent(package)

    def _send_begin(self, size: int, head: bytes) -> None:
        self._inside.begin_package(size, head)
        self._tell_sent(head)

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._inside.send_piece(piece)
        self._tell_sent(piece)
