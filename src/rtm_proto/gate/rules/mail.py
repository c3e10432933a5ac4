"""What becomes of every message, with a file or without: its numbers, its receivers, its push.

    fresh      the targets to which this mid was not delivered yet (else 200053)
    write      mtime and id, both above all before, also when the wall clock steps back
    kept       the store has it: the mid counts, the receivers are told

Whom it waits for is fixed when it is written: the receiver, or the members of the group but the
sender. It is unread for each of them until his client has answered the push, any of his clients
where there are several; a push that fails, is not answered in time or was cut leaves it so. SDKs
that never answer pushes (Windows, Java of 2018) leave it so too, until their user clears it. Rooms
and broadcasts wait for nobody.

Who is there when the store has kept it is told: every login of a receiver, and who is a member or
in the room by then. The sender's other logins are not (spec 12.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...codes import Code
from ...mids import MidFilter
from ...received import FILE_MTYPES, PUSHES, Conversation
from ..actions import Push, Refusal, Visitor
from ..links import Links
from ..store import Delivered, Kept, SaveFile, SaveMessages, StoredMessage
from .groups import Groups
from .keeping import Keeping
from .presence import Presence

MID_WINDOW = 30 * 60.0  # seconds in which a mid is delivered once
MID_BOUND = 1_000_000  # mids remembered at the most
EVERYBODY = 0  # the target of a broadcast

_PUSH_OF = {kind: method for method, kind in PUSHES.items()}

MidKey = tuple[Conversation, int, int, int]
"""Kind, sender, target, mid."""


class Mail:
    """Numbers messages, and tells of them."""

    def __init__(
        self,
        keeping: Keeping,
        presence: Presence,
        groups: Groups,
        links: Links,
        wall_ms: Callable[[], int],
        kept: Kept,
        *,
        ftype: bool,
    ) -> None:
        """*ftype*: whether pushes have that field."""
        self.mids = MidFilter(window=MID_WINDOW, bound=MID_BOUND)
        self._keeping = keeping
        self._presence = presence
        self._groups = groups
        self._links = links
        self._wall_ms = wall_ms
        self._ftype = ftype
        self._mtime = kept.last_mtime
        self._id = kept.last_id
        self._recalled = sorted(kept.messages, key=lambda message: message.mtime)

    def recall(self, *, now: float) -> None:
        """Know the mids of what was kept before this gate began, each for what is left of it."""
        if not self._recalled:
            return
        wall = self._wall_ms()
        for message in self._recalled:
            age = max(0, wall - message.mtime) / 1000
            if age <= MID_WINDOW:
                self.mids.seen(mid_key(message), now=now - age)
        self._recalled = []

    def fresh(
        self, kind: Conversation, sender: int, targets: Iterable[int], mid: int, *, now: float
    ) -> list[int]:
        """The targets that this mid was not delivered to before; refuses where none is left."""
        fresh: list[int] = []
        for target in targets:
            key = kind, sender, target, mid
            self._keeping.check_free(key, "this mid")
            if not self.mids.known(key, now=now):
                fresh.append(target)
        if not fresh:
            raise Refusal(Code.DUPLICATE_MID, f"mid {mid} was delivered before")
        return fresh

    def write(
        self,
        kind: Conversation,
        sender: int,
        targets: Iterable[int],
        *,
        mid: int,
        mtype: int,
        msg: str,
        attrs: str,
        file: str | None = None,
    ) -> tuple[StoredMessage, ...]:
        """The same message for each target, one mtime for all."""
        self._mtime = max(self._mtime + 1, self._wall_ms())
        messages: list[StoredMessage] = []
        for target in targets:
            self._id += 1
            waiting = self._waiting(kind, sender, target)
            messages.append(
                StoredMessage(
                    kind,
                    sender,
                    target,
                    mid,
                    mtype,
                    msg,
                    attrs,
                    self._mtime,
                    self._id,
                    file,
                    waiting,
                )
            )
        return tuple(messages)

    def kept(self, messages: Sequence[StoredMessage], *, now: float) -> None:
        """The store has kept them: tell everybody they are for."""
        for message in messages:
            self.mids.seen(mid_key(message), now=now)
            self._tell(message)

    def delivered(self, visitor: Visitor, message_id: int) -> None:
        """A receiver's client has answered the push of a message."""
        if visitor.uid is not None:
            effect = Delivered(self._keeping.next_id(), visitor.uid, message_id)
            self._keeping.effects.append(effect)

    def text_of(self, message: StoredMessage) -> str:
        """The msg of a message as it is told now: links to its file may have to be signed anew."""
        if message.file is None:
            return message.msg
        return self._links.told(message.msg, message.file)

    def settled(self) -> int:
        """The id up to which every message is kept, or never will be."""
        for effect in self._keeping.under_way():
            if isinstance(effect, (SaveFile, SaveMessages)) and effect.messages:
                return effect.messages[0].id - 1
        return self._id

    # --- private ---

    def _waiting(self, kind: Conversation, sender: int, target: int) -> tuple[int, ...]:
        if kind is Conversation.P2P:
            return (target,)
        if kind is Conversation.GROUP:
            return tuple(sorted(self._groups.members(target) - {sender}))
        return ()

    def _tell(self, message: StoredMessage) -> None:
        kind, target, sender = message.kind, message.target, message.sender
        uids: Iterable[int] = ()
        visitors: list[Visitor] = []
        match kind:
            case Conversation.P2P:
                uids = (target,)
            case Conversation.GROUP:
                uids = sorted(self._groups.members(target))
            case Conversation.ROOM:
                visitors = self._presence.in_room(target)
            case _:
                uids = sorted(self._presence.users)
        visitors += [visitor for uid in uids for visitor in self._presence.of(uid)]
        params = {
            "from": sender,
            **({kind.value: target} if kind.value else {}),
            "mid": message.mid,
            "mtype": message.mtype,
            "msg": self.text_of(message),
            "attrs": message.attrs,
            "mtime": message.mtime,
            **({"ftype": ftype_of(message.mtype)} if self._ftype else {}),
        }
        message_id = message.id if message.waiting else None
        self._keeping.actions += [
            Push(visitor, _PUSH_OF[kind], params, message_id=message_id)
            for visitor in visitors
            if visitor.uid != sender
        ]


def ftype_of(mtype: int) -> int:
    """What stood for an mtype until 2018: 10 image, 11 audio, 12 video, 100 file, 0 message."""
    return mtype - 30 if 40 <= mtype <= 42 else 100 if mtype in FILE_MTYPES else 0


def mid_key(message: StoredMessage) -> MidKey:
    """What must not be delivered twice."""
    return message.kind, message.sender, message.target, message.mid
