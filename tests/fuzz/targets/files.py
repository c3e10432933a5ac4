"""Attrs, signs and names; pushes as typed events."""

from __future__ import annotations

import json
from typing import cast

from rtm_proto.attrs import (
    MAX_ATTRS,
    MAX_NAME,
    NO_SIGN,
    as_unicode,
    clean_name,
    extension,
    file_sign,
    parse_attrs,
    safe_name,
    sign_matches,
    write_attrs,
)
from rtm_proto.codes import Code
from rtm_proto.errors import LocalProtocolError, PayloadError
from rtm_proto.payload import INT64_MAX, INT64_MIN, decode
from rtm_proto.received import FILE_MTYPES, MAX_LOOSE, PUSHES, FileReceived, parse_push

from ..choices import Choices

OWN_UID = 1002
METHODS = sorted(PUSHES)


def fuzz_attrs(data: bytes) -> None:
    """Only PayloadError 200004; names are clean; what is written is read as it was meant."""
    text = data.decode("utf-8", "surrogateescape")
    _check_name(text)
    token = text[:8]
    assert sign_matches(file_sign(NO_SIGN, token).upper(), NO_SIGN, token)
    assert not sign_matches(text, NO_SIGN, token)
    try:
        attrs = parse_attrs(text)
    except PayloadError as fault:
        assert fault.code == Code.ATTRS_LACK_SIGN_OR_EXT
        return
    for name in (attrs.name, attrs.ext):
        if name is not None:
            assert name == clean_name(name)
    for number in attrs.excluded_uids:
        assert INT64_MIN <= number <= INT64_MAX
    if attrs.sign is not None:
        sign_matches(attrs.sign, NO_SIGN, token)
    try:
        written = write_attrs(attrs.name or "", NO_SIGN, attrs.custom)
    except LocalProtocolError:
        return  # more than MAX_ATTRS, or 1e999, which is JSON only for reading
    assert len(written.encode()) <= MAX_ATTRS
    again = parse_attrs(written)
    assert (again.name, again.sign) == (attrs.name or "", NO_SIGN)
    assert again.ext == extension(attrs.name or "")
    assert again.custom == attrs.custom


def fuzz_received(data: bytes) -> None:
    """Only PayloadError, for from and mtype; the URL and the raw texts are never lost."""
    choices = Choices(data)
    kind = choices.byte()
    method = METHODS[kind % len(METHODS)]
    params: dict[str, object]
    if kind & 0x80:  # a whole payload
        try:
            params = decode(choices.rest())
        except PayloadError:
            return
    else:
        mtype = 40 + choices.byte() % 12
        msg, attrs = choices.chunk(), choices.rest()
        params = {"from": 1001, "mtype": mtype, "mid": 7, "msg": msg, "attrs": attrs}
        if kind & 0x40:
            params["msg"] = msg.decode("utf-8", "surrogateescape")
            params["attrs"] = attrs.decode("utf-8", "surrogateescape")
    sound = all(_is_int64(params.get(key)) for key in ("from", "mtype"))
    try:
        event, _ = parse_push(method, params, OWN_UID)
    except PayloadError:
        assert not sound
        return
    assert sound
    assert event.attrs == _text(params.get("attrs"))
    if not isinstance(event, FileReceived):
        assert params["mtype"] not in FILE_MTYPES
        return
    assert params["mtype"] in FILE_MTYPES
    assert event.msg == _text(params.get("msg"))
    assert event.url == _url_in(event.msg)
    for text in (event.url, event.surl, event.name, event.ext):
        assert text is None or text == as_unicode(text)
    if event.name is not None:
        assert event.name == clean_name(event.name) != ""
    assert event.size is None or 0 <= event.size <= INT64_MAX


def _check_name(text: str) -> None:
    clean = clean_name(text)
    assert clean == clean_name(clean)
    assert clean.isprintable() and not {"/", "\\"} & {*clean} and clean not in (".", "..")
    safe = safe_name(text)
    assert safe and safe == safe_name(safe)
    assert len(safe.encode()) <= MAX_NAME
    assert not safe.startswith(".") and not {*'<>:"|?*/\\'} & {*safe}


def _is_int64(value: object) -> bool:
    return type(value) is int and INT64_MIN <= value <= INT64_MAX


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def _url_in(text: str) -> str | None:
    """The URL that a reader without any limits but MAX_LOOSE finds."""
    if text.startswith(("http://", "https://")):
        return as_unicode(text)
    if len(text) > MAX_LOOSE:
        return None
    try:
        value: object = json.loads(as_unicode(text))
    except (ValueError, RecursionError):
        return None
    url = cast("dict[str, object]", value).get("url") if isinstance(value, dict) else None
    return as_unicode(url) if isinstance(url, str) else None
