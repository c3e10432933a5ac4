"""Golden bytes of other implementations, with what they mean.

``fpnn.json`` was made by the C++, Go and Python implementations or captured from them,
``js-sdk.json`` was captured from the JavaScript WebSocket SDK, ``reactions.json`` has odd inputs
with what the original server does. What the files abbreviate is rebuilt here as their notes
say, and checked by its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Expected:
    """One package, as the vector's own notes have it."""

    version: int
    flag: int
    kind: int
    ss: int
    seq: int
    method: bytes
    payload: object


@dataclass(frozen=True)
class Vector:
    """``packages`` is what ``data`` holds; ``form`` says how: what a reader has to take off first.

    "packages": nothing. "frames": WebSocket frames. "head": an HTTP upgrade and nothing else.
    "cipher": it cannot be read without the key.
    """

    name: str
    source: str
    form: str
    data: bytes
    packages: tuple[Expected, ...]
    whole: bool = True
    """False where the data end inside a package."""
    int64: bool = False
    """Whether an integer is written as int64: the JavaScript SDK does that to every Int64."""


@dataclass(frozen=True)
class Reaction:
    """An odd input, and what the framework's server did."""

    name: str
    transport: str
    data: bytes
    reaction: tuple[str, ...]
    connection_after: str


@cache
def fpnn() -> tuple[Vector, ...]:
    """Every row of fpnn.json."""
    return tuple(_fpnn_vector(row) for row in _rows("fpnn.json"))


@cache
def js_sdk() -> tuple[Vector, ...]:
    """Every row of js-sdk.json: the payloads of WebSocket messages, which are bare packages."""
    return tuple(_js_vector(row) for row in _rows("js-sdk.json"))


@cache
def reactions() -> tuple[Reaction, ...]:
    """Every row of reactions.json that has its bytes."""
    return tuple(
        Reaction(
            row["name"],
            row["transport"],
            bytes.fromhex(row["hex"]),
            tuple(row["reaction"]),
            row["connection_after"],
        )
        for row in _rows("reactions.json")
        if "hex" in row
    )


def heads() -> dict[str, bytes]:
    """What the files themselves have of the vectors that they abbreviate, by name."""
    return {
        row["name"]: bytes.fromhex(row.get("head_hex") or row["hex"])
        for row in _rows("fpnn.json") + _rows("js-sdk.json")
        if "sha256" in row
    }


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / name).read_text())
    return rows


# --- fpnn.json -----------------------------------------------------------------------------------


def _fpnn_vector(row: dict[str, Any]) -> Vector:
    decoded = row["decoded"]
    form = "packages"
    packages = [decoded]
    if "plaintext" in decoded:
        form, packages = "cipher", []
    elif "http" in decoded:
        form, packages = "head", []
    elif row["transport"] == "ws":
        form = "frames"
        packages = [decoded["fpnn"]] if "fpnn" in decoded else []
    return Vector(
        row["name"],
        row["source"],
        form,
        bytes.fromhex(row["hex"]) if "hex" in row else _rebuilt_fpnn(row),
        tuple(_fpnn_package(package) for package in packages),
    )


def _fpnn_package(decoded: dict[str, Any]) -> Expected:
    if "payload_text" in decoded:
        payload = json.loads(decoded["payload_text"])
    else:
        payload = _untag(decoded["payload_tagged"])
    method = decoded.get("method", "").encode() or bytes.fromhex(decoded.get("method_hex", ""))
    return Expected(
        decoded["version"],
        int(decoded["flag"], 16),
        decoded["mtype"],
        decoded["ss"],
        decoded.get("seq", 0),
        method,
        payload,
    )


