"""Rooms: whoever is in one hears what is sent to it. It ends with the connection.

    enterroom{rid}    leaveroom{rid}    getuserrooms{} -> {rooms}
    servers: addroommember{rid, uid}, delroommember{rid, uid}

A server takes a user into a room with all his logins, and out of it; who is not online is in none
(200055). Who is taken out is told: kickoutroom{rid}, one-way. Sources: the client documents of
2018, the Go server SDK, all SDKs for kickoutroom. The limit is for all logins of a user together.
"""

from __future__ import annotations

from ...codes import Code
from ...payload import Params, int_of
from ..actions import Asked, Method, Methods, Push, Refusal, Who
from ..limits import Limits
from .keeping import Keeping
from .presence import Presence


class Rooms:
    """Lets users into rooms, and out."""

    def __init__(self, keeping: Keeping, presence: Presence, limits: Limits) -> None:
        self._keeping = keeping
        self._presence = presence
        self._limits = limits
        self.methods: Methods = {
            "enterroom": Method(Who.USER, self._enterroom),
            "leaveroom": Method(Who.USER, self._leaveroom),
            "getuserrooms": Method(Who.USER, self._getuserrooms),
            "addroommember": Method(Who.SERVER, self._addroommember),
            "delroommember": Method(Who.SERVER, self._delroommember),
        }

    def _enterroom(self, asked: Asked) -> Params:
        rid = int_of(asked.params, "rid")
        self._check_room(asked.user, rid)
        self._presence.enter(asked.visitor, rid)
        return {}

    def _leaveroom(self, asked: Asked) -> Params:
        self._presence.leave(asked.visitor, int_of(asked.params, "rid"))
        return {}

    def _getuserrooms(self, asked: Asked) -> Params:
        return {"rooms": sorted(self._presence.rooms_of(asked.user))}

    def _addroommember(self, asked: Asked) -> Params:
        rid, uid = int_of(asked.params, "rid"), int_of(asked.params, "uid")
        logins = self._presence.of(uid)
        if not logins:
            raise Refusal(Code.NOT_ONLINE, f"user {uid} is not online")
        self._check_room(uid, rid)
        for visitor in logins:
            self._presence.enter(visitor, rid)
        return {}

    def _delroommember(self, asked: Asked) -> Params:
        rid, uid = int_of(asked.params, "rid"), int_of(asked.params, "uid")
        for visitor in self._presence.of(uid):
            if rid in visitor.rooms:
                self._presence.leave(visitor, rid)
                push = Push(visitor, "kickoutroom", {"rid": rid}, oneway=True)
                self._keeping.actions.append(push)
        return {}

    def _check_room(self, uid: int, rid: int) -> None:
        rooms, limit = self._presence.rooms_of(uid), self._limits.max_rooms
        if rid not in rooms and len(rooms) >= limit:
            text = f"user {uid} is in {len(rooms)} rooms, the limit is {limit}"
            raise Refusal(Code.TOO_MANY_ROOMS, text)
