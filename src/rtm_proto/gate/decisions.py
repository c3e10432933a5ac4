"""The gate's decisions: who may do what, what is refused with which code, who is told.

    quest ──► a rule ──► Answer, Refuse, Push, Part           (said at once)
                   └──► Effect ──► carried_out ──► the same    (said when it is kept)

The rules stand in ``gate.rules``, one subject in each module; here they are put together, and a
quest finds its rule. What every quest goes through first, with the code of each refusal:

    an unknown method                       20004
    neither logged in nor signed            200022   (signs: see ``gate.signs``)
    a user where a server is meant          200020, and the other way round
    over a rate                             200010

docs/gate-methods.md has every method with its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from ..codes import Code
from ..errors import PayloadError, StoreFault
from ..events import QuestId
from ..payload import Params
from .actions import (
    SERVER,
    Action,
    Answer,
    Asked,
    Body,
    Method,
    Part,
    Push,
    Refusal,
    Refuse,
    Visitor,
    Who,
)
from .limits import (
    MAX_FILE,
    MAX_MEMBERS,
    MAX_MESSAGE,
    MAX_QUEST,
    MAX_RECEIVERS,
    MAX_ROOMS,
    Limits,
    Rate,
)
from .links import Links
from .rules.askers import Askers
from .rules.bans import Bans
from .rules.blocks import Blocks
from .rules.files import BODY_LIFE, SENDS, Files
from .rules.groups import Groups
from .rules.history import Histories
from .rules.keeping import Keeping
from .rules.logins import Logins
from .rules.mail import EVERYBODY, MID_BOUND, MID_WINDOW, Mail
from .rules.messages import Messages
from .rules.presence import Presence
from .rules.rates import Rates
from .rules.rights import Rights
from .rules.rooms import Rooms
from .store import DropBody, Effect, Kept, Result, SaveFile

MAX_EXACT = 2**53  # above it a float is no exact integer

_INTEGERS = frozenset(
    {"pid", "uid", "ouid", "buid", "from", "to", "gid", "rid", "mid", "lastid", "begin", "end"}
)
_LISTS = frozenset({"tos", "uids", "blacks", "buids"})

__all__ = [
    "BODY_LIFE",
    "EVERYBODY",
    "MAX_EXACT",
    "MAX_FILE",
    "MAX_MEMBERS",
    "MAX_MESSAGE",
    "MAX_QUEST",
    "MAX_RECEIVERS",
    "MAX_ROOMS",
    "MID_BOUND",
    "MID_WINDOW",
    "Action",
    "Answer",
    "Body",
    "Decisions",
    "Held",
    "Limits",
    "Part",
    "Push",
    "Rate",
    "Refuse",
    "Visitor",
]


@dataclass(frozen=True, slots=True)
class Held:
    """How much the decisions hold right now: logins, entered rooms, tokens, effects under way."""

    logins: int
    rooms: int
    tokens: int
    effects: int


class Decisions:
    """Decides everything that a gate decides; takes no bytes, keeps no connection."""

    def __init__(
        self,
        *,
        pid: int,
        users: Mapping[int, str],
        endpoint: str,
        tls_endpoint: str | None = None,
        file_url: str,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
        secret: str | None = None,
        limits: Limits | None = None,
        links: Links | None = None,
        pictures: bool = False,
        recognise: Callable[[bytes], int | None] | None = None,
        kept: Kept | None = None,
    ) -> None:
        """*users*: the login token of each uid. *endpoint*: the file gate's ``host:port``.

        *tls_endpoint*: the one that visitors are told who came over TLS, where it is another.
        *file_url*: what the URL of a stored file begins with. *wall_ms*: milliseconds since 1970.
        *make_token*: a fresh text of at least 128 random bits. *secret*: the project's, with which
        servers sign; without one there are none. *links*: signs the URLs of files, where these
        expire. *pictures*: whether there are small pictures of images. *recognise*: what a file of
        mtype 50 is, by its first bytes. *kept*: what a store has kept from before.
        """
        limits, kept = limits or Limits(), kept or Kept()
        links = links or Links(wall_ms)
        self._limits = limits
        self._keeping = keeping = Keeping(bound=limits.max_waiting)
        self._presence = presence = Presence()
        self._askers = askers = Askers(pid, secret, wall_ms)
        self._rates = rates = Rates(limits)
        self._bans = bans = Bans(keeping, wall_ms, kept, end_logins=self.kick)
        self._logins = Logins(
            keeping,
            presence,
            askers,
            rates,
            limits,
            kept,
            pid=pid,
            users=users,
            make_token=make_token,
            check_ban=bans.check,
        )
        blocks = Blocks(keeping, limits, kept)
        groups = Groups(keeping, presence, limits, kept)
        rights = Rights(presence, groups, bans, blocks)
        self.mail = mail = Mail(keeping, presence, groups, links, wall_ms, kept, ftype=limits.ftype)
        self.files = Files(
            keeping,
            mail,
            rights,
            rates,
            limits,
            pid=pid,
            endpoint=endpoint,
            tls_endpoint=tls_endpoint,
            file_url=file_url,
            links=links,
            pictures=pictures,
            recognise=recognise,
            wall_ms=wall_ms,
            make_token=make_token,
        )
        self.methods: Mapping[str, Method] = {
            **self._logins.methods,
            **Messages(keeping, mail, rights, rates, limits).methods,
            **self.files.methods,
            **Histories(keeping, mail, groups, rights, rates, limits).methods,
            **Rooms(keeping, presence, limits).methods,
            **groups.methods,
            **blocks.methods,
            **bans.methods,
        }
        """What a quest may ask for."""

    @property
    def actions(self) -> list[Action]:
        """What is to be said, in order; set it to ``[]`` when it is."""
        return self._keeping.actions

    @actions.setter
    def actions(self, actions: list[Action]) -> None:
        self._keeping.actions = actions

    @property
    def effects(self) -> list[Effect]:
        """What a store is to carry out, in order; set it to ``[]`` when it is asked."""
        return self._keeping.effects

    @effects.setter
    def effects(self, effects: list[Effect]) -> None:
        self._keeping.effects = effects

    def held(self) -> Held:
        """How much is held, for figures and for tests: it goes back to nothing."""
        presence = self._presence
        tokens = len(self.files.tokens)
        return Held(presence.logins, presence.places, tokens, len(self._keeping))

    # --- what happened ---

    def quest(
        self, visitor: Visitor, quest_id: QuestId, method: str, params: Params, *, now: float
    ) -> None:
        """A visitor asks; an answer or a refusal follows, now or when an effect is carried out.

        What a store has of a Body that is not saved in the end is dropped.
        """
        self.mail.recall(now=now)
        if self._limits.lenient_ids:
            params = _lenient(params)
        try:
            rule = self._method(method)
            user = self._askers.check(rule.who, visitor, method, params, now=now)
            if self._rates.of_calls and rule.who is not Who.ANYBODY:
                self._count(visitor, user, now)
            answer = rule.run(Asked(visitor, quest_id, method, params, now, user))
        except (PayloadError, Refusal) as refusal:
            self.actions.append(Refuse(visitor, quest_id, refusal.code, str(refusal)))
        else:
            if answer is not None:
                self.actions.append(Answer(visitor, quest_id, answer))
        body = params.get("file")
        if isinstance(body, Body) and body.written and not self._saves(body):
            self._keeping.effects.append(DropBody(self._keeping.next_id(), body.key))

    def refusal_before_body(
        self, method: str, params: Params, size: int, *, now: float
    ) -> tuple[int, str] | None:
        """What is wrong already before the file of *size* bytes has come: code and text, or None.

        *params*: those that stand before the file, whichever these are. A token that is good stays
        so for BODY_LIFE, in which the file has to come.
        """
        try:
            self._method(method)
            if method not in SENDS:
                raise Refusal(
                    Code.INVALID_PACKAGE,
                    f"{method} takes no file: its quest has at most {MAX_QUEST:,} bytes",
                )
            if self._limits.lenient_ids:
                params = _lenient(params)
            self.files.check_head(method, params, size, now=now)
        except (PayloadError, Refusal) as refusal:
            return refusal.code, str(refusal)
        return None

    def left(self, visitor: Visitor) -> None:
        """A visitor's connection is gone, or is about to be: the login and its rooms end."""
        self._presence.forget(visitor)

    def kick(self, uid: int) -> bool:
        """End the logins of *uid*; whether there was one."""
        return self._logins.kick(uid)

    def delivered(self, visitor: Visitor, message_id: int) -> None:
        """A visitor has answered the push of this message: it is unread no more."""
        self.mail.delivered(visitor, message_id)

    def tidy(self) -> None:
        """Forget what has ended by the wall clock; call it now and then."""
        self._bans.tidy()

    def carried_out(
        self, effect: Effect, result: Result, fault: StoreFault | None, *, now: float
    ) -> None:
        """A store has done what a decision asked for, with this result, or has failed."""
        self._keeping.carried_out(effect, result, fault, now=now)

    # --- private ---

    def _method(self, name: str) -> Method:
        method = self.methods.get(name)
        if method is None:
            raise Refusal(Code.UNKNOWN_METHOD, f"unknown method: {name}")
        return method

    def _count(self, visitor: Visitor, user: int, now: float) -> None:
        """A call, for the rates; those of operators are never counted."""
        if user != SERVER:
            self._rates.spend(("user_calls", user), ("all_calls", 0), now=now)
        elif not visitor.operator:
            self._rates.spend(("server_calls", 0), now=now)

    def _saves(self, body: Body) -> bool:
        """Whether a store was asked to keep *body*."""
        return any(isinstance(e, SaveFile) and e.file.key == body.key for e in self.effects)


def _lenient(params: Params) -> Params:
    """*params* with integers where JavaScript has put floats or text instead."""
    lenient = dict(params)
    for key, value in params.items():
        if key in _INTEGERS:
            lenient[key] = _integer(value)
        elif key in _LISTS and isinstance(value, list):
            lenient[key] = [_integer(item) for item in cast("list[object]", value)]
    return lenient


def _integer(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(value)
    return value
