"""Files on disk: what can be sent and what cannot, and where a received file goes."""

from __future__ import annotations

import io
import os
import sys
from array import array
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from rtm_proto.errors import FileUnusable
from rtm_proto.files import AnySink, AnySource, Sink, Source, StreamSink, StreamSource
from rtm_proto.flows.steps import SourceOpened


def read_all(source: Source, size: int = 3) -> bytes:
    """What is left, in small pieces."""
    data = b""
    while piece := source.read(size):
        assert len(piece) <= size
        data += piece
    return data


# --- sources ---


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_opened_anew_each_time(form: type, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"0123456789")
    source = Source(form(path))
    for _ in range(2):
        assert source.open() == SourceOpened(10, "photo.jpg", str(path))
        assert read_all(source) == b"0123456789"
    path.write_bytes(b"new")
    assert source.open().size == 3
    assert source.read(2) == b"ne"
    source.close()
    source.close()


def test_a_path_may_be_in_bytes_behind_its_face(tmp_path: Path) -> None:
    class InBytes:
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path / "file")

    (tmp_path / "file").write_bytes(b"data")
    source = Source(cast("Any", InBytes()))
    assert source.open() == SourceOpened(4, "file", str(tmp_path / "file"))
    source.close()


@pytest.mark.parametrize(
    "data",
    [
        b"0123456789",
        bytearray(b"0123456789"),
        memoryview(b"0123456789"),
        memoryview(b"0_1_2_3_4_5_6_7_8_9")[::2],
        memoryview(array("H", [0x3130, 0x3332, 0x3534, 0x3736, 0x3938])),
    ],
)
def test_bytes_are_sent_as_they_were_when_it_was_opened(data: Any) -> None:
    if sys.byteorder == "big" and not isinstance(data, (bytes, bytearray)) and data.itemsize > 1:
        data = memoryview(b"0123456789")
    source = Source(data)
    for _ in range(2):
        assert source.open() == SourceOpened(10, "", "the given bytes")
        assert read_all(source) == b"0123456789"
    source.close()


def test_a_file_of_ones_own_is_rewound_and_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "own.bin"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(5)
        source = Source(file)
        for _ in range(2):
            assert source.open() == SourceOpened(10, "own.bin", str(path))
            assert read_all(source) == b"0123456789"
        source.close()
        assert not file.closed
        with pytest.raises(FileUnusable, match="the file is not open"):
            source.read(1)
    nameless = Source(io.BytesIO(b"data"))
    assert nameless.open() == SourceOpened(4, "", "the given file")
    with open(os.open(path, os.O_RDONLY), "rb") as numbered:  # its name is a number
        assert Source(numbered).open() == SourceOpened(10, "", "the given file")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path(os.devnull)):
        with pytest.raises(FileUnusable, match=f"{path} is not a regular file"):
            Source(path).open()


def test_what_the_system_refuses_is_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Source(tmp_path / "missing").open()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Source(tmp_path / "file" / "in it").open()
    with pytest.raises(OSError, match="too long"):
        Source("x" * 5000).open()


def test_a_path_with_a_null_character_is_refused() -> None:
    with pytest.raises(FileUnusable, match="is no path"):
        Source("a\0b").open()


@pytest.mark.parametrize("file", [None, 7, object(), ["path"]])
def test_what_is_no_file_is_refused(file: Any) -> None:
    with pytest.raises(FileUnusable, match="a path, bytes or a binary file that can seek"):
        Source(file).open()


def test_a_file_that_cannot_seek_is_refused() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb"):
        with pytest.raises(FileUnusable, match="seek"):
            Source(pipe).open()


def test_a_closed_file_is_refused_at_any_time() -> None:
    file = io.BytesIO(b"data")
    source = Source(file)
    source.open()
    file.close()
    with pytest.raises(FileUnusable, match="closed file"):
        source.read(1)
    with pytest.raises(FileUnusable, match="closed file"):
        source.open()


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with (tmp_path / "text").open() as file:
        for text in (io.StringIO("text"), file):
            with pytest.raises(FileUnusable, match="'rb'"):
                Source(cast("BinaryIO", text)).open()


@pytest.mark.parametrize("given", ["text", None, 5, bytearray(b"data")])
def test_a_file_that_does_not_give_bytes_is_refused(given: object) -> None:
    class Odd(io.BytesIO):
        def read(self, size: int | None = -1, /) -> Any:
            return given

    source = Source(Odd(b"data"))
    source.open()
    with pytest.raises(FileUnusable, match=f"got {type(given).__name__}"):
        source.read(4)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        source = Source(cast("BinaryIO", file))
        source.open()
        with pytest.raises(FileUnusable, match="cannot be read"):
            source.read(1)


def test_nothing_is_read_before_it_is_opened() -> None:
    with pytest.raises(FileUnusable, match="not open"):
        Source(b"data").read(1)


# --- sinks ---


