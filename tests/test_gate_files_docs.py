"""docs/gate-files.md: its snippet runs, and its figures are those of the code."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from rtm_proto.gate import http, thumbnail_queue, thumbnails
from rtm_proto.gate.actions import HEAD
from rtm_proto.gate.front import MAX_HEAD
from rtm_proto.gate.limits import HANDSHAKE_TIMEOUT, IDLE_TIMEOUT

PAGE = (Path(__file__).parent.parent / "docs" / "gate-files.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def test_the_snippet_runs() -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, "docs/gate-files.md", "exec"), names)
    main: Callable[[], Awaitable[object]] = names["main"]
    assert trio.run(main) == (256, 192)


def test_the_figures_are_those_of_the_code() -> None:
    million = {kind: f"{most // 1_000_000} million" for kind, most in thumbnails.MAX_PIXELS.items()}
    mib = 1024 * 1024
    for text in (
        f"pieces of {http.PIECE // 1024} KiB",
        f"a head over {MAX_HEAD // 1024} KiB",
        f"there are {HANDSHAKE_TIMEOUT:g} seconds",
        f"nothing for {IDLE_TIMEOUT:g} seconds",
        f"at most {thumbnails.SIDE} pixels a side and {thumbnails.MAX_THUMBNAIL // 1024} KiB",
        f"more than {million['JPEG']} pixels (PNG and GIF: {million['PNG']}, "
        f"WebP: {million['WEBP']})",
        f"more than {thumbnails.MAX_SCANS} scans",
        f"files over {thumbnail_queue.MAX_SOURCE // mib} MiB",
        f"({thumbnail_queue.MAX_KEPT // mib} MiB of them)",
        f"more than {thumbnail_queue.MAX_WANTED} are wanted at once",
        f"first {HEAD} bytes",
    ):
        assert text in WORDS, text
    assert million["GIF"] == million["PNG"]
    assert thumbnail_queue.AT_ONCE == 2 and "two at a time" in WORDS
    assert http.MAX_AGE == 365 * 86_400 and "for a year" in WORDS
