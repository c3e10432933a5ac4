"""Reading what there was, and what one has not got.

    getp2pmsg{ouid, ...}    getgroupmsg{gid, ...}    getroommsg{rid, ...}    getbroadcastmsg{...}
    servers: the same; getp2pmsg with {uid}, the user whose side it is
    ... is desc, num[, begin, end, lastid, mtypes]
    -> {num, lastid, begin, end, msgs}
    msgs: [id, from, mtype, mid, deleted, msg, attrs, mtime] each; in P2P, for from: 1 sent, 2 got

    getunread{[clear]} -> {p2p: [uid], group: [gid]}    cleanunread{}

desc: true is the newest first. begin and end: mtime, both included; 0 or missing is any. lastid:
the last id of the page before; 0 or missing is the first page. mtypes: missing or empty is any.
The answer's lastid, begin and end are what to ask the next page with; they are one's own where
there was nothing more. num: at most 20 a read; more are not refused, the page is that long.

Only members read a group's history, only who is in a room that room's. Unread are the
conversations with a message whose push was not answered; with *clear*, or by cleanunread, all
that is known by then counts as read. Nothing is ever deleted yet: deleted is false.

Sources: the documentation and code of the JavaScript SDK 2.7 (parameters, answer, the array, the
limit of 20, ``>=``, ``<=`` and ``> or <``), of the Go server SDK (what the answer's begin, end and
lastid are for; 1 and 2), of the C# SDK (clear is false where it is not said). What a live gate
does with a num over 20 was not seen.
"""

from __future__ import annotations

from functools import partial
from typing import cast

from ...codes import Code
from ...errors import PayloadError
from ...payload import Params, int_of, ints_of
from ...received import Conversation
from ..actions import SERVER, Asked, Method, Methods, Refusal, Who
from ..limits import Limits
from ..store import (
    ClearUnread,
    FindHistory,
    FindUnread,
    History,
    Result,
    StoredMessage,
    Unread,
    conversation_key,
)
from .groups import Groups
from .keeping import Keeping
from .mail import EVERYBODY, Mail
from .rates import Rates
from .rights import Rights

SENT, GOT = 1, 2  # the direction of a P2P message


class Histories:
    """Reads conversations for those who may."""

    def __init__(
        self,
        keeping: Keeping,
        mail: Mail,
        groups: Groups,
        rights: Rights,
        rates: Rates,
        limits: Limits,
    ) -> None:
        self._keeping = keeping
        self._mail = mail
        self._groups = groups
        self._rights = rights
        self._rates = rates
        self._limits = limits
        kinds = {
            "getp2pmsg": Conversation.P2P,
            "getgroupmsg": Conversation.GROUP,
            "getroommsg": Conversation.ROOM,
            "getbroadcastmsg": Conversation.BROADCAST,
        }
        self.methods: Methods = {
            **{name: Method(Who.EITHER, partial(self._read, kind)) for name, kind in kinds.items()},
            "getunread": Method(Who.USER, self._getunread),
            "cleanunread": Method(Who.USER, self._cleanunread),
        }

    # --- methods ---

    def _read(self, kind: Conversation, asked: Asked) -> None:
        params = asked.params
        uid, of = self._which(kind, asked)
        num = int_of(params, "num")
        if num <= 0:
            raise Refusal(Code.INVALID_PARAMETER, f"num must be above 0, got {num}")
        begin, end = int_of(params, "begin", 0), int_of(params, "end", 0)
        last = int_of(params, "lastid", 0)
        mtypes = [] if params.get("mtypes") is None else ints_of(params, "mtypes")
        history = History(
            conversation_key(kind, uid, of),
            min(num, self._limits.max_history),
            newest_first=_flag(params, "desc"),
            begin=begin or None,
            end=end or None,
            after=last or None,
            mtypes=frozenset(mtypes) or None,
        )
        self._spend(asked)

        def found(result: Result, now: float) -> None:
            messages = cast("tuple[StoredMessage, ...]", result)
            page = {"lastid": last, "begin": begin, "end": end}
            if messages:
                page["lastid"] = messages[-1].id
                page["end" if history.newest_first else "begin"] = messages[-1].mtime
            msgs = [self._row(message, uid) for message in messages]
            self._keeping.answer(asked, {"num": len(msgs), **page, "msgs": msgs})

        self._keeping.ask(asked, FindHistory(self._keeping.next_id(), history), found)

    def _getunread(self, asked: Asked) -> None:
        clear = asked.params.get("clear") is not None and _flag(asked.params, "clear")
        self._spend(asked)
        settled = self._mail.settled()

        def found(result: Result, now: float) -> None:
            unread = cast("tuple[Unread, ...]", result)
            groups = [u.of for u in unread if u.kind is Conversation.GROUP]
            answer = {
                "p2p": [u.of for u in unread if u.kind is Conversation.P2P],
                "group": [gid for gid in groups if asked.user in self._groups.members(gid)],
            }
            if clear:
                self._clear(asked, settled, answer)
            else:
                self._keeping.answer(asked, answer)

        self._keeping.ask(asked, FindUnread(self._keeping.next_id(), asked.user), found)

    def _cleanunread(self, asked: Asked) -> None:
        self._spend(asked)
        self._clear(asked, self._mail.settled(), {})

    # --- private ---

    def _which(self, kind: Conversation, asked: Asked) -> tuple[int, int]:
        """Whose side it is, and the other user, the gid or the rid; refuses who may not read."""
        params, user = asked.params, asked.user
        match kind:
            case Conversation.P2P:
                return asked.speaks_for("uid"), int_of(params, "ouid")
            case Conversation.GROUP:
                gid = int_of(params, "gid")
                if user != SERVER:
                    self._groups.check_member(user, gid)
                return user, gid
            case Conversation.ROOM:
                rid = int_of(params, "rid")
                if user != SERVER:
                    self._rights.check_in_room(user, rid)
                return user, rid
            case _:
                return user, EVERYBODY

    def _spend(self, asked: Asked) -> None:
        if asked.user != SERVER:
            wanted = ("user_history", asked.user), ("all_history", 0)
            self._rates.spend(*wanted, now=asked.now)

    def _row(self, message: StoredMessage, uid: int) -> list[object]:
        whose = message.sender
        if message.kind is Conversation.P2P:
            whose = SENT if message.sender == uid else GOT
        return [
            message.id,
            whose,
            message.mtype,
            message.mid,
            False,
            self._mail.text_of(message),
            message.attrs,
            message.mtime,
        ]

    def _clear(self, asked: Asked, settled: int, answer: Params) -> None:
        def cleared(result: Result, now: float) -> None:
            self._keeping.answer(asked, answer)

        effect = ClearUnread(self._keeping.next_id(), asked.user, settled)
        self._keeping.ask(asked, effect, cleared)


def _flag(params: Params, key: str) -> bool:
    """The truth value at *key*: a bool, or 0 or 1. Raises PayloadError."""
    value = params.get(key)
    if isinstance(value, bool):
        return value
    number = int_of(params, key)
    if number not in (0, 1):
        raise PayloadError(f"{key} must be true or false, got {number}", Code.TYPE_CONVERSION)
    return number == 1
