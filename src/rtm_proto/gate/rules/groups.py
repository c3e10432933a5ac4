"""Groups: whoever is a member hears what is sent to it, and finds it later.

    addgroupmembers{gid, uids}    delgroupmembers{gid, uids}
    getgroupmembers{gid[, online]} -> {uids[, onlines]}    getusergroups{} -> {gids}
    servers: the same, getusergroups with {uid}; delgroup{gid}, isgroupmember{gid, uid} -> {ok}

Only members change a group, and see its members (200041); a server may without. A group that
nobody is in may be begun by any user, and is forgotten; bans in it stay. Sources: the documents
of 2018; ``online`` from the JavaScript SDK.
"""

from __future__ import annotations

from ...codes import Code
from ...payload import Params, int_of
from ..actions import SERVER, Asked, Method, Methods, Refusal, Who
from ..limits import Limits
from ..store import Kept, Table, text_of_uids
from .keeping import Keeping
from .lists import named_users
from .presence import Presence

_NOBODY: frozenset[int] = frozenset()


class Groups:
    """The members of each group."""

    def __init__(self, keeping: Keeping, presence: Presence, limits: Limits, kept: Kept) -> None:
        self._keeping = keeping
        self._presence = presence
        self._limits = limits
        self._groups = {g: uids for g, uids in kept.uids(Table.MEMBERS).items() if uids}
        self.methods: Methods = {
            "addgroupmembers": Method(Who.EITHER, self._add),
            "delgroupmembers": Method(Who.EITHER, self._delete),
            "getgroupmembers": Method(Who.EITHER, self._get),
            "getusergroups": Method(Who.EITHER, self._getusergroups),
            "delgroup": Method(Who.SERVER, self._delgroup),
            "isgroupmember": Method(Who.SERVER, self._isgroupmember),
        }

    def members(self, gid: int) -> frozenset[int]:
        """Who is in it."""
        return self._groups.get(gid, _NOBODY)

    def check_member(self, uid: int, gid: int) -> None:
        """Refuse with 200041 who is not."""
        if uid not in self.members(gid):
            raise Refusal(Code.NOT_GROUP_MEMBER, f"user {uid} is not a member of group {gid}")

    # --- methods ---

    def _add(self, asked: Asked) -> None:
        gid, named = self._named(asked)
        after = self.members(gid) | named
        limit = self._limits.max_members
        if len(after) > limit:
            text = f"a group of {len(after)} members, the limit is {limit}"
            raise Refusal(Code.GROUP_FULL, text)
        limit = self._limits.max_groups
        if gid not in self._groups and len(self._groups) >= limit:
            raise Refusal(Code.TOO_MANY_ITEMS, f"there are {limit} groups, and that is the limit")
        self._change(asked, gid, after)

    def _delete(self, asked: Asked) -> None:
        gid, named = self._named(asked)
        self._change(asked, gid, self.members(gid) - named)

    def _delgroup(self, asked: Asked) -> None:
        self._change(asked, int_of(asked.params, "gid"), _NOBODY)

    def _get(self, asked: Asked) -> Params:
        gid = int_of(asked.params, "gid")
        if asked.user != SERVER:
            self.check_member(asked.user, gid)
        members = sorted(self.members(gid))
        if not asked.params.get("online"):
            return {"uids": members}
        onlines = [uid for uid in members if self._presence.of(uid)]
        return {"uids": members, "onlines": onlines}

    def _getusergroups(self, asked: Asked) -> Params:
        uid = asked.speaks_for("uid")
        return {"gids": sorted(gid for gid, uids in self._groups.items() if uid in uids)}

    def _isgroupmember(self, asked: Asked) -> Params:
        gid, uid = int_of(asked.params, "gid"), int_of(asked.params, "uid")
        return {"ok": uid in self.members(gid)}

    # --- private ---

    def _named(self, asked: Asked) -> tuple[int, frozenset[int]]:
        """gid and the uids named; only members may change a group that has some."""
        gid = int_of(asked.params, "gid")
        named = named_users(asked.params, "uids", self._limits.max_items)
        if asked.user != SERVER and self.members(gid):
            self.check_member(asked.user, gid)
        return gid, named

    def _change(self, asked: Asked, gid: int, after: frozenset[int]) -> None:
        self._keeping.change(asked, Table.MEMBERS, self._groups, gid, after, text_of_uids)
