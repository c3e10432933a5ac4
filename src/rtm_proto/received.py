"""What reaches a logged-in user: pushes as typed events.

    pushmsg           kind p2p         from, to,  mid, mtype, msg, attrs, mtime
    pushgroupmsg      kind group       from, gid, mid, mtype, msg, attrs, mtime
    pushroommsg       kind room        from, rid, mid, mtype, msg, attrs, mtime
    pushbroadcastmsg  kind broadcast   from,      mid, mtype, msg, attrs, mtime

mtype 40..50 is a file: msg is JSON text ``{"url", "size", "surl"}``, or a bare URL. Parsing never
loses a URL for a defect elsewhere. Bytes that are not UTF-8 stay readable in ``msg`` and ``attrs``
(as surrogate escapes, see ``payload``); what is made of them has U+FFFD in their place. Sources:
the JavaScript SDK 2.7.6 and all other client SDKs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, cast
from urllib.parse import unquote

from .attrs import (
    FileAttrs,
    VoiceInfo,
    as_unicode,
    clean_name,
    extension,
    number,
    parse_attrs,
    read_json,
)
from .errors import PayloadError
from .events import CloseReason
from .payload import Params, int_of


class FileType(IntEnum):
    """The mtypes of files; all of 40..50 are files."""

    IMAGE = 40
    AUDIO = 41
    VIDEO = 42
    FILE = 50


FILE_MTYPES = range(40, 51)
MAX_LOOSE = 65_536  # characters of a message that is read although it is no proper JSON


class Conversation(Enum):
    """To whom a message was sent; the value names the target's field on the wire."""

    P2P = "to"
    GROUP = "gid"
    ROOM = "rid"
    BROADCAST = ""


_P2P, _GROUP, _ROOM, _BROADCAST = Conversation  # a member is slow to look up in its class
PUSHES: Mapping[str, Conversation] = {
    "pushmsg": _P2P,
    "pushgroupmsg": _GROUP,
    "pushroommsg": _ROOM,
    "pushbroadcastmsg": _BROADCAST,
}
"""The pushes that carry a message."""


@dataclass(slots=True, unsafe_hash=True)  # a frozen one takes as long as all of its parsing
class FileReceived:
    """A file was sent to you, or to a group or room of yours.

    ``target`` is your uid, the gid or the rid (None for a broadcast). ``url`` is None only where
    the message has none; ``size`` in bytes and ``surl`` (a thumbnail) are None where they are
    missing. ``mtime`` is the gate's time in milliseconds. ``name`` and ``ext`` are the sender's
    words: path parts and control characters are removed, but do not open them as a path.
    ``msg`` and ``attrs`` are the texts as they came.
    """

    kind: Conversation
    sender: int
    target: int | None
    mid: int
    mtype: int
    mtime: int | None
    url: str | None
    size: int | None
    surl: str | None
    name: str | None
    ext: str | None
    custom: object
    voice: VoiceInfo | None
    msg: str
    attrs: str


@dataclass(slots=True, unsafe_hash=True)
class MessageReceived:
    """A message that is not a file; ``msg`` is text, or bytes where it is not UTF-8."""

    kind: Conversation
    sender: int
    target: int | None
    mid: int
    mtype: int
    mtime: int | None
    msg: str | bytes
    attrs: str


@dataclass(frozen=True, slots=True)
class KickedOut:
    """The gate ended the login, usually because the same user logged in elsewhere."""


@dataclass(frozen=True, slots=True)
class KickedOutOfRoom:
    """The gate took you out of the room ``rid``."""

    rid: int


