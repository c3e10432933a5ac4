"""What the person sees: results on stdout, talk on stderr, progress where it can be drawn.

    call            stream   -q    usual   -v
    result          stdout   yes   yes     yes
    fail            stderr   yes   yes     yes
    say, bar        stderr   no    yes     yes
    detail          stderr   no    no      yes

A bar is drawn on a terminal only; elsewhere it is a line a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from ..flows.steps import Progress
from .bars import Bar, LineBar, StageBar, rich_bar
from .exits import Failure, explain, printable

BOLD, DIM, RED, GREEN = "1", "2", "31", "32"  # of ECMA-48, 8.3.117

QUIET, USUAL, VERBOSE = 0, 1, 2


class OutputGone(Exception):
    """Stdout takes no more; the cause says why. No OSError: it is none of the network's."""


class Screen:
    """Two streams and what is said on them. ``close`` it: it may have hidden the cursor."""

    def __init__(
        self,
        name: str,
        out: TextIO | None,
        err: TextIO | None,
        environ: Mapping[str, str],
        *,
        verbosity: int = USUAL,
        json: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*name* begins each line on *err*. A stream is None where the caller has closed it."""
        self.json = json
        self.verbosity = verbosity
        self._name = name
        self._out = out
        self._err = err
        self._clock = clock
        self._bar: Bar | None = None
        colours = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self.on_terminal = out is not None and out.isatty()
        self._colours_out = colours and self.on_terminal
        self._colours_err = colours and err is not None and err.isatty()
        reconfigure = getattr(out, "reconfigure", None)
        if reconfigure is not None:  # a name that this stream's encoding lacks is no reason to end
            reconfigure(errors="backslashreplace")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.end()
            self._bar = None

    # --- stdout ---

    def result(self, value: str | Mapping[str, object]) -> None:
        """Print text, or an object as one line of JSON, at once. Raises OutputGone."""
        self.close()
        if self._out is None:
            return
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except OSError as exc:
            raise OutputGone from exc

    def paint(self, text: str, style: str) -> str:
        """*text* in a style, where stdout is a terminal that shows it."""
        return _painted(text, style) if self._colours_out else text

    # --- stderr ---

    def say(self, text: str) -> None:
        """Talk."""
        if self.verbosity >= USUAL:
            self._write(f"{self._name}: {text}")

    def detail(self, text: str) -> None:
        """Talk that only ``-v`` wants."""
        if self.verbosity >= VERBOSE:
            self._write(f"{self._name}: {text}")

    def fail(self, failure: Failure, exc: BaseException | None = None) -> None:
        """Say why it ended, on one line; with ``-v``, what was behind it on more."""
        name = _painted(self._name, RED) if self._colours_err else self._name
        self._write(f"{name}: {failure.line}")
        cause = exc.__cause__ if exc is not None else None
        while cause is not None and explain(cause) is not None:
            self.detail(f"  because of {type(cause).__name__}: {printable(str(cause))}")
            cause = cause.__cause__

    def interrupted(self, text: str) -> None:
        """As ``say``, behind the ^C that a terminal has shown."""
        if self._err is not None and self._err.isatty() and self.verbosity >= USUAL:
            self._write("")
        self.say(text)

    def bar(self, label: str, *, width: int = 0) -> Callable[[Progress], None]:
        """What to call with the progress of one file; *label* says which.

        *width*: columns of the widest label, so that bars stand in line.
        """
        self.close()
        if self.verbosity == QUIET or self._err is None:
            return _nothing
        if self.verbosity == VERBOSE:
            self._bar = StageBar(label, self.detail, self._clock)
        elif self._err.isatty():
            self._bar = rich_bar(label.ljust(width), self._err, self._clock)
        self._bar = self._bar or LineBar(label, self._write_line, self._clock)
        return self._bar.show

    # --- private ---

    def _write_line(self, text: str) -> None:
        self._put(f"{self._name}: {text}")

    def _write(self, text: str) -> None:
        self.close()
        self._put(text)

    def _put(self, text: str) -> None:
        if self._err is not None:
            with contextlib.suppress(OSError):  # there is nowhere left to say it
                self._err.write(text + "\n")
                self._err.flush()


def abandon(stream: TextIO) -> None:
    """Let nothing more be written to *stream*: the interpreter flushes it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _painted(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m"


def _nothing(progress: Progress) -> None:
    pass
