"""The same bytes in every way that they can arrive: whole, byte by byte, in pieces, with a tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rtm_proto.testing.strategies import cuts as cut_up

__all__ = ["check_feeding", "cut_up", "ways"]


def ways(data: bytes) -> Iterator[list[bytes]]:
    """*data* whole, byte by byte, in small pieces, and with empty pieces around it."""
    yield [data]
    for size in (1, 2, 3, 7, 13):
        yield [data[start : start + size] for start in range(0, len(data), size)]
    yield [b"", data, b""]


def check_feeding(
    reader: Callable[[], Callable[[bytes], Sequence[object]]],
    data: bytes,
    expected: Sequence[object],
    *,
    tail: bytes = b"",
) -> None:
    """*reader* makes a fresh reader: each way of feeding it *data* must bring *expected*.

    With a *tail* that begins something new, the tail must neither change nor add anything.
    """
    for pieces in [*ways(data), *ways(data + tail), [data, tail], [data[:-1], data[-1:] + tail]]:
        receive = reader()
        assert [item for piece in pieces for item in receive(piece)] == [*expected]
