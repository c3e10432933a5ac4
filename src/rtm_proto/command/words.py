"""Conversations, files and events in words, and as the objects of ``--json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import assert_never

from ..received import (
    ClientEvent,
    Conversation,
    Disconnected,
    EventsLost,
    FileReceived,
    FileType,
    KickedOut,
    KickedOutOfRoom,
    MessageReceived,
    Reconnected,
    UnknownPush,
)
from .exits import printable

KINDS: Mapping[Conversation, str] = {
    Conversation.P2P: "user",
    Conversation.GROUP: "group",
    Conversation.ROOM: "room",
    Conversation.BROADCAST: "everybody",
}

MTYPES: Mapping[int, str] = {
    FileType.IMAGE: "image",
    FileType.AUDIO: "audio",
    FileType.VIDEO: "video",
    FileType.FILE: "file",
}

SHOWN_TEXT = 200  # characters of a message that a line shows


def target_words(kind: Conversation, target: int | None) -> str:
    """``user 1002``, ``room 7``, ``everybody``."""
    return KINDS[kind] if target is None else f"{KINDS[kind]} {target}"


def size_words(size: int | None) -> str:
    """``229,862 bytes``."""
    if size is None:
        return "size unknown"
    return "1 byte" if size == 1 else f"{size:,} bytes"


def mtype_words(mtype: int) -> str:
    """``image``; ``mtype 43`` where it has no name."""
    return MTYPES.get(mtype, f"mtype {mtype}")


def event_words(event: ClientEvent) -> str:
    """*event* on one line."""
    match event:
        case FileReceived():
            name = event.name or "(no name)"
            what = f"{name} ({mtype_words(event.mtype)}, {size_words(event.size)})"
            line = f"{_from(event)}: {what} mid {event.mid} mtime {event.mtime}"
            return printable(f"file {line}")
        case MessageReceived(msg=bytes() as data):
            return printable(f"message {_from(event)}: {len(data)} bytes that are no text")
        case MessageReceived():
            text = str(event.msg)
            shown = text[:SHOWN_TEXT] + ("..." if len(text) > SHOWN_TEXT else "")
            return printable(f"message {_from(event)}: mtype {event.mtype}: {shown}")
        case KickedOut():
            return "kicked out: the gate ended this login, perhaps for another of the same user"
        case KickedOutOfRoom(rid):
            return f"kicked out of room {rid}"
        case UnknownPush(method):
            return printable(f"unknown push {method}")
        case EventsLost(count):
            return f"{count} events lost: they came faster than they were read"
        case Disconnected(reason):
            more = "; logging in again" if event.again else ""
            return printable(f"disconnected: {reason}{more}")
        case Reconnected():
            return "logged in again"
        case _:
            assert_never(event)


def event_json(event: ClientEvent) -> dict[str, object]:
    """*event* as an object; ``event`` says what it is, the keys of each are always the same."""
    match event:
        case FileReceived():
            return {
                "event": "file",
                **_origin(event),
                "name": event.name,
                "ext": event.ext,
                "url": event.url,
                "size": event.size,
                "surl": event.surl,
                "custom": _json_value(event.custom),
                "voice": None if event.voice is None else asdict(event.voice),
            }
        case MessageReceived():
            msg = event.msg
            shown = {"bin": msg.hex()} if isinstance(msg, bytes) else msg
            return {"event": "message", **_origin(event), "msg": shown, "attrs": event.attrs}
        case KickedOut():
            return {"event": "kicked_out"}
        case KickedOutOfRoom(rid):
            return {"event": "kicked_out_of_room", "room": rid}
        case UnknownPush(method):
            return {"event": "unknown_push", "method": method}
        case EventsLost(count):
            return {"event": "events_lost", "count": count}
        case Disconnected(reason):
            return {"event": "disconnected", "reason": str(reason), "again": event.again}
        case Reconnected():
            return {"event": "reconnected"}
        case _:
            assert_never(event)


def _from(event: FileReceived | MessageReceived) -> str:
    return f"from user {event.sender} to {target_words(event.kind, event.target)}"


def _origin(event: FileReceived | MessageReceived) -> dict[str, object]:
    return {
        "from": event.sender,
        "to_kind": KINDS[event.kind],
        "to": event.target,
        "mid": event.mid,
        "mtype": event.mtype,
        "mtime": event.mtime,
    }


def _json_value(value: object) -> object:
    """*value*, which Python has read as JSON; as text where it has what only Python reads."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return repr(value)
    return value
