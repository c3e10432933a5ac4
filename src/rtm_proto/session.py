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
    QuestBegun,
    QuestId,
    QuestPiece,
    QuestReceived,
    Refused,
    TimedOut,
)
from .package import (
    FLAG_JSON,
    FLAG_MSGPACK,
    MAX_PACKAGE,
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
_ANSWER, _TWOWAY = int(Kind.ANSWER), int(Kind.TWOWAY)  # an Enum's members are slow to look up
_FLAGS = FLAG_MSGPACK | FLAG_JSON
MAX_ABANDONED = 4096  # seqs of unanswered, given up quests that are not used again yet


class Session:
    """Packages in, events and packages out; both are taken by whoever owns the session.

    ``bad_packages``  malformed ones that came
    ``waiting``       bytes that ``packages`` would give
    ``largest``       bytes of the largest package sent since its owner set it to 0
    ``stop_code``     while set, the peer's quests are refused with it
    """

    def __init__(
        self,
        *,
        max_in_hand: int = MAX_IN_HAND,
        max_package: int = MAX_PACKAGE,
        max_seq: int = MAX_SEQ,
        wall_ms: Callable[[], int] | None = None,
    ) -> None:
        """*max_in_hand*: quests of the peer that may wait for our answer. *max_package*: bytes of
        the largest package that may be sent. *max_seq*: the number after which it begins at 1
        again. *wall_ms*: milliseconds that ``*ping`` is answered with.
        """
        self.events: list[Event] = []
        self.bad_packages = 0
        self.waiting = 0
        self.largest = 0
        self.stop_code: int | None = None
        self._max_in_hand = max_in_hand
        self._max_package = max_package
        self._max_seq = max_seq
        self._wall_ms = wall_ms
        self._packages: dict[int, bytes] = {}  # in order; a quest's by its id, others below 1
        self._nameless = 0
        self._seq = 0
        self._pending: dict[QuestId, str] = {}
        self._abandoned: dict[int, bool] = {}  # and whether a late answer is worth an event
        self._owed: dict[QuestId, tuple[int, int, int]] = {}
        self._owed_ids = 0
        self._coming: QuestId | None = None  # the peer's quest that comes in parts

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
        """Ask; raises LocalProtocolError for a bad method, bad params or a package too large."""
        name, payload = method_bytes(method), encode(params)
        seq = self._next_seq()
        package = encode_quest(name, payload, seq)
        size = len(package)
        if size > self._max_package:
            self._check_size(size)
        self._seq = seq
        self._pending[seq] = method
        self._packages[seq] = package
        self.waiting += size
        if size > self.largest:
            self.largest = size
        return seq

    def quest_head(self, method: str, psize: int) -> tuple[QuestId, bytes]:
        """Ask with a payload of *psize* bytes that follows elsewhere: the id, and the head.

        Raises as ``quest``, and LocalProtocolError for a payload that is empty.
        """
        name = method_bytes(method)
        if psize < 1:
            raise LocalProtocolError(f"a payload has at least 1 byte, got {psize}")
        self._check_size(psize)  # so that the header has room for it
        seq = self._next_seq()
        head = quest_head(name, psize, seq)
        self._check_size(len(head) + psize)
        self._seq = seq
        self._pending[seq] = method
        return seq, head

    def ping(self) -> None:
        """Ask for a sign of life; nothing comes of its answer."""
        self._seq = seq = self._next_seq()
        self._abandon(seq, told=False)
        self._send(encode_quest(b"*ping", EMPTY, seq))

    def oneway(self, method: str, params: Params) -> None:
        """Tell; raises as ``quest``."""
        package = encode_oneway(method_bytes(method), encode(params))
        self._check_size(len(package))
        self._send(package)

    def answer(self, quest_id: QuestId, params: Params) -> None:
        """Answer a quest of the peer.

        Raises LocalProtocolError if none is owed, for bad params or a package too large. What
        only JSON cannot carry, where the peer asked in JSON, is refused with 10004 instead.
        """
        seq, version, flag = self._owed_to(quest_id)
        payload = encode(params)
        if flag == FLAG_JSON:
            try:
                payload = encode_json(params)
            except LocalProtocolError as exc:
                self.refuse(quest_id, Code.JSON_CONVERSION, str(exc))
                return
        package = encode_answer(payload, seq, version=version, flag=flag)
        self._check_size(len(package))
        del self._owed[quest_id]
        self._send(package)

    def refuse(self, quest_id: QuestId, code: int, text: str) -> None:
        """Answer a quest of the peer with an error.

        Raises LocalProtocolError if none is owed, for a bad code or text, or a package too large.
        """
        package = _refusal(*self._owed_to(quest_id), code, text)
        self._check_size(len(package))
        del self._owed[quest_id]
        self._send(package)

    def refuse_seq(self, seq: int, code: int, text: str) -> None:
        """Refuse the two-way quest with *seq* that could not be received whole."""
        self._refuse(seq, 1, FLAG_MSGPACK, code, text)

    def forget(self, quest_id: QuestId) -> bool:
        """Give up waiting; whether there was anything to give up.

        A quest that has not left yet is taken back; a late answer to one that has is dropped.
        """
        if self._pending.pop(quest_id, None) is None:
            return False
        unsent = self._packages.pop(quest_id, None)
        if unsent is None:
            self._abandon(quest_id, told=True)
        else:
            self.waiting -= len(unsent)
        return True

    # --- what happened ---

    def expire(self, quest_id: QuestId) -> None:
        """The deadline of a quest of ours has passed."""
        if self.forget(quest_id):
            self.events.append(TimedOut(quest_id))

    def lose(self, reason: CloseReason) -> None:
        """The connection is over: our quests are lost, nothing is owed, nothing waits to leave."""
        self.events += [Lost(quest_id, reason) for quest_id in self._pending]
        self._pending.clear()
        self._owed.clear()
        self.packages()

    def receive(self, package: Package) -> QuestId | None:
        """Take a package or a part; returns the id of the quest of ours that it ended, if any."""
        if package.part > 1:
            self._receive_part(package)
            return None
        if package.kind == _ANSWER:
            return self._receive_answer(package)
        two_way = package.kind == _TWOWAY
        flag = package.flag & _FLAGS
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
        if method[:1] == "*" and self._receive_builtin(package, flag, method):
            return None
        in_pieces = package.part and two_way and flag == FLAG_MSGPACK
        try:
            params = {} if in_pieces else _payload(package, flag)
        except PayloadError as fault:
            self._malformed(package, flag, fault.code, str(fault))
            return None
        if not two_way:
            if not method:
                self.events.append(Dropped("a one-way quest whose method is not UTF-8"))
            elif self.stop_code is not None:
                self.events.append(Dropped(f"a one-way {method} that came while closing"))
            else:
                self.events.append(OnewayReceived(method, params))
            return None
        owed = (package.seq, package.version, flag)
        if not method:
            self._refuse(*owed, Code.UNKNOWN_METHOD, "method is not UTF-8")
        elif self.stop_code is not None:
            self._refuse(*owed, self.stop_code, "closing")
        elif len(self._owed) >= self._max_in_hand:
            text = f"more than {self._max_in_hand} quests in hand"
            self._refuse(*owed, Code.WORK_QUEUE_FULL, text)
        else:
            self._owed_ids += 1
            self._owed[self._owed_ids] = owed
            if in_pieces:
                self._coming = self._owed_ids
                self.events.append(QuestBegun(self._owed_ids, method, package.left))
            else:
                self.events.append(QuestReceived(self._owed_ids, method, params))
        return None

    # --- what comes of it ---

    def packages(self) -> list[bytes]:
        """Take the packages to send, in order."""
        packages = [*self._packages.values()]
        self._packages.clear()
        self.waiting = 0
        return packages

    # --- private ---

    def _next_seq(self) -> QuestId:
        """The next number that nothing waits for, and that no late answer may come to."""
        seq = self._seq
        while True:
            seq = seq + 1 if seq < self._max_seq else 1
            if seq not in self._pending and seq not in self._abandoned:
                return seq

    def _abandon(self, seq: int, *, told: bool) -> None:
        self._abandoned[seq] = told
        if len(self._abandoned) > MAX_ABANDONED:
            del self._abandoned[next(iter(self._abandoned))]

    def _check_size(self, size: int) -> None:
        if size > self._max_package:
            raise LocalProtocolError(
                f"a package of {size} bytes is over the limit of {self._max_package}"
            )

    def _send(self, package: bytes) -> None:
        self._nameless -= 1
        self._packages[self._nameless] = package
        size = len(package)
        self.waiting += size
        if size > self.largest:
            self.largest = size

    def _owed_to(self, quest_id: QuestId) -> tuple[int, int, int]:
        owed = self._owed.get(quest_id)
        if owed is None:
            raise LocalProtocolError(f"no answer is owed to quest {quest_id}")
        return owed

    def _receive_part(self, package: Package) -> None:
        """The next part of a large package: worth an event while its quest is owed an answer."""
        if self._coming in self._owed:
            self.events.append(QuestPiece(self._coming, package.payload, package.left))
        if not package.left:
            self._coming = None

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
        self._send(encode_answer(payload, package.seq, version=package.version, flag=flag))

    def _malformed(self, package: Package, flag: int, code: int, text: str) -> None:
        self.bad_packages += 1
        if package.kind == Kind.TWOWAY:
            self._refuse(package.seq, package.version, flag, code, text)
        else:
            self.events.append(Dropped(f"a malformed one-way quest: {text}"))

    def _refuse(self, seq: int, version: int, flag: int, code: int, text: str) -> None:
        self._send(_refusal(seq, version, flag, code, text))


def _payload(package: Package, flag: int) -> dict[str, object]:
    if package.part:
        raise PayloadError(
            f"a payload of {package.left} bytes is only taken in msgpack, from two-way quests",
            Code.INVALID_PACKAGE,
        )
    if flag == FLAG_JSON:
        return decode_json(package.payload)
    if package.payload == EMPTY:
        return {}
    return decode(package.payload)


def _refusal(seq: int, version: int, flag: int, code: object, text: object) -> bytes:
    if not isinstance(code, int) or not isinstance(text, str):
        raise LocalProtocolError(f"an error has an int and a text, got {code!r} and {text!r}")
    params: Params = {"code": int(code), "ex": text}
    payload = encode_json(params) if flag == FLAG_JSON else encode(params)
    return encode_answer(payload, seq, status=1, version=version, flag=flag)


def _refused(seq: int, params: Params) -> Refused:
    """The error in an answer; the status alone has decided that it is one."""
    code, ex = params.get("code"), params.get("ex")
    if isinstance(ex, str):
        ex = ex.encode("utf-8", "surrogateescape")
    if isinstance(ex, bytes):
        text = ex.decode("utf-8", "replace")  # for people: bytes that are not text help nobody
    else:
        text = "" if ex is None else repr(ex)
    return Refused(seq, code if type(code) is int else Code.UNKNOWN, text)
