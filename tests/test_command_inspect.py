"""``rtm inspect`` over every vector, from everywhere that it reads."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from rtm_proto.command import main
from tests import vectors
from tests.vectors import Vector

VECTORS = [
    pytest.param(vector, id=f"{vector.source}-{vector.name}")
    for vector in (*vectors.fpnn(), *vectors.js_sdk())
]
PING = bytes.fromhex("46504e4e 01 80 01 04 01000000 07000000 70696e67 80")
KINDS = {0: "oneway", 1: "quest", 2: "answer"}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("vector", VECTORS)
def test_every_package_of_every_vector_is_one_object(
    vector: Vector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "capture.bin"
    path.write_bytes(vector.data)
    status = main(["inspect", "--json", str(path)])
    out, err = capsys.readouterr()
    found = lines(out)
    assert not err
    assert status == (1 if any("error" in item for item in found) else 0)
    if vector.form == "cipher":
        assert status == 1
        return
    assert status == (0 if vector.whole else 1)
    packages = [item for item in found if "error" not in item]
    assert [
        (item["version"], item["flag"], item["kind"], item["status"], item["seq"])
        for item in packages
    ] == [
        (
            expected.version,
            expected.flag,
            KINDS[expected.kind],
            expected.ss if expected.kind == 2 else None,
            expected.seq if expected.kind != 0 else None,
        )
        for expected in vector.packages
    ]
    for item, expected in zip(packages, vector.packages, strict=True):
        if expected.kind != 2 and expected.method.isascii():
            assert item["method"] == expected.method.decode()
        if item["payload"] is not None:
            assert len(item["payload"]) == len(cast("dict[object, object]", expected.payload))


@pytest.mark.parametrize("vector", VECTORS)
def test_every_vector_can_be_read_by_people(
    vector: Vector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "capture.bin"
    path.write_bytes(vector.data)
    main(["inspect", str(path)])
    out, _ = capsys.readouterr()
    heads = [line for line in out.splitlines() if line.startswith("@")]
    assert len(heads) >= len(vector.packages)
    assert all(line.isprintable() for line in out.splitlines())


def test_hex_text_and_stdin_are_read_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "capture.hex"
    path.write_text(PING.hex(":"))
    told: list[str] = []
    for argv, stdin in (
        (["--hex", PING.hex(" ")], b""),
        ([str(path)], b""),
        ([], PING),
        (["-"], PING.hex().encode()),
    ):
        give_stdin(monkeypatch, stdin)
        assert main(["inspect", "--json", *argv]) == 0
        told.append(capsys.readouterr().out)
    assert set(told) == {
        '{"offset": 0, "length": 21, "version": 1, "flag": 128, "kind": "quest", "status": null,'
        ' "method": "ping", "seq": 7, "payload": {}}\n'
    }


def test_a_fault_is_told_in_its_place_and_by_the_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["inspect", "--json", "--hex", (PING + PING[:9]).hex()]) == 1
    good, bad = lines(capsys.readouterr().out)
    assert good["method"] == "ping"
    assert set(bad) == {"error", "offset"}
    assert bad["offset"] == len(PING)
    assert main(["inspect", "--hex", "00" * 3]) == 1
    assert "fault" in capsys.readouterr().out


def test_what_is_no_hex_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--hex", "xyz"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "expected hex digits" in err


@pytest.mark.parametrize("name", ["missing.bin", "."])
def test_a_file_that_cannot_be_read_is_status_6(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tmp_path / name)]) == 6
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("rtm inspect: ")
    assert err.count("\n") == 1


def test_a_closed_stdin_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["inspect"]) == 2
    assert "name a file" in capsys.readouterr().err


def test_a_person_who_types_is_told_how_to_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, PING)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["inspect"]) == 0
    assert "Ctrl-D" in capsys.readouterr().err
