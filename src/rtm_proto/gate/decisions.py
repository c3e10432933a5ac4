"""The gate's decisions: who may do what, what is refused with which code, who is told.

    quest ──► a decision ──► Answer, Refuse, Push, Part           (said at once)
                       └──► Effect ──► carried_out ──► the same    (said when it is kept)

The checks of a file quest, in this order, with the code of each refusal:

    file or attrs over the limit            200031
    attrs no JSON object, or without sign   200004
    token unknown, spent, old, not for it   200003
    sign does not match                     200003   (from here on the token is spent)
    mtype not 40..50                        200007
    not in the room, not in the group       200040, 200041; to oneself 200052
    mid was delivered before                200053

A server is nobody's login: it signs each of its calls (``gate.signs``), and speaks for any user.
So what was granted to a server needs no room and no group of the sender; the rest is checked as
for all. Only servers send to many users or to everybody (spec 4): for clients that is 200020.

Sources: the published codes of 2018 and of the SDKs; the order is our own.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import md5, sha256
from typing import NamedTuple
from urllib.parse import quote

from ..attrs import MAX_ATTRS, FileAttrs, clean_name, extension, parse_attrs, sign_matches
from ..codes import Code
from ..errors import PayloadError, StoreFault
from ..events import CloseKind, CloseReason, QuestId
from ..mids import MidFilter
from ..payload import INT64_MAX, Params, bytes_of, int_of, ints_of, text_of
from ..received import FILE_MTYPES, PUSHES, Conversation
from .signs import Signs
from .store import DropBody, Effect, SaveFile, SaveMembers, StoredFile, StoredMessage
from .tokens import Grant, LoginTokens, Tokens

MAX_FILE = 5_242_880  # bytes of one file (published limit)
MAX_QUEST = 65_536  # bytes of a quest without a file (our own)
BODY_LIFE = 600.0  # seconds that a token stays good once its file has begun to come
MID_WINDOW = 30 * 60.0  # seconds in which a mid is delivered once
MID_BOUND = 1_000_000  # mids remembered at the most
MAX_ROOMS = 10  # rooms of one user (published limit)
MAX_MEMBERS = 2000  # members of one group (published limit of receivers in one send)
MAX_RECEIVERS = 2000  # receivers of one send (published limit)
EVERYBODY = 0  # the target of a broadcast


class _Send(NamedTuple):
    """What a file method does: whom its messages are for, and the field that names them."""

    kind: Conversation | None  # None: it makes no message
    key: str
    servers_only: bool = False


_SENDS = {
    "sendfile": _Send(Conversation.P2P, "to"),
    "sendgroupfile": _Send(Conversation.GROUP, "gid"),
    "sendroomfile": _Send(Conversation.ROOM, "rid"),
    "sendfiles": _Send(Conversation.P2P, "tos", servers_only=True),
    "broadcastfile": _Send(Conversation.BROADCAST, "", servers_only=True),
    "uploadfile": _Send(None, "uid"),
}
_PUSH_OF = {kind: method for method, kind in PUSHES.items()}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a gate takes, in bytes and counts."""

    max_file: int = MAX_FILE
    max_attrs: int = MAX_ATTRS
    max_rooms: int = MAX_ROOMS
    max_members: int = MAX_MEMBERS
    max_receivers: int = MAX_RECEIVERS


@dataclass(eq=False, slots=True)
class Visitor:
    """One connection as the decisions see it; ``uid`` is None until it has logged in.

    ``server``: a call with a good sign came from it.
    """

    name: str
    uid: int | None = None
    server: bool = False
    rooms: set[int] = field(default_factory=set[int])


@dataclass(frozen=True, slots=True)
class Body:
    """The file of a quest: what the store has of it already under ``key``, and the rest.

    ``size`` and ``digest`` (md5, lower-case hex) are of all of it; ``written`` bytes of it are in
    the store. A peer cannot make one: msgpack has no such type.
    """

    key: str  # the key that the stored file will have
    size: int
    digest: str
    written: int
    rest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a quest of this visitor."""

    visitor: Visitor
    quest_id: QuestId
    params: Params = field(repr=False)  # a file token may be in it


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a quest of this visitor with an error."""

    visitor: Visitor
    quest_id: QuestId
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Push:
    """Send a quest to this visitor."""

    visitor: Visitor
    method: str
    params: Params
    oneway: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Close this visitor's connection, once what was said to it is out."""

    visitor: Visitor
    reason: CloseReason


Action = Answer | Refuse | Push | Part


