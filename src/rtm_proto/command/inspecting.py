"""``rtm inspect``: prints what ``rtm_proto.inspection`` finds."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ..inspection import TEXT_WIDTH, Fault, inspect, read_input, to_json, to_text
from .exits import Exit, UsageError
from .options import InspectOptions
from .screen import Screen


def show_packages(options: InspectOptions, screen: Screen) -> Exit:
    """Print every package and every fault. Raises OSError, UsageError, OutputGone."""
    status = Exit.DONE
    width = shutil.get_terminal_size((TEXT_WIDTH, 24)).columns if screen.on_terminal else TEXT_WIDTH
    for item in inspect(_input(options, screen)):
        if isinstance(item, Fault):
            status = Exit.REFUSED
        screen.result(to_json(item) if screen.json else to_text(item, width=width))
    return status


def _input(options: InspectOptions, screen: Screen) -> bytes:
    if options.text is not None:
        text = options.text.encode("utf-8", "surrogateescape")
        data = read_input(text)
        if data is text:
            raise UsageError(f"--hex: expected hex digits, two for each byte, got {options.text!r}")
        return data
    if options.file != "-":
        return read_input(Path(options.file).read_bytes())
    if sys.stdin is None:
        raise UsageError("there is no stdin to read: name a file")
    if sys.stdin.isatty():
        screen.say("reading bytes or hex text from the terminal; end with Ctrl-D")
    return read_input(sys.stdin.buffer.read())
