"""``rtm demo``: the main job on loopback, all of it but the waiting.

    parcel      to                  with              the receiver
    1, 2, 3     user, group, room   a new mid each    gets each, downloads it, checks it
    4           the user again      the mid of 1      gets nothing: the gate says duplicate
    5           the user            a new mid         gets this marker next, so nothing came twice

Each event is compared with what was sent, each download with the file's own bytes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

from ..address import Address
from ..files import Saved
from ..flows.steps import Progress
from ..flows.transfer import FileSent
from ..received import ClientEvent, Conversation, FileReceived, FileType
from .exits import Exit, Mismatch
from .options import DemoOptions
from .screen import BOLD, DIM, GREEN, Screen
from .sending import check_file, mtype_of
from .words import mtype_words, size_words, target_words

PICTURE = Path(__file__).with_name("picture.png")
TIME_LIMIT = 15.0  # seconds for all of it

PROJECT, SENDER, RECEIVER = 11000001, 1001, 1002
GROUP, ROOM = 2001, 3001
MARKER_NAME = "marker.txt"
MARKER = b"whatever was sent before this has arrived before this\n"


@dataclass(slots=True)
class Parcel:
    """One file on its way, and what became of it."""

    kind: Conversation
    target: int
    mtype: int
    file: Path | bytes
    name: str
    digest: str
    size: int
    mid: int = 0
    repeat: bool = False
    progress: Callable[[Progress], None] | None = None
    sent: FileSent | None = None
    send_seconds: float = 0.0
    fetch_seconds: float = 0.0

    @property
    def words(self) -> str:
        """To whom."""
        return target_words(self.kind, self.target)


class Demo:
    """One ``rtm demo``: its plan, its checks, its account."""

    def __init__(self, options: DemoOptions, screen: Screen, folder: Path, runtime: str) -> None:
        """*folder* is for the downloads. Raises OSError or FileUnusable for a bad file."""
        self.options = options
        self.status = Exit.DONE
        self.folder = folder
        self.users = {uid: secrets.token_urlsafe(16) for uid in (SENDER, RECEIVER)}
        self._runtime = runtime
        self._screen = screen
        self._began = time.perf_counter()
        self._path = Path(options.file or PICTURE)
        self._size = check_file(str(self._path))
        self._digest = md5(self._path.read_bytes(), usedforsecurity=False).hexdigest()
        self._parcels: list[Parcel] = []
        self._arrived = 0
        self._address = ""
        self._since = 0.0

    # --- the plan ---

    def started(self, address: Address, file_address: Address) -> None:
        """The gate can be reached."""
        self._address = address.authority
        self._screen.say(f"a gate runs at {address}, files at {file_address.authority}")

    def logged_in(self) -> None:
        """Both users are there, in the group and in the room."""
        self._screen.say(
            f"users {SENDER} and {RECEIVER} are logged in, both in group {GROUP} and in room {ROOM}"
        )

    def parcels(self) -> Iterator[Parcel]:
        """What to send, one after the other."""
        user = self._parcel(Conversation.P2P, RECEIVER)
        yield from self._began_with(user)
        yield from self._began_with(self._parcel(Conversation.GROUP, GROUP))
        yield from self._began_with(self._parcel(Conversation.ROOM, ROOM))
        again = self._parcel(Conversation.P2P, RECEIVER)
        again.mid, again.repeat = user.sent.mid if user.sent else 0, True
        yield from self._began_with(again)
        marker = md5(MARKER, usedforsecurity=False).hexdigest()
        yield from self._began_with(
            Parcel(
                Conversation.P2P, RECEIVER, FileType.FILE, MARKER, MARKER_NAME, marker, len(MARKER)
            )
        )

    # --- what happened ---

    def sent(self, parcel: Parcel, sent: FileSent) -> None:
        """The gate has confirmed it. Raises Mismatch."""
        parcel.send_seconds = time.perf_counter() - self._since
        parcel.sent = sent
        if sent.duplicate != parcel.repeat:
            told = "a duplicate" if sent.duplicate else "new"
            raise Mismatch(f"the gate took mid {sent.mid} to {parcel.words} for {told}")
        if parcel.mid and sent.mid != parcel.mid:
            raise Mismatch(f"mid {parcel.mid} was to be sent again, {sent.mid} was sent")

    def received(self, parcel: Parcel, event: ClientEvent) -> FileReceived:
        """The receiver's next event is for *parcel*. Raises Mismatch."""
        sent = parcel.sent
        if not isinstance(event, FileReceived) or sent is None:
            raise Mismatch(f"the receiver got {event} instead of the file to {parcel.words}")
        self._arrived += 1
        expected = (
            sent.mid,
            sent.mtime,
            SENDER,
            parcel.kind,
            parcel.target,
            parcel.mtype,
            parcel.size,
            parcel.name,
        )
        came = (
            event.mid,
            event.mtime,
            event.sender,
            event.kind,
            event.target,
            event.mtype,
            event.size,
            event.name,
        )
        if came != expected:
            raise Mismatch(f"the receiver got {came}, but {expected} was sent")
        self._since = time.perf_counter()
        return event

    def fetched(self, parcel: Parcel, saved: Saved) -> None:
        """The receiver has downloaded it. Raises Mismatch if it is another file."""
        parcel.fetch_seconds = time.perf_counter() - self._since
        data = saved.path.read_bytes()
        digest = md5(data, usedforsecurity=False).hexdigest()
        expected = (parcel.size, parcel.digest)
        for came in ((saved.size, saved.md5), (len(data), digest)):
            if came != expected:
                raise Mismatch(f"size and md5 of the download are {came}, expected {expected}")
        saved.path.unlink()

    def all_arrived(self, duplicates: int) -> None:
        """Nothing more will come; *duplicates* pushes were filtered. Raises Mismatch for any."""
        if duplicates:
            raise Mismatch(f"the gate pushed {duplicates} files twice")

    def too_slow(self) -> None:
        """Time ran out. Raises Mismatch."""
        raise Mismatch(f"it took more than {TIME_LIMIT:g} s")

    def interrupted(self) -> str:
        """What a person who stops it now must know."""
        return "interrupted"

    # --- the account ---

    def done(self) -> None:
        """All parcels are delivered and checked: tell it."""
        seconds = time.perf_counter() - self._began
        *delivered, again, _ = self._parcels
        if self._screen.json:
            self._screen.result(
                {
                    "runtime": self._runtime,
                    "gate": self._address,
                    "name": self._path.name,
                    "size": self._size,
                    "md5": self._digest,
                    "sent": [_sent_json(parcel) for parcel in delivered],
                    "repeated": {"mid": again.mid, "duplicate": True, "arrived_again": False},
                    "arrived": self._arrived,
                    "seconds": round(seconds, 3),
                }
            )
        else:
            self._screen.result("\n".join(self._account(delivered, again, seconds)))

    # --- private ---

    def _parcel(self, kind: Conversation, target: int) -> Parcel:
        path = self._path
        mtype = mtype_of(path.name)
        return Parcel(kind, target, mtype, path, path.name, self._digest, self._size)

    def _began_with(self, parcel: Parcel) -> Iterator[Parcel]:
        label = f"{parcel.name} to {parcel.words}{' again' if parcel.repeat else ''}"
        width = len(f"{self._path.name} to user {RECEIVER} again")
        parcel.progress = self._screen.bar(label, width=width)
        self._parcels.append(parcel)
        self._since = time.perf_counter()
        yield parcel

    def _account(self, delivered: list[Parcel], again: Parcel, seconds: float) -> Iterator[str]:
        paint = self._screen.paint
        what = f"{mtype_words(delivered[0].mtype)}, {size_words(self._size)}, md5 {self._digest}"
        yield ""
        yield f"{paint(self._path.name, BOLD)} ({what})"
        yield (
            f"went from user {SENDER} to user {RECEIVER} through a gate at {self._address},"
            f" on {self._runtime}:"
        )
        yield ""
        head = ("sent to", "mid", "mtime", "confirmed", "downloaded", "size and md5")
        yield paint(_row(head), DIM)
        for parcel in delivered:
            sent = parcel.sent
            assert sent is not None
            yield _row(
                (
                    parcel.words,
                    str(sent.mid),
                    str(sent.mtime),
                    f"{parcel.send_seconds * 1000:.1f} ms",
                    f"{parcel.fetch_seconds * 1000:.1f} ms",
                )
            ) + paint("equal", GREEN)
        yield ""
        yield f"Sent again with mid {again.mid}, the gate said: a duplicate, it was delivered."
        yield (
            f"The receiver got nothing twice: {self._arrived} files arrived, the last of them a"
            " marker sent behind;"
        )
        yield "the gate pushed none of them a second time."
        yield ""
        yield f"{paint('All is well', GREEN)}, in {seconds:.2f} s."


def _row(cells: tuple[str, ...]) -> str:
    widths = (12, 21, 15, 11, 12, 0)
    return "  " + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False))


def _sent_json(parcel: Parcel) -> dict[str, object]:
    sent = parcel.sent
    assert sent is not None
    return {
        "to_kind": target_words(parcel.kind, None),
        "to": parcel.target,
        "mid": sent.mid,
        "mtime": sent.mtime,
        "attempts": sent.attempts,
        "seconds": round(parcel.send_seconds, 6),
        "download_seconds": round(parcel.fetch_seconds, 6),
        "equal": True,
    }
