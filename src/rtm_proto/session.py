"""The session: which quest waits for which answer, and which answers are owed.

    your quests    seq 1..0xFFFFFFFF, then 1; each ends once: answered, refused, expired or lost
    peer's quests  each is owed exactly one answer, whatever its seq (the peer may use one twice)

A payload fault ends its quest only: a two-way quest is refused, a one-way quest is dropped.
Built-in methods (``*ping``, ``*status``) are answered here. Knows no link, no timer, no RTM.
"""

from __future__ import annotations

from collections.abc import Callable

from .codes import Code
from .errors import LocalProtocolError, PayloadError
from .events import (
    Answered,
    CloseReason,
    Dropped,
    Event,
    Lost,
    OnewayReceived,
    QuestId,
    QuestReceived,
    Refused,
    TimedOut,
)
from .package import (
    FLAG_JSON,
    FLAG_MSGPACK,
    MAX_SEQ,
    Kind,
    Package,
    encode_answer,
    encode_oneway,
    encode_quest,
    method_bytes,
    quest_head,
)
from .payload import EMPTY, Params, decode, decode_json, encode, encode_json

MAX_IN_HAND = 64  # quests of the peer that wait for our answer; more are refused with 20011
MAX_BAD_PACKAGES = 16  # malformed packages on one connection before it has to end
MAX_ABANDONED = 4096  # seqs of unanswered, given up quests that are not used again yet


