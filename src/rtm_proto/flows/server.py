"""What a server does beside sending files: make itself known, get login tokens, end logins.

    ping {pid, salt, ts, sign}            ─►  {}
    gettoken {pid, salt, ts, sign, uid}   ─►  {token}
    kickout {pid, salt, ts, sign, uid}    ─►  {}

A server never logs in: it signs every quest (``signs.Signer``). Source: the server SDKs.
"""

from __future__ import annotations

from ..codes import Code
from ..errors import LoginFailed, PayloadError, QuestError, QuestRefused
from ..payload import Params, text_of
from ..signs import Signer
from .steps import Ask, Flow, Now, check_timeout
from .transfer import bad_answer, check_int64


def introduce(signer: Signer, *, deadline: float) -> Flow[None]:
    """Make oneself known on a main link that is open, so that a wrong secret is found at once.

    The published ping has no sign, and a gate may not know it from a server: its 20004 is no
    failure. Raises LoginFailed with the gate's code, or with None where it never answered.
    """
    try:
        yield Ask("ping", signer.signed("ping", {}), deadline)
    except QuestRefused as exc:
        if exc.code != Code.UNKNOWN_METHOD:
            raise LoginFailed(f"the gate refused the server: {exc}", exc.code) from exc
    except QuestError as exc:
        raise LoginFailed(f"the gate did not answer the server: {exc}") from exc


def get_token(signer: Signer, uid: int, timeout: float) -> Flow[str]:
    """A login token for *uid*. Raises QuestError; 20009 when the answer lacks it."""
    params = {"uid": check_int64("uid", uid)}
    answer = yield from _ask(signer, "gettoken", params, timeout)
    try:
        token = text_of(answer, "token")
    except PayloadError as exc:
        raise bad_answer("gettoken", str(exc)) from exc
    return token


def kick_out(signer: Signer, uid: int, timeout: float) -> Flow[None]:
    """End the login of *uid*, if there is one. Raises QuestError."""
    yield from _ask(signer, "kickout", {"uid": check_int64("uid", uid)}, timeout)


def _ask(signer: Signer, method: str, params: Params, timeout: float) -> Flow[Params]:
    now: float = yield Now()
    deadline = now + check_timeout(timeout)
    answer: Params = yield Ask(method, signer.signed(method, params), deadline)
    return answer
