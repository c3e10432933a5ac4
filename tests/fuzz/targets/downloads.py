"""The download flow against servers that say anything, in any pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import md5

from rtm_proto.download import (
    MAX_REDIRECTS,
    MAX_RESUMES,
    DialHttp,
    Download,
    Downloaded,
    DownloadProgress,
    DownloadStep,
    Hangup,
    OpenSink,
    ReceiveBytes,
    SendBytes,
    TellDownload,
    Write,
)
from rtm_proto.errors import ConnectFailed, DownloadFailed, LocalProtocolError
from rtm_proto.flows.steps import Now, Pause

from ..choices import CUTS, Choices, cut

URL = "http://files.test/files/0123456789abcdef/photo.jpg"
MAX_SIZE = 600  # bytes
MAX_ANSWERS = 12
MAX_STEPS = 20_000
_RANGE = re.compile(rb"\r\nrange: bytes=([0-9]+)-\r\n", re.IGNORECASE)


@dataclass
class Script:
    """What the servers do, one answer for each connection; then nobody can be reached."""

    url: str
    file: bytes
    answers: list[tuple[int, int, bytes]]
    expected_size: int | None
    expected_md5: str | None


@dataclass
class Outcome:
    """What came of a download, as far as anybody outside can see."""

    end: object = None
    sink: bytearray | None = field(default=None, compare=False)  # of a failed one: who knows
    dialled: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])


def fuzz_download(data: bytes) -> None:
    """Only DownloadFailed (and LocalProtocolError for a bad URL); what is whole is whole."""
    choices = Choices(data)
    options = choices.byte()
    places = choices.take(CUTS)
    url = choices.chunk().decode("utf-8", "surrogateescape") if options & 1 else URL
    file = choices.chunk()
    script = Script(
        url,
        file,
        [],
        len(file) if options & 2 else None,
        md5(file, usedforsecurity=False).hexdigest() if options & 4 else None,
    )
    while choices and len(script.answers) < MAX_ANSWERS:
        script.answers.append((choices.byte(), choices.byte(), choices.chunk()))
    whole = _fetch(script, b"")
    assert _fetch(script, places) == whole


def _fetch(script: Script, places: bytes) -> Outcome:
    download = Download(
        script.url,
        max_size=MAX_SIZE,
        expected_size=script.expected_size,
        expected_md5=script.expected_md5,
    )
    outcome = Outcome()
    server = _Server(script, places, outcome)
    flow = download.run()
    answer: object = None
    error: ConnectFailed | None = None
    steps = 0
    try:
        while True:
            step = flow.throw(error) if error is not None else flow.send(answer)
            steps += 1
            assert steps < MAX_STEPS, "it does not come to an end"
            answer = error = None
            try:
                answer = server.carry_out(step)
            except ConnectFailed as exc:
                error = exc
    except StopIteration as stop:
        done: Downloaded = stop.value
        sink = outcome.sink
        assert sink is not None and len(sink) == done.size
        assert md5(sink, usedforsecurity=False).hexdigest() == done.md5
        assert script.expected_size in (None, done.size)
        assert script.expected_md5 in (None, done.md5)
        outcome.end = (done, bytes(sink))
    except DownloadFailed as exc:
        outcome.end = (str(exc), exc.status)
    except LocalProtocolError as exc:
        assert not outcome.dialled, "raised after the first step"
        outcome.end = str(exc)
    return outcome


class _Server:
    """Carries out the steps of a download."""

    def __init__(self, script: Script, places: bytes, outcome: Outcome) -> None:
        self._answers = list(script.answers)
        self._file = script.file
        self._places = places
        self._outcome = outcome
        self._now = 1000.0
        self._pieces: list[bytes] | None = None  # None: there is no connection
        self._breaks = False  # whether it ends with a reset

    def carry_out(self, step: DownloadStep) -> object:
        outcome = self._outcome
        match step:
            case Now():
                return self._now
            case Pause(until):
                assert until >= self._now
                self._now = until
                return self._now
            case DialHttp(scheme, host, port, _):
                assert scheme in ("http", "https") and host and 0 < port < 65_536
                outcome.dialled.append((scheme, host, port))
                assert len(outcome.dialled) <= 1 + MAX_REDIRECTS + MAX_RESUMES
                if not self._answers or self._answers[0][0] % 8 == 7:
                    self._answers[:1] = []
                    raise ConnectFailed("nobody there")
                self._pieces = []
            case SendBytes(data, _):
                assert self._pieces == []
                answer = self._answer(data)
                self._pieces = [piece for piece in cut(answer, self._places) if piece]
            case ReceiveBytes(_):
                assert self._pieces is not None
                if self._pieces:
                    return self._pieces.pop(0)
                if self._breaks:
                    raise ConnectFailed("reset")
                return b""
            case Hangup():
                self._pieces = None
            case OpenSink(size, name):
                assert name and (size is None or size <= MAX_SIZE)
                outcome.sink = bytearray()
            case Write(data):
                assert outcome.sink is not None
                outcome.sink += data
                assert len(outcome.sink) <= MAX_SIZE
            case TellDownload(DownloadProgress(received, total)):
                assert outcome.sink is not None and received == len(outcome.sink)
                assert total is None or received <= total
        return None

    def _answer(self, request: bytes) -> bytes:
        kind, length, said = self._answers.pop(0)
        self._breaks = kind & 0x80 != 0
        cut_short = length if kind & 0x40 else None  # bytes of the body that come
        file = self._file
        asked = _RANGE.search(request)
        match kind % 8:
            case 0:
                return said
            case 1:
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(file)
            case 2 | 3 if asked:
                start = int(asked[1])
                head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n" % (
                    start + (kind & 1) * (length & 1),
                    len(file) - 1,
                    len(file),
                )
                file = file[start:]
            case 4:
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                file = b"%x\r\n%b\r\n0\r\n\r\n" % (len(file), file) if file else b"0\r\n\r\n"
            case 5:
                return b"HTTP/1.1 302 Found\r\nLocation: %b\r\n\r\n" % said
            case _:
                head = b"HTTP/1.1 200 OK\r\n"
        etag = b"" if kind & 0x20 else b'ETag: "one"\r\n'
        return head + etag + said + b"\r\n" + file[:cut_short]
