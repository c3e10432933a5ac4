"""Who asks: a user is logged in, a server signs each call, an operator has come by a local socket.

A server is nobody's login: it speaks for any user and needs no membership. An operator is a server
that needs no sign.
"""

from __future__ import annotations

from collections.abc import Callable

from ...codes import Code
from ...payload import Params
from ..actions import SERVER, Refusal, Visitor, Who
from ..signs import Signs


class Askers:
    """Tells who asks, and uses up the sign of a server's call."""

    def __init__(self, pid: int, secret: str | None, wall_ms: Callable[[], int]) -> None:
        """*secret*: the project's, with which servers sign; without one there are none."""
        self._signs = Signs(pid, secret, wall_ms)

    def check(self, who: Who, visitor: Visitor, method: str, params: Params, *, now: float) -> int:
        """The uid that asks, or SERVER; refuses whoever is none of *who*."""
        if who is Who.ANYBODY:
            return SERVER
        if who is Who.USER:
            if visitor.uid is None:
                raise Refusal(Code.NOT_LOGGED_IN, f"not logged in: {method} is for users")
            return visitor.uid
        user = self.asker(visitor, method, params, now=now)
        if user != SERVER and who is Who.SERVER:
            raise Refusal(Code.METHOD_FORBIDDEN, f"{method} is for servers")
        return user

    def asker(self, visitor: Visitor, method: str, params: Params, *, now: float) -> int:
        """The uid that asks, or SERVER; refuses who is neither with 200022."""
        if visitor.operator:
            return SERVER
        if visitor.uid is not None:
            return visitor.uid
        if params.get("sign") is None:
            raise Refusal(Code.NOT_LOGGED_IN, "not logged in")
        refusal = self._signs.refusal(method, params, now=now)
        if refusal is not None:
            raise Refusal(*refusal)
        visitor.server = True
        return SERVER
