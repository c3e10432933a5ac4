"""Text messages.

    sendmsg{to, ...}    sendgroupmsg{gid, ...}    sendroommsg{rid, ...}      -> {mtime}
    servers: the same with {from}; sendmsgs{from, tos, ...}, broadcastmsg{from, ...}
    ... is mid, mtype, msg, attrs

The checks, in this order, with the code of each refusal:

    the target, mid above 0                200034
    mtype 1..127 and no file's (40..50)    200005
    msg or attrs over the limit            200030
    rights                                 see ``rights``
    rates                                  200010
    mid was delivered before               200053

msg may come as bin (C# binary messages) and goes out as str with the same bytes: SDKs want that.
attrs may be missing. Sources: the documents of 2018, all SDKs for mtime.
"""

from __future__ import annotations

from functools import partial

from ...codes import Code
from ...payload import INT64_MAX, Params, int_of, text_of
from ...received import FILE_MTYPES, Conversation
from ..actions import SERVER, Asked, Method, Methods, Refusal, Who
from ..limits import Limits
from ..store import Result, SaveMessages
from .keeping import Keeping
from .lists import receivers
from .mail import EVERYBODY, Mail, mid_key
from .rates import Rates
from .rights import Rights

MTYPES = range(1, 128)  # published


class Messages:
    """Takes text messages."""

    def __init__(
        self, keeping: Keeping, mail: Mail, rights: Rights, rates: Rates, limits: Limits
    ) -> None:
        self._keeping = keeping
        self._mail = mail
        self._rights = rights
        self._rates = rates
        self._limits = limits
        p2p, group, room = Conversation.P2P, Conversation.GROUP, Conversation.ROOM
        everybody = Conversation.BROADCAST
        self.methods: Methods = {
            "sendmsg": Method(Who.EITHER, partial(self._send, p2p, "to")),
            "sendgroupmsg": Method(Who.EITHER, partial(self._send, group, "gid")),
            "sendroommsg": Method(Who.EITHER, partial(self._send, room, "rid")),
            "sendmsgs": Method(Who.SERVER, partial(self._send, p2p, "tos")),
            "broadcastmsg": Method(Who.SERVER, partial(self._send, everybody, "")),
        }

    def _send(self, kind: Conversation, key: str, asked: Asked) -> None:
        params, now = asked.params, asked.now
        sender = asked.speaks_for("from")
        if key == "tos":
            targets = receivers(params, self._limits.max_receivers)
        else:
            targets = [int_of(params, key) if key else EVERYBODY]
        mid = checked_mid(params)
        mtype = int_of(params, "mtype")
        if mtype not in MTYPES or mtype in FILE_MTYPES:
            raise Refusal(
                Code.BAD_MTYPE, f"a text message's mtype is 1 to 39 or 51 to 127, got {mtype}"
            )
        msg, attrs = text_of(params, "msg"), text_of(params, "attrs", "")
        self._check_size("msg", msg, self._limits.max_message)
        self._check_size("attrs", attrs, self._limits.max_attrs)
        self._rights.check_sending(kind, sender, targets, by_server=asked.user == SERVER)
        if asked.user != SERVER:
            self._rates.spend(("user_messages", sender), ("all_messages", 0), now=now)
        targets = self._mail.fresh(kind, sender, targets, mid, now=now)
        messages = self._mail.write(
            kind, sender, targets, mid=mid, mtype=mtype, msg=msg, attrs=attrs
        )

        def kept(result: Result, now: float) -> None:
            self._keeping.answer(asked, {"mtime": messages[0].mtime})
            self._mail.kept(messages, now=now)

        effect = SaveMessages(self._keeping.next_id(), messages)
        self._keeping.ask(asked, effect, kept, holds=map(mid_key, messages))

    def _check_size(self, what: str, text: str, limit: int) -> None:
        size = len(text.encode("utf-8", "surrogateescape"))
        if size > limit:
            raise Refusal(
                Code.MESSAGE_TOO_LARGE, f"{what} of {size} bytes is over the limit of {limit}"
            )


def checked_mid(params: Params) -> int:
    """The mid of a quest; refuses with 200034 what is not above 0."""
    mid = int_of(params, "mid")
    if not 0 < mid <= INT64_MAX:
        raise Refusal(Code.INVALID_PARAMETER, f"mid must be above 0, got {mid}")
    return mid
