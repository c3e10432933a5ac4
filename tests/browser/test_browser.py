"""A page in a real browser sends a file through the gate, and shows the pictures that it gets."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trustme

from rtm_proto.attrs import extension
from rtm_proto.frames import CONTINUATION, FIN, head_size, payload_size
from rtm_proto.received import ClientEvent, FileReceived, FileType
from tests.browser.browser import (
    LOOPBACK,
    NAMES,
    VARIABLE,
    PageServer,
    Tap,
    find_browser,
    open_page,
    running,
)
from tests.contract.world import ALICE, ASYNCIO, BOB, PID, TRIO, USERS, contexts, emptied

HOST = "gate.test"
SIZE = 400_000  # bytes of the page's file: Chromium writes fragments of 131,000
PATIENCE = 50.0  # seconds for everything; a browser needs three to begin


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """What the gate runs on; the browser knows no virtual clock."""
    return str(request.param)


@pytest.fixture
def browser() -> str:
    """The program of a browser; without one there is nothing to test."""
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser: looked for {', '.join(NAMES)}, or what {VARIABLE} names")
    return program


def png(width: int, height: int) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
        )

    header = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([128]) * width) * height
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def frames(stream: bytes) -> list[tuple[int, bool, int]]:
    """Opcode, whether the message ends, and size of each frame behind a client's upgrade."""
    rest = stream[stream.index(b"\r\n\r\n") + 4 :]
    found: list[tuple[int, bool, int]] = []
    while rest:
        size = head_size(rest[1])
        length = payload_size(rest[:size])
        found.append((rest[0] & 15, bool(rest[0] & FIN), length))
        rest = rest[size + length :]
    return found


@pytest.mark.anyio
@pytest.mark.timeout(90, method="thread")
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_a_page_sends_a_file_and_shows_the_pictures_that_it_gets(
    browser: str, anyio_backend_name: str, tls: bool, tmp_path: Path
) -> None:
    api = TRIO if anyio_backend_name == "trio" else ASYNCIO
    pictures = {"grey.png": png(7, 5), "no extension": png(3, 2)}
    page = PageServer(
        {f"/{name}": Path(__file__).parent / name for name in ("page.html", "rtm.js")}
    )
    ours, theirs = contexts(trustme.CA()) if tls else (None, None)
    async with api.serve_gate(pid=PID, users=USERS, ssl_context=ours) as gate:
        tap = Tap(gate.file_address.port)
        scheme, file_port = ("wss", 13462) if tls else ("ws", 13461)
        hosts = {
            f"{HOST}:13321": f"{LOOPBACK}:{gate.address.port}",
            f"fileproxy-{HOST}:{file_port}": tap.place,
        }
        main, files = (f"{scheme}://{place}/service/websocket" for place in hosts)
        orders: dict[str, object] = {
            "urls": {"main": main, "files": files},
            "pid": PID,
            "uid": ALICE,
            "token": USERS[ALICE],
            "to": BOB,
            "size": SIZE,
            "pictures": len(pictures),
        }
        with running(page, tap):
            async with api.open_client(
                gate.url, pid=PID, uid=BOB, token=USERS[BOB], ssl_context=theirs
            ) as bob:
                saved = tmp_path / "saved"
                received: list[ClientEvent] = []
                report: dict[str, Any] = {}

                async def answer_with_pictures() -> None:
                    received.append(await anext(bob.events()))
                    assert isinstance(received[0], FileReceived), received
                    await bob.download(received[0], saved)
                    for name, data in pictures.items():
                        (tmp_path / name).write_bytes(data)
                        await bob.send_file(FileType.IMAGE, to=ALICE, file=tmp_path / name)

                profile = tmp_path / "profile"
                with open_page(browser, profile, page.address(orders), hosts=hosts):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(answer_with_pictures)
                        report.update(await the_report(page))
        await emptied(gate)

    [file] = received
    assert isinstance(file, FileReceived)
    assert (file.sender, file.target, file.mtype) == (ALICE, BOB, FileType.IMAGE)
    assert (str(file.mid), str(file.mtime)) == (report["mid"], report["mtime"])
    assert (file.size, file.ext) == (SIZE, "jpg")
    assert saved.read_bytes() == bytes(i * 31 + 7 & 255 for i in range(SIZE))
    assert (report["login"], report["bye"], report["left"]) == ({"ok": True}, {}, True)
    assert report["closed"] == 1005, "the gate does not answer an empty close frame with one"
    if not tls:
        check_fragments(tap)
    for (name, data), shown in zip(pictures.items(), report["pictures"], strict=True):
        check_picture(name, data, shown)


async def the_report(page: PageServer) -> dict[str, Any]:
    """What the page says that it did."""
    wait = partial(page.reports.get, timeout=PATIENCE)
    told = await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)
    assert "fault" not in told, told["fault"]
    return told


def check_fragments(tap: Tap) -> None:
    """The file came as one message in several frames, then a goodbye."""
    [stream] = tap.heard
    *parts, close = frames(bytes(stream))
    assert close[0] == 8
    assert len(parts) > 1, "this browser sends large messages whole: fragments were not tested"
    assert [opcode for opcode, _, _ in parts] == [2] + [CONTINUATION] * (len(parts) - 1)
    assert [ends for _, ends, _ in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(size for _, _, size in parts) > SIZE


def check_picture(name: str, data: bytes, told: dict[str, Any]) -> None:
    """A picture reached the page, was shown, and could be read by its script."""
    assert (told["from"], told["to"], told["size"]) == (str(BOB), str(ALICE), len(data))
    assert told["attrs"]["rtm"]["ext"] == extension(name)
    assert told["shown"] == list(struct.unpack("!II", data[16:24]))
    part = {"status": 206, "part": list(data[1:4])}
    assert told["fetched"] == {"md5": md5(data).hexdigest(), **part}


# --- finding a browser ---


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_first_browser_that_runs_is_taken(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path)}
    assert find_browser(environ) is None
    program(tmp_path, "google-chrome", "echo Chrome 1.2")
    assert find_browser(environ) == str(tmp_path / "google-chrome")
    program(tmp_path, "chromium", "echo 'please install it'; exit 1")
    program(tmp_path, "chromium-browser", "echo Chromium 1.2")
    assert find_browser(environ) == str(tmp_path / "chromium-browser")


def test_the_variable_names_the_browser_or_that_there_is_none(tmp_path: Path) -> None:
    program(tmp_path, "chromium", "echo Chromium 1.2")
    program(tmp_path, "mine", "echo Mine 3")
    environ = {"PATH": str(tmp_path)}
    assert find_browser({**environ, VARIABLE: "mine"}) == str(tmp_path / "mine")
    assert find_browser({**environ, VARIABLE: str(tmp_path / "mine")}) == str(tmp_path / "mine")
    assert find_browser({**environ, VARIABLE: ""}) is None
    with pytest.raises(LookupError, match="RTM_BROWSER=other"):
        find_browser({**environ, VARIABLE: "other"})