def test_a_file_is_written_beside_and_put_in_its_place(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "photo.jpg", overwrite=False)
    sink.open("ignored.jpg")
    sink.write(b"first ")
    sink.write(memoryview(b"second"))
    sink.write(b"")
    (beside,) = tmp_path.iterdir()
    assert beside.name.startswith(".") and beside.suffix == ".part"
    assert sink.finish() == tmp_path / "photo.jpg"
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    assert (tmp_path / "photo.jpg").read_bytes() == b"first second"


def test_in_a_folder_it_gets_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for to, expected in (
        (None, tmp_path / "own.jpg"),
        (tmp_path / "in", tmp_path / "in" / "own.jpg"),
        ("in/other.jpg", Path("in/other.jpg")),
    ):
        sink = Sink(to, overwrite=False)
        sink.open("own.jpg")
        assert sink.finish() == expected and expected.is_file()


def test_opened_again_it_is_empty_again(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "file", overwrite=False)
    sink.open("")
    sink.write(b"a first half")
    sink.open("")
    assert len(list(tmp_path.iterdir())) == 1
    sink.write(b"whole")
    assert sink.finish().read_bytes() == b"whole"


def test_what_is_not_finished_is_thrown_away(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "file", overwrite=False)
    sink.close()
    sink.open("")
    sink.write(b"half")
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not open"):
        sink.write(b"x")
    with pytest.raises(ValueError, match="not open"):
        sink.finish()


def test_it_may_be_gone_already(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "file", overwrite=False)
    sink.open("")
    for path in tmp_path.iterdir():
        path.unlink()
    sink.close()


@pytest.mark.parametrize("link", [False, True])
def test_what_is_there_stays_unless_it_may_be_overwritten(tmp_path: Path, link: bool) -> None:
    path = tmp_path / "file"
    if link:
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="exists already"):
        Sink(path, overwrite=False).open("")
    sink = Sink(path, overwrite=True)
    sink.open("")
    sink.write(b"new")
    sink.finish()
    assert path.read_bytes() == b"new" and not path.is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_came_meanwhile_stays_too(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "file", overwrite=False)
    sink.open("")
    (tmp_path / "file").write_bytes(b"somebody else's")
    with pytest.raises(FileExistsError):
        sink.finish()
    sink.close()
    assert (tmp_path / "file").read_bytes() == b"somebody else's"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_missing_is_the_systems_error(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "missing" / "file", overwrite=False)
    with pytest.raises(FileNotFoundError):
        sink.open("")
    sink.close()


def test_a_short_write_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneByOne(io.FileIO):
        def write(self, data: Any, /) -> int:
            return super().write(memoryview(data)[:1])

    def open_slowly(path: Path, mode: str, buffering: int) -> io.FileIO:
        return OneByOne(path, mode.replace("b", ""))

    monkeypatch.setattr("builtins.open", open_slowly)
    sink = Sink(tmp_path / "file", overwrite=False)
    sink.open("")
    sink.write(b"0123456789")
    sink.finish()
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"0123456789"


# --- any source, with waiting ---


async def pieces(*given: object) -> AsyncIterator[Any]:
    for piece in given:
        yield piece


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Nothing here waits for anything."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


async def failing(error: Exception) -> AsyncIterator[bytes]:
    yield b"x"
    raise error


def test_a_local_file_is_the_same_with_waiting(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"0123456789")
    source = AnySource(path)
    assert run(source.open()) == SourceOpened(10, "photo.jpg", str(path))
    assert [run(source.read(6)) for _ in range(3)] == [b"012345", b"6789", b""]
    run(source.aclose())
    with pytest.raises(FileUnusable, match="not open"):
        run(source.read(1))


def test_given_bytes_are_the_same_with_waiting() -> None:
    source = AnySource(b"0123")
    assert run(source.open()) == SourceOpened(4, "", "the given bytes")
    assert run(source.read(9)) == b"0123"
    run(source.aclose())
    with pytest.raises(FileUnusable, match="not open"):
        run(source.read(1))


def test_what_the_system_says_of_a_stream_is_its_own_error() -> None:
    error = OSError(5, "Input/output error")
    source = AnySource(StreamSource(10, lambda: failing(error)))
    run(source.open())
    assert run(source.read(9)) == b"x"
    with pytest.raises(OSError, match="Input/output error") as caught:
        run(source.read(9))
    assert caught.value is error


def test_a_stream_is_ended_where_reading_stops_and_where_it_is_opened_again() -> None:
    said: list[str] = []

    class Stream:
        def __init__(self) -> None:
            said.append("begun")

        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> bytes:
            return b"0123"

        async def aclose(self) -> None:
            said.append("ended")

    source = AnySource(StreamSource(8, Stream))
    for _ in range(2):
        run(source.open())
        assert run(source.read(2)) == b"01"
    assert said == ["begun", "ended", "begun"]
    run(source.aclose())
    run(source.aclose())
    assert said == ["begun", "ended", "begun", "ended"]


def test_a_stream_that_fails_in_its_own_way_is_unusable() -> None:
    error = KeyError("no such block")
    source = AnySource(StreamSource(10, lambda: failing(error)))
    run(source.open())
    assert run(source.read(9)) == b"x"
    with pytest.raises(
        FileUnusable, match="the stream failed: KeyError: 'no such block'"
    ) as caught:
        run(source.read(9))
    assert caught.value.__cause__ is error


