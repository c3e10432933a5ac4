"""A whole gate with a store in memory: visitors of both ports who do anything, at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import md5

import h11

from rtm_proto.attrs import file_sign, write_attrs
from rtm_proto.connection import Connection
from rtm_proto.errors import StoreFault
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.gate.decisions import Limits, Rate, Visitor
from rtm_proto.gate.gate import Gate
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import GateSettings, Port
from rtm_proto.gate.store import Effect, Result
from rtm_proto.gate.visit import Visit
from rtm_proto.link import Link
from rtm_proto.package import Kind, Splitter, encode_answer, encode_oneway, encode_quest
from rtm_proto.payload import encode

from ..choices import Choices
from ..footprint import footprint, reachable
from .links import UPGRADE

PID = 11000001
USERS = {uid: f"token of {uid}" for uid in (1001, 1002, 1003)}
ENDPOINT = "gate.test:13461"
LIMITS = Limits(
    max_file=700, max_rooms=2, max_members=3, max_blocks=2, max_waiting=8, user_calls=Rate(1, 20)
)
PIECES = (65_536, 64)  # bytes of a quest that comes whole, on the file port
PORTS = (Port.MAIN, Port.FILES, Port.MAIN, Port.OPERATOR)
MAX_VISITS = 6
MAX_STORED = 2000  # bytes of files
METHODS = (
    *("auth", "bye", "ping", "filetoken", "sendfile", "sendgroupfile", "sendroomfile"),
    *("enterroom", "leaveroom", "addgroupmembers", "delgroupmembers"),
    *("*ping", "*status", "nothing"),
)
ORDINARY = (  # with params that mean something
    *("enterroom", "leaveroom", "addgroupmembers", "delgroupmembers"),
    *("sendmsg", "sendgroupmsg", "sendroommsg", "sendmsgs", "broadcastmsg"),
    *("getp2pmsg", "getgroupmsg", "getroommsg", "getbroadcastmsg", "getunread", "cleanunread"),
    *("getuserrooms", "addroommember", "delroommember"),
    *("getgroupmembers", "getusergroups", "isgroupmember", "delgroup"),
    *("addblacks", "delblacks", "getblacks", "isblack", "isblacks"),
    *("addprojectblack", "removeprojectblack", "isprojectblack"),
    *("addgroupban", "removegroupban", "isbanofgroup", "addroomban", "removeroomban"),
    *("isbanofroom", "gettoken", "removetoken", "kickout", "uploadfile", "stats"),
)
SENDS = (("sendfile", "to"), ("sendgroupfile", "gid"), ("sendroomfile", "rid"))
SPANS = (0.0, 0.5, 1.0, 5.0, 10.0, 20.0, 60.0, 2000.0)  # seconds
RANGES = (b"", b"Range: bytes=0-9\r\n", b"Range: bytes=-5\r\n", b"Range: bytes=900-\r\n")
MAX_ROUNDS = 200  # in which every visitor who says no more has to be gone
A_STEP = 16_384  # bytes that one step may leave behind in all visits together
KEPT = 2048  # bytes that one quest may leave in the gate for good: tokens, mids, members
SLACK = 16_384


def fuzz_gate(data: bytes) -> None:
    """Never raises; each quest is answered once; when all have left, nothing of them is kept.

    So it is where large quests come whole, and where they come in pieces.
    """
    for piece in PIECES:
        choices = Choices(data)
        run = _Run(piece)
        while choices:
            run.step(choices)
        run.end()


class _Store(MemoryStore):
    """Knows which bodies are neither saved nor dropped."""

    def __init__(self, *, max_bytes: int) -> None:
        super().__init__(max_bytes=max_bytes)
        self.drafts: set[str] = set()

    def write_body(self, key: str, data: bytes) -> None:
        super().write_body(key, data)
        self.drafts.add(key)

    def drop_body(self, key: str) -> None:
        super().drop_body(key)
        self.drafts.discard(key)


class _Guest:
    """One visitor, from outside."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.out = bytearray()
        self.framed = False
        self.plain = True  # whether it said nothing but whole packages of ours
        self.left = False
        self.asked: list[int] = []

    def answers(self) -> Counter[int]:
        """How often each of its quests was answered."""
        splitter = Splitter()
        packages = splitter.feed(self.out)
        assert splitter.fault is None
        return Counter(package.seq for package in packages if package.kind == Kind.ANSWER)


