"""Lists of users in a quest, with their limits."""

from __future__ import annotations

from ...codes import Code
from ...payload import Params, ints_of
from ..actions import Refusal


def named_users(params: Params, key: str, limit: int) -> frozenset[int]:
    """The users at *key*: at least one (200033), at most *limit* (200032).

    Raises PayloadError.
    """
    uids = ints_of(params, key)
    if not uids:
        raise Refusal(Code.EMPTY_PARAMETER, f"{key} is empty: at least one user was expected")
    if len(uids) > limit:
        raise Refusal(Code.TOO_MANY_ITEMS, f"{len(uids)} users in {key}, the limit is {limit}")
    return frozenset(uids)


def receivers(params: Params, limit: int) -> list[int]:
    """The users of ``tos``, each once (200034); see ``named_users``."""
    if len(named_users(params, "tos", limit)) < len(ints_of(params, "tos")):
        raise Refusal(Code.INVALID_PARAMETER, "a user stands in tos more than once")
    return ints_of(params, "tos")
