"""The attrs of a file quest and its sign, written in the modern shape, read in every shape.

    sign   = md5hex( md5hex(file) + ":" + token )        lower-case hex text, both digests
    nested   {"rtm": {"sign": ..., "ext": ..., "filename": ...}, "custom": ...}      we write this
    flat     {"sign": ..., "ext": ..., "filename": ...}                              before 2022-08

Of duplicate keys the last one counts, as for the peers' JSON readers. Sources: all SDKs; the flat
shape from the 2018 documents and the Node server SDK.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any, cast

from .codes import Code
from .errors import LocalProtocolError, PayloadError
from .payload import INT64_MAX, INT64_MIN, load_json

MAX_ATTRS = 2048  # bytes of encoded attrs (published limit, 2018)
SIGN_SIZE = 32  # characters of a sign
MAX_NAME = 200  # bytes of a safe name as UTF-8 (file systems take 255)
DEFAULT_NAME = "file"
NO_SIGN = "0" * SIGN_SIZE  # stands for the sign until the file has been read

_NOT_UNICODE = re.compile("[\ud800-\udfff]")
_DECIMAL = re.compile("-?[0-9]{1,19}")
_MAX_EXTENSION = 20  # bytes of an extension that is kept when a name is cut
_FORBIDDEN = re.compile(r'[<>:"|?*]')  # in names on Windows
# Names of devices on Windows, with any extension.
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:\.|$)", re.I)


def file_sign(digest: str, token: str) -> str:
    """The sign over a file whose md5 is *digest* (lower-case hex), for one *token*."""
    data = f"{digest}:{token}".encode("utf-8", "surrogateescape")  # the bytes as they came
    return md5(data, usedforsecurity=False).hexdigest()


def sign_matches(sign: str, digest: str, token: str) -> bool:
    """Whether *sign* is right for a file with md5 *digest*.

    Its case does not matter, and a sign over the upper-case digest counts too (the JavaScript SDK
    before 2022-08-18 made both). The comparison takes the same time whatever differs.
    """
    given = sign.lower().encode("utf-8", "surrogatepass")
    right = hmac.compare_digest(given, file_sign(digest, token).encode())
    old = hmac.compare_digest(given, file_sign(digest.upper(), token).encode())
    return right or old


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """The fields of a voice message (mtype 41); ``duration`` in milliseconds, ``srate`` in Hz."""

    codec: str | None = None
    lang: str | None = None
    duration: int | None = None
    srate: int | None = None


@dataclass(frozen=True, slots=True)
class FileAttrs:
    """What attrs say of a file.

    ``name`` and ``ext`` have no path parts and no control characters, but they are the peer's
    words: never use them as a path. ``raw`` is the whole object.
    """

    sign: str | None = None
    ext: str | None = None
    name: str | None = None
    custom: object = None
    voice: VoiceInfo | None = None
    excluded_uids: frozenset[int] = frozenset()
    raw: Mapping[str, object] = field(default_factory=dict[str, object])


def clean_name(name: str) -> str:
    """*name* without path parts and control characters; may be empty."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    base = "".join(c for c in base if c.isprintable())
    return "" if base in (".", "..") else base


def safe_name(text: str) -> str:
    """A file name made of *text* that no file system takes for anything else.

    The last path part, without control characters, without leading dots; no device of Windows, no
    character that it forbids, at most 200 bytes of UTF-8 (the extension stays); else ``file``.
    """
    name = _no_device(_FORBIDDEN.sub("_", clean_name(text)).strip(". "))
    if len(name.encode()) > MAX_NAME:
        stem, dot, ext = name.rpartition(".")
        tail = dot + ext if stem and len(ext.encode()) <= _MAX_EXTENSION else ""
        room = MAX_NAME - len(tail.encode())
        name = name.encode()[:room].decode(errors="ignore").rstrip(". ") + tail
        name = _no_device(name)  # a device and blanks are left: that is short
    return name or DEFAULT_NAME


def extension(name: str) -> str:
    """What stands behind the last dot of *name*, or ``""``."""
    return name.rpartition(".")[2] if "." in name else ""


def as_unicode(text: str) -> str:
    """*text* with U+FFFD for everything in it that is no Unicode character."""
    return _NOT_UNICODE.sub("\ufffd", text)


def read_json(text: str) -> object:
    """The JSON value in *text*, whose own texts are Unicode.

    Raises PayloadError (10004) for NaN and Infinity too, and above the limits of a payload: 4,096
    values, 32 levels.
    """
    value = load_json(as_unicode(text).encode(), dict)
    if "\\u" in text:  # half a surrogate pair may have been written as an escape
        value = cast(object, json.loads(as_unicode(json.dumps(value, ensure_ascii=False))))
    return value


def number(value: object) -> int | None:
    """An int64, also from decimal text (the Unreal SDK writes numbers as text); else None."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    return value if type(value) is int and INT64_MIN <= value <= INT64_MAX else None


def write_attrs(name: str, sign: str, custom: object = None) -> str:
    """Attrs in the modern shape for a file called *name*.

    The result is as long for every sign of 32 characters. Raises LocalProtocolError when *custom*
    is not JSON, or when the encoded attrs are larger than MAX_ATTRS.
    """
    base = clean_name(name)
    attrs: dict[str, object] = {"rtm": {"sign": sign, "ext": extension(base), "filename": base}}
    if custom is not None:
        attrs["custom"] = custom
    try:
        text = json.dumps(attrs, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as exc:
        raise LocalProtocolError(f"the file's name or custom attrs are not JSON: {exc}") from exc
    if size > MAX_ATTRS:
        raise LocalProtocolError(f"attrs of {size} bytes are over the limit of {MAX_ATTRS}")
    return text


def parse_attrs(text: str) -> FileAttrs:
    """What *text* says of a file, in any shape that was ever seen; nothing in it is required.

    Raises PayloadError (200004) when it is not a JSON object.
    """
    try:
        value = read_json(text)
    except PayloadError as exc:
        raise PayloadError(f"attrs are not JSON: {exc}", Code.ATTRS_LACK_SIGN_OR_EXT) from exc
    if not isinstance(value, dict):
        raise PayloadError(
            f"attrs must be a JSON object, got {type(value).__name__}", Code.ATTRS_LACK_SIGN_OR_EXT
        )
    whole = cast("dict[str, Any]", value)
    rtm = whole.get("rtm")
    inner = cast("dict[str, Any]", rtm) if isinstance(rtm, dict) else whole
    ext = _text(inner.get("ext"))
    if ext is None:
        ext = _text(inner.get("fileExtension"))
    name = _text(inner.get("filename"))
    return FileAttrs(
        sign=_text(inner.get("sign")),
        ext=None if ext is None else clean_name(ext),
        name=None if name is None else clean_name(name),
        custom=whole.get("custom"),
        voice=_voice(inner),
        excluded_uids=_uids(whole.get("excludedUids")),
        raw=whole,
    )


def _no_device(name: str) -> str:
    return f"_{name}" if _RESERVED.match(name) else name


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _voice(inner: Mapping[str, object]) -> VoiceInfo | None:
    if inner.get("type") != "audiomsg":
        return None
    return VoiceInfo(
        codec=_text(inner.get("codec")),
        lang=_text(inner.get("lang")),
        duration=number(inner.get("duration")),
        srate=number(inner.get("srate")),
    )


def _uids(value: object) -> frozenset[int]:
    if not isinstance(value, list):
        return frozenset()
    uids = (number(item) for item in cast("list[object]", value))
    return frozenset(uid for uid in uids if uid is not None)