class _Run:
    """A gate, its guests, the time, and the effects under way."""

    def __init__(self, piece: int) -> None:
        self._now = 1000.0
        self._made: list[str] = []
        self._grants: list[tuple[str, int, str, str, int]] = []  # token, uid, cmd, key, target
        self._store = _Store(max_bytes=MAX_STORED)
        self._gate = Gate(
            GateSettings(PID, USERS, ENDPOINT, limits=LIMITS, piece=piece),
            wall_ms=lambda: 1_700_000_000_000 + int(self._now * 1000),
            make_token=self._make_token,
            store=self._store,
        )
        self._guests: list[_Guest] = []
        self._effects: list[Effect] = []
        self._steps = 0
        self._fresh = footprint(self._gate)

    def step(self, choices: Choices) -> None:
        """One thing happens."""
        self._steps += 1
        what, detail = choices.byte() % 16, choices.byte()
        guest = self._guests[detail % len(self._guests)] if self._guests else None
        if what == 0 or guest is None:
            self._arrive(port=PORTS[detail & 3])
        elif what == 1:
            self._say(guest, choices.chunk())
        elif what == 2:
            self._upgrade(guest)
        elif what == 3:
            method = METHODS[choices.byte() % len(METHODS)]
            self._ask(guest, method, choices.chunk())
        elif what == 4:
            uid = 1001 + choices.byte() % 4
            params = {"pid": PID, "uid": uid, "token": USERS.get(uid, "")}
            self._ask(guest, "auth", encode(params))
        elif what == 5:
            self._ask_token(guest, choices.byte())
        elif what == 6:
            self._send_file(guest, choices)
        elif what == 7:
            self._ask_ordinary(guest, choices.byte(), choices.byte())
        elif what == 8:
            self._wait(SPANS[detail >> 5])
        elif what == 9:
            self._read(guest)
        elif what == 10:
            self._carry_out(detail)
        elif what == 11:
            self._gate.kick(1001 + detail % 4, now=self._now)
        elif what == 12:
            self._leave(guest, abruptly=detail & 128 == 128)
        elif what == 13:
            self._fetch(guest, choices.byte())
        elif what == 14:
            guest.visit.handle_timeout(now=self._now)
        elif choices.byte() & 1:
            self._say(guest, self._frame(guest, encode_answer(choices.chunk(), detail)))
        else:
            name = METHODS[detail % len(METHODS)].encode()
            self._say(guest, self._frame(guest, encode_oneway(name, choices.chunk())))
        self._collect()

    def end(self) -> None:
        """All are heard out, then all leave: nothing of them may be left."""
        self._drain()
        grown = footprint(self._gate) - self._fresh
        assert grown <= SLACK + A_STEP * (self._steps + 1), grown
        for guest in self._guests:
            self._check_answers(guest)
        for number, guest in enumerate(self._guests):
            self._leave(guest, abruptly=number % 2 == 1)
        for _ in range(MAX_ROUNDS):
            if not self._waits():
                break
            self._drain()
            times = [g.visit.next_timeout() for g in self._guests if not g.visit.finished]
            due = min((time for time in times if time is not None), default=None)
            assert due is not None or not times, "a visit that nobody reads and nothing ends"
            self._wait(0.0 if due is None else max(0.0, due - self._now))
        self._drain()
        assert not self._waits(), "a visit without an end"
        for guest in self._guests:
            assert guest.visit.reason is not None
        held = self._gate.held()
        assert (held.visits, held.downloads, held.uploads, held.unproven) == (0, 0, 0, 0)
        assert self._store.drafts == set(), "a draft that nobody has dropped"
        assert (held.decisions.logins, held.decisions.rooms, held.decisions.effects) == (0, 0, 0)
        self._guests.clear()
        for kept in reachable(self._gate):
            assert not isinstance(kept, (Visit, Visitor, Connection, Link, h11.Connection)), kept
        grown = footprint(self._gate) - self._fresh
        assert grown <= SLACK + KEPT * self._steps, grown

    # --- what guests do ---

    def _arrive(self, *, port: Port) -> None:
        if len(self._guests) < MAX_VISITS:
            name = f"guest {len(self._guests)}"
            visit = self._gate.visit(name, port=port)
            self._guests.append(_Guest(visit))
            visit.connected(now=self._now)

    def _say(self, guest: _Guest, data: bytes, *, plain: bool = False) -> None:
        guest.plain = guest.plain and plain
        if data and not guest.visit.finished and not guest.left and not guest.visit.full:
            guest.visit.receive_data(data, now=self._now)

    def _upgrade(self, guest: _Guest) -> None:
        self._say(guest, UPGRADE)
        guest.framed = True

    def _ask(self, guest: _Guest, method: str, payload: bytes) -> None:
        seq = len(guest.asked) + 1
        if not guest.visit.finished and not guest.left and not guest.visit.full:
            guest.asked.append(seq)
        data = encode_quest(method.encode(), payload, seq)
        self._say(guest, self._frame(guest, data), plain=True)

    def _ask_token(self, guest: _Guest, choice: int) -> None:
        cmd, key = SENDS[choice % 3]
        target = 1001 + (choice >> 2) % 4
        made, uid = len(self._made), guest.visit.visitor.uid
        self._ask(guest, "filetoken", encode({"cmd": cmd, key: target}))
        self._collect()
        if len(self._made) > made and uid is not None:
            self._grants.append((self._made[-1], uid, cmd, key, target))

    def _send_file(self, guest: _Guest, choices: Choices) -> None:
        which, spoil, body = choices.byte(), choices.byte(), choices.chunk()
        if not self._grants:
            return
        token, uid, cmd, key, target = self._grants[which % len(self._grants)]
        digest = md5(body, usedforsecurity=False).hexdigest()
        sign = file_sign(digest, token if spoil & 15 else "another")
        params: dict[str, object] = {
            "pid": PID,
            "from": uid,
            key: target,
            "mid": 1 + (spoil >> 5),
            "mtype": 40 + (spoil >> 1) % 12,
            "token": token,
            "attrs": write_attrs(body[:8].decode("latin-1") or "a.jpg", sign),
            "file": body,
        }
        self._ask(guest, cmd, encode(params))

    def _ask_ordinary(self, guest: _Guest, which: int, choice: int) -> None:
        target, uids = 1001 + choice % 4, [1001, 1002, 1003, 1004][: (choice >> 2) % 5]
        params: dict[str, object] = {
            **dict.fromkeys(("rid", "gid", "to", "ouid", "uid", "buid"), target),
            **dict.fromkeys(("uids", "tos", "blacks", "buids"), uids),
            "from": 1001 + (choice >> 5) % 4,
            "mid": 1 + (choice >> 4),
            "mtype": 30,
            "msg": "x" * choice,
            "btime": choice - 100,
            "desc": choice & 1 == 1,
            "num": choice >> 3,
            "lastid": choice >> 5,
            "clear": choice & 2 == 2,
        }
        self._ask(guest, ORDINARY[which % len(ORDINARY)], encode(params))

    def _fetch(self, guest: _Guest, choice: int) -> None:
        key = self._made[choice % len(self._made)] if self._made else "none"
        method = b"HEAD" if choice & 0x80 else b"GET"
        head = method + b" /files/" + key.encode() + b"/x HTTP/1.1\r\nHost: gate\r\n"
        self._say(guest, head + RANGES[(choice >> 5) & 3] + b"\r\n")

    def _leave(self, guest: _Guest, *, abruptly: bool) -> None:
        if guest.visit.finished or guest.left:
            return
        if abruptly:
            guest.visit.abort(CloseReason(CloseKind.PEER_RESET))
        else:
            guest.visit.receive_eof(now=self._now)
        guest.left = True
        guest.visit.collect(now=self._now)

    # --- what the world does ---

    def _make_token(self) -> str:
        self._made.append(f"token-{len(self._made):020d}")
        return self._made[-1]

    def _frame(self, guest: _Guest, package: bytes) -> bytes:
        if not guest.framed:
            return package
        size = len(package)
        form = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
        return b"\x82" + form + bytes(4) + package

    def _wait(self, span: float) -> None:
        self._now += span
        for guest in self._guests:
            if not guest.visit.finished:
                guest.visit.handle_timeout(now=self._now)
        self._collect()

    def _read(self, guest: _Guest) -> bool:
        data = b"".join(map(bytes, guest.visit.data_to_send()))
        guest.out += data
        guest.visit.collect(now=self._now)
        return bool(data)

    def _carry_out(self, detail: int) -> None:
        self._effects += self._gate.effects()
        if self._effects:
            effect = self._effects.pop(detail % len(self._effects))
            result: Result = None
            fault: StoreFault | None = None
            try:
                if detail & 0x80:
                    raise StoreFault("no space left")
                result = self._store.carry_out(effect)
            except StoreFault as exc:
                fault = exc
            self._gate.carried_out(effect, result, fault, now=self._now)

    def _collect(self) -> None:
        for guest in self._guests:
            guest.visit.collect(now=self._now)
        self._effects += self._gate.effects()

    def _drain(self) -> None:
        """Until nothing moves: the store works, everybody reads."""
        for _ in range(10_000):
            moved = bool(self._effects)
            self._carry_out(0)
            for guest in self._guests:
                moved = self._read(guest) or moved
            self._collect()
            if not moved and not self._effects:
                return
        raise AssertionError("it never comes to rest")

    def _waits(self) -> bool:
        return any(not guest.visit.finished for guest in self._guests)

    def _check_answers(self, guest: _Guest) -> None:
        if not guest.plain or guest.framed:
            return
        answers: Mapping[int, int] = guest.answers()
        for seq in guest.asked:
            count = answers.get(seq, 0)
            assert count == 1 or (count == 0 and guest.visit.finished), (seq, count)
        assert set(answers) <= {*guest.asked}
