"""What a user reads with ``async for``: events, and the progress of a send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from rtm_proto.errors import LocalProtocolError
from rtm_proto.flows.steps import Progress, ProgressInbox
from rtm_proto.received import ClientEvent

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)


class Belled(Protocol):
    """What one task may wait for."""

    bell: Callable[[], None] | None


class Waiting(Belled, Protocol[Given]):
    """Items that wait for their reader."""

    @property
    def over(self) -> bool: ...
    def take(self) -> Given | None: ...


def rung(belled: Belled) -> Awaitable[None]:
    """Await it at once: it ends when *belled* rings."""
    rings: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ring() -> None:
        if not rings.done():  # the task that waits may just have been cancelled
            rings.set_result(None)

    belled.bell = ring  # an anyio.Event would be one more thing in every quest
    return rings


class Taking(Generic[Item]):
    """Gives what an inbox has, one by one; one task reads at a time."""

    def __init__(self, inbox: Waiting[Item]) -> None:
        self._inbox = inbox

    def __aiter__(self) -> Taking[Item]:
        """Itself."""
        return self

    async def __anext__(self) -> Item:
        """The next one. Raises LocalProtocolError while another task waits for it.

        Cancelled, nothing is lost.
        """
        inbox = self._inbox
        while not inbox.over:
            item = inbox.take()
            if item is not None:
                return item
            if inbox.bell is not None:
                raise LocalProtocolError("another task is waiting for the next one already")
            try:
                await rung(inbox)
            finally:
                inbox.bell = None
        raise StopAsyncIteration


class EventStream(Taking[ClientEvent]):
    """What ``Client.events`` gives."""


class ProgressStream(Taking[Progress]):
    """Give it as *progress* to one send, and read it from another task: it ends with the send.

    Every stage comes; of the bytes a slow reader sees the newest.
    """

    def __init__(self) -> None:
        self._progress = ProgressInbox()
        super().__init__(self._progress)

    def __call__(self, progress: Progress) -> None:
        """Something has come on."""
        self._progress.put(progress)

    def end(self) -> None:
        """The send has ended."""
        self._progress.end()
