"""The demo's plan and checks, without a gate: whatever is not as it has to be is told."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rtm_proto.command.demo import MARKER, PICTURE, RECEIVER, SENDER, Demo, Parcel
from rtm_proto.command.exits import Mismatch
from rtm_proto.command.options import DemoOptions
from rtm_proto.command.screen import Screen
from rtm_proto.files import Saved
from rtm_proto.flows.transfer import FileSent
from rtm_proto.received import EventsLost, FileReceived


class Rehearsal:
    """A demo whose gate and receiver are this test."""

    def __init__(self, folder: Path, *, as_json: bool = False) -> None:
        self.out = io.StringIO()
        screen = Screen("rtm demo", self.out, io.StringIO(), {}, json=as_json)
        self.folder = folder
        self.demo = Demo(DemoOptions(None, 0, 0), screen, folder, "trio")
        self.mids = iter(range(1, 9))

    def sent(self, parcel: Parcel) -> FileSent:
        mid = parcel.mid or next(self.mids)
        return FileSent(mid, None if parcel.repeat else 1000 + mid, 1, parcel.repeat)

    def event(self, parcel: Parcel) -> FileReceived:
        assert parcel.sent is not None
        return FileReceived(
            kind=parcel.kind,
            sender=SENDER,
            target=parcel.target,
            mid=parcel.sent.mid,
            mtype=parcel.mtype,
            mtime=parcel.sent.mtime,
            url="http://h/f",
            size=parcel.size,
            surl=None,
            name=parcel.name,
            ext=None,
            custom=None,
            voice=None,
            msg="",
            attrs="",
        )

    def saved(self, parcel: Parcel) -> Saved:
        path = self.folder / parcel.name
        data = parcel.file if isinstance(parcel.file, bytes) else parcel.file.read_bytes()
        path.write_bytes(data)
        return Saved(path, parcel.size, parcel.digest, 1)

    def run(
        self,
        *,
        sent: Callable[[FileSent], FileSent] = lambda sent: sent,
        event: Callable[[FileReceived], object] = lambda event: event,
        saved: Callable[[Saved], Saved] = lambda saved: saved,
        duplicates: int = 0,
    ) -> str:
        for parcel in self.demo.parcels():
            self.demo.sent(parcel, sent(self.sent(parcel)))
            if not parcel.repeat:
                self.demo.received(parcel, event(self.event(parcel)))  # type: ignore[arg-type]
                self.demo.fetched(parcel, saved(self.saved(parcel)))
        self.demo.all_arrived(duplicates)
        self.demo.done()
        return self.out.getvalue()


def test_the_picture_is_a_real_one() -> None:
    data = PICTURE.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xae\x42\x60\x82")
    assert 200 * 1024 < len(data) < 400 * 1024


def test_three_files_a_repeat_and_a_marker_are_sent(tmp_path: Path) -> None:
    parcels: list[Parcel] = []
    rehearsal = Rehearsal(tmp_path)
    for parcel in rehearsal.demo.parcels():
        parcels.append(parcel)
        rehearsal.demo.sent(parcel, rehearsal.sent(parcel))
    assert [parcel.words for parcel in parcels] == [
        f"user {RECEIVER}",
        "group 2001",
        "room 3001",
        f"user {RECEIVER}",
        f"user {RECEIVER}",
    ]
    assert [(parcel.mid, parcel.repeat) for parcel in parcels] == [
        (0, False),
        (0, False),
        (0, False),
        (1, True),
        (0, False),
    ]
    assert parcels[-1].file == MARKER


def test_the_account_has_the_figures(tmp_path: Path) -> None:
    account = Rehearsal(tmp_path).run()
    for text in ("picture.png (image, ", "user 1002 ", "1003", "on trio", "a duplicate", "All is"):
        assert text in account
    assert account.count("equal") == 3
    assert not list(tmp_path.iterdir())


def test_the_account_is_one_object_for_programs(tmp_path: Path) -> None:
    found = json.loads(Rehearsal(tmp_path, as_json=True).run())
    assert [each["mid"] for each in found["sent"]] == [1, 2, 3]
    assert found["repeated"] == {"mid": 1, "duplicate": True, "arrived_again": False}
    assert found["arrived"] == 4


def test_a_gate_that_takes_a_mid_twice_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="took mid 1 to user 1002 for new"):
        Rehearsal(tmp_path).run(sent=lambda sent: dataclasses.replace(sent, duplicate=False))


def test_a_gate_that_calls_a_new_file_a_duplicate_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="for a duplicate"):
        Rehearsal(tmp_path).run(sent=lambda sent: dataclasses.replace(sent, duplicate=True))


def test_a_push_that_comes_twice_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="pushed 1 files twice"):
        Rehearsal(tmp_path).run(duplicates=1)


def test_a_repeat_with_another_mid_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="mid 1 was to be sent again, 99 was sent"):
        Rehearsal(tmp_path).run(
            sent=lambda sent: dataclasses.replace(sent, mid=99) if sent.duplicate else sent
        )


@pytest.mark.parametrize("change", [{"mid": 9}, {"mtime": 9}, {"size": 9}, {"name": "x"}])
def test_a_push_that_tells_something_else_is_found_out(
    change: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(Mismatch, match="but"):
        Rehearsal(tmp_path).run(event=lambda event: dataclasses.replace(event, **change))  # type: ignore[arg-type]


def test_what_is_no_file_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="EventsLost"):
        Rehearsal(tmp_path).run(event=lambda event: EventsLost(1))


@pytest.mark.parametrize("change", [{"size": 9}, {"md5": "0" * 32}])
def test_a_download_that_says_something_else_is_found_out(
    change: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(Mismatch, match="size and md5"):
        Rehearsal(tmp_path).run(saved=lambda saved: dataclasses.replace(saved, **change))  # type: ignore[arg-type]


def test_other_bytes_on_disk_are_found_out(tmp_path: Path) -> None:
    def spoil(saved: Saved) -> Saved:
        saved.path.write_bytes(saved.path.read_bytes()[:-1] + b"?")
        return saved

    with pytest.raises(Mismatch, match="size and md5"):
        Rehearsal(tmp_path).run(saved=spoil)


def test_a_demo_that_hangs_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="more than 15 s"):
        Rehearsal(tmp_path).demo.too_slow()
