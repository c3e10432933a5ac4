"""Who waits for which small picture: each is made once, two at a time, and kept for a while."""

from __future__ import annotations

import pytest

from rtm_proto.gate import thumbnail_queue
from rtm_proto.gate.store import MakeThumbnail, StoredFile
from rtm_proto.gate.thumbnail_queue import (
    AT_ONCE,
    MAX_ENTRIES,
    MAX_KEPT,
    MAX_SOURCE,
    MAX_WANTED,
    ThumbnailQueue,
    has_thumbnail,
)


class Asker:
    """Somebody who waits."""

    def __init__(self) -> None:
        self.told: list[bytes | None] = []

    def thumbnail(self, data: bytes | None) -> None:
        """Here it is."""
        self.told.append(data)


def file(number: int, size: int = 1000) -> StoredFile:
    return StoredFile(f"key-{number}", size, "digest", "a.jpg", 40)


def make(data: bytes) -> bytes | None:
    return data


def queue() -> ThumbnailQueue:
    ids = iter(range(1_000_000))
    return ThumbnailQueue(make, lambda: next(ids))


def begun(queue: ThumbnailQueue) -> list[str]:
    effects, queue.effects = queue.effects, []
    return [effect.file.key for effect in effects]


@pytest.mark.parametrize(
    ("head", "has"),
    [
        (b"\xff\xd8\xff\xe0", True),
        (b"\x89PNG\r\n\x1a\n", True),
        (b"GIF87a", True),
        (b"GIF89a", True),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", True),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", False),
        (b"\xff\xd8", False),
        (b"\x89PNG", False),
        (b"GIF88a", False),
        (b"BM", False),
        (b"", False),
    ],
)
def test_a_file_that_begins_so_may_have_one(head: bytes, has: bool) -> None:
    assert has_thumbnail(head) is has


def test_a_picture_is_made_once_for_all_who_ask() -> None:
    pictures, askers = queue(), [Asker() for _ in range(3)]
    for asker in askers:
        pictures.ask(asker, file(1))
    assert pictures.effects == [MakeThumbnail(0, file(1), make)]
    assert len(pictures) == 1
    pictures.made(file(1), b"small")
    assert [asker.told for asker in askers] == [[b"small"]] * 3
    assert len(pictures) == 0
    pictures.effects.clear()
    pictures.ask(askers[0], file(1))
    assert (askers[0].told, pictures.effects) == ([b"small", b"small"], [])


def test_what_cannot_be_made_is_not_tried_again_and_what_failed_is() -> None:
    pictures, asker = queue(), Asker()
    pictures.ask(asker, file(1))
    pictures.ask(asker, file(2))
    pictures.made(file(1), None)
    pictures.made(file(2), None, failed=True)
    assert asker.told == [None, None]
    assert begun(pictures) == ["key-1", "key-2"]
    pictures.ask(asker, file(1))
    assert (asker.told, begun(pictures)) == ([None] * 3, [])
    pictures.ask(asker, file(2))
    assert begun(pictures) == ["key-2"]


def test_so_many_are_made_at_a_time_in_their_order() -> None:
    pictures, asker = queue(), Asker()
    for number in range(5):
        pictures.ask(asker, file(number))
    assert begun(pictures) == ["key-0", "key-1"]
    assert AT_ONCE == 2
    pictures.made(file(1), b"1")
    assert begun(pictures) == ["key-2"]
    pictures.made(file(0), b"0")
    pictures.made(file(2), b"2")
    assert begun(pictures) == ["key-3", "key-4"]
    assert asker.told == [b"1", b"0", b"2"]


def test_where_too_many_wait_the_file_itself_has_to_do() -> None:
    pictures, asker = queue(), Asker()
    for number in range(MAX_WANTED):
        pictures.ask(asker, file(number))
    late = Asker()
    pictures.ask(late, file(MAX_WANTED))
    assert late.told == [None]
    pictures.ask(late, file(0))  # one that is made already may be waited for
    assert late.told == [None]
    pictures.made(file(0), b"0")
    assert late.told == [None, b"0"]
    pictures.ask(late, file(MAX_WANTED))
    assert late.told == [None, b"0"]
    assert len(pictures) == MAX_WANTED


def test_no_picture_is_made_of_what_is_too_large_or_where_nobody_can() -> None:
    assert (MAX_SOURCE, MAX_WANTED) == (32 * 1024 * 1024, 64)
    pictures, asker = queue(), Asker()
    pictures.ask(asker, file(1, MAX_SOURCE + 1))
    ThumbnailQueue(None, lambda: 1).ask(asker, file(1))
    assert (asker.told, pictures.effects) == ([None, None], [])
    pictures.ask(asker, file(2, MAX_SOURCE))
    assert begun(pictures) == ["key-2"]


def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    pictures, gone, stays = queue(), Asker(), Asker()
    for number in range(4):
        pictures.ask(gone, file(number))
    pictures.ask(stays, file(3))
    pictures.left(gone)
    pictures.left(Asker())
    assert begun(pictures) == ["key-0", "key-1"]
    pictures.made(file(0), b"0")  # it was under way: it is kept for the next
    assert begun(pictures) == ["key-3"]
    pictures.made(file(1), b"1")
    pictures.made(file(3), b"3")
    assert (gone.told, stays.told, len(pictures)) == ([], [b"3"], 0)
    pictures.ask(gone, file(0))
    assert gone.told == [b"0"]


def test_what_was_not_asked_for_lately_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnail_queue, "MAX_KEPT", 100)
    pictures, asker = queue(), Asker()
    for number in range(2):
        pictures.ask(asker, file(number))
        pictures.made(file(number), bytes(50))
    pictures.ask(asker, file(0))
    pictures.ask(asker, file(2))
    begun(pictures)
    pictures.made(file(2), b"x")
    for number, again in ((0, []), (2, []), (1, ["key-1"])):
        pictures.ask(asker, file(number))
        assert begun(pictures) == again


def test_the_number_of_those_kept_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_ENTRIES, MAX_KEPT) == (4096, 16 * 1024 * 1024)
    monkeypatch.setattr(thumbnail_queue, "MAX_ENTRIES", 2)
    pictures, asker = queue(), Asker()
    for number in range(3):
        pictures.ask(asker, file(number))
        pictures.made(file(number), None)
    begun(pictures)
    pictures.ask(asker, file(1))
    pictures.ask(asker, file(2))
    assert begun(pictures) == []
    pictures.ask(asker, file(0))
    assert begun(pictures) == ["key-0"]