@dataclass(frozen=True, slots=True)
class UnknownPush:
    """The gate sent a push that this library does not know; it was answered with 20004."""

    method: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EventsLost:
    """``count`` events were dropped here because nobody took them in time."""

    count: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link to the gate is gone; ``reason`` says why.

    ``again``: the client is logging in again, Reconnected or another Disconnected follows. Without
    it nothing follows.
    """

    reason: CloseReason
    again: bool = False


@dataclass(frozen=True, slots=True)
class Reconnected:
    """Logged in again. Rooms may have been left meanwhile: enter them again."""


ClientEvent = (
    FileReceived
    | MessageReceived
    | KickedOut
    | KickedOutOfRoom
    | UnknownPush
    | EventsLost
    | Disconnected
    | Reconnected
)


def parse_push(
    method: str, params: Params, own_uid: int
) -> tuple[FileReceived | MessageReceived, FileAttrs]:
    """The event of a push that carries a message, and its attrs as parsed.

    Raises PayloadError where *from* or *mtype* are missing or no integers; everything else may be
    missing or odd.
    """
    kind = PUSHES[method]
    sender = int_of(params, "from")
    mtype = int_of(params, "mtype")
    target: int | None = own_uid if kind is _P2P else None
    if kind is not _BROADCAST and type(value := params.get(kind.value)) is int:
        target = value
    mid = _integer(params.get("mid")) or 0
    mtime = _integer(params.get("mtime"))
    msg = params.get("msg")
    attrs_text = _shown(params.get("attrs"))
    attrs = _lenient_attrs(attrs_text) if attrs_text else _NO_ATTRS  # most have none
    if mtype not in FILE_MTYPES:
        if isinstance(msg, str):
            message = msg if msg.isascii() else _original(msg)
        else:
            message = msg if isinstance(msg, bytes) else ""
        return MessageReceived(kind, sender, target, mid, mtype, mtime, message, attrs_text), attrs
    text = _shown(msg)
    url, size, surl = _file_message(text)
    name = attrs.name or _name_in(url or "") or None
    event = FileReceived(
        kind=kind,
        sender=sender,
        target=target,
        mid=mid,
        mtype=mtype,
        mtime=mtime,
        url=url,
        size=size,
        surl=surl,
        name=name,
        ext=attrs.ext if attrs.ext is not None else extension(name or ""),
        custom=attrs.custom,
        voice=attrs.voice,
        msg=text,
        attrs=attrs_text,
    )
    return event, attrs


def _file_message(text: str) -> tuple[str | None, int | None, str | None]:
    """url, size and surl of a file message."""
    if text.startswith(("http://", "https://")):
        return as_unicode(text), None, None
    value = _loosely_read(text)
    if not isinstance(value, dict):
        return None, None, None
    parts = cast("dict[str, Any]", value)
    url, size, surl = parts.get("url"), number(parts.get("size")), parts.get("surl")
    return (
        url if isinstance(url, str) else None,
        size if size is not None and size >= 0 else None,
        surl if isinstance(surl, str) else None,
    )


def _loosely_read(text: str) -> object:
    """The JSON value in *text*, or None; a NaN or very many values do not cost the URL."""
    try:
        return read_json(text)
    except PayloadError:
        if len(text) > MAX_LOOSE:
            return None
    try:
        value = json.loads(as_unicode(text), parse_constant=lambda name: None)
        return cast(object, json.loads(as_unicode(json.dumps(value, ensure_ascii=False))))
    except (ValueError, RecursionError):
        return None


def _name_in(url: str) -> str:
    """The last part of the path in *url*; may be empty."""
    place = url.partition("#")[0].partition("?")[0].partition("://")[2]
    return clean_name(unquote(place.partition("/")[2], errors="replace"))


def _lenient_attrs(text: str) -> FileAttrs:
    try:
        return parse_attrs(text)
    except PayloadError:  # the sender's attrs are a hint here; the raw text goes to the user
        return FileAttrs()


def _integer(value: object) -> int | None:
    return value if type(value) is int else None


def _shown(value: object) -> str:
    """Text for a str or bin value; what is not UTF-8 keeps its bytes as surrogate escapes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def _original(text: str) -> str | bytes:
    """*text*, or its bytes where it was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


_NO_ATTRS = FileAttrs()