@dataclass(frozen=True, slots=True)
class Held:
    """How much the decisions hold right now: logins, entered rooms, tokens, effects under way."""

    logins: int
    rooms: int
    tokens: int
    effects: int


class _Refusal(Exception):
    """A decision to refuse, on its way out of a method's checks."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Decisions:
    """Decides everything that a gate decides; takes no bytes, keeps no connection."""

    def __init__(
        self,
        *,
        pid: int,
        users: Mapping[int, str],
        endpoint: str,
        file_url: str,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        secret: str | None = None,
        limits: Limits | None = None,
        groups: Mapping[int, frozenset[int]] | None = None,
        messages: list[StoredMessage] | None = None,
    ) -> None:
        """*users*: the login token of each uid. *endpoint*: the file gate's ``host:port``.

        *file_url*: what the URL of a stored file begins with. *wall_ms*: milliseconds since 1970.
        *make_token*: a fresh text of at least 128 random bits. *secret*: the project's, with which
        servers sign; without one there are none. *groups*, *messages*: what a store has kept from
        before.
        """
        self.actions: list[Action] = []
        self.effects: list[Effect] = []
        self._pid = pid
        self._users = users
        self._endpoint = endpoint
        self._file_url = file_url
        self._wall_ms = wall_ms
        self._make_token = make_token
        self._limits = limits or Limits()
        self._tokens = Tokens(make_token)
        self._login_tokens = LoginTokens(make_token)
        self._signs = Signs(pid, secret, wall_ms)
        self._mids = MidFilter(window=MID_WINDOW, bound=MID_BOUND)
        self._logins: dict[int, Visitor] = {}
        self._rooms: dict[int, dict[Visitor, None]] = {}
        self._groups: dict[int, frozenset[int]] = dict(groups or {})
        self._mtime = 0
        self._effect_ids = 0
        self._waiting: dict[int, tuple[Visitor, QuestId, SaveFile | SaveMembers]] = {}
        self._storing: set[tuple[object, ...]] = set()  # mids that are being kept
        self._changing: set[int] = set()  # groups that are being kept
        self._methods: dict[str, Callable[[Visitor, QuestId, Params, float], Params | None]] = {
            "auth": self._auth,
            "bye": self._bye,
            "ping": self._ping,
            "filetoken": self._filetoken,
            "gettoken": self._gettoken,
            "kickout": self._kickout,
            "enterroom": self._enterroom,
            "leaveroom": self._leaveroom,
            "addgroupmembers": self._addgroupmembers,
            "delgroupmembers": self._delgroupmembers,
            **{cmd: partial(self._send_file, cmd) for cmd in _SENDS},
        }
        self._kept = sorted(messages or [], key=lambda message: message.mtime)
        if self._kept:
            self._mtime = self._kept[-1].mtime

    def held(self) -> Held:
        """How much is held, for figures and for tests: it goes back to nothing."""
        rooms = sum(map(len, self._rooms.values()))
        return Held(len(self._logins), rooms, len(self._tokens), len(self._waiting))

    # --- what happened ---

    def quest(
        self, visitor: Visitor, quest_id: QuestId, method: str, params: Params, *, now: float
    ) -> None:
        """A visitor asks; an answer or a refusal follows, now or when an effect is carried out.

        What a store has of a Body that is not saved in the end is dropped.
        """
        if self._kept:
            self._recall(now)
        try:
            answer = self._method(method)(visitor, quest_id, params, now)
        except PayloadError as fault:
            self.actions.append(Refuse(visitor, quest_id, fault.code, str(fault)))
        except _Refusal as refusal:
            self.actions.append(Refuse(visitor, quest_id, refusal.code, refusal.text))
        else:
            if answer is not None:
                self.actions.append(Answer(visitor, quest_id, answer))
                if method == "bye":
                    self.left(visitor)
                    self.actions.append(Part(visitor, CloseReason(CloseKind.LOCAL, "bye")))
        body = params.get("file")
        if isinstance(body, Body) and body.written and not self._saves(body):
            self.effects.append(DropBody(self._next_effect(), body.key))

    def refusal_before_body(
        self, method: str, params: Params, size: int, *, now: float
    ) -> tuple[int, str] | None:
        """What is wrong already before the file of *size* bytes has come: code and text, or None.

        *params*: those that stand before the file, whichever these are. A token that is good stays
        so for BODY_LIFE, in which the file has to come.
        """
        try:
            self._method(method)
            send = _SENDS.get(method)
            if send is None:
                raise _Refusal(
                    Code.INVALID_PACKAGE,
                    f"{method} takes no file: its quest has at most {MAX_QUEST:,} bytes",
                )
            self._check_file_size(size)
            if "token" in params:
                token = text_of(params, "token")
                grant = self._granted(token, now)
                pid, sender = int_of(params, "pid", grant.pid), int_of(params, "from", grant.uid)
                target = grant.target
                if send.key in params:
                    target = _target(self._targets(send, params))
                if grant != Grant(pid, sender, method, target):
                    raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "token is not for this")
                self._tokens.renew(token, BODY_LIFE, now=now)
        except (PayloadError, _Refusal) as refusal:
            return refusal.code, str(refusal)
        return None

    def left(self, visitor: Visitor) -> None:
        """A visitor's connection is gone, or is about to be: the login and its rooms end."""
        if visitor.uid is not None and self._logins.get(visitor.uid) is visitor:
            del self._logins[visitor.uid]
        visitor.uid = None
        visitor.server = False
        for rid in list(visitor.rooms):
            self._leave(visitor, rid)

    def kick(self, uid: int) -> bool:
        """End the login of *uid*; whether there was one."""
        visitor = self._logins.get(uid)
        if visitor is None:
            return False
        self.left(visitor)
        self.actions.append(Push(visitor, "kickout", {}, oneway=True))
        self.actions.append(Part(visitor, CloseReason(CloseKind.KICKOUT)))
        return True

    def carried_out(self, effect: Effect, fault: StoreFault | None, *, now: float) -> None:
        """A store has done what a decision asked for, or has failed."""
        waiting = self._waiting.pop(effect.effect_id, None)
        if waiting is None:
            return
        visitor, quest_id, asked = waiting
        if isinstance(asked, SaveFile):
            self._storing.difference_update(map(_mid_key, asked.messages))
        else:
            self._changing.discard(asked.gid)
        if fault is not None:
            text = f"not stored: {fault}"
            self.actions.append(Refuse(visitor, quest_id, Code.WORK_QUEUE_FULL, text))
        elif isinstance(asked, SaveFile):
            self.actions.append(Answer(visitor, quest_id, self._kept_answer(asked)))
            for message in asked.messages:
                self._mids.seen(_mid_key(message), now=now)
                self._tell(message)
        else:
            self._groups[asked.gid] = asked.members
            self.actions.append(Answer(visitor, quest_id, {}))

    # --- methods ---

    def _auth(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        pid, uid, token = int_of(params, "pid"), int_of(params, "uid"), text_of(params, "token")
        if visitor.uid is not None:
            raise _Refusal(Code.ALREADY_LOGGED_IN, f"already logged in as {visitor.uid}")
        if pid != self._pid or uid <= 0:
            raise _Refusal(Code.BAD_PROJECT_OR_USER, f"no user {uid} in project {pid} here")
        given = token.encode("utf-8", "surrogateescape")
        rights = (self._users.get(uid, ""), self._login_tokens.of(uid))
        if not any(hmac.compare_digest(given, right.encode()) for right in rights if right):
            return {"ok": False}
        self.kick(uid)
        visitor.uid = uid
        self._logins[uid] = visitor
        return {"ok": True}

    def _bye(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        return {}

    def _ping(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        if params.get("sign") is not None:  # a server makes itself known
            self._asker(visitor, "ping", params, now)
        return {}

    def _filetoken(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        asker = self._asker(visitor, "filetoken", params, now)
        cmd = text_of(params, "cmd")
        send = _SENDS.get(cmd)
        if send is None:
            raise _Refusal(
                Code.INVALID_PARAMETER, f"cmd is one of {', '.join(_SENDS)}, got {cmd!r}"
            )
        if asker is not None and send.servers_only:
            raise _Refusal(Code.METHOD_FORBIDDEN, f"{cmd} is for servers")
        sender = int_of(params, "from") if asker is None else asker
        if send.kind is None:
            params = {send.key: sender}
        elif send.key and params.get(send.key) is None:
            raise _Refusal(Code.INVALID_PARAMETER, f"{cmd} needs {send.key}")
        target = _target(self._targets(send, params))
        grant = Grant(self._pid, sender, cmd, target, by_server=asker is None)
        return {"token": self._tokens.issue(grant, now=now), "endpoint": self._endpoint}

    def _gettoken(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        self._check_server(visitor, "gettoken", params, now)
        uid = int_of(params, "uid")
        if uid <= 0:
            raise _Refusal(Code.INVALID_PARAMETER, f"uid must be above 0, got {uid}")
        return {"token": self._login_tokens.issue(uid)}

    def _kickout(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        self._check_server(visitor, "kickout", params, now)
        self.kick(int_of(params, "uid"))
        return {}

    def _send_file(
        self, cmd: str, visitor: Visitor, quest_id: QuestId, params: Params, now: float
    ) -> None:
        """A file quest: the checks of the table above, then SaveFile."""
        send = _SENDS[cmd]
        pid, sender = int_of(params, "pid"), int_of(params, "from")
        targets = self._targets(send, params)
        mid = 0 if send.kind is None else int_of(params, "mid")
        token, attrs_text = text_of(params, "token"), text_of(params, "attrs")
        file = params.get("file")
        if not isinstance(file, Body):
            file = bytes_of(params, "file")
        self._check_file_size(file.size if isinstance(file, Body) else len(file))
        self._check_attrs_size(attrs_text)
        attrs = parse_attrs(attrs_text)
        if not attrs.sign:
            raise _Refusal(Code.ATTRS_LACK_SIGN_OR_EXT, "attrs lack sign")
        if text_of(params, "endpoint", self._endpoint) != self._endpoint:
            raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "endpoint is none of this gate's")
        grant = self._granted(token, now)
        if grant != Grant(pid, sender, cmd, _target(targets)):
            raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "token is not for this")
        body = file if isinstance(file, Body) else self._whole(file)
        if not sign_matches(attrs.sign, body.digest, token):
            raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "sign does not match file and token")
        self._tokens.spend(token)
        mtype = _file_mtype(params)
        stored = _stored(body, attrs, mtype)
        messages: tuple[StoredMessage, ...] = ()
        if send.kind is not None:
            self._check_rights(send.kind, sender, targets, grant)
            if not 0 < mid <= INT64_MAX:
                raise _Refusal(Code.INVALID_PARAMETER, f"mid must be above 0, got {mid}")
            targets = self._fresh(send.kind, sender, targets, mid, now)
            self._mtime = max(self._mtime + 1, self._wall_ms())
            first = StoredMessage(
                kind=send.kind,
                sender=sender,
                target=targets[0],
                mid=mid,
                mtype=mtype,
                msg=json.dumps(self._place(stored), separators=(",", ":")),
                attrs=_nested(attrs, attrs_text),
                mtime=self._mtime,
            )
            messages = tuple(replace(first, target=target) for target in targets)
        self._storing.update(map(_mid_key, messages))
        effect = SaveFile(self._next_effect(), stored, messages, body.rest)
        self._effect(visitor, quest_id, effect)

    def _enterroom(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        _logged_in(visitor)
        rid = int_of(params, "rid")
        if rid not in visitor.rooms and len(visitor.rooms) >= self._limits.max_rooms:
            raise _Refusal(
                Code.TOO_MANY_ROOMS, f"a user is in at most {self._limits.max_rooms} rooms"
            )
        visitor.rooms.add(rid)
        self._rooms.setdefault(rid, {})[visitor] = None
        return {}

    def _leaveroom(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        _logged_in(visitor)
        self._leave(visitor, int_of(params, "rid"))
        return {}

    def _addgroupmembers(
        self, visitor: Visitor, quest_id: QuestId, params: Params, now: float
    ) -> None:
        gid, uids, members = self._group_change(visitor, params)
        after = members | uids
        if len(after) > self._limits.max_members:
            raise _Refusal(
                Code.GROUP_FULL, f"a group has at most {self._limits.max_members} members"
            )
        self._change_group(visitor, quest_id, gid, after)

    def _delgroupmembers(
        self, visitor: Visitor, quest_id: QuestId, params: Params, now: float
    ) -> None:
        gid, uids, members = self._group_change(visitor, params)
        self._change_group(visitor, quest_id, gid, members - uids)

    # --- private ---

    def _recall(self, now: float) -> None:
        """Know the mids of what was kept before this gate began, each for what is left of it."""
        wall = self._wall_ms()
        for message in self._kept:
            age = max(0, wall - message.mtime) / 1000
            if age <= MID_WINDOW:
                self._mids.seen(_mid_key(message), now=now - age)
        self._kept = []

    def _method(self, name: str) -> Callable[[Visitor, QuestId, Params, float], Params | None]:
        method = self._methods.get(name)
        if method is None:
            raise _Refusal(Code.UNKNOWN_METHOD, f"unknown method: {name}")
        return method

    def _saves(self, body: Body) -> bool:
        """Whether a store was asked to keep *body*."""
        return any(isinstance(e, SaveFile) and e.file.key == body.key for e in self.effects)

    def _check_file_size(self, size: int) -> None:
        limit = self._limits.max_file
        if size > limit:
            raise _Refusal(
                Code.FILE_TOO_LARGE, f"a file of {size} bytes is over the limit of {limit}"
            )

    def _check_attrs_size(self, attrs: str) -> None:
        size, limit = len(attrs.encode("utf-8", "surrogateescape")), self._limits.max_attrs
        if size > limit:
            raise _Refusal(
                Code.FILE_TOO_LARGE, f"attrs of {size} bytes are over the limit of {limit}"
            )

    def _granted(self, token: str, now: float) -> Grant:
        grant = self._tokens.granted(token, now=now)
        if grant is None:
            raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "token is unknown, used or too old")
        return grant

    def _whole(self, data: bytes) -> Body:
        """A file that came in one piece."""
        digest = md5(data, usedforsecurity=False).hexdigest()
        return Body(self._make_token(), len(data), digest, 0, data)

    def _asker(self, visitor: Visitor, method: str, params: Params, now: float) -> int | None:
        """The user who asks, or None for a server, whose sign is used up then."""
        if visitor.uid is not None or params.get("sign") is None:
            return _logged_in(visitor)
        refusal = self._signs.refusal(method, params, now=now)
        if refusal is not None:
            raise _Refusal(*refusal)
        visitor.server = True
        return None

    def _check_server(self, visitor: Visitor, method: str, params: Params, now: float) -> None:
        if self._asker(visitor, method, params, now) is not None:
            raise _Refusal(Code.METHOD_FORBIDDEN, f"{method} is for servers")

    def _targets(self, send: _Send, params: Params) -> list[int]:
        """For whom a file is: its one target, or the users of ``tos``."""
        if not send.key:
            return [EVERYBODY]
        if send.key != "tos":
            return [int_of(params, send.key)]
        uids, limit = ints_of(params, "tos"), self._limits.max_receivers
        if not uids:
            raise _Refusal(Code.EMPTY_PARAMETER, "tos is empty")
        if len(uids) > limit:
            raise _Refusal(Code.TOO_MANY_ITEMS, f"{len(uids)} users in tos, the limit is {limit}")
        if len(set(uids)) < len(uids):
            raise _Refusal(Code.INVALID_PARAMETER, "a user stands in tos more than once")
        return uids

    def _check_rights(
        self, kind: Conversation, sender: int, targets: list[int], grant: Grant
    ) -> None:
        target = targets[0]
        if kind is Conversation.P2P and sender in targets:
            raise _Refusal(Code.SEND_TO_ONESELF, "a file cannot be sent to oneself")
        if grant.by_server:
            return
        if kind is Conversation.GROUP and sender not in self._groups.get(target, frozenset()):
            raise _Refusal(
                Code.NOT_GROUP_MEMBER, f"user {sender} is not a member of group {target}"
            )
        if kind is Conversation.ROOM and not (
            sender in self._logins and target in self._logins[sender].rooms
        ):
            raise _Refusal(Code.NOT_IN_ROOM, f"user {sender} is not in room {target}")

    def _fresh(
        self, kind: Conversation, sender: int, targets: list[int], mid: int, now: float
    ) -> list[int]:
        """The targets that this mid was not delivered to before; refuses where none is left."""
        fresh = [t for t in targets if not self._delivered((kind, sender, t, mid), now)]
        if not fresh:
            raise _Refusal(Code.DUPLICATE_MID, "this mid was delivered before")
        return fresh

    def _delivered(self, key: tuple[object, ...], now: float) -> bool:
        if key in self._storing:
            raise _Refusal(Code.WORK_QUEUE_FULL, "this mid is being stored: try again in a moment")
        return self._mids.known(key, now=now)

    def _kept_answer(self, kept: SaveFile) -> Params:
        return {"mtime": kept.messages[0].mtime} if kept.messages else self._place(kept.file)

    def _place(self, file: StoredFile) -> dict[str, object]:
        """Where a stored file is, and its size: what a message tells of it."""
        return {"url": self._url(file), "size": file.size}

    def _url(self, file: StoredFile) -> str:
        return f"{self._file_url}/{file.key}/{quote(file.name, safe='', errors='replace')}"

    def _group_change(
        self, visitor: Visitor, params: Params
    ) -> tuple[int, frozenset[int], frozenset[int]]:
        """gid, the uids named, and the members as they are; only members may change a group."""
        uid = _logged_in(visitor)
        gid, uids = int_of(params, "gid"), frozenset(ints_of(params, "uids"))
        members = self._groups.get(gid, frozenset())
        if members and uid not in members:
            raise _Refusal(Code.NOT_GROUP_MEMBER, f"user {uid} is not a member of group {gid}")
        if gid in self._changing:
            raise _Refusal(Code.WORK_QUEUE_FULL, "this group is being changed: try again")
        return gid, uids, members

    def _change_group(
        self, visitor: Visitor, quest_id: QuestId, gid: int, members: frozenset[int]
    ) -> None:
        self._changing.add(gid)
        self._effect(visitor, quest_id, SaveMembers(self._next_effect(), gid, members))

    def _next_effect(self) -> int:
        self._effect_ids += 1
        return self._effect_ids

    def _effect(self, visitor: Visitor, quest_id: QuestId, effect: SaveFile | SaveMembers) -> None:
        self._waiting[effect.effect_id] = (visitor, quest_id, effect)
        self.effects.append(effect)

    def _leave(self, visitor: Visitor, rid: int) -> None:
        visitor.rooms.discard(rid)
        room = self._rooms.get(rid)
        if room is not None:
            room.pop(visitor, None)
            if not room:
                del self._rooms[rid]

    def _tell(self, message: StoredMessage) -> None:
        """Push *message* to everybody it is for, and not to its sender."""
        kind, target = message.kind, message.target
        if kind is Conversation.ROOM:
            receivers = [v for v in self._rooms.get(target, {}) if v.uid != message.sender]
        else:
            uids: Iterable[int] = {target}
            if kind is not Conversation.P2P:
                uids = self._groups.get(target, ()) if kind is Conversation.GROUP else self._logins
            named = sorted(uid for uid in uids if uid in self._logins and uid != message.sender)
            receivers = [self._logins[uid] for uid in named]
        params = {
            "from": message.sender,
            **({kind.value: target} if kind.value else {}),
            "mid": message.mid,
            "mtype": message.mtype,
            "msg": message.msg,
            "attrs": message.attrs,
            "mtime": message.mtime,
        }
        self.actions += [Push(visitor, _PUSH_OF[kind], params) for visitor in receivers]


def _logged_in(visitor: Visitor) -> int:
    if visitor.uid is None:
        raise _Refusal(Code.NOT_LOGGED_IN, "not logged in")
    return visitor.uid


def _file_mtype(params: Params) -> int:
    """mtype, also as decimal text (the Java SDK of 2018)."""
    value = params.get("mtype")
    if isinstance(value, str):
        mtype = int(value) if value.isascii() and value.isdigit() and len(value) < 4 else -1
    else:
        value = mtype = int_of(params, "mtype")
    if mtype not in FILE_MTYPES:
        raise _Refusal(Code.BAD_FILE_MTYPE, f"a file's mtype is 40 to 50, got {value!r:.20}")
    return mtype


def _stored(body: Body, attrs: FileAttrs, mtype: int) -> StoredFile:
    """The file as it is kept, under a name that is safe in a URL."""
    ext = "".join(c for c in (attrs.ext or "")[:16] if c.isascii() and c.isalnum())
    name = clean_name(attrs.name or "") or (f"file.{ext}" if ext else "file")
    if ext and not extension(name):
        name = f"{name}.{ext}"
    return StoredFile(body.key, body.size, body.digest, name, mtype)


def _target(targets: list[int]) -> int | str:
    """What a token is bound to: the one target, or a digest of many."""
    if len(targets) == 1:
        return targets[0]
    return sha256(",".join(map(str, targets)).encode()).hexdigest()


def _mid_key(message: StoredMessage) -> tuple[object, ...]:
    return (message.kind, message.sender, message.target, message.mid)


def _nested(attrs: FileAttrs, text: str) -> str:
    """Attrs for the receivers: as they came, or the flat shape wrapped (Objective-C needs it).

    What came is not written again, where that can be avoided: 1e999 would become no JSON at all.
    """
    raw = attrs.raw
    if isinstance(raw.get("rtm"), dict):
        return text
    outer = {key: raw[key] for key in ("custom", "excludedUids") if key in raw}
    try:
        more = json.dumps(outer, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        more = "{}"
    return f'{{"rtm":{text}{"," if more != "{}" else ""}{more[1:]}'