def _untag(value: Any) -> object:
    match value:
        case {"$int": digits}:
            return int(digits)
        case {"$f64": text} | {"$f32": text}:
            return float(text)
        case {"$bin": text}:
            return bytes.fromhex(text)
        case {"$strhex": text}:
            return bytes.fromhex(text).decode("utf-8", "surrogateescape")
        case {"$bin_sha256": digest, "length": length}:
            return _checked(_cpp_file(length), digest)
        case dict():
            return {key: _untag(item) for key, item in cast("dict[str, Any]", value).items()}
        case list():
            return [_untag(item) for item in cast("list[object]", value)]
        case str() if match := re.fullmatch(r"<str of (\d+) chars, sha256 (\w+)>", value):
            return _checked(b"x" * int(match[1]), match[2]).decode()
        case _:
            return value


def _rebuilt_fpnn(row: dict[str, Any]) -> bytes:
    head = bytes.fromhex(row["head_hex"])
    if row["name"] == "cpp_quest_sendfile_5MiB":
        length = 5_242_880
        file_at = head.index(b"\xc6" + length.to_bytes(4, "big")) + 5
        attrs = row["decoded"]["payload"]["attrs"].encode()
        tail = b"\xa5attrs\xd9" + bytes([len(attrs)]) + attrs
        return _checked(head[:file_at] + _cpp_file(length) + tail, row["sha256"])
    return _checked(head.rstrip(b"x") + b"x" * 65513, row["sha256"])


@cache
def _cpp_file(length: int) -> bytes:
    """Byte i is ((i * 2654435761) mod 2**32) >> 13 & 0xff, which repeats after 2**21 bytes."""
    period = bytes(i * 2654435761 >> 13 & 0xFF for i in range(2**21))
    return (period * (length // len(period) + 1))[:length]


# --- js-sdk.json ---------------------------------------------------------------------------------


def _js_vector(row: dict[str, Any]) -> Vector:
    decoded = row["decoded"]
    packages = decoded["packages"] if "packages" in decoded else [decoded]
    return Vector(
        row["name"],
        row["source"],
        "packages",
        _rebuilt_js(row) if "rebuild" in row else bytes.fromhex(row["hex"]),
        tuple(_js_package(package) for package in packages),
        whole="incomplete_tail_hex" not in decoded,
        int64='"int64"' in json.dumps(decoded),
    )


def _js_package(decoded: dict[str, Any]) -> Expected:
    header = decoded["header"]
    payload = decoded["payload"]
    return Expected(
        header["version"],
        int(header["flag"], 16),
        header["mtype"],
        header["ss"],
        header.get("seq", 0),
        header.get("method", "").encode(),
        json.loads(payload["json_text"]) if "json_text" in payload else _typed(payload),
    )


def _typed(value: dict[str, Any]) -> object:
    match value:
        case {"map": entries}:
            return {_typed(key): _typed(item) for key, item in entries}
        case {"int": digits}:
            return int(digits)
        case {"float": digits}:
            return float(digits)
        case {"bin_hex": shown, "bin_len": length}:
            data = bytes.fromhex(shown.removesuffix("..."))
            if len(data) < length:
                assert _js_file(length).startswith(data)
                return _js_file(length)
            return data
        case {"str": text}:
            return text
        case _:
            return value["const"]


def _rebuilt_js(row: dict[str, Any]) -> bytes:
    head, tail = bytes.fromhex(row["hex"]), bytes.fromhex(row["hex_tail"])
    file_at = head.index(b"\xa4file\xc6") + 10
    length = int.from_bytes(head[file_at - 4 : file_at], "big")
    behind = row["ws_payload_len"] - file_at - length
    return _checked(head[:file_at] + _js_file(length) + tail[-behind:], row["sha256"])


@cache
def _js_file(length: int) -> bytes:
    """Byte i is (i * 31 + 7) & 255."""
    period = bytes((i * 31 + 7) & 255 for i in range(256))
    return (period * (length // 256 + 1))[:length]


def _checked(data: bytes, digest: str) -> bytes:
    assert hashlib.sha256(data).hexdigest() == digest
    return data
