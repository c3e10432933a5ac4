"""``rtm send``: all of it but the waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import FileUnusable
from ..files import Source
from ..flows.login import LOGIN_TIMEOUT
from ..flows.steps import Progress, Stage
from ..flows.transfer import MAX_FILE, FileSent
from ..gate.content import content_type
from ..received import FileType
from .exits import Exit
from .options import SendOptions
from .screen import Screen
from .words import size_words, target_words

_TYPES = {"image": FileType.IMAGE, "audio": FileType.AUDIO, "video": FileType.VIDEO}


def mtype_of(name: str) -> int:
    """The mtype for a file with this name."""
    return _TYPES.get(content_type(name, 0).partition("/")[0], FileType.FILE)


def check_file(path: str) -> int:
    """The size of the file at *path*. Raises OSError; FileUnusable if it cannot be sent."""
    source = Source(path)
    try:
        size = source.open().size
    finally:
        source.close()
    if size > MAX_FILE:
        raise FileUnusable(f"{path} has {size} bytes, over the limit of {MAX_FILE}")
    return size


class Sending:
    """One ``rtm send``: where it stands, and what it says."""

    def __init__(self, options: SendOptions, screen: Screen) -> None:
        """Raises OSError or FileUnusable for a file that cannot be sent."""
        self.options = options
        self.status = Exit.DONE
        self.mtype = mtype_of(options.file) if options.mtype is None else options.mtype
        self.login_timeout = min(LOGIN_TIMEOUT, options.timeout)
        self._screen = screen
        self._size = check_file(options.file)
        self._name = Path(options.name or options.file).name
        self._last: Progress | None = None
        self._bar: Callable[[Progress], None] | None = None

    def logged_in(self) -> None:
        """The login is done."""
        account = self.options.account
        self._screen.detail(f"logged in as user {account.uid} at {account.url}")

    def progress(self, progress: Progress) -> None:
        """It has come this far."""
        self._last = progress
        if self._bar is None:
            self._bar = self._screen.bar(self._name)
        self._bar(progress)

    def done(self, sent: FileSent) -> None:
        """The gate has it."""
        if self._screen.json:
            self._screen.result(
                {
                    "mid": sent.mid,
                    "mtime": sent.mtime,
                    "attempts": sent.attempts,
                    "duplicate": sent.duplicate,
                    "name": self._name,
                    "size": self._size,
                    "mtype": self.mtype,
                }
            )
            return
        target = target_words(self.options.kind, self.options.target)
        what = f"{self._name} ({size_words(self._size)}) to {target}"
        if sent.duplicate:
            self._screen.result(
                f"{what} was delivered before: mid {sent.mid} attempts {sent.attempts} duplicate"
            )
        else:
            self._screen.result(
                f"{what} sent: mid {sent.mid} mtime {sent.mtime} attempts {sent.attempts}"
            )

    def interrupted(self) -> str:
        """What a person who stops it now must know."""
        last = self._last
        if last is None or last.stage is Stage.DONE:
            return "interrupted"
        if last.stage is Stage.CONFIRMING or last.attempt > 1:
            return f"interrupted, it may have arrived; repeating with --mid {last.mid} is safe"
        return f"interrupted, it was not sent (mid {last.mid})"