def test_a_stream_is_read_in_whatever_size_is_wanted() -> None:
    given = (b"012", bytearray(b"34"), memoryview(b"56789"), array("H", [0]), b"")
    source = AnySource(StreamSource(10, lambda: pieces(*given[:3], b"", b"x"), "name"))
    for _ in range(2):
        assert run(source.open()) == SourceOpened(10, "name", "name")
        sizes = [run(source.read(size)) for size in (2, 2, 2, 100, 100, 100)]
        assert sizes == [b"01", b"2", b"34", b"56789", b"x", b""]
    run(source.aclose())
    with pytest.raises(FileUnusable, match="not open"):
        run(source.read(1))
    assert run(AnySource(StreamSource(0, pieces)).open()) == SourceOpened(0, "", "the given stream")


@pytest.mark.parametrize("piece", ["text", 5, None])
def test_a_stream_gives_bytes(piece: object) -> None:
    source = AnySource(StreamSource(10, lambda: pieces(piece)))
    run(source.open())
    with pytest.raises(FileUnusable, match="a stream gives bytes, got"):
        run(source.read(5))


@pytest.mark.parametrize("size", [-1, 1.0, True, None])
def test_a_stream_has_a_size(size: Any) -> None:
    with pytest.raises(FileUnusable, match="size is an integer from 0, got"):
        run(AnySource(StreamSource(size, pieces)).open())


def test_a_stream_need_not_have_an_end_of_its_own() -> None:
    class Plain:
        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> bytes:
            return b"more"

    source = AnySource(StreamSource(8, Plain))
    run(source.open())
    assert [run(source.read(8)) for _ in range(3)] == [b"more"] * 3
    run(source.aclose())


# --- a place of one's own ---


class Kept:
    """A StreamSink's place: what every writer got, and whether it was closed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.written: list[bytearray] = []
        self.closed = 0

    async def open(self, name: str) -> Kept:
        self.names.append(name)
        self.written.append(bytearray())
        return self

    async def write(self, data: bytes, /) -> int:
        self.written[-1] += data
        return len(data)

    async def aclose(self) -> None:
        self.closed += 1


def test_a_path_is_the_same_sink_with_waiting(tmp_path: Path) -> None:
    sink = AnySink(tmp_path, overwrite=False)
    run(sink.open("photo.jpg"))
    run(sink.write(memoryview(b"0123")))
    assert run(sink.finish()) == tmp_path / "photo.jpg"
    run(sink.aclose())
    assert (tmp_path / "photo.jpg").read_bytes() == b"0123"
    other = AnySink(str(tmp_path), overwrite=False)
    run(other.open("other.jpg"))
    run(other.aclose())
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_a_stream_sink_is_opened_anew_and_closed_each_time() -> None:
    kept = Kept()
    sink = AnySink(StreamSink(kept.open), overwrite=False)
    run(sink.open("a"))
    run(sink.write(b"01"))
    run(sink.open("b"))
    assert kept.closed == 1
    run(sink.write(memoryview(b"2")))
    assert run(sink.finish()) is None
    run(sink.aclose())
    assert (kept.names, kept.written, kept.closed) == (
        ["a", "b"],
        [bytearray(b"01"), bytearray(b"2")],
        2,
    )


def test_a_stream_sink_that_is_not_finished_is_closed() -> None:
    kept = Kept()
    sink = AnySink(StreamSink(kept.open), overwrite=False)
    run(sink.aclose())
    run(sink.open("a"))
    run(sink.aclose())
    assert kept.closed == 1


def test_a_file_of_ones_own_is_written_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    with open(tmp_path / "own", "w+b", buffering=0) as file:
        file.write(b"head")
        sink = AnySink(file, overwrite=False)
        run(sink.open("a"))
        run(sink.write(b"lost and gone"))
        run(sink.open("a"))
        run(sink.write(b"body"))
        assert run(sink.finish()) is None
        run(sink.aclose())
        file.write(b"tail")
    assert (tmp_path / "own").read_bytes() == b"headbodytail"


class Narrow(io.RawIOBase):
    """A file that takes one byte at a time, and cannot go back."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.taken += bytes(data[:1])
        return 1


def test_a_file_that_cannot_go_back_is_written_once() -> None:
    file = Narrow()
    sink = AnySink(file, overwrite=False)  # type: ignore[arg-type]
    run(sink.open("a"))
    run(sink.write(b"0123"))
    assert file.taken == b"0123"
    with pytest.raises(FileUnusable, match="cannot go back"):
        run(sink.open("a"))


@pytest.mark.parametrize("to", [io.StringIO(), 7, b"path"])
def test_what_is_no_place_for_a_file_is_refused(to: Any) -> None:
    sink = AnySink(to, overwrite=False)
    with pytest.raises(FileUnusable, match="open for writing, or a StreamSink; got"):
        run(sink.open("a"))
