"""Who waits for which small picture, and which are made now.

    GET ─► ask ─┬─► kept ──────────────────────────────────────────► thumbnail(data)
                ├─► effects (MakeThumbnail) ─► the store ─► made ──► thumbnail(data), or (None)
                └─► none can be made, or too many wait ────────────► thumbnail(None)

A picture is made when it is asked for, once for all who ask meanwhile, AT_ONCE at a time, and kept
while there is room. That none could be made of a file is kept too: it is not tried again and again.
Who is told None is sent to the file itself.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from .store import MakeThumbnail, StoredFile

MAX_SOURCE = 32 * 1024 * 1024  # bytes of a file of which a picture is made: it is read whole
AT_ONCE = 2  # pictures that are made at a time; each takes up to some 100 MiB (gate.thumbnails)
MAX_WANTED = 64  # files whose picture is made or waits for that
MAX_KEPT = 16 * 1024 * 1024  # bytes of pictures that are kept
MAX_ENTRIES = 4096  # the same as a number, with those that are None

_PNG = b"\x89PNG\r\n\x1a\n"


def has_thumbnail(head: bytes) -> bool:
    """Whether a file that begins so may have a small picture: JPEG, PNG, GIF or WebP."""
    return head.startswith((b"\xff\xd8\xff", _PNG, b"GIF87a", b"GIF89a")) or (
        head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    )


class Asker(Protocol):
    """Somebody who waits for a small picture."""

    def thumbnail(self, data: bytes | None) -> None:
        """Here it is, or there is none."""


class ThumbnailQueue:
    """The small pictures of one gate. Take and clear ``effects`` after each call."""

    def __init__(
        self, make: Callable[[bytes], bytes | None] | None, effect_id: Callable[[], int]
    ) -> None:
        """*make*: JPEG of the bytes of an image, or None (``gate.thumbnails``); None: no pictures
        are made here."""
        self.effects: list[MakeThumbnail] = []
        self._make = make
        self._effect_id = effect_id
        self._kept: OrderedDict[str, bytes | None] = OrderedDict()
        self._kept_bytes = 0
        self._wanted: dict[str, dict[Asker, None]] = {}  # by key
        self._waiting: deque[StoredFile] = deque()
        self._making: set[str] = set()

    def __len__(self) -> int:
        return len(self._wanted)

    # --- what happened ---

    def ask(self, asker: Asker, file: StoredFile) -> None:
        """Somebody wants the small picture of *file*: told at once, or when it is made."""
        if file.key in self._kept:
            self._kept.move_to_end(file.key)
            asker.thumbnail(self._kept[file.key])
        elif file.key in self._wanted:
            self._wanted[file.key][asker] = None
        elif self._make is None or file.size > MAX_SOURCE or len(self._wanted) >= MAX_WANTED:
            asker.thumbnail(None)
        else:
            self._wanted[file.key] = {asker: None}
            self._waiting.append(file)
            self._go_on()

    def made(self, file: StoredFile, data: bytes | None, *, failed: bool = False) -> None:
        """The store has made it, or *failed* to read the file."""
        self._making.discard(file.key)
        askers = [*self._wanted.pop(file.key, {})]
        if not failed:
            self._keep(file.key, data)
        self._go_on()
        for asker in askers:
            asker.thumbnail(data)

    def left(self, asker: Asker) -> None:
        """Somebody does not wait any more; what nobody waits for is not begun."""
        for key in [key for key, askers in self._wanted.items() if asker in askers]:
            askers = self._wanted[key]
            del askers[asker]
            if not askers and key not in self._making:
                del self._wanted[key]
                self._waiting = deque(file for file in self._waiting if file.key != key)

    # --- private ---

    def _go_on(self) -> None:
        while self._make is not None and self._waiting and len(self._making) < AT_ONCE:
            file = self._waiting.popleft()
            self._making.add(file.key)
            self.effects.append(MakeThumbnail(self._effect_id(), file, self._make))

    def _keep(self, key: str, data: bytes | None) -> None:
        self._kept[key] = data
        self._kept_bytes += len(data or b"")
        while self._kept_bytes > MAX_KEPT or len(self._kept) > MAX_ENTRIES:
            _, forgotten = self._kept.popitem(last=False)
            self._kept_bytes -= len(forgotten or b"")
