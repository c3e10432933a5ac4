"""``rtm listen``: all of it but the waiting."""

from __future__ import annotations

import os
from pathlib import Path

from ..attrs import DEFAULT_NAME, safe_name
from ..files import Saved
from ..received import ClientEvent, Disconnected, FileReceived
from .exits import Exit, Failure, explain, printable
from .options import ListenOptions
from .screen import Screen
from .words import event_json, event_words


class Listening:
    """One ``rtm listen``: where it stands, and what it says."""

    def __init__(self, options: ListenOptions, screen: Screen) -> None:
        """Raises OSError if the folder cannot be made."""
        self.options = options
        self.status = Exit.DONE
        self._screen = screen
        self._left = options.count
        self._ended = False
        if options.folder is not None:
            os.makedirs(options.folder, exist_ok=True)

    @property
    def finished(self) -> bool:
        """Whether to listen no more."""
        return self._ended or self._left == 0

    def ready(self) -> None:
        """Logged in, and in all rooms."""
        account, rooms = self.options.account, self.options.rooms
        inside = f", in room {', '.join(map(str, rooms))}" if rooms else ""
        self._screen.say(f"listening as user {account.uid} at {account.url}{inside}")

    def wanted(self, event: ClientEvent) -> FileReceived | None:
        """The file in *event* if it is to be downloaded; everything else is printed here."""
        if isinstance(event, FileReceived):
            if self.options.folder is not None and event.url is not None:
                return event
            self._print(event)
            self._count()
            return None
        self._print(event)
        if isinstance(event, Disconnected) and not event.again:
            self._ended = True
            self.status = Exit.UNREACHABLE
            where = self.options.account.url
            text = f"the link to {where} is gone: {event.reason}"
            self._screen.fail(Failure(self.status, text, "start again to go on listening"))
        return None

    def path_for(self, event: FileReceived) -> Path:
        """A path in the folder that is free."""
        path = Path(self.options.folder or "") / safe_name(event.name or DEFAULT_NAME)
        number, first = 1, path
        while os.path.lexists(path):
            number += 1
            path = first.with_name(f"{first.stem}-{number}{first.suffix}")
        return path

    def fetched(self, event: FileReceived, saved: Saved) -> None:
        """It is on disk."""
        self._print(event, path=str(saved.path), md5=saved.md5)
        self._count()

    def not_fetched(self, event: FileReceived, exc: Exception) -> None:
        """It could not be downloaded; the first such failure is the exit status."""
        failure = explain(exc) or Failure(Exit.REFUSED, f"{type(exc).__name__}: {exc}")
        self._print(event, error=failure.text)
        self._screen.fail(failure, exc)
        if self.status is Exit.DONE:
            self.status = failure.status
        self._count()

    def interrupted(self) -> str:
        """What a person who stops it now must know."""
        return "interrupted"

    # --- private ---

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1

    def _print(
        self,
        event: ClientEvent,
        *,
        path: str | None = None,
        md5: str | None = None,
        error: str | None = None,
    ) -> None:
        if self._screen.json:
            found = event_json(event)
            if isinstance(event, FileReceived):
                found |= {"path": path, "md5": md5, "download_error": error}
            self._screen.result(found)
        else:
            line = event_words(event)
            if path is not None:
                line += f" saved as {printable(path)}"
            if error is not None:
                line += " not saved"
            self._screen.result(line)
