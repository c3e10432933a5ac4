"""What travels on the wire, as strategies for hypothesis.

    from hypothesis import given
    from rtm_proto.testing.strategies import cuts, package_bytes

    @given(package_bytes().flatmap(cuts))
    def test_my_reader(pieces): ...

Everything here is what a peer may say; what it may not say is ``st.binary()``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as exc:
    raise ImportError(
        "rtm_proto.testing.strategies needs hypothesis: pip install 'rtm-proto[testing]'",
        name="hypothesis",
    ) from exc

from ..attrs import SIGN_SIZE
from ..package import (
    FLAG_JSON,
    FLAG_MSGPACK,
    MAX_METHOD,
    MAX_SEQ,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
)
from ..payload import INT64_MAX, INT64_MIN, encode, encode_json
from ..received import FILE_MTYPES, PUSHES, Conversation

UINT64_MAX = 2**64 - 1

# --- payloads ------------------------------------------------------------------------------------


def texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Text that UTF-8 can carry."""
    return st.text(st.characters(codec="utf-8"), max_size=max_size)


def json_values() -> st.SearchStrategy[object]:
    """A value that JSON has; integers as far as int64."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(INT64_MIN, INT64_MAX)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts()
    )
    return st.recursive(leaves, _containers, max_leaves=8)


def values() -> st.SearchStrategy[object]:
    """A value that msgpack has and the protocol takes: integers from int64 to uint64, bytes too.

    NaN is left out, because it is not equal to itself.
    """
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(INT64_MIN, UINT64_MAX)
        | st.floats(allow_nan=False)
        | texts()
        | st.binary(max_size=40)
    )
    return st.recursive(leaves, _containers, max_leaves=8)


def params() -> st.SearchStrategy[dict[str, object]]:
    """What a quest or an answer carries: text keys, any values."""
    return st.dictionaries(texts(20), values(), max_size=20)


def json_params() -> st.SearchStrategy[dict[str, object]]:
    """The same, of what a package with the JSON flag can carry."""
    return st.dictionaries(texts(20), json_values(), max_size=20)


# --- packages ------------------------------------------------------------------------------------


def methods() -> st.SearchStrategy[str]:
    """1 to 255 bytes of UTF-8; often a method of RTM. None is a built-in one (``*ping``)."""
    known = st.sampled_from(["auth", "ping", "bye", "filetoken", "sendfile", *PUSHES])
    anything = texts(MAX_METHOD).filter(
        lambda text: not text.startswith("*") and 1 <= len(text.encode()) <= MAX_METHOD
    )
    return known | anything


def seqs() -> st.SearchStrategy[int]:
    """A sequence number: 0 to 0xFFFFFFFF."""
    return st.integers(0, 9) | st.integers(0, MAX_SEQ)


@st.composite
def package_bytes(draw: st.DrawFn, kind: Kind | None = None) -> bytes:
    """A whole package: quest, one-way or answer (or only of *kind*), in msgpack or JSON, with
    version 0 or 1."""
    which: Kind = draw(st.sampled_from(Kind)) if kind is None else kind
    flag = draw(st.sampled_from([FLAG_MSGPACK, FLAG_JSON]))
    if which is Kind.ANSWER and draw(st.booleans()):
        status = draw(st.integers(1, 255))
        entries: Mapping[str, object] = {"code": draw(codes()), "ex": draw(texts())}
    else:
        status = 0
        entries = draw(params() if flag == FLAG_MSGPACK else json_params())
    payload = encode(entries) if flag == FLAG_MSGPACK else encode_json(entries)
    if which is Kind.ONEWAY:
        data = encode_oneway(draw(methods()).encode(), payload, flag=flag)
    elif which is Kind.TWOWAY:
        data = encode_quest(draw(methods()).encode(), payload, draw(seqs()), flag=flag)
    else:
        data = encode_answer(payload, draw(seqs()), status=status, flag=flag)
    version = draw(st.sampled_from([0, 1]))  # the byte behind the magic: Python SDKs send 0
    return data[:4] + bytes([version]) + data[5:]


def packages(kind: Kind | None = None) -> st.SearchStrategy[Package]:
    """The same as it is read."""
    return package_bytes(kind).map(lambda data: Splitter().feed(data)[0])


def codes() -> st.SearchStrategy[int]:
    """An error code, known or not."""
    return st.sampled_from([20001, 20003, 200003, 200010, 200053]) | st.integers(1, 999_999)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """*data* as a stream may bring it: whole, byte by byte, or in any pieces, empty ones too."""
    how = draw(st.sampled_from(["anywhere", "whole", "bytes"]))
    if how == "whole":
        return [data]
    if how == "bytes":
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


# --- files ---------------------------------------------------------------------------------------


def mids() -> st.SearchStrategy[int]:
    """A mid as it goes on the wire: a positive int64."""
    return st.integers(1, 9) | st.integers(1, INT64_MAX)


def mtypes() -> st.SearchStrategy[int]:
    """The mtype of a file: 40 to 50."""
    return st.sampled_from(FILE_MTYPES)


def file_bodies(max_size: int = 2000) -> st.SearchStrategy[bytes]:
    """What is in a file; often nothing, or what looks like a package."""
    odd = st.sampled_from([b"", b"\0", b"FPNN", b"FPNN\x01\x80\x01\x04", b"\r\n\r\n", b"\xff" * 9])
    return odd | st.binary(max_size=max_size)


def file_names() -> st.SearchStrategy[str]:
    """What peers call a file: names, paths, names of devices, nothing at all."""
    odd = [
        *("", ".", "..", "...", ".hidden", "no-extension", "two.dots.tar.gz", "ends.", "a/b.png"),
        *("../../etc/passwd", "C:\\photos\\1.jpg", "CON", "nul.txt", "照片.png", "caf\u00e9.jpg"),
        *("\u202egnp.exe", "tab\t.png", "zero\0.png", "blank .png ", "x" * 300 + ".jpeg", "a?b*.c"),
    ]
    return st.sampled_from(odd) | texts() | texts(10).map(lambda text: f"{text}.png")


def signs() -> st.SearchStrategy[str]:
    """What has the shape of a sign, in either case."""
    sign = st.text("0123456789abcdef", min_size=SIGN_SIZE, max_size=SIGN_SIZE)
    return sign | sign.map(str.upper)


@st.composite
def attrs(draw: st.DrawFn, sign: str | None = None) -> str:
    """The attrs of a file in a shape that was seen: nested or flat, ``ext`` or ``fileExtension``,
    with custom attrs, with the fields of a voice message, with numbers as text.

    *sign*: the sign in it, in lower or upper case (default: any, or none, as in a push).
    """
    inner: dict[str, object] = {}
    if sign is not None:
        inner["sign"] = draw(st.sampled_from([sign, sign.upper()]))
    elif draw(st.booleans()):
        inner["sign"] = draw(signs())
    if draw(st.booleans()):
        inner[draw(st.sampled_from(["ext", "fileExtension"]))] = draw(
            st.sampled_from(["png", "jpg", "", "tar.gz", "a/b"])
        )
    if draw(st.booleans()):
        inner["filename"] = draw(file_names())
    if draw(st.booleans()):
        inner |= {
            "type": "audiomsg",
            "codec": "amr-wb",
            "lang": draw(st.sampled_from(["zh-CN", ""])),
        }
        inner |= {"duration": draw(_numbers()), "srate": draw(_numbers())}
    whole: dict[str, object] = {"rtm": inner} if draw(st.booleans()) else dict(inner)
    if draw(st.booleans()):
        whole["custom"] = draw(json_values())
    if draw(st.booleans()):
        whole["excludedUids"] = draw(st.lists(_numbers(), max_size=4))
    return json.dumps(whole, ensure_ascii=draw(st.booleans()))


@st.composite
def file_pushes(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A push that tells of a file, to a user, a group, a room or everybody: method and params."""
    method = draw(st.sampled_from(sorted(PUSHES)))
    kind = PUSHES[method]
    url = draw(
        st.sampled_from(
            ["http://files.test/1/a.png", "https://files.test/x/%E7%85%A7.png?a=b#c", "http://f"]
        )
    )
    message: dict[str, object] = {"url": url, "size": draw(_numbers())}
    if draw(st.booleans()):
        message["surl"] = f"{url}.small"
    entries: dict[str, object] = {
        "from": draw(mids()),
        "mid": draw(mids()),
        "mtype": draw(mtypes()),
        "msg": draw(st.sampled_from([json.dumps(message), url])),
        "attrs": draw(attrs() | st.just("")),
        "mtime": draw(st.integers(0, 2**42)),
    }
    if kind is not Conversation.BROADCAST:
        entries[kind.value] = draw(mids())
    return method, entries


# --- private -------------------------------------------------------------------------------------


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    lists = st.lists(inner, max_size=4)
    maps = st.dictionaries(texts(10), inner, max_size=4)
    return cast("st.SearchStrategy[object]", lists | maps)


def _numbers() -> st.SearchStrategy[object]:
    """A number, or its decimal text (the Unreal SDK)."""
    number = st.integers(0, 10_000_000)
    return number | number.map(str)
