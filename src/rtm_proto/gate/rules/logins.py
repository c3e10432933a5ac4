"""Logging in and out, and the tokens for it.

    auth{pid, uid, token} -> {ok}     bye{}     ping{}
    servers: gettoken{uid} -> {token}, removetoken{uid}, kickout{uid[, ce]}

A wrong token is a normal answer, ``ok: false``. Whoever has shown too many of them on one
connection is parted from. Wrong tokens are also counted for each user and address together:
beyond that rate no token for this user is looked at from this address for a while (200010), so that
nobody guesses tokens, and nobody elsewhere keeps the user himself out. Only who shares his
address can; where addresses are not known, connections stand for them.

Of tokens only a digest is kept, and only digests are compared, in constant time. The token that a
server got for a user is good for any number of logins, also after a restart, until there is a newer
one or it is removed; a user whose token is removed stays logged in. Sources: all SDKs.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from ...codes import Code
from ...events import CloseKind, CloseReason
from ...payload import Params, int_of, text_of
from ..actions import Asked, Method, Methods, Part, Push, Refusal, Visitor, Who
from ..limits import Limits
from ..store import Kept, Table
from ..tokens import NO_DIGEST, token_digest
from .askers import Askers
from .keeping import Keeping
from .presence import Presence
from .rates import Rates


class Logins:
    """Lets users in, and ends their logins."""

    def __init__(
        self,
        keeping: Keeping,
        presence: Presence,
        askers: Askers,
        rates: Rates,
        limits: Limits,
        kept: Kept,
        *,
        pid: int,
        users: Mapping[int, str],
        make_token: Callable[[], str],
        check_ban: Callable[[int], None],
    ) -> None:
        """*users*: configured tokens. *check_ban*: refuses a uid that is banned."""
        self._keeping = keeping
        self._presence = presence
        self._askers = askers
        self._rates = rates
        self._limits = limits
        self._pid = pid
        self._users = users
        self._make_token = make_token
        self._check_ban = check_ban
        self._digests = {r.key: r.value for r in kept.records if r.table is Table.LOGIN_TOKEN}
        self.methods: Methods = {
            "auth": Method(Who.ANYBODY, self._auth),
            "bye": Method(Who.ANYBODY, self._bye),
            "ping": Method(Who.ANYBODY, self._ping),
            "gettoken": Method(Who.SERVER, self._gettoken),
            "removetoken": Method(Who.SERVER, self._removetoken),
            "kickout": Method(Who.SERVER, self._kickout),
        }

    def kick(self, uid: int, *, peer: str = "") -> bool:
        """End the logins of *uid*, or only those from *peer*; whether there was one."""
        ended = [v for v in self._presence.of(uid) if peer in ("", v.peer)]
        for visitor in ended:
            self._kick(visitor)
        return bool(ended)

    # --- methods ---

    def _auth(self, asked: Asked) -> Params | None:
        params, visitor = asked.params, asked.visitor
        pid, uid, token = int_of(params, "pid"), int_of(params, "uid"), text_of(params, "token")
        if visitor.operator:
            raise Refusal(Code.METHOD_FORBIDDEN, "auth is for users, not for operators")
        if visitor.uid is not None:
            raise Refusal(Code.ALREADY_LOGGED_IN, f"already logged in as {visitor.uid}")
        if pid != self._pid or uid <= 0:
            raise Refusal(Code.BAD_PROJECT_OR_USER, f"no user {uid} in project {pid} here")
        source = (uid, visitor.peer or visitor.name)
        self._rates.check("failed_logins", source, now=asked.now)
        if not self._right(uid, token):
            self._rates.take("failed_logins", source, now=asked.now)
            self._wrong(asked)
            return None
        self._check_ban(uid)
        logins = self._presence.of(uid)
        for oldest in logins[: max(0, len(logins) + 1 - self._limits.max_logins)]:
            self._kick(oldest)
        self._presence.log_in(visitor, uid)
        return {"ok": True}

    def _bye(self, asked: Asked) -> None:
        self._keeping.answer(asked, {})
        self._presence.forget(asked.visitor)
        reason = CloseReason(CloseKind.LOCAL, "bye")
        self._keeping.actions.append(Part(asked.visitor, reason))

    def _ping(self, asked: Asked) -> Params:
        if asked.params.get("sign") is not None:  # a server makes itself known
            self._askers.asker(asked.visitor, "ping", asked.params, now=asked.now)
        return {}

    def _gettoken(self, asked: Asked) -> None:
        uid, limit = int_of(asked.params, "uid"), self._limits.max_login_tokens
        if uid <= 0:
            raise Refusal(Code.INVALID_PARAMETER, f"uid must be above 0, got {uid}")
        if uid not in self._digests and len(self._digests) >= limit:
            text = f"{limit} users have a token, and that is the limit: remove one"
            raise Refusal(Code.TOO_MANY_ITEMS, text)
        token = self._make_token()
        self._change(asked, uid, token_digest(token), {"token": token})

    def _removetoken(self, asked: Asked) -> Params | None:
        uid = int_of(asked.params, "uid")
        if uid not in self._digests and self._keeping.free((Table.LOGIN_TOKEN, uid)):
            return {}
        self._change(asked, uid, None, {})
        return None

    def _kickout(self, asked: Asked) -> Params:
        # the SDKs give an endpoint here, host:port; the port is not what tells logins apart
        endpoint = text_of(asked.params, "ce", "")
        if endpoint.startswith("[") or endpoint.count(":") == 1:
            endpoint = endpoint.rpartition(":")[0].strip("[]")
        self.kick(int_of(asked.params, "uid"), peer=endpoint)
        return {}

    # --- private ---

    def _change(self, asked: Asked, uid: int, digest: str | None, answer: Params) -> None:
        table = Table.LOGIN_TOKEN
        self._keeping.change(asked, table, self._digests, uid, digest, str, answer=answer)

    def _right(self, uid: int, token: str) -> bool:
        """Whether this is a token of *uid*; as much work for a user that there is not."""
        given, configured = token_digest(token), self._users.get(uid)
        rights = [
            token_digest(configured) if configured else NO_DIGEST,
            self._digests.get(uid, NO_DIGEST),
        ]
        return any([hmac.compare_digest(given, right) for right in rights])  # noqa: C419 (all)

    def _wrong(self, asked: Asked) -> None:
        self._keeping.answer(asked, {"ok": False})
        visitor = asked.visitor
        visitor.failed += 1
        if visitor.failed >= self._limits.max_failed_logins:
            reason = CloseReason(CloseKind.LOGIN, f"{visitor.failed} wrong tokens")
            self._keeping.actions.append(Part(visitor, reason))

    def _kick(self, visitor: Visitor) -> None:
        self._presence.forget(visitor)
        self._keeping.actions.append(Push(visitor, "kickout", {}, oneway=True))
        self._keeping.actions.append(Part(visitor, CloseReason(CloseKind.KICKOUT)))