class Session:
    """Packages in, events and packages out; both lists are taken by whoever owns the session."""

    def __init__(
        self,
        *,
        max_in_hand: int = MAX_IN_HAND,
        wall_ms: Callable[[], int] | None = None,
    ) -> None:
        """*wall_ms* gives the milliseconds that ``*ping`` is answered with."""
        self.events: list[Event] = []
        self.packages: list[bytes] = []
        self.bad_packages = 0
        self._max_in_hand = max_in_hand
        self._wall_ms = wall_ms
        self._seq = 0
        self._pending: dict[QuestId, str] = {}
        self._abandoned: dict[int, bool] = {}  # and whether a late answer is worth an event
        self._owed: dict[QuestId, tuple[int, int, int]] = {}
        self._owed_ids = 0

    @property
    def pending(self) -> int:
        """Quests of ours that wait for an answer."""
        return len(self._pending)

    @property
    def owed(self) -> int:
        """Quests of the peer that wait for our answer."""
        return len(self._owed)

    # --- what you want said ---

    def quest(self, method: str, params: Params) -> QuestId:
        """Ask; raises LocalProtocolError for a bad method or bad params."""
        name, payload = method_bytes(method), encode(params)
        quest_id = self._next_seq(method)
        self.packages.append(encode_quest(name, payload, quest_id))
        return quest_id

    def quest_head(self, method: str, psize: int) -> tuple[QuestId, bytes]:
        """Ask with a payload of *psize* bytes that follows elsewhere: the id, and the head."""
        name = method_bytes(method)
        quest_id = self._next_seq(method)
        return quest_id, quest_head(name, psize, quest_id)

    def oneway(self, method: str, params: Params) -> None:
        """Tell; raises LocalProtocolError for a bad method or bad params."""
        self.packages.append(encode_oneway(method_bytes(method), encode(params)))

    def answer(self, quest_id: QuestId, params: Params) -> None:
        """Answer a quest of the peer; raises LocalProtocolError if none is owed or for bad params."""
        if quest_id not in self._owed:
            raise LocalProtocolError(f"no answer is owed to quest {quest_id}")
        seq, version, flag = self._owed[quest_id]
        payload = encode_json(params) if flag == FLAG_JSON else encode(params)
        del self._owed[quest_id]
        self.packages.append(encode_answer(payload, seq, version=version, flag=flag))

    def refuse(self, quest_id: QuestId, code: int, text: str) -> None:
        """Answer a quest of the peer with an error; raises LocalProtocolError if none is owed."""
        if quest_id not in self._owed:
            raise LocalProtocolError(f"no answer is owed to quest {quest_id}")
        self._refuse(*self._owed[quest_id], code, text)
        del self._owed[quest_id]

    def refuse_seq(self, seq: int, code: int, text: str) -> None:
        """Refuse the two-way quest with *seq* that could not be received whole."""
        self._refuse(seq, 1, FLAG_MSGPACK, code, text)

    def forget(self, quest_id: QuestId, *, quietly: bool = False) -> bool:
        """Give up waiting; whether there was anything to give up.

        A late answer is dropped with an event, or *quietly* without.
        """
        if self._pending.pop(quest_id, None) is None:
            return False
        self._abandoned[quest_id] = not quietly
        if len(self._abandoned) > MAX_ABANDONED:
            del self._abandoned[next(iter(self._abandoned))]
        return True

    # --- what happened ---

    def expire(self, quest_id: QuestId) -> None:
        """The deadline of a quest of ours has passed."""
        if self.forget(quest_id):
            self.events.append(TimedOut(quest_id))

    def lose(self, reason: CloseReason) -> None:
        """The connection is over: every quest of ours is lost, nothing is owed any more."""
        self.events += [Lost(quest_id, reason) for quest_id in self._pending]
        self._pending.clear()
        self._owed.clear()

    def receive(self, package: Package) -> QuestId | None:
        """Take one package; returns the id of the quest of ours that it ended, if it did."""
        if package.kind == Kind.ANSWER:
            return self._receive_answer(package)
        two_way = package.kind == Kind.TWOWAY
        flag = package.flag & (FLAG_MSGPACK | FLAG_JSON)
        try:
            method = package.method.decode()
        except UnicodeDecodeError:
            method = ""  # not text, so not a method that anybody has
        if flag not in (FLAG_MSGPACK, FLAG_JSON):
            fault = f"flag must have one of 0x80 and 0x40, got {package.flag:#04x}"
            self._malformed(package, FLAG_MSGPACK, Code.NOT_SUPPORTED, fault)
            return None
        if not package.method:
            self._malformed(package, flag, Code.INVALID_PACKAGE, "the method is empty")
            return None
        if method.startswith("*") and self._receive_builtin(package, flag, method):
            return None
        try:
            params = _payload(package, flag)
        except PayloadError as fault:
            self._malformed(package, flag, fault.code, str(fault))
            return None
        if not two_way:
            if method:
                self.events.append(OnewayReceived(method, params))
            else:
                self.events.append(Dropped("a one-way quest whose method is not UTF-8"))
        elif not method:
            self._refuse(
                package.seq, package.version, flag, Code.UNKNOWN_METHOD, "method is not UTF-8"
            )
        elif len(self._owed) >= self._max_in_hand:
            text = f"more than {self._max_in_hand} quests in hand"
            self._refuse(package.seq, package.version, flag, Code.WORK_QUEUE_FULL, text)
        else:
            self._owed_ids += 1
            self._owed[self._owed_ids] = (package.seq, package.version, flag)
            self.events.append(QuestReceived(self._owed_ids, method, params))
        return None

    # --- private ---

    def _next_seq(self, method: str) -> QuestId:
        seq = self._seq
        while True:
            seq = seq + 1 if seq < MAX_SEQ else 1
            if seq not in self._pending and seq not in self._abandoned:
                break
        self._seq = seq
        self._pending[seq] = method
        return seq

    def _receive_answer(self, package: Package) -> QuestId | None:
        seq = package.seq
        if seq not in self._pending:
            late = self._abandoned.pop(seq, None)
            if late is None:
                self.events.append(Dropped(f"an answer with the unknown seq {seq}"))
            elif late:
                self.events.append(Dropped(f"a late answer, seq {seq}"))
            return None
        try:
            flag = FLAG_JSON if package.flag & FLAG_JSON else FLAG_MSGPACK
            params = _payload(package, flag)
        except PayloadError as fault:
            if package.status == 0:
                text = f"the answer cannot be read: {fault}"
                self.events.append(Refused(seq, Code.INVALID_PACKAGE_CORE, text))
            else:
                self.events.append(Refused(seq, Code.UNKNOWN, ""))
            self.bad_packages += 1
        else:
            self.events.append(
                Answered(seq, params) if package.status == 0 else _refused(seq, params)
            )
        del self._pending[seq]
        return seq

    def _receive_builtin(self, package: Package, flag: int, method: str) -> bool:
        """Answer a built-in method; whether it was one. Its payload is not looked at."""
        if method not in ("*ping", "*status", "*infos", "*tune", "*key"):
            return False
        if package.kind != Kind.TWOWAY:
            self.events.append(Dropped(f"a one-way {method}"))
        elif method == "*ping":
            now = {} if self._wall_ms is None else {"ts": self._wall_ms()}
            self._answer_builtin(package, flag, now)
        elif method == "*status":
            self._answer_builtin(package, flag, {"status": True})
        else:
            self._refuse(
                package.seq, package.version, flag, Code.FORBIDDEN, f"{method} is not allowed here"
            )
        return True

    def _answer_builtin(self, package: Package, flag: int, params: Params) -> None:
        payload = encode_json(params) if flag == FLAG_JSON else encode(params)
        self.packages.append(
            encode_answer(payload, package.seq, version=package.version, flag=flag)
        )

    def _malformed(self, package: Package, flag: int, code: int, text: str) -> None:
        self.bad_packages += 1
        if package.kind == Kind.TWOWAY:
            self._refuse(package.seq, package.version, flag, code, text)
        else:
            self.events.append(Dropped(f"a malformed one-way quest: {text}"))

    def _refuse(self, seq: int, version: int, flag: int, code: int, text: str) -> None:
        params: Params = {"code": int(code), "ex": text}
        payload = encode_json(params) if flag == FLAG_JSON else encode(params)
        self.packages.append(encode_answer(payload, seq, status=1, version=version, flag=flag))


def _payload(package: Package, flag: int) -> dict[str, object]:
    if flag == FLAG_JSON:
        return decode_json(package.payload)
    if package.payload == EMPTY:
        return {}
    return decode(package.payload)


def _refused(seq: int, params: Params) -> Refused:
    """The error in an answer; the status alone has decided that it is one."""
    code, text = params.get("code"), params.get("ex", "")
    return Refused(
        seq,
        code if type(code) is int else Code.UNKNOWN,
        text if isinstance(text, str) else repr(text),
    )
