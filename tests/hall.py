"""Decisions with the people who come to see them, a store and a clock."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from hashlib import md5
from typing import Any, cast

from rtm_proto.attrs import file_sign, write_attrs
from rtm_proto.errors import StoreFault
from rtm_proto.gate.decisions import (
    Action,
    Answer,
    Decisions,
    Push,
    Refuse,
    Visitor,
)
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import (
    Effect,
)
from rtm_proto.signs import call_sign
from tests.vectors import Vector, js_sdk

PID = 11000001
USERS = {1001: "token-1", 1002: "token-2", 1003: "token-3", 654321: "token-a"}
ENDPOINT = "127.0.0.1:13461"
WALL = 1_700_000_000_000  # milliseconds
FILE = b"what is in the file"
KINDS = {"sendfile": "to", "sendgroupfile": "gid", "sendroomfile": "rid"}
SECRET = "the project's secret"


_numbers = itertools.count(1)  # of quests, salts and tokens: no two are the same


class Hall:
    """Decisions with the people who come to see them, a store and a clock."""

    def __init__(self, *, store: MemoryStore | None = None, **settings: Any) -> None:
        self.now = 90_000.0  # a monotonic clock may begin anywhere
        self.wall = WALL
        self.store = store or MemoryStore()
        self.quests = _numbers
        settings = {
            "pid": PID,
            "users": USERS,
            "endpoint": ENDPOINT,
            "file_url": "http://127.0.0.1:13461/files",
            "wall_ms": lambda: self.wall,
            "make_token": lambda: f"{next(_numbers):032x}",
            "secret": SECRET,
            "kept": self.store.kept(0),
            **settings,
        }
        self.decisions = Decisions(**settings)
        self.files = Visitor("a file link")

    def ask(self, visitor: Visitor, method: str, params: Mapping[str, object]) -> list[Action]:
        """What is said at once."""
        quest_id = next(self.quests)
        self.decisions.quest(visitor, quest_id, method, params, now=self.now)
        return self.said()

    def do(
        self,
        visitor: Visitor,
        method: str,
        params: Mapping[str, object],
        fault: StoreFault | None = None,
    ) -> list[Action]:
        """What is said in the end."""
        return self.ask(visitor, method, params) + self.carry_out(fault)

    def again(self, **settings: Any) -> Hall:
        """The gate begins again, with what its store has kept."""
        return Hall(store=self.store, **settings)

    def said(self) -> list[Action]:
        actions, self.decisions.actions = self.decisions.actions, []
        return actions

    def effects(self) -> list[Effect]:
        effects, self.decisions.effects = self.decisions.effects, []
        return effects

    def carry_out(self, fault: StoreFault | None = None) -> list[Action]:
        """What is said once the store has done, or failed, all that it was asked for."""
        while effects := self.effects():
            for effect in effects:
                result = self.store.carry_out(effect) if fault is None else None
                self.decisions.carried_out(effect, result, fault, now=self.now)
        return self.said()

    def log_in(self, uid: int, name: str = "") -> Visitor:
        visitor = Visitor(name or f"user {uid}")
        params = {"pid": PID, "uid": uid, "token": USERS[uid], "version": "test-1"}
        [*_, said] = self.ask(visitor, "auth", params)
        assert isinstance(said, Answer) and said.params == {"ok": True}
        return visitor

    def token(self, visitor: Visitor, cmd: str = "sendfile", target: int = 1002) -> str:
        params = answer(self.ask(visitor, "filetoken", {"cmd": cmd, KINDS[cmd]: target}))
        assert params["endpoint"] == ENDPOINT
        return str(params["token"])

    def send(self, visitor: Visitor, cmd: str = "sendfile", **changes: Any) -> list[Action]:
        """A file quest with a token of its own, everything right but for *changes*."""
        return self.ask(self.files, cmd, self.quest(visitor, cmd, **changes))

    def quest(self, visitor: Visitor, cmd: str = "sendfile", **changes: Any) -> dict[str, Any]:
        target = changes.get(KINDS[cmd], 1002)
        token = changes.get("token") or self.token(
            visitor, cmd, target if type(target) is int else 1002
        )
        body = changes.get("file", FILE)
        data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
        digest = md5(data if isinstance(data, bytes) else b"").hexdigest()
        params: dict[str, Any] = {
            "pid": PID,
            "from": visitor.uid,
            KINDS[cmd]: target,
            "mtype": 50,
            "mid": 77,
            "token": token,
            "file": body,
            "attrs": write_attrs("note.txt", file_sign(digest, token)),
            **changes,
        }
        return {key: value for key, value in params.items() if value is not ...}

    def store_group(self, visitor: Visitor, gid: int, uids: list[int]) -> None:
        assert self.ask(visitor, "addgroupmembers", {"gid": gid, "uids": uids}) == []
        answer(self.carry_out())


def answer(actions: list[Action]) -> dict[str, object]:
    """The params of the one answer among *actions*."""
    [said] = [action for action in actions if isinstance(action, (Answer, Refuse))]
    assert isinstance(said, Answer), said
    return dict(said.params)


def code(actions: list[Action]) -> int:
    """The code of the one refusal that *actions* are."""
    [said] = actions
    assert isinstance(said, Refuse), said
    assert said.text and len(said.text) < 200
    return said.code


def pushes(actions: list[Action]) -> list[tuple[str, str]]:
    return [(said.visitor.name, said.method) for said in actions if isinstance(said, Push)]


def auth(**changes: Any) -> dict[str, Any]:
    params = {"pid": PID, "uid": 1001, "token": "token-1", "version": "test-1", **changes}
    return {key: value for key, value in params.items() if value is not ...}


def golden(name: str) -> tuple[str, dict[str, object]]:
    """Method and params of a quest that the JavaScript SDK sent."""
    [vector] = [vector for vector in js_sdk() if vector.name == name]
    [package] = vector.packages
    return package.method.decode(), cast("dict[str, object]", package.payload)


def quests(*prefixes: str) -> list[Vector]:
    return [
        vector
        for vector in js_sdk()
        if vector.name.startswith(prefixes)
        and len(vector.packages) == 1
        and vector.packages[0].kind == 1
    ]


def signed(hall: Hall, method: str, **params: Any) -> dict[str, Any]:
    """*params* with a sign of its own, as a server sends them."""
    salt, ts = next(hall.quests), hall.wall // 1000
    sign = call_sign(PID, SECRET, salt, method, ts)
    return {"pid": PID, "salt": salt, "ts": ts, "sign": sign, **params}


def call(hall: Hall, server: Visitor, method: str, **params: Any) -> list[Action]:
    return hall.ask(server, method, signed(hall, method, **params))


def serve(
    hall: Hall, server: Visitor, cmd: str, sender: int = 1001, **changes: Any
) -> list[Action]:
    """A file quest of a server with a token of its own, right but for *changes*."""
    field = {"sendfiles": "tos", "broadcastfile": "", "uploadfile": "uid", **KINDS}[cmd]
    default = {"tos": [1002, 1003], "uid": sender}.get(field, 1002)
    target = {field: changes.get(field, default)} if field else {}
    asked = {} if cmd == "uploadfile" else target
    token = changes.get("token") or str(
        answer(call(hall, server, "filetoken", **{"cmd": cmd, "from": sender, **asked}))["token"]
    )
    params = {
        "pid": PID,
        "from": sender,
        **target,
        "mtype": 50,
        "mid": 77,
        "token": token,
        "file": FILE,
        "attrs": write_attrs("note.txt", file_sign(md5(FILE).hexdigest(), token)),
        **changes,
    }
    quest = {key: value for key, value in params.items() if value is not ...}
    return hall.ask(hall.files, cmd, quest)
