"""Fuzz data as choices: small numbers, chunks, and places to cut; after its end all are zero."""

from __future__ import annotations

CUTS = 8  # bytes of a header that say where to cut: four places


class Choices:
    """Reads choices off the front of *data*."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there are any left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next *size* bytes, fewer at the end."""
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def byte(self) -> int:
        """A number below 256."""
        part = self.take(1)
        return part[0] if part else 0

    def word(self) -> int:
        """A number below 65,536."""
        return int.from_bytes(self.take(2).ljust(2, b"\0"))

    def chunk(self) -> bytes:
        """Some bytes, their number before them (see ``chunk``)."""
        size = self.byte()
        return self.take(self.word() if size == 255 else size)


def chunk(data: bytes) -> bytes:
    """*data* as ``Choices.chunk`` reads it."""
    if len(data) < 255:
        return bytes([len(data)]) + data
    return b"\xff" + len(data).to_bytes(2) + data


def cut(data: bytes, places: bytes) -> list[bytes]:
    """*data* cut at the places that each two bytes of *places* name; a piece may be empty."""
    numbers = (int.from_bytes(places[at : at + 2]) for at in range(0, len(places), 2))
    cuts = sorted(number % (len(data) + 1) for number in numbers)
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def ways(data: bytes, places: bytes, *, most: int = 200) -> list[list[bytes]]:
    """*data* cut at *places* and, if it is not more than *most* bytes, into single bytes."""
    found = [cut(data, places)]
    if len(data) <= most:
        found.append([data[at : at + 1] for at in range(len(data))])
    return found
