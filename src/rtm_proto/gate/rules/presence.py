"""Who is logged in, and who is in which room: it ends with the connection."""

from __future__ import annotations

from collections.abc import Collection

from ..actions import Visitor


class Presence:
    """The visitors who have logged in, by uid and by room."""

    def __init__(self) -> None:
        self._logins: dict[int, dict[Visitor, None]] = {}
        self._rooms: dict[int, dict[Visitor, None]] = {}

    @property
    def logins(self) -> int:
        """How many there are."""
        return sum(map(len, self._logins.values()))

    @property
    def places(self) -> int:
        """How many visitors are in rooms, each counted for each room."""
        return sum(map(len, self._rooms.values()))

    @property
    def users(self) -> Collection[int]:
        """Who is logged in."""
        return self._logins.keys()

    def of(self, uid: int) -> list[Visitor]:
        """The logins of a user, the oldest first."""
        return [*self._logins.get(uid, ())]

    def log_in(self, visitor: Visitor, uid: int) -> None:
        """From now on it is this user's."""
        visitor.uid = uid
        self._logins.setdefault(uid, {})[visitor] = None

    def forget(self, visitor: Visitor) -> None:
        """It has left: its login and its rooms end."""
        if visitor.uid is not None:
            _take_out(self._logins, visitor.uid, visitor)
        visitor.uid = None
        visitor.server = False
        for rid in [*visitor.rooms]:
            self.leave(visitor, rid)

    def enter(self, visitor: Visitor, rid: int) -> None:
        """Into a room."""
        visitor.rooms.add(rid)
        self._rooms.setdefault(rid, {})[visitor] = None

    def leave(self, visitor: Visitor, rid: int) -> None:
        """Out of it; harmless where it was not in it."""
        visitor.rooms.discard(rid)
        _take_out(self._rooms, rid, visitor)

    def in_room(self, rid: int) -> list[Visitor]:
        """Who is in it."""
        return [*self._rooms.get(rid, ())]

    def rooms_of(self, uid: int) -> set[int]:
        """The rooms in which a user is with any login."""
        return {rid for visitor in self.of(uid) for rid in visitor.rooms}


def _take_out(table: dict[int, dict[Visitor, None]], key: int, visitor: Visitor) -> None:
    visitors = table.get(key)
    if visitors is not None:
        visitors.pop(visitor, None)
        if not visitors:
            del table[key]
