"""The login flow: ``auth`` on a main link that is open.

    auth {pid, uid, token, version, attrs?, lang?}  ─►  {ok, gate?}

A wrong login token is a normal answer with ``ok: false``. Source: all SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from ..codes import Code
from ..errors import LocalProtocolError, LoginFailed, QuestError, QuestRefused
from ..payload import INT64_MAX, Params
from .steps import Ask, Flow, Now, check_timeout

LOGIN_TIMEOUT = 20.0  # seconds
VERSION_TEXT = "rtm-proto-0.1.0"  # the gate expects <name>-<version>


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in. ``attrs`` is a map of text to text that the gate keeps for the login.

    Raises LocalProtocolError for what no gate can take. ``timeout`` is in seconds.
    """

    pid: int
    uid: int
    token: str = field(repr=False)
    attrs: Mapping[str, str] = field(default_factory=dict[str, str])
    lang: str | None = None
    timeout: float = LOGIN_TIMEOUT

    def __post_init__(self) -> None:
        for name, value in (("pid", self.pid), ("uid", self.uid)):
            if type(value) is not int or not 0 < value <= INT64_MAX:
                raise LocalProtocolError(
                    f"{name} is an integer from 1 to {INT64_MAX}, got {value!r}"
                )
        if not _is_text(self.token) or not self.token:
            raise LocalProtocolError("the login token is text that is not empty")
        if self.lang is not None and not _is_text(self.lang):
            raise LocalProtocolError(f"lang is text, got {self.lang!r}")
        if not _is_text_map(self.attrs):
            raise LocalProtocolError(f"login attrs are a map of text to text, got {self.attrs!r}")
        check_timeout(self.timeout)


@dataclass(frozen=True, slots=True)
class Welcome:
    """Logged in; ``gate`` is another gate that this one names, or None."""

    gate: str | None


def log_in(login: Login, *, deadline: float | None = None) -> Flow[Welcome]:
    """Log in until *deadline*, or within the timeout of *login* from now on.

    Raises LoginFailed: with the gate's code, or with None for ``ok: false``.
    """
    now: float = yield Now()
    if deadline is None:
        deadline = now + login.timeout
    params: dict[str, object] = {
        "pid": login.pid,
        "uid": login.uid,
        "token": login.token,
        "version": VERSION_TEXT,
    }
    if login.attrs:
        params["attrs"] = dict(login.attrs)
    if login.lang is not None:
        params["lang"] = login.lang
    try:
        answer: Params = yield Ask("auth", params, deadline)
    except QuestRefused as exc:
        if exc.code == Code.ALREADY_LOGGED_IN:
            return Welcome(None)
        raise LoginFailed(f"the gate refused the login: {exc}", exc.code) from exc
    except QuestError as exc:
        raise LoginFailed(f"login failed: {exc}") from exc
    ok = answer.get("ok")
    if ok is not True and not (type(ok) is int and ok == 1):
        raise LoginFailed(
            f"the gate answered ok: {ok!r}: the login token of user {login.uid} is wrong or has "
            "expired, get a new one"
        )
    gate = answer.get("gate")
    return Welcome(gate if isinstance(gate, str) and gate else None)


def _is_text(value: object) -> bool:
    """Text that UTF-8 can carry; the token's own value must not come up in an error."""
    return isinstance(value, str) and all(not "\ud800" <= c <= "\udfff" for c in value)


def _is_text_map(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    entries = cast("Mapping[object, object]", value)
    return all(_is_text(key) and _is_text(entries[key]) for key in entries)
