"""Blocks: whom a user does not want to hear of.

    addblacks{blacks}    delblacks{blacks}    getblacks{} -> {uids}
    servers: the same with {uid}; isblack{uid, buid} -> {ok}, isblacks{uid, buids} -> {buids}

Who is blocked cannot send to the blocker (200049); the blocker can still send to him, and both can
read what there is. Groups and rooms are not concerned. ``isblack`` asks whether *uid* is blocked by
*buid*. Sources: the documentation of the JavaScript SDK (Friends), the Go server SDK. That the code
is 200049 is a judgement: the SDKs call it "blocked user", and 200062 "block user"; a live service
was not seen.
"""

from __future__ import annotations

from ...codes import Code
from ...payload import Params, int_of, ints_of
from ..actions import Asked, Method, Methods, Refusal, Who
from ..limits import Limits
from ..store import Kept, Table, text_of_uids
from .keeping import Keeping
from .lists import named_users


class Blocks:
    """Whom each user blocks."""

    def __init__(self, keeping: Keeping, limits: Limits, kept: Kept) -> None:
        self._keeping = keeping
        self._limits = limits
        self._blocks = kept.uids(Table.BLOCKS)
        self.methods: Methods = {
            "addblacks": Method(Who.EITHER, self._add),
            "delblacks": Method(Who.EITHER, self._delete),
            "getblacks": Method(Who.EITHER, self._get),
            "isblack": Method(Who.SERVER, self._is_black),
            "isblacks": Method(Who.SERVER, self._are_black),
        }

    def blocks(self, uid: int, sender: int) -> bool:
        """Whether *uid* does not want to hear of *sender*."""
        return sender in self._blocks.get(uid, frozenset())

    # --- methods ---

    def _add(self, asked: Asked) -> None:
        uid = asked.speaks_for("uid")
        named = named_users(asked.params, "blacks", self._limits.max_items)
        if uid in named:
            raise Refusal(Code.INVALID_PARAMETER, f"user {uid} cannot block himself")
        after = self._blocks.get(uid, frozenset()) | named
        limit = self._limits.max_blocks
        if len(after) > limit:
            raise Refusal(Code.TOO_MANY_ITEMS, f"{len(after)} blocked users, the limit is {limit}")
        self._change(asked, uid, after)

    def _delete(self, asked: Asked) -> None:
        uid = asked.speaks_for("uid")
        named = named_users(asked.params, "blacks", self._limits.max_items)
        self._change(asked, uid, self._blocks.get(uid, frozenset()) - named)

    def _get(self, asked: Asked) -> Params:
        return {"uids": sorted(self._blocks.get(asked.speaks_for("uid"), ()))}

    def _is_black(self, asked: Asked) -> Params:
        uid, blocker = int_of(asked.params, "uid"), int_of(asked.params, "buid")
        return {"ok": self.blocks(blocker, uid)}

    def _are_black(self, asked: Asked) -> Params:
        uid, blockers = int_of(asked.params, "uid"), ints_of(asked.params, "buids")
        return {"buids": [blocker for blocker in blockers if self.blocks(blocker, uid)]}

    # --- private ---

    def _change(self, asked: Asked, uid: int, after: frozenset[int]) -> None:
        self._keeping.change(asked, Table.BLOCKS, self._blocks, uid, after, text_of_uids)
