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

Sources: the published codes of 2018 and of the SDKs; the order is our own.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from urllib.parse import quote

from ..attrs import MAX_ATTRS, FileAttrs, clean_name, extension, parse_attrs, sign_matches
from ..codes import Code
from ..errors import PayloadError, StoreFault
from ..events import CloseKind, CloseReason, QuestId
from ..mids import MidFilter
from ..payload import INT64_MAX, Params, bytes_of, int_of, ints_of, text_of
from ..received import FILE_MTYPES, PUSHES, Conversation
from .store import Effect, SaveFile, SaveMembers, StoredFile, StoredMessage
from .tokens import Grant, Tokens

MAX_FILE = 5_242_880  # bytes of one file (published limit)
MID_WINDOW = 30 * 60.0  # seconds in which a mid is delivered once
MID_BOUND = 1_000_000  # mids remembered at the most
MAX_ROOMS = 10  # rooms of one user (published limit)
MAX_MEMBERS = 2000  # members of one group (published limit of receivers in one send)

_SENDS = {
    "sendfile": Conversation.P2P,
    "sendgroupfile": Conversation.GROUP,
    "sendroomfile": Conversation.ROOM,
}
_PUSH_OF = {kind: method for method, kind in PUSHES.items()}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a gate takes, in bytes and counts."""

    max_file: int = MAX_FILE
    max_attrs: int = MAX_ATTRS
    max_rooms: int = MAX_ROOMS
    max_members: int = MAX_MEMBERS


@dataclass(eq=False, slots=True)
class Visitor:
    """One connection as the decisions see it; ``uid`` is None until it has logged in."""

    name: str
    uid: int | None = None
    rooms: set[int] = field(default_factory=set[int])


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
        limits: Limits | None = None,
        groups: Mapping[int, frozenset[int]] | None = None,
        messages: list[StoredMessage] | None = None,
    ) -> None:
        """*users*: the login token of each uid. *endpoint*: the file gate's ``host:port``.

        *file_url*: what the URL of a stored file begins with. *wall_ms*: milliseconds since 1970.
        *make_token*: a fresh text of at least 128 random bits. *groups*, *messages*: what a store
        has kept from before.
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
            "sendfile": self._send,
            "sendgroupfile": self._send_group,
            "sendroomfile": self._send_room,
            "enterroom": self._enterroom,
            "leaveroom": self._leaveroom,
            "addgroupmembers": self._addgroupmembers,
            "delgroupmembers": self._delgroupmembers,
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
        """A visitor asks; an answer or a refusal follows, now or when an effect is carried out."""
        if self._kept:
            self._recall(now)
        decide = self._methods.get(method)
        if decide is None:
            text = f"unknown method: {method}"
            self.actions.append(Refuse(visitor, quest_id, Code.UNKNOWN_METHOD, text))
            return
        try:
            answer = decide(visitor, quest_id, params, now)
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

    def left(self, visitor: Visitor) -> None:
        """A visitor's connection is gone, or is about to be: the login and its rooms end."""
        if visitor.uid is not None and self._logins.get(visitor.uid) is visitor:
            del self._logins[visitor.uid]
        visitor.uid = None
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
            self.actions.append(Answer(visitor, quest_id, {"mtime": asked.messages[0].mtime}))
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
        right = self._users.get(uid, "")
        given = token.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, right.encode()) or not right:
            return {"ok": False}
        self.kick(uid)
        visitor.uid = uid
        self._logins[uid] = visitor
        return {"ok": True}

    def _bye(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        return {}

    def _ping(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        return {}

    def _filetoken(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> Params:
        uid = _logged_in(visitor)
        cmd = text_of(params, "cmd")
        if cmd not in _SENDS:
            raise _Refusal(
                Code.INVALID_PARAMETER, f"cmd is one of {', '.join(_SENDS)}, got {cmd!r}"
            )
        key = _SENDS[cmd].value
        if params.get(key) is None:
            raise _Refusal(Code.INVALID_PARAMETER, f"{cmd} needs {key}")
        grant = Grant(self._pid, uid, cmd, int_of(params, key))
        return {"token": self._tokens.issue(grant, now=now), "endpoint": self._endpoint}

    def _send(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> None:
        self._send_file("sendfile", visitor, quest_id, params, now)

    def _send_group(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> None:
        self._send_file("sendgroupfile", visitor, quest_id, params, now)

    def _send_room(self, visitor: Visitor, quest_id: QuestId, params: Params, now: float) -> None:
        self._send_file("sendroomfile", visitor, quest_id, params, now)

    def _send_file(
        self, cmd: str, visitor: Visitor, quest_id: QuestId, params: Params, now: float
    ) -> None:
        """A file quest: the checks of the table above, then SaveFile."""
        kind = _SENDS[cmd]
        pid, sender = int_of(params, "pid"), int_of(params, "from")
        target, mid = int_of(params, kind.value), int_of(params, "mid")
        token, attrs_text = text_of(params, "token"), text_of(params, "attrs")
        body = bytes_of(params, "file")
        self._check_sizes(body, attrs_text)
        attrs = parse_attrs(attrs_text)
        if not attrs.sign:
            raise _Refusal(Code.ATTRS_LACK_SIGN_OR_EXT, "attrs lack sign")
        if text_of(params, "endpoint", self._endpoint) != self._endpoint:
            raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "endpoint is none of this gate's")
        if not self._tokens.valid(token, Grant(pid, sender, cmd, target), now=now):
            raise _Refusal(
                Code.BAD_FILE_SIGN_OR_TOKEN, "token is unknown, used, too old or not for this"
            )
        digest = md5(body, usedforsecurity=False).hexdigest()
        if not sign_matches(attrs.sign, digest, token):
            raise _Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "sign does not match file and token")
        self._tokens.spend(token)
        mtype = _file_mtype(params)
        self._check_rights(kind, sender, target)
        if not 0 < mid <= INT64_MAX:
            raise _Refusal(Code.INVALID_PARAMETER, f"mid must be above 0, got {mid}")
        self._check_mid((kind, sender, target, mid), now)
        file = self._new_file(body, digest, attrs, mtype)
        self._mtime = max(self._mtime + 1, self._wall_ms())
        message = StoredMessage(
            kind=kind,
            sender=sender,
            target=target,
            mid=mid,
            mtype=mtype,
            msg=json.dumps({"url": self._url(file), "size": file.size}, separators=(",", ":")),
            attrs=_nested(attrs, attrs_text),
            mtime=self._mtime,
        )
        self._storing.add(_mid_key(message))
        self._effect(visitor, quest_id, SaveFile(self._next_effect(), file, (message,), body))

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

    def _check_sizes(self, body: bytes, attrs: str) -> None:
        limits = self._limits
        if len(body) > limits.max_file:
            raise _Refusal(
                Code.FILE_TOO_LARGE,
                f"a file of {len(body)} bytes is over the limit of {limits.max_file}",
            )
        size = len(attrs.encode("utf-8", "surrogateescape"))
        if size > limits.max_attrs:
            raise _Refusal(
                Code.FILE_TOO_LARGE,
                f"attrs of {size} bytes are over the limit of {limits.max_attrs}",
            )

    def _check_rights(self, kind: Conversation, sender: int, target: int) -> None:
        if kind is Conversation.P2P and sender == target:
            raise _Refusal(Code.SEND_TO_ONESELF, "a file cannot be sent to oneself")
        if kind is Conversation.GROUP and sender not in self._groups.get(target, frozenset()):
            raise _Refusal(
                Code.NOT_GROUP_MEMBER, f"user {sender} is not a member of group {target}"
            )
        if kind is Conversation.ROOM and not (
            sender in self._logins and target in self._logins[sender].rooms
        ):
            raise _Refusal(Code.NOT_IN_ROOM, f"user {sender} is not in room {target}")

    def _check_mid(self, key: tuple[object, ...], now: float) -> None:
        if key in self._storing:
            raise _Refusal(Code.WORK_QUEUE_FULL, "this mid is being stored: try again in a moment")
        if self._mids.known(key, now=now):
            raise _Refusal(Code.DUPLICATE_MID, "this mid was delivered before")

    def _new_file(self, body: bytes, digest: str, attrs: FileAttrs, mtype: int) -> StoredFile:
        key = self._make_token()
        ext = "".join(c for c in (attrs.ext or "")[:16] if c.isascii() and c.isalnum())
        name = clean_name(attrs.name or "") or (f"file.{ext}" if ext else "file")
        if ext and not extension(name):
            name = f"{name}.{ext}"
        return StoredFile(key, len(body), digest, name, mtype)

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
            members = (
                {target} if kind is Conversation.P2P else self._groups.get(target, frozenset())
            )
            uids = sorted(members - {message.sender})
            receivers = [self._logins[uid] for uid in uids if uid in self._logins]
        params = {
            "from": message.sender,
            kind.value: target,
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


def _mid_key(message: StoredMessage) -> tuple[object, ...]:
    return (message.kind, message.sender, message.target, message.mid)


def _nested(attrs: FileAttrs, text: str) -> str:
    """Attrs for the receivers: as they came, or the flat shape wrapped (Objective-C needs it)."""
    raw = attrs.raw
    if isinstance(raw.get("rtm"), dict):
        return text
    outer = {key: raw[key] for key in ("custom", "excludedUids") if key in raw}
    return json.dumps({"rtm": raw, **outer}, separators=(",", ":"), ensure_ascii=False)
