"""How the progress of one file is shown: a bar on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from ..flows.steps import Progress, Stage

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

LINE_EVERY = 1.0  # seconds between two lines
DRAW_EVERY = 0.05  # seconds between two pictures of a bar
BAR_WIDTH = 28  # columns

STAGES: Mapping[Stage, str] = {
    Stage.CHECK: "looking at the file",
    Stage.TOKEN: "getting a token",
    Stage.CONNECTING: "connecting to the file gate",
    Stage.UPLOADING: "sending",
    Stage.CONFIRMING: "handed over, waiting for the gate",
    Stage.DONE: "confirmed by the gate",
}


class Bar(Protocol):
    """Shows one file's progress."""

    def show(self, progress: Progress) -> None:
        """It has come this far."""
        ...

    def end(self) -> None:
        """Nothing more comes, whether it was done or not."""
        ...


class LineBar:
    """At most one line a second, none for what is done within the first."""

    def __init__(
        self, label: str, write: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._label = label
        self._write = write
        self._clock = clock
        self._last = clock()

    def show(self, progress: Progress) -> None:
        """A line, if the last one is old enough."""
        now = self._clock()
        if now - self._last >= LINE_EVERY:
            self._last = now
            self._write(f"{self._label}: {_words(progress)}, {_figures(progress)}")

    def end(self) -> None:
        """Lines need no end."""


class StageBar:
    """A line for each stage, with the time since the first."""

    def __init__(
        self, label: str, write: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._label = label
        self._write = write
        self._clock = clock
        self._began = clock()
        self._seen: tuple[Stage, int] | None = None

    def show(self, progress: Progress) -> None:
        """A line, if this stage is new."""
        if self._seen != (progress.stage, progress.attempt):
            self._seen = progress.stage, progress.attempt
            since = self._clock() - self._began
            self._write(f"{self._label}: {since:.3f} s {_words(progress)} (mid {progress.mid})")

    def end(self) -> None:
        """Lines need no end."""


def rich_bar(label: str, err: TextIO, clock: Callable[[], float]) -> Bar | None:
    """A drawn bar, or None where the ``cli`` extra is missing."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Picture
    except ImportError:
        return None
    console = Console(file=err)
    if console.is_dumb_terminal or not console.is_terminal:
        return None
    picture = Picture(
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[words]}", markup=False, style="dim"),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    return _RichBar(label, picture, clock)


class _RichBar:
    """A bar that redraws itself; it begins with the first progress."""

    def __init__(self, label: str, picture: RichProgress, clock: Callable[[], float]) -> None:
        self._picture = picture
        self._task = picture.add_task(label, total=None, words="")
        self._clock = clock
        self._drawn = 0.0
        self._stage: Stage | None = None

    def show(self, progress: Progress) -> None:
        """Draw it, unless that was done a moment ago."""
        now = self._clock()
        if self._stage is None:
            self._picture.start()
        elif progress.stage is self._stage and now - self._drawn < DRAW_EVERY:
            return
        self._stage, self._drawn = progress.stage, now
        # a file of no bytes is whole once the gate says so
        done = progress.stage is Stage.DONE
        total = max(progress.total, 1)
        self._picture.update(
            self._task,
            total=total,
            completed=total if done else progress.sent,
            words=_words(progress),
        )
        self._picture.refresh()
        if done:
            self.end()

    def end(self) -> None:
        """Let it stand as it is."""
        if self._stage is not None:
            self._picture.stop()


def _words(progress: Progress) -> str:
    again = f", attempt {progress.attempt}" if progress.attempt > 1 else ""
    return STAGES[progress.stage] + again


def _figures(progress: Progress) -> str:
    share = 100 * progress.sent // progress.total if progress.total else 100
    return f"{progress.sent:,} of {progress.total:,} bytes ({share} %)"
