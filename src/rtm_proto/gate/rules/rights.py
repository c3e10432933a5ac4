"""Who may send to whom. What a server sends, or was granted, is free of it all but the first.

to oneself                        200052
banned from the project           200024
blocked by the receiver           200049
not in the group, banned in it    200041, 200044
not in the room, banned in it     200040, 200045
"""

from __future__ import annotations

from collections.abc import Sequence

from ...codes import Code
from ...received import Conversation
from ..actions import Refusal
from .bans import Bans
from .blocks import Blocks
from .groups import Groups
from .presence import Presence


class Rights:
    """Refuses who may not."""

    def __init__(self, presence: Presence, groups: Groups, bans: Bans, blocks: Blocks) -> None:
        self._presence = presence
        self._groups = groups
        self._bans = bans
        self._blocks = blocks

    def check_sending(
        self, kind: Conversation, sender: int, targets: Sequence[int], *, by_server: bool
    ) -> None:
        """May *sender* send to *targets*? There are several only for servers."""
        if kind is Conversation.P2P and sender in targets:
            raise Refusal(Code.SEND_TO_ONESELF, "nobody sends to himself")
        if by_server:
            return
        self._bans.check(sender)
        (target,) = targets
        match kind:
            case Conversation.P2P:
                if self._blocks.blocks(target, sender):
                    raise Refusal(Code.BLOCKED_USER, f"user {sender} is blocked by user {target}")
            case Conversation.GROUP:
                self._groups.check_member(sender, target)
                self._bans.check_speaking(sender, gid=target)
            case _:  # users do not broadcast
                self.check_in_room(sender, target)
                self._bans.check_speaking(sender, rid=target)

    def check_in_room(self, uid: int, rid: int) -> None:
        """Refuse with 200040 who is not in it."""
        if rid not in self._presence.rooms_of(uid):
            raise Refusal(Code.NOT_IN_ROOM, f"user {uid} is not in room {rid}")
