"""What is answered to who follows a link to a stored file: which of them, and for how long.

link ─► refusal ─► the store ─► serve ─┬─► the file
                                       └─► ThumbnailQueue ─► serve_thumbnail ─► the small picture,
                                                                      or a redirect to the file
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from ..received import FileType
from .http import MAX_AGE, FileExchange
from .links import FileLink, Links
from .settings import GateSettings
from .store import Kept, Store, StoredFile, Table
from .thumbnail_queue import Asker, ThumbnailQueue

_HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])"
_ORIGIN = re.compile(rf"\*|https?://{_HOST}(?::[0-9]{{1,5}})?")


class Downloads:
    """The files of one gate, as they are read over HTTP.

    ``links``       gives and judges the links
    ``thumbnails``  who waits for which small picture
    """

    def __init__(self, links: Links, thumbnails: ThumbnailQueue) -> None:
        self.links = links
        self.thumbnails = thumbnails

    @classmethod
    def of(
        cls,
        settings: GateSettings,
        kept: Kept,
        *,
        store: Store | None,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        effect_id: Callable[[], int],
    ) -> Downloads:
        """Those of a gate that begins.

        Raises ValueError for settings that make no sense, StoreFault where the links' key cannot be
        kept.
        """
        origin = settings.allow_origin
        if origin is not None and not _ORIGIN.fullmatch(origin):
            text = f"allow_origin is * or an origin like https://app.example, got {origin!r}"
            raise ValueError(text)
        key = "" if settings.link_life is None else _link_key(kept, store, make_token)
        return cls(
            Links(wall_ms, key=key, life=settings.link_life),
            ThumbnailQueue(settings.make_thumbnail, effect_id),
        )

    def serve(self, asker: Asker, exchange: FileExchange, file: StoredFile) -> None:
        """The store has the file that *exchange* asks for; a small picture is told to *asker*."""
        link = exchange.link
        assert link is not None  # or nobody would have looked for a file
        if link.thumbnail:
            self.thumbnails.ask(asker, file)
        else:
            exchange.found(
                size=file.size,
                etag=file.digest,
                name=file.name,
                mtype=file.mtype,
                max_age=self._max_age(link),
            )

    def serve_thumbnail(self, exchange: FileExchange, data: bytes | None) -> None:
        """Here is the small picture, or it cannot be made: then the file itself has to do."""
        link = exchange.link
        assert link is not None
        if data is None:
            name = exchange.path.rpartition("/")[2]
            exchange.redirect(f"../{quote(name, safe='')}{link.query}")
            return
        exchange.found_whole(
            data,
            etag=f"thumbnail-{link.key}",
            name="thumbnail.jpg",
            mtype=FileType.IMAGE,
            max_age=self._max_age(link),
        )

    def _max_age(self, link: FileLink) -> int:
        """Nobody keeps a file for longer than the link to it is good."""
        left = self.links.seconds_left(link)
        return MAX_AGE if left is None else min(left, MAX_AGE)


def _link_key(kept: Kept, store: Store | None, make_token: Callable[[], str]) -> str:
    """What links are signed with; kept before the first of them is told."""
    for record in kept.records:
        if record.table is Table.LINK_KEY:
            return record.value
    key = make_token()
    if store is not None:
        store.save_record(Table.LINK_KEY, 0, key)
    return key
