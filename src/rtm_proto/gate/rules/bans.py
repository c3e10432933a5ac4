"""Bans by servers and operators: from the project, from speaking in a group, or in a room.

    addprojectblack{uid, btime}      removeprojectblack{uid}      isprojectblack{uid} -> {ok}
    addgroupban{gid, uid, btime}     removegroupban{gid, uid}     isbanofgroup{gid, uid} -> {ok}
    addroomban{rid, uid, btime}      removeroomban{rid, uid}      isbanofroom{rid, uid} -> {ok}

``btime``: seconds from now on; 0 and below is for ever. A gid or rid of 0 and below is all of them.
A ban ends by the wall clock. Who is banned from the project cannot log in (200024), and his logins
end; who is banned in a group or room cannot send there (200044, 200045), and still hears.
Sources: the server documents of 2018; of the Go server SDK the all-of-them, and that a ban is about
speaking (the documents of 2018 have it about hearing too).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from ...codes import Code
from ...payload import INT64_MAX, Params, int_of
from ..actions import Asked, Method, Methods, Refusal, Who
from ..store import Kept, Table
from .keeping import Keeping

FOR_EVER = INT64_MAX  # ms since 1970
EVERYWHERE = 0  # the gid or rid of a ban in all groups or rooms


class Bans:
    """Who is banned, from what, and until when (ms since 1970)."""

    def __init__(
        self,
        keeping: Keeping,
        wall_ms: Callable[[], int],
        kept: Kept,
        *,
        end_logins: Callable[[int], object],
    ) -> None:
        """*end_logins*: called with a uid that is banned from the project from now on."""
        self._keeping = keeping
        self._wall_ms = wall_ms
        self._end_logins = end_logins
        self._project: dict[int, int] = {}
        self._places: dict[Table, dict[int, dict[int, int]]] = {
            Table.GROUP_BANS: {},
            Table.ROOM_BANS: {},
        }
        for table, key, value in kept.records:
            if table is Table.BAN:
                self._project[key] = int(value)
            elif table in self._places:
                self._places[table][key] = _bans_of(value)
        groups, rooms = (Table.GROUP_BANS, "gid"), (Table.ROOM_BANS, "rid")
        self.methods: Methods = {
            "addprojectblack": Method(Who.SERVER, self._ban),
            "removeprojectblack": Method(Who.SERVER, self._unban),
            "isprojectblack": Method(Who.SERVER, self._is_banned),
            "addgroupban": Method(Who.SERVER, partial(self._ban_there, *groups)),
            "removegroupban": Method(Who.SERVER, partial(self._unban_there, *groups)),
            "isbanofgroup": Method(Who.SERVER, partial(self._is_banned_there, *groups)),
            "addroomban": Method(Who.SERVER, partial(self._ban_there, *rooms)),
            "removeroomban": Method(Who.SERVER, partial(self._unban_there, *rooms)),
            "isbanofroom": Method(Who.SERVER, partial(self._is_banned_there, *rooms)),
        }

    def check(self, uid: int) -> None:
        """Refuse with 200024 who is banned from the project."""
        if self._banned(uid):
            raise Refusal(Code.LOGIN_DENIED, f"user {uid} is banned from the project")

    def check_speaking(self, uid: int, *, gid: int | None = None, rid: int | None = None) -> None:
        """Refuse with 200044 or 200045 who may not speak in this group, or in this room."""
        if gid is not None and self._banned_there(Table.GROUP_BANS, gid, uid):
            raise Refusal(Code.BANNED_IN_GROUP, f"user {uid} is banned in group {gid}")
        if rid is not None and self._banned_there(Table.ROOM_BANS, rid, uid):
            raise Refusal(Code.BANNED_IN_ROOM, f"user {uid} is banned in room {rid}")

    def tidy(self) -> None:
        """Forget the bans that have ended."""
        now = self._wall_ms()
        for uid in [uid for uid, until in self._project.items() if until <= now]:
            if self._keeping.free((Table.BAN, uid)):
                del self._project[uid]
                self._keeping.forget(Table.BAN, uid)
        for table, places in self._places.items():
            for key, bans in [*places.items()]:
                if max(bans.values(), default=0) <= now and self._keeping.free((table, key)):
                    del places[key]
                    self._keeping.forget(table, key)

    # --- methods ---

    def _ban(self, asked: Asked) -> None:
        uid, until = int_of(asked.params, "uid"), self._until(asked.params)

        def kept() -> None:
            self._project[uid] = until
            self._end_logins(uid)

        self._keeping.save(asked, Table.BAN, uid, str(until), kept)

    def _unban(self, asked: Asked) -> Params | None:
        uid = int_of(asked.params, "uid")
        if uid not in self._project and self._keeping.free((Table.BAN, uid)):
            return {}
        self._keeping.change(asked, Table.BAN, self._project, uid, None, str)
        return None

    def _is_banned(self, asked: Asked) -> Params:
        return {"ok": self._banned(int_of(asked.params, "uid"))}

    def _ban_there(self, table: Table, name: str, asked: Asked) -> None:
        key, uid = _place(name, asked.params)
        self._change(asked, table, key, {uid: self._until(asked.params)})

    def _unban_there(self, table: Table, name: str, asked: Asked) -> Params | None:
        key, uid = _place(name, asked.params)
        there = self._places[table].get(key, {})
        if uid not in there and self._keeping.free((table, key)):
            return {}
        self._change(asked, table, key, {uid: 0})
        return None

    def _is_banned_there(self, table: Table, name: str, asked: Asked) -> Params:
        key, uid = _place(name, asked.params)
        return {"ok": self._banned_there(table, key, uid)}

    # --- private ---

    def _banned(self, uid: int) -> bool:
        return self._project.get(uid, 0) > self._wall_ms()

    def _banned_there(self, table: Table, key: int, uid: int) -> bool:
        places, now = self._places[table], self._wall_ms()
        return any(places.get(at, {}).get(uid, 0) > now for at in (key, EVERYWHERE))

    def _until(self, params: Params) -> int:
        seconds = int_of(params, "btime")
        return min(FOR_EVER, self._wall_ms() + seconds * 1000) if seconds > 0 else FOR_EVER

    def _change(self, asked: Asked, table: Table, key: int, changes: dict[int, int]) -> None:
        """Change the bans of one place; those that have ended are left out."""
        now, places = self._wall_ms(), self._places[table]
        bans = {**places.get(key, {}), **changes}
        bans = {uid: until for uid, until in bans.items() if until > now}
        self._keeping.change(asked, table, places, key, bans, _text_of_bans)


def _place(name: str, params: Params) -> tuple[int, int]:
    return max(EVERYWHERE, int_of(params, name)), int_of(params, "uid")


def _bans_of(value: str) -> dict[int, int]:
    bans: dict[str, int] = json.loads(value)
    return {int(uid): until for uid, until in bans.items()}


def _text_of_bans(bans: dict[int, int]) -> str:
    return json.dumps(bans, separators=(",", ":"))
