"""Watching a gate and administering it: health, figures, operators, what is told to the log."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate import notes
from rtm_proto.gate.notes import Note
from rtm_proto.gate.settings import Port
from rtm_proto.payload import decode
from tests.test_gate import AUTH, Guest
from tests.test_gate_figures import read
from tests.world import PID, USERS, World


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: gate.test\r\n\r\n".encode()


def page(world: World, path: str, *, port: Port = Port.WATCH, method: str = "GET") -> str:
    """All that a GET brings; the connection ends after it."""
    guest = Guest(world, port=port)
    guest.say(get(path, method))
    guest.wait(0)
    return guest.said.decode()


def full_disk() -> StoreFault:
    fault = StoreFault("the disk is full")
    fault.__cause__ = OSError(28, "no space")
    return fault


# --- health --------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [Port.WATCH, Port.MAIN])
def test_a_gate_says_that_it_is_well(port: Port) -> None:
    said = page(World(), "/healthz", port=port)
    assert said.startswith("HTTP/1.1 200 OK\r\n")
    assert said.endswith("\r\n\r\nok\n")
    assert "Access-Control-Allow-Origin" not in said, "it is nobody else's business"
    assert page(World(), "/healthz", port=port, method="HEAD").endswith("\r\n\r\n")


def test_a_gate_whose_store_fails_is_not_well_until_it_works_again() -> None:
    world = World()
    alice = world.log_in(1001)
    world.store_faults.append(full_disk())
    with pytest.raises(Exception, match="not stored"):
        alice.quest("addgroupmembers", {"gid": 1, "uids": [1001]})
    said = page(world, "/healthz")
    assert said.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert said.endswith("the store fails\n")
    alice.quest("addgroupmembers", {"gid": 1, "uids": [1001]})
    assert page(world, "/healthz").startswith("HTTP/1.1 200")


def test_a_store_that_refuses_by_its_own_rules_is_well() -> None:
    world = World()
    alice = world.log_in(1001)
    world.store_faults.append(StoreFault("no room for a user"))
    with pytest.raises(Exception, match="not stored"):
        alice.quest("addgroupmembers", {"gid": 1, "uids": [1001]})
    assert page(world, "/healthz").startswith("HTTP/1.1 200")


def test_a_gate_that_stops_is_not_ready() -> None:
    world = World()
    world.gate.drain(now=world.now)
    assert page(world, "/healthz").endswith("stopping\n")


# --- the watch port ------------------------------------------------------------------------------


def test_the_figures_can_be_read() -> None:
    world = World()
    world.log_in(1001)
    Guest(world).ask("auth", {**AUTH, "token": "wrong"})
    world.advance(2)
    said = page(world, "/metrics")
    head, _, body = said.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "Content-Type: text/plain; charset=utf-8" in head
    found = read(body)
    assert found["rtm_gate_users"][()] == 1
    assert found["rtm_gate_ready"][()] == 1
    assert found["rtm_gate_uptime_seconds"][()] == 2
    assert found["rtm_gate_logins_total"] == {
        (("result", "ok"),): 1,
        (("result", "refused"),): 1,
    }
    assert found["rtm_gate_connections"] == {
        (("kind", "raw"), ("port", "main")): 1,
        (("kind", "websocket"), ("port", "main")): 1,
        (("kind", "http"), ("port", "watch")): 1,
    }
    assert found["rtm_gate_kept_files"][()] == 0
    assert found["rtm_gate_bytes_total"][(("direction", "in"),)] > 100


def test_figures_of_a_store_that_does_not_tell_are_left_out() -> None:
    world = World()
    world.store_faults.append(full_disk())
    found = read(page(world, "/metrics").partition("\r\n\r\n")[2])
    assert "rtm_gate_kept_files" not in found
    assert found["rtm_gate_users"][()] == 0


@pytest.mark.parametrize("path", ["/", "/files/0123456789abcdef0123456789abcdef", "/metricsx"])
def test_nothing_else_is_there(path: str) -> None:
    assert page(World(), path).startswith("HTTP/1.1 404 ")


@pytest.mark.parametrize("port", [Port.MAIN, Port.FILES])
def test_the_figures_are_for_those_who_watch(port: Port) -> None:
    assert page(World(), "/metrics", port=port).startswith("HTTP/1.1 404 ")


@pytest.mark.parametrize("data", [b"FPNN\x01\x80\x01\x04", get("/service/websocket"), b"\xff" * 9])
def test_who_watches_does_not_log_in(data: bytes) -> None:
    guest = Guest(World(), port=Port.WATCH)
    guest.say(data)
    assert guest.over() and guest.visit.abrupt and guest.said == b""


# --- operators -----------------------------------------------------------------------------------


def test_an_operator_needs_no_sign_and_stays() -> None:
    world = World()
    guest = Guest(world, port=Port.OPERATOR)
    [answer] = guest.ask("gettoken", {"uid": 7})
    token = decode(answer.payload)["token"]
    assert isinstance(token, str)
    [known] = Guest(world).ask("auth", {**AUTH, "uid": 7, "token": token})
    assert decode(known.payload) == {"ok": True}
    guest.wait(50)
    assert not guest.over(), "there is no login to be late with"


def test_an_operator_asks_how_the_gate_is() -> None:
    world = World()
    world.log_in(1001)
    guest = Guest(world, port=Port.OPERATOR)
    [answer] = guest.ask("stats", {})
    told = decode(answer.payload)
    assert (told["health"], told["ready"], told["users"]) == ("ok", True, 1)
    assert (told["files"], told["messages"], told["connections"]) == (0, 0, 2)
    world.store_faults.append(full_disk())
    [answer] = guest.ask("stats", {}, 2)
    assert "files" not in decode(answer.payload)


def test_nobody_else_may_ask_for_that() -> None:
    guest = Guest(World())
    [answer] = guest.ask("stats", {})
    assert decode(answer.payload)["code"] == Code.UNKNOWN_METHOD


@pytest.mark.parametrize("data", [get("/healthz"), get("/service/websocket")])
def test_an_operator_speaks_no_http(data: bytes) -> None:
    guest = Guest(World(), port=Port.OPERATOR)
    guest.say(data)
    assert guest.over() and guest.visit.abrupt and guest.said == b""


# --- the file port that is told ------------------------------------------------------------------


@pytest.mark.parametrize(("tls", "endpoint"), [(False, "a:1"), (True, "b:2")])
def test_who_came_over_tls_is_told_the_port_with_tls(tls: bool, endpoint: str) -> None:
    world = World(endpoint="a:1", tls_endpoint="b:2")
    guest = Guest(world)
    guest.visit.visitor.tls = tls
    guest.ask("auth", dict(AUTH))
    [answer] = guest.ask("filetoken", {"cmd": "sendfile", "to": 1002}, 2)
    assert decode(answer.payload)["endpoint"] == endpoint
    assert world.gate.visit("x", port=Port.MAIN, tls=tls).visitor.tls is tls


# --- notes for the log ---------------------------------------------------------------------------


def noted(world: World) -> list[tuple[int, str]]:
    return [(note.level, note.event) for note in world.gate.take_notes()]


def test_what_is_worth_a_line_has_its_level() -> None:
    world = World()
    guest = Guest(world)
    guest.ask("auth", {**AUTH, "token": "wrong"})
    guest.ask("auth", {**AUTH, "uid": 0}, 2)
    guest.ask("auth", dict(AUTH), 3)
    guest.ask("nonsense", {}, 4)
    world.store_faults.append(StoreFault("full"))
    guest.ask("addgroupmembers", {"gid": 1, "uids": [1001]}, 5)
    guest.hang_up()
    world.gate.no_place(Port.MAIN, "10.0.0.1", "all are taken")
    world.gate.drain(now=world.now)
    assert noted(world) == [
        (notes.DEBUG, "came"),
        (notes.WARNING, "no login"),
        (notes.WARNING, "no login"),
        (notes.INFO, "logged in"),
        (notes.INFO, "refused"),
        (notes.WARNING, "refused"),
        (notes.DEBUG, "left"),
        (notes.DEBUG, "turned away"),
        (notes.INFO, "stopping"),
    ]
    assert noted(world) == []


def test_a_note_says_who_and_from_where() -> None:
    world = World()
    visit = world.gate.visit("visit 1", port=Port.MAIN, peer="10.0.0.1")
    assert [str(note) for note in world.gate.take_notes()] == [
        "came visit='visit 1' port=main peer=10.0.0.1"
    ]
    assert visit.peer == visit.visitor.peer == "10.0.0.1"


def test_a_note_is_one_line_whatever_is_in_it() -> None:
    note = Note(notes.INFO, "x", {"a": "b\nc", "d": "", "e": 1.5, "f": None})
    assert str(note) == "x a='b\\nc' d='' e=1.5 f=None"
    assert str(Note(notes.INFO, "x")) == "x"


def test_no_note_has_a_secret_in_it() -> None:
    world = World(secret="the secret")
    guest = Guest(world)
    guest.ask("auth", {**AUTH, "token": "t0ken"})
    guest.ask("auth", dict(AUTH), 2)
    guest.ask("t0ken", {}, 3)
    guest.ask("sendmsg", {"to": 1002, "mid": 1, "mtype": 30, "msg": "t0ken", "attrs": "t0ken"}, 4)
    guest.ask("filetoken", {"cmd": "t0ken"}, 5)
    guest.ask("gettoken", {"pid": PID, "salt": 1, "ts": 1, "sign": "t0ken"}, 6)
    said = " ".join(map(repr, world.gate.take_notes()))
    assert "t0ken" not in said and "the secret" not in said
    assert not any(token in said for token in USERS.values())
