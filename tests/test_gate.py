"""The gate as a whole: visits from their first byte to their last, and what is left of them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Sequence
from hashlib import md5
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtm_proto.address import Address
from rtm_proto.attrs import file_sign, write_attrs
from rtm_proto.codes import Code
from rtm_proto.errors import (
    FileNotSent,
    FileRefused,
    LoginFailed,
    OutcomeUnknown,
    QuestError,
    QuestRefused,
    QuestTimeout,
    SendFailed,
    StoreFault,
)
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.login import Login, log_in
from rtm_proto.flows.transfer import FileSent
from rtm_proto.gate import decisions
from rtm_proto.gate.gate import Gate, Held
from rtm_proto.gate.limits import (
    HANDSHAKE_TIMEOUT,
    IDLE_TIMEOUT,
    LOGIN_TIMEOUT,
    MAX_QUEST,
    PING_EVERY,
)
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import (
    EARLY_QUEST,
    PUSH_TIMEOUT,
    GateSettings,
    Port,
)
from rtm_proto.gate.store import (
    FindFile,
    ReadFile,
    Result,
    SaveFile,
    StoredFile,
    StoredMessage,
    WriteBody,
)
from rtm_proto.gate.uploads import BODY_TIMEOUT
from rtm_proto.gate.visit import Visit
from rtm_proto.package import (
    MAX_PACKAGE,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
)
from rtm_proto.payload import EMPTY, decode, encode
from rtm_proto.received import (
    Conversation,
    Disconnected,
    FileReceived,
    KickedOut,
)
from rtm_proto.signs import call_sign
from tests.feeding import cut_up
from tests.fuzz.footprint import footprint
from tests.world import FILE_PORT, HOST, MAIN_PORT, PID, USERS, WALL, Client, Pipe, World

P2P, GROUP, ROOM = Conversation.P2P, Conversation.GROUP, Conversation.ROOM
EMPTY_HANDS = Held(0, 0, 0, 0, decisions.Held(0, 0, 0, 0))
UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
AUTH = {"pid": PID, "uid": 1001, "token": USERS[1001], "version": "test-1"}
BOTH_PORTS = pytest.mark.parametrize(
    "port", [Port.MAIN, Port.FILES], ids=["main port", "file port"]
)
SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])


class Guest:
    """A stream to the gate, byte by byte in the test's own hands."""

    def __init__(self, world: World, *, port: Port = Port.MAIN) -> None:
        self.world = world
        self.visit = world.gate.visit("a guest", port=port)
        self.said = b""
        self.rings = 0
        self.visit.bell = self._ring
        self.visit.connected(now=world.now)

    def _ring(self) -> None:
        self.rings += 1

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.visit.receive_data(piece, now=self.world.now)
            self.look()

    def hang_up(self) -> None:
        self.visit.receive_eof(now=self.world.now)
        self.look()

    def look(self) -> None:
        """Take what there is, as a wire does: until there is nothing more."""
        while True:
            self.visit.collect(now=self.world.now)
            self.world.settle()
            data = b"".join(self.visit.data_to_send())
            self.said += data
            if not data:
                self.visit.collect(now=self.world.now)
                self.world.settle()
                data = b"".join(self.visit.data_to_send())
                self.said += data
                if not data:
                    return

    def wait(self, seconds: float) -> None:
        """Let time pass, with everything that the visit does in it."""
        end = self.world.now + seconds
        while (when := self.visit.next_timeout()) is not None and when <= end:
            self.world.now = max(when, self.world.now)
            self.visit.handle_timeout(now=self.world.now)
            self.look()
        self.world.now = end
        self.visit.handle_timeout(now=end)
        self.look()

    def ask(self, method: str, params: dict[str, object], seq: int = 1) -> list[Package]:
        """Ask in raw FPNN; every package that has come since the last look."""
        self.say(encode_quest(method.encode(), encode(params), seq))
        return self.packages()

    def packages(self) -> list[Package]:
        said, self.said = self.said, b""
        return Splitter().feed(said)

    def refusal(self) -> int:
        [package] = self.packages()
        assert package.status == 1
        code = decode(package.payload)["code"]
        assert isinstance(code, int)
        return code

    def over(self) -> bool:
        return self.visit.finished

    def reason(self) -> CloseReason:
        assert self.visit.reason is not None
        return self.visit.reason


def everybody_left(world: World) -> bool:
    """Whether nothing is left once every link is gone."""
    for pipe in world.pipes:
        pipe.cut("the end")
    world.settle()
    held = world.gate.held()
    return held == Held(0, 0, 0, 0, decisions.Held(0, 0, held.decisions.tokens, 0))


# --- the whole job ---


@SCHEMES
@pytest.mark.parametrize("size", [0, 1, 70_000, 300_000])
def test_a_file_goes_from_one_user_to_another(scheme: str, size: int) -> None:
    world = World(scheme=scheme)
    alice, bob = world.log_in(1001), world.log_in(1002)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sent = alice.send(P2P, 1002, body)
    assert sent == FileSent(sent.mid, WALL, 1, duplicate=False)
    [received] = bob.received()
    assert isinstance(received, FileReceived)
    assert (received.kind, received.sender, received.target) == (P2P, 1001, 1002)
    assert (received.mid, received.mtime, received.size) == (sent.mid, WALL, size)
    assert (received.name, received.ext) == ("note.txt", "txt")
    assert received.url is not None
    assert fetch(world, received.url)[1] == body
    assert alice.received() == [], "the sender was pushed to"
    assert everybody_left(world)


@SCHEMES
def test_a_file_goes_to_a_group_and_to_a_room(scheme: str) -> None:
    world = World(scheme=scheme)
    alice, bob, carol = (world.log_in(uid) for uid in USERS)
    alice.quest("addgroupmembers", {"gid": 5, "uids": [1001, 1002]})
    for client in (alice, bob):
        client.quest("enterroom", {"rid": 6})
    alice.send(GROUP, 5)
    alice.send(ROOM, 6)
    told = bob.received()
    assert [(e.kind, e.target) for e in told if isinstance(e, FileReceived)] == [
        (GROUP, 5),
        (ROOM, 6),
    ]
    assert carol.received() == alice.received() == []
    bob.quest("leaveroom", {"rid": 6})
    bob.quest("delgroupmembers", {"gid": 5, "uids": [1002]})
    alice.send(ROOM, 6)
    alice.send(GROUP, 5)
    assert bob.received() == []
    with pytest.raises(FileRefused, match="200041"):
        bob.send(GROUP, 5)
    with pytest.raises(FileRefused, match="200040"):
        bob.send(ROOM, 6)
    assert everybody_left(world)


@SCHEMES
def test_the_same_mid_is_delivered_once_and_told_to_be_a_duplicate(scheme: str) -> None:
    world = World(scheme=scheme)
    alice, bob = world.log_in(1001), world.log_in(1002)
    first = alice.send(P2P, 1002)
    again = alice.send(P2P, 1002, mid=first.mid)
    assert again == FileSent(first.mid, None, 1, duplicate=True)
    assert len(bob.received()) == 1


def test_clients_of_both_transports_meet() -> None:
    world = World()
    alice, bob = world.log_in(1001, scheme="tcp"), world.log_in(1002, scheme="ws")
    alice.send(P2P, 1002)
    bob.send(P2P, 1001)
    assert len(alice.received()) == len(bob.received()) == 1


def test_a_gate_that_comes_back_knows_what_its_store_has_kept() -> None:
    world = World()
    alice = world.log_in(1001)
    alice.quest("addgroupmembers", {"gid": 5, "uids": [1001, 1002]})
    sent = alice.send(GROUP, 5)
    world.restart()
    alice, bob = world.log_in(1001), world.log_in(1002)
    assert alice.send(GROUP, 5, mid=sent.mid).duplicate
    alice.send(GROUP, 5)
    assert len(bob.received()) == 1


def test_a_gate_without_a_store_begins_with_nothing() -> None:
    gate = Gate(GateSettings(PID, USERS, "e:1"), wall_ms=lambda: WALL, make_token=lambda: "t")
    assert gate.held() == EMPTY_HANDS
    assert repr(gate) == "<Gate pid=11000001 0 visits>"


@pytest.mark.parametrize(("tls", "scheme"), [(False, "http"), (True, "https")])
def test_the_url_of_a_file_speaks_as_the_file_port_does(tls: bool, scheme: str) -> None:
    world = World(tls=tls)
    alice, bob = world.log_in(1001), world.log_in(1002)
    alice.send(P2P, 1002)
    [received] = bob.received()
    assert isinstance(received, FileReceived)
    assert (received.url or "").startswith(f"{scheme}://{HOST}:{FILE_PORT}/files/")


# --- logging in, being pinged, leaving ---


@pytest.mark.parametrize("token", ["wrong", "token-of-1002"])
def test_a_wrong_login_token_is_told_and_the_link_stays(token: str) -> None:
    world = World()
    with pytest.raises(LoginFailed) as caught:
        world.log_in(1001, token=token)
    assert caught.value.code is None
    [pipe] = world.pipes
    assert not pipe.visit.finished
    client = Client(world, 1002, Address("tcp", HOST, MAIN_PORT))
    world.run(client, log_in(Login(PID, 1002, USERS[1002])))


@SCHEMES
def test_a_second_login_kicks_the_first_and_closes_it_politely(scheme: str) -> None:
    world = World(scheme=scheme)
    first, bystander = world.log_in(1001), world.log_in(1002)
    pipe = first.pipe
    second = world.log_in(1001)
    world.settle()
    told = first.received()
    assert told[0] == KickedOut()
    assert isinstance(told[1], Disconnected) and told[1].reason.kind is CloseKind.KICKOUT
    assert pipe.visit.finished and not pipe.visit.abrupt
    assert pipe.visit.reason is not None and pipe.visit.reason.kind is CloseKind.PEER_CLOSED
    bystander.send(P2P, 1001)
    assert len(second.received()) == 1
    assert first.received() == []
    assert everybody_left(world)


def test_a_user_is_kicked_by_the_operator() -> None:
    world = World()
    alice = world.log_in(1001)
    assert world.gate.kick(1001, now=world.now)
    assert not world.gate.kick(1001, now=world.now)
    world.settle()
    assert alice.received()[0] == KickedOut()
    assert world.gate.held() == EMPTY_HANDS


def test_messages_are_quests_and_a_kickout_is_said_one_way() -> None:
    world = World()
    guest = Guest(world)
    guest.ask("auth", dict(AUTH))
    world.log_in(1002).send(P2P, 1001)
    guest.look()
    [push] = guest.packages()
    assert (push.kind, push.method) == (Kind.TWOWAY, b"pushmsg")
    guest.say(encode_answer(b"\x80", push.seq))
    assert world.gate.kick(1001, now=world.now)
    guest.look()
    [kickout] = guest.packages()
    assert kickout == Package(Kind.ONEWAY, 1, 0x80, 0, 0, b"kickout", b"\x80")


def test_bye_is_answered_before_the_link_is_closed() -> None:
    world = World()
    alice = world.log_in(1001)
    assert alice.quest("bye", {}) == {}
    world.settle()
    assert world.gate.held() == EMPTY_HANDS


def test_who_has_not_logged_in_after_ten_seconds_is_closed() -> None:
    world = World()
    guest = Guest(world)
    guest.say(encode_quest(b"*ping", b"\x80", 1))
    guest.wait(LOGIN_TIMEOUT - 0.1)
    assert not guest.over()
    guest.wait(0.2)
    assert guest.over() and not guest.visit.abrupt
    assert guest.reason() == CloseReason(CloseKind.IDLE, "not logged in in time")
    assert world.gate.held() == EMPTY_HANDS


@SCHEMES
def test_the_ten_seconds_begin_with_the_stream_and_not_with_its_first_words(scheme: str) -> None:
    world = World()
    guest = Guest(world)
    guest.wait(HANDSHAKE_TIMEOUT - 0.5)
    guest.say(UPGRADE if scheme == "ws" else b"FPNN")
    guest.wait(LOGIN_TIMEOUT - HANDSHAKE_TIMEOUT)
    assert not guest.over()
    guest.wait(1)
    assert guest.over()


def test_what_is_due_first_is_waited_for() -> None:
    world = World()
    guest = Guest(world)
    assert guest.visit.next_timeout() == world.now + HANDSHAKE_TIMEOUT
    guest.say(b"FPNN")
    assert guest.visit.next_timeout() == world.now + LOGIN_TIMEOUT
    world.store_waits = True
    reader = Guest(world, port=Port.FILES)
    reader.visit.receive_data(get("/files/key/name"), now=world.now)
    assert reader.visit.next_timeout() == world.now + IDLE_TIMEOUT


def test_a_server_that_has_made_itself_known_needs_no_login() -> None:
    world = World(secret="the secret")
    guest = Guest(world)
    sign = call_sign(PID, "the secret", 7, "ping", WALL // 1000)
    [known] = guest.ask("ping", {"pid": PID, "salt": 7, "ts": WALL // 1000, "sign": sign})
    assert known.status == 0
    guest.wait(PING_EVERY)
    assert not guest.over()
    assert [package.method for package in guest.packages()] == [b"ping"]


def test_who_has_failed_to_log_in_after_ten_seconds_is_closed() -> None:
    guest = Guest(World())
    [said] = guest.ask("auth", {**AUTH, "token": "wrong"})
    assert decode(said.payload) == {"ok": False}
    guest.wait(LOGIN_TIMEOUT + 0.1)
    assert guest.over()


def test_who_has_logged_in_may_stay() -> None:
    guest = Guest(World())
    guest.ask("auth", dict(AUTH))
    for _ in range(10):
        guest.wait(PING_EVERY - 0.1)
        guest.say(encode_quest(b"*ping", b"\x80", 5))
    assert not guest.over()


@BOTH_PORTS
def test_who_says_nothing_within_five_seconds_is_dropped(port: Port) -> None:
    for beginning in (b"", b"G", b"GET /service/websocket HTTP/1.1\r\n"):
        world = World()
        guest = Guest(world, port=port)
        guest.say(beginning)
        guest.wait(HANDSHAKE_TIMEOUT - 0.1)
        assert not guest.over()
        guest.say(b"E" if beginning == b"G" else b"")
        guest.wait(0.2)
        assert guest.over() and guest.visit.abrupt
        assert guest.reason().kind is CloseKind.IDLE
        assert guest.said == b""
        assert world.gate.held() == EMPTY_HANDS


def test_a_login_is_pinged_every_twenty_seconds_with_an_empty_map() -> None:
    world = World()
    guest = Guest(world)
    guest.ask("auth", dict(AUTH))
    for _ in range(3):
        guest.wait(PING_EVERY - 0.5)
        assert guest.packages() == []
        guest.wait(0.5)
        [ping] = guest.packages()
        assert (ping.kind, ping.method, ping.payload) == (Kind.TWOWAY, b"ping", b"\x80")
        guest.say(encode_answer(EMPTY, ping.seq))
    assert not guest.over()


def test_a_login_that_answers_no_ping_is_over_after_a_minute() -> None:
    """Half-open: our own pings, which nobody takes, are no sign of its life."""
    guest = Guest(World())
    guest.wait(3)
    guest.ask("auth", dict(AUTH))
    guest.wait(IDLE_TIMEOUT - 0.1)
    assert not guest.over(), "no answer to one ping is no fault"
    guest.wait(0.1)
    assert guest.over() and guest.visit.abrupt
    assert str(guest.reason()) == ("silent for too long: no byte for 60 s, although it was pinged")


def test_any_byte_of_a_login_is_a_sign_of_its_life() -> None:
    guest = Guest(World())
    guest.ask("auth", dict(AUTH))
    for _ in range(5):
        guest.wait(IDLE_TIMEOUT - 1)
        guest.say(encode_answer(EMPTY, 4_000))
    assert not guest.over()


def test_a_server_that_answers_no_ping_stays() -> None:
    """Whether the SDKs of servers answer pings is not known."""
    guest = Guest(World(secret="the secret"))
    sign = call_sign(PID, "the secret", 7, "ping", WALL // 1000)
    guest.ask("ping", {"pid": PID, "salt": 7, "ts": WALL // 1000, "sign": sign})
    guest.wait(10 * IDLE_TIMEOUT)
    assert not guest.over()


def test_a_client_that_asks_all_the_time_is_pinged_as_often() -> None:
    guest = Guest(World())
    guest.ask("auth", dict(AUTH))
    said: list[Package] = []
    for seq in range(2, 14):
        said += guest.ask("ping", {}, seq)
        guest.wait(5)
    said += guest.packages()
    assert len([package for package in said if package.kind == Kind.ANSWER]) == 12
    assert len([package for package in said if package.method == b"ping"]) == 3


def test_nobody_is_pinged_before_the_login_or_on_the_file_port() -> None:
    for port in Port:
        guest = Guest(World(), port=port)
        guest.say(b"F")
        guest.wait(59)
        assert guest.packages() == []


def test_a_client_that_answers_its_pings_stays_for_an_hour() -> None:
    world = World()
    alice = world.log_in(1001)
    world.advance(3600)
    assert alice.quest("ping", {}) == {}
    assert alice.received() == []


def test_a_file_link_that_says_nothing_for_a_minute_is_closed() -> None:
    world = World()
    guest = Guest(world, port=Port.FILES)
    guest.say(b"FPNN")
    guest.wait(IDLE_TIMEOUT - 1)
    guest.say(b"\x01")
    guest.wait(IDLE_TIMEOUT - 1)
    assert not guest.over()
    guest.wait(2)
    assert guest.over()
    assert guest.reason().kind is CloseKind.IDLE


# --- limits ---


def padded(size: int, seq: int = 1) -> bytes:
    """A whole quest, *size* bytes long: what is behind its map is ignored."""
    head = len(encode_quest(b"nothing", b"", seq))
    return encode_quest(b"nothing", b"\x80" + bytes(size - head - 1), seq)


@pytest.mark.parametrize(
    ("port", "logged_in", "limit", "code"),
    [
        (Port.MAIN, False, EARLY_QUEST, 10003),
        (Port.MAIN, True, MAX_QUEST, 10003),
        (Port.FILES, False, MAX_PACKAGE, 200031),
        (Port.FILES, True, MAX_PACKAGE, 200031),
    ],
)
def test_a_package_over_the_limit_is_refused_by_its_head(
    port: Port, logged_in: bool, limit: int, code: int
) -> None:
    world = World()
    guest = Guest(world, port=port)
    if logged_in:
        guest.ask("auth", dict(AUTH))
        guest.packages()
    guest.say(padded(limit))
    assert guest.refusal() == 20004
    guest.say(padded(limit + 1, seq=7)[:16])
    assert guest.refusal() == code
    assert guest.over() and not guest.visit.abrupt
    assert guest.reason().kind is CloseKind.LIMIT
    assert str(limit) in guest.reason().text
    assert world.gate.held().visits == 0


def test_the_limits_are_what_the_figures_say() -> None:
    assert (EARLY_QUEST, MAX_QUEST, MAX_PACKAGE) == (16 * 1024, 64 * 1024, 8 * 1024 * 1024)
    assert (HANDSHAKE_TIMEOUT, LOGIN_TIMEOUT, IDLE_TIMEOUT) == (5.0, 10.0, 60.0)
    assert (PING_EVERY, PUSH_TIMEOUT) == (20.0, 5.0)


@pytest.mark.parametrize(("port", "code"), [(Port.MAIN, 10003), (Port.FILES, 200031)])
def test_a_message_over_the_limit_is_refused_by_name_and_closed_with_1009(
    port: Port, code: int
) -> None:
    guest = Guest(World(), port=port)
    guest.say(UPGRADE)
    guest.said = b""
    size = (MAX_PACKAGE if port is Port.FILES else EARLY_QUEST) + 1
    guest.say(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + padded(size, seq=7)[:32])
    assert guest.said[0] == 0x82
    refusal, guest.said = guest.said[2 : 2 + guest.said[1]], guest.said[2 + guest.said[1] :]
    [package] = Splitter().feed(refusal)
    assert package.seq == 7 and decode(package.payload)["code"] == code
    assert guest.said[0] == 0x88 and guest.said[2:4] == (1009).to_bytes(2, "big")
    assert guest.reason().kind is CloseKind.LIMIT


def test_a_peer_that_does_not_read_is_cut_off() -> None:
    world = World()
    guest = Guest(world)
    guest.ask("auth", dict(AUTH))
    quest = encode_quest(b"n" * 255, b"\x80", 5) * 200
    count = 0
    while not guest.over():
        guest.visit.receive_data(quest, now=world.now)
        guest.visit.collect(now=world.now)
        count += 200
        assert count < 40_000
    assert guest.visit.abrupt
    assert guest.reason().kind is CloseKind.LIMIT
    assert world.gate.held() == EMPTY_HANDS


def test_a_receiver_that_does_not_read_is_cut_off_and_nobody_else_suffers() -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    guest = Guest(world)
    guest.ask("auth", {**AUTH, "uid": 1003, "token": USERS[1003]})
    for client in (alice, bob):
        client.quest("enterroom", {"rid": 1})
    guest.ask("enterroom", {"rid": 1})
    guest.visit.bell = lambda: guest.visit.collect(now=world.now)
    token_size = 0
    for count in range(4000):
        mid = count + 1
        token = str(alice.quest("filetoken", {"cmd": "sendroomfile", "rid": 1})["token"])
        attrs = write_attrs("x", file_sign(md5(b"").hexdigest(), token), "c" * 1900)
        link = Guest(world, port=Port.FILES)
        link.ask(
            "sendroomfile",
            {
                "pid": PID,
                "from": 1001,
                "rid": 1,
                "mtype": 50,
                "mid": mid,
                "token": token,
                "file": b"",
                "attrs": attrs,
            },
        )
        link.visit.abort(CloseReason(CloseKind.PEER_RESET))
        link.look()
        token_size += len(attrs)
        if guest.over():
            break
    assert guest.over() and guest.visit.abrupt
    assert 2 * 1024 * 1024 < token_size < 5 * 1024 * 1024
    assert guest.reason().kind is CloseKind.LIMIT
    assert len(bob.received()) > 1000
    assert alice.quest("ping", {}) == {}


# --- large files ---


class Far(MemoryStore):
    """A store that writes elsewhere: it keeps no body, only how much of each came."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: dict[str, int] = {}
        self.files: list[StoredFile] = []

    def write_body(self, key: str, data: bytes) -> None:
        self.drafts[key] = self.drafts.get(key, 0) + len(data)

    def drop_body(self, key: str) -> None:
        self.drafts.pop(key, None)

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        assert self.drafts.pop(file.key, 0) + len(rest) == file.size
        self.files.append(file)


def file_quest(world: World, file: bytes, order: Iterable[str] = (), *, seq: int = 9) -> bytes:
    """A ``sendfile`` of alice's with the keys in this order, others behind; its token is good."""
    alice = world.log_in(1001)
    token = str(alice.quest("filetoken", {"cmd": "sendfile", "to": 1002})["token"])
    params: dict[str, object] = {
        "token": token,
        "pid": PID,
        "from": 1001,
        "to": 1002,
        "mtype": 50,
        "mid": seq,
        "file": file,
        "attrs": write_attrs("a.bin", file_sign(md5(file).hexdigest(), token)),
    }
    keys = dict.fromkeys([*order, *params])
    return encode_quest(b"sendfile", encode({key: params[key] for key in keys}), seq)


def framed(package: bytes) -> bytes:
    """As a client's message; its mask changes nothing."""
    size = len(package)
    return (
        b"\x82"
        + (bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8, "big"))
        + bytes(4)
        + package
    )


def file_guest(world: World, scheme: str) -> Guest:
    guest = Guest(world, port=Port.FILES)
    if scheme == "ws":
        guest.say(UPGRADE)
    guest.said = b""
    return guest


def told(guest: Guest, scheme: str) -> list[Package]:
    """The packages that a guest was sent."""
    if scheme == "tcp":
        return guest.packages()
    said, guest.said = guest.said, b""
    packages: list[Package] = []
    while said[:1] == b"\x82":
        size, at = said[1], 2
        if size == 126:
            size, at = int.from_bytes(said[2:4], "big"), 4
        packages += Splitter().feed(said[at : at + size])
        said = said[at + size :]
    return packages


def as_wire(package: bytes, scheme: str) -> bytes:
    return framed(package) if scheme == "ws" else package


def codes(packages: list[Package]) -> list[tuple[int, object]]:
    """The seq of each answer, and the code where it is a refusal."""
    return [(each.seq, decode(each.payload).get("code")) for each in packages]


def full(guest: Guest) -> bool:
    """Whether nothing is read from a guest now."""
    return guest.visit.full


KEYS = ("token", "file", "attrs", "to")


@SCHEMES
@pytest.mark.parametrize("order", [*permutations(KEYS)])
@pytest.mark.parametrize("as_text", [False, True], ids=["bin", "str"])
def test_a_large_file_is_kept_in_whatever_order_its_quest_is_written(
    scheme: str, order: tuple[str, ...], as_text: bool
) -> None:
    body = bytes(range(256)) * 3
    world = World(piece=100)
    bob = world.log_in(1002)
    quest = file_quest(world, body, order)
    if as_text:
        payload = decode(quest[24:])
        quest = encode_quest(
            b"sendfile", encode({**payload, "file": body.decode("utf-8", "surrogateescape")}), 9
        )
    wire = as_wire(quest, scheme)
    guest = file_guest(world, scheme)
    guest.say(*(wire[at : at + 64] for at in range(0, len(wire), 64)))
    assert codes(told(guest, scheme)) == [(9, None)]
    [received] = bob.received()
    assert isinstance(received, FileReceived) and received.url is not None
    assert fetch(world, received.url)[1] == body
    assert world.gate.held().unproven == world.gate.held().uploads == 0


@settings(max_examples=60)
@given(
    st.integers(0, 600),
    st.permutations(KEYS),
    st.sampled_from(["ws", "tcp"]),
    st.sampled_from([80, 100, 128, 300]),
    st.data(),
)
def test_however_a_large_file_comes_it_is_the_same(
    size: int, order: list[str], scheme: str, piece: int, choices: st.DataObject
) -> None:
    said: list[object] = []
    spoil = choices.draw(st.integers(0, 3))
    for in_pieces in (True, False):
        world = World(piece=piece if in_pieces else 65_536)
        body = bytes(number % 251 for number in range(size))
        quest = file_quest(world, body, order)
        if spoil == 1:
            quest = quest.replace(b"\xa3pid\xce", b"\xa3pid\xcd")
        elif spoil == 2:
            quest = quest.replace(b"sign", b"nign")
        wire = as_wire(quest, scheme)
        guest = file_guest(world, scheme)
        guest.say(*(choices.draw(cut_up(wire)) if in_pieces else [wire]))
        answers = [(each.seq, each.status) for each in told(guest, scheme)]
        store = world.store
        assert isinstance(store, MemoryStore)
        kept = [(each.mid, json.loads(each.msg)["size"]) for each in store.messages()]
        said.append((answers, kept, guest.over()))
    assert said[0] == said[1]


@SCHEMES
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("method", 20004),
        ("no file", 10003),
        ("token", 200003),
        ("receiver", 200003),
        ("size", 200031),
    ],
)
def test_what_is_wrong_is_said_before_the_body_and_the_next_quest_is_heard(
    scheme: str, spoil: str, code: int
) -> None:
    world = World()
    quest = file_quest(world, bytes(6_000_000 if spoil == "size" else 200_000), KEYS)
    if spoil == "method":
        quest = quest[:16] + b"lendfile" + quest[24:]
    elif spoil == "no file":
        quest = encode_quest(b"enterroom", quest[24:], 9)
    elif spoil == "token":
        at = quest.index(b"\xa5token") + 8
        quest = quest[:at] + bytes([quest[at] ^ 1]) + quest[at + 1 :]
    elif spoil == "receiver":
        params = decode(quest[24:])
        quest = encode_quest(
            b"sendfile", encode({"to": 1003, **{k: v for k, v in params.items() if k != "to"}}), 9
        )
    good = file_quest(world, b"small", seq=8)
    wire = as_wire(quest, scheme)
    guest = file_guest(world, scheme)
    guest.say(wire[:2000])
    assert codes(told(guest, scheme)) == [(9, code)]
    assert world.gate.held().uploads == 0
    before = footprint(guest.visit)
    for at in range(2000, len(wire), 65_536):
        guest.say(wire[at : at + 65_536])
        assert footprint(guest.visit) <= before + 2000, "what still comes is dropped"
    assert told(guest, scheme) == [] and not guest.over()
    guest.say(as_wire(good, scheme))
    assert codes(told(guest, scheme)) == [(8, None)]


def test_a_token_behind_a_body_is_refused_with_it_and_the_draft_is_dropped() -> None:
    store = Far()
    world = World(store=store)
    quest = file_quest(world, bytes(200_000), ("file",))
    at = quest.index(b"\xa5token") + 8
    guest = file_guest(world, "tcp")
    guest.say(quest[:at], bytes([quest[at] ^ 1]))
    assert store.drafts and guest.packages() == []
    guest.say(quest[at + 1 :])
    assert guest.refusal() == 200003
    assert store.drafts == {} and store.files == []
    assert world.gate.held().unproven == 0


@SCHEMES
def test_nothing_is_read_while_the_store_is_behind(scheme: str) -> None:
    world = World(piece=1000)
    body = bytes(range(250)) * 40
    wire = as_wire(file_quest(world, body), scheme)
    guest = file_guest(world, scheme)
    world.store_waits = True
    at = 0
    while not full(guest):
        guest.say(wire[at : at + 500])
        at += 500
    assert at <= 3000
    assert guest.visit.next_timeout() is not None
    for _ in range(3):
        guest.wait(20)
        assert not guest.over(), "it is not the visitor who is silent"
        rings = guest.rings
        world.store_waits = False
        world.settle()
        assert not full(guest) and guest.rings > rings
        world.store_waits = True
        while not full(guest):
            guest.say(wire[at : at + 500])
            at += 500
        assert world.gate.held().uploads == 1
    world.store_waits = False
    world.settle()
    guest.say(*(wire[start : start + 500] for start in range(at, len(wire), 500)))
    assert codes(told(guest, scheme)) == [(9, None)]


@SCHEMES
def test_a_body_that_brings_no_byte_for_30_seconds_ends_the_connection(scheme: str) -> None:
    world = World(store=Far())
    wire = as_wire(file_quest(world, bytes(200_000)), scheme)
    guest = file_guest(world, scheme)
    guest.say(wire[:100_000])
    guest.wait(BODY_TIMEOUT - 1)
    guest.say(wire[100_000:100_001])
    guest.wait(BODY_TIMEOUT - 1)
    assert not guest.over()
    guest.wait(2)
    assert [code for _, code in codes(told(guest, scheme))] == [Code.INVALID_CONNECTION]
    assert guest.over() and guest.reason().kind is CloseKind.IDLE
    assert world.gate.held().uploads == 0
    assert isinstance(world.store, Far) and world.store.drafts == {}


@pytest.mark.parametrize("order", [(), ("file",)], ids=["token first", "file first"])
@pytest.mark.parametrize("how", ["leaves", "vanishes"])
@pytest.mark.parametrize("store_waits", [False, True])
def test_who_leaves_inside_a_body_leaves_no_draft(
    order: tuple[str, ...], how: str, store_waits: bool
) -> None:
    store = Far()
    world = World(store=store)
    quest = file_quest(world, bytes(300_000), order)
    guest = file_guest(world, "tcp")
    world.store_waits = store_waits
    guest.say(quest[:100_000])
    assert (world.gate.held().unproven, world.gate.held().uploads) == (len(order), store_waits)
    if how == "leaves":
        guest.hang_up()
    else:
        guest.visit.abort(CloseReason(CloseKind.PEER_RESET))
        guest.look()
    assert guest.over() and not guest.visit.full
    world.store_waits = False
    world.settle()
    assert store.drafts == {} and store.files == []
    held = world.gate.held()
    assert (held.visits, held.unproven, held.uploads) == (1, 0, 0), "alice is still there"


def test_a_late_report_of_a_piece_says_nothing() -> None:
    world = World(store=Far())
    guest = file_guest(world, "tcp")
    world.store_waits = True
    guest.say(no_token(1, 100_000, {}))
    [write] = world.gate.effects()
    assert isinstance(write, WriteBody)
    for _ in range(2):
        world.gate.carried_out(write, None, None, now=world.now)
    guest.look()
    assert world.gate.held().uploads == 0


def test_a_store_that_fails_inside_a_body_is_a_refusal_and_the_next_quest_is_heard() -> None:
    world = World(store=Far())
    quest = file_quest(world, bytes(300_000))
    guest = file_guest(world, "tcp")
    world.store_faults.append(StoreFault("no space left"))
    guest.say(*(quest[at : at + 65_536] for at in range(0, len(quest), 65_536)))
    assert guest.refusal() == Code.WORK_QUEUE_FULL
    guest.say(quest)
    assert guest.packages()[0].status == 0, "the token was not used up"
    assert isinstance(world.store, Far) and world.store.drafts == {}
    assert [file.size for file in world.store.files] == [300_000]


def no_token(seq: int, size: int, before: dict[str, object], end: bytes = b"\xa1t\x01") -> bytes:
    """A quest whose token has not come before its file."""
    head = encode({**before, "file": b"", "t": 1})[: -3 - 2]
    payload = head + b"\xc6" + size.to_bytes(4, "big") + bytes(size) + end
    return encode_quest(b"sendfile", payload, seq)


def heavy() -> dict[str, object]:
    """The heaviest map that is taken: maps of one entry inside each other, and wide text."""
    chain: object = 300
    for _ in range(28):
        chain = {"a": chain}
    return {"x": [chain] * 70, "text": "x" * 25_000 + "\U0001f600"}


NODES = heavy()
ATTACKS: dict[str, tuple[list[bytes], int]] = {
    "one body": ([no_token(1, 1_000_000, {})], 65_536),
    "single bytes": ([no_token(1, 70_000, {})[:12_000]], 1),
    "a large map before the file": ([no_token(1, 1_000_000, NODES)], 65_536),
    "one behind the other": ([no_token(seq, 131_000, NODES) for seq in range(1, 9)], 65_536),
    "begun and spoilt": (
        [no_token(seq, 131_000, NODES, b"\xc1xx") for seq in range(1, 9)],
        65_536,
    ),
    "begun and spoilt, over and over": (
        [no_token(seq, 66_000, {}, b"\xc1xx") for seq in range(1, 30)],
        65_536,
    ),
}


@SCHEMES
@pytest.mark.parametrize("store", ["writes elsewhere", "never ends"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_connection_costs_less_than_a_mebibyte(
    scheme: str, store: str, attack: str
) -> None:
    """At its worst, and before its token is known; the bytes that it was read with included."""
    quests, step = ATTACKS[attack]
    wire = b"".join(as_wire(quest, scheme) for quest in quests)
    world = World(store=Far())
    guest = file_guest(world, scheme)
    world.store_waits = store == "never ends"
    fed = 0
    tracemalloc.start()
    try:
        for at in range(0, len(wire), step):
            if guest.visit.full or guest.over():
                break
            guest.visit.receive_data(wire[at : at + step], now=world.now)
            guest.look()
            guest.said = b""
            fed = at
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{attack}, {scheme}, the store {store}: {peak // 1024} KiB after {fed:,} bytes")
    assert peak < 1024 * 1024
    assert guest.visit.full or guest.over() or fed + step >= len(wire)


# --- what a visitor may also be ---


@BOTH_PORTS
@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /service/websocket HTTP/1.1", 426),
        (b"GET /nothing HTTP/1.1", 404),
        (b"GET /files/short HTTP/1.1", 404),
        (b"GET /files/00000000000000000000000000000000/x HTTP/1.1", 404),
        (b"HEAD /files/00000000000000000000000000000000/x HTTP/1.1", 404),
        (b"POST /files/x HTTP/1.1", 405),
        (b"GET / HTTP/7.7", 505),
        (b"GET /\x00 HTTP/1.1", 400),
    ],
)
def test_a_request_that_gets_nothing_is_answered_and_closed(
    port: Port, request_line: bytes, status: int
) -> None:
    world = World()
    guest = Guest(world, port=port)
    guest.say(request_line + b"\r\nHost: gate\r\n\r\n")
    assert guest.said.startswith(b"HTTP/1.1 %d " % status)
    assert guest.over() and not guest.visit.abrupt
    assert world.gate.held() == EMPTY_HANDS


@BOTH_PORTS
def test_a_visitor_who_leaves_without_a_word_is_forgotten(port: Port) -> None:
    for beginning in (b"", b"G", UPGRADE[:-2], UPGRADE, b"FPNN", encode_quest(b"a", b"\x80", 1)):
        world = World()
        guest = Guest(world, port=port)
        guest.say(beginning)
        guest.hang_up()
        assert guest.over() and not guest.visit.abrupt
        assert guest.reason().kind is CloseKind.PEER_CLOSED
        assert world.gate.held() == EMPTY_HANDS


@BOTH_PORTS
def test_a_visitor_who_vanishes_is_forgotten(port: Port) -> None:
    for beginning in (b"", b"G", UPGRADE, b"FPNN", b"GET /files/0000000000000000 HTTP/1.1\r\n"):
        world = World()
        guest = Guest(world, port=port)
        guest.say(beginning)
        guest.visit.abort(CloseReason(CloseKind.PEER_RESET, "gone"))
        guest.look()
        assert guest.over() and guest.visit.abrupt
        assert guest.reason() == CloseReason(CloseKind.PEER_RESET, "gone")
        assert world.gate.held() == EMPTY_HANDS


@BOTH_PORTS
def test_what_comes_after_the_time_to_begin_is_not_read(port: Port) -> None:
    world = World()
    guest = Guest(world, port=port)
    guest.wait(HANDSHAKE_TIMEOUT)
    assert guest.over()
    guest.say(UPGRADE, encode_quest(b"*ping", b"\x80", 1))
    assert guest.said == b""
    assert guest.visit.next_timeout() is None


def test_whatever_happens_to_a_visit_that_is_over_is_harmless() -> None:
    world = World()
    for beginning in (b"", b"FPNN", UPGRADE, b"POST / HTTP/1.1\r\n\r\n"):
        guest = Guest(world)
        guest.say(beginning)
        guest.visit.abort(CloseReason(CloseKind.PEER_RESET, "gone"))
        guest.look()
        reason = guest.visit.reason
        for again in range(2):
            guest.say(b"FPNN", UPGRADE)
            guest.hang_up()
            guest.visit.handle_timeout(now=world.now + 1000)
            guest.visit.abort(CloseReason(CloseKind.LOCAL, f"again {again}"))
            guest.look()
        assert guest.visit.reason == reason
        assert guest.visit.next_timeout() is None
    assert world.gate.held() == EMPTY_HANDS


def test_what_is_left_to_be_said_to_others_meanwhile_does_no_harm() -> None:
    """Answers, pushes and farewells for a visit that does not speak FPNN, or not yet."""
    world = World()
    guest = Guest(world)
    visitor = guest.visit.visitor
    guest.visit.answer(decisions.Answer(visitor, 1, {}), now=world.now)
    guest.visit.push(decisions.Push(visitor, "ping", {}), now=world.now)
    guest.visit.push(decisions.Push(visitor, "kickout", {}, oneway=True), now=world.now)
    guest.visit.part(decisions.Part(visitor, CloseReason(CloseKind.LOCAL)), now=world.now)
    guest.visit.found(None, None)
    guest.visit.read(b"", None)
    guest.look()
    assert guest.said == b"" and not guest.over()


def test_a_visit_that_is_closing_is_not_pushed_to() -> None:
    world = World()
    alice = world.log_in(1001)
    guest = Guest(world)
    guest.ask("auth", {**AUTH, "uid": 1002, "token": USERS[1002]})
    guest.wait(PING_EVERY)  # its answer is owed: closing waits for it
    guest.packages()
    guest.say(encode_quest(b"bye", EMPTY, 2))
    assert [package.kind for package in guest.packages()] == [Kind.ANSWER]
    assert not guest.over()
    alice.send(P2P, 1002)
    guest.say(encode_quest(b"filetoken", encode({"cmd": "sendfile", "to": 1}), 3))
    assert guest.refusal() == 20014
    guest.wait(2.1)
    assert guest.over()
    assert guest.packages() == []


def test_one_way_quests_and_late_answers_are_counted() -> None:
    guest = Guest(World())
    guest.say(encode_oneway(b"auth", encode(AUTH)), encode_oneway(b"*ping", b"\x80"))
    assert guest.visit.dropped == 2
    assert guest.visit.visitor.uid is None, "one-way: nobody is logged in by it"
    guest.ask("auth", dict(AUTH))
    guest.wait(PING_EVERY)
    [ping] = guest.packages()
    guest.wait(6)
    answer = bytes.fromhex("46504e4e01800200") + (1).to_bytes(4, "little")
    guest.say(answer + ping.seq.to_bytes(4, "little") + b"\x80")
    assert guest.visit.dropped == 3
    assert not guest.over()


def test_a_quest_in_json_is_answered_in_json() -> None:
    guest = Guest(World())
    payload = b'{"pid":11000001,"uid":1001,"token":"token-of-1001","version":"x"}'
    guest.say(encode_quest(b"auth", payload, 9, flag=0x40))
    [answer] = guest.packages()
    assert (answer.flag, answer.seq, answer.payload) == (0x40, 9, b'{"ok":true}')
    guest.say(encode_quest(b"filetoken", b'{"cmd":"sendfile","to":1002}', 10, flag=0x40))
    [answer] = guest.packages()
    assert answer.status == 0 and b'"token":' in answer.payload


def test_a_gate_is_open_to_users_in_clear_unless_told() -> None:
    settings = GateSettings(PID, USERS, "gate.test:1")
    assert (settings.tls, settings.secret) == (False, None)


def test_the_settings_show_no_token_and_no_secret() -> None:
    said = repr(GateSettings(PID, USERS, "gate.test:1", secret="the secret"))
    assert "the secret" not in said
    assert not any(token in said for token in USERS.values())


def test_a_visit_begins_without_an_end_and_waits_for_its_stream() -> None:
    visit = World().gate.visit("a guest", port=Port.MAIN)
    assert (visit.finished, visit.abrupt, visit.reason) == (False, False, None)
    assert (visit.next_timeout(), visit.data_to_send(), visit.dropped) == (None, [], 0)


def test_the_repr_of_nothing_shows_a_secret() -> None:
    world = World()
    world.log_in(1001)
    shown = repr([world.gate, world.gate.settings, *(pipe.visit for pipe in world.pipes)])
    assert USERS[1001] not in shown and "uid=1001" in shown


# --- bells ---


def test_the_bell_is_rung_for_what_somebody_else_has_done() -> None:
    world = World()
    bob = Guest(world)
    bob.ask("auth", {**AUTH, "uid": 1002, "token": USERS[1002]})
    assert bob.rings == 0, "rung for its own doing"
    world.log_in(1001).send(P2P, 1002)
    assert bob.rings == 1
    bob.look()
    assert [package.method for package in bob.packages()][-1] == b"pushmsg"
    world.log_in(1002)
    assert bob.rings == 2, "kickout and farewell are one ring"


def test_the_bell_is_rung_when_the_store_has_done_what_was_asked() -> None:
    world = World()
    world.store_waits = True
    guest = Guest(world)
    guest.ask("auth", dict(AUTH))
    guest.ask("addgroupmembers", {"gid": 5, "uids": [1001]}, seq=2)
    assert guest.packages() == [] and guest.rings == 0
    world.store_waits = False
    world.settle()
    assert guest.rings == 1
    guest.look()
    [answer] = guest.packages()
    assert (answer.seq, answer.status) == (2, 0)


def test_a_visit_without_a_bell_is_fine() -> None:
    world = World()
    guest = Guest(world)
    guest.visit.bell = None
    guest.ask("auth", dict(AUTH))
    assert world.gate.kick(1001, now=world.now)


def test_bells_are_rung_only_when_everything_is_said() -> None:
    """Whoever is rung may do anything, also be cut off: nobody else's news may be lost by it."""
    world = World()
    alice = world.log_in(1001)
    guests = [Guest(world) for _ in range(2)]
    for uid, guest in zip((1002, 1003), guests, strict=True):
        guest.ask("auth", {**AUTH, "uid": uid, "token": USERS[uid]})
        guest.ask("enterroom", {"rid": 5})
        guest.packages()
    alice.quest("enterroom", {"rid": 5})

    def vanish() -> None:
        for guest in guests:
            guest.visit.bell = None
        guests[0].visit.abort(CloseReason(CloseKind.PEER_RESET))
        guests[0].visit.collect(now=world.now)

    guests[0].visit.bell = vanish
    alice.send(ROOM, 5)
    guests[1].look()
    assert [package.method for package in guests[1].packages()] == [b"pushroommsg"]


# --- files over HTTP ---


def fetch(
    world: World, url: str, *, port: Port = Port.FILES, method: str = "GET"
) -> tuple[bytes, bytes]:
    """Head and body of the answer to a request for *url*."""
    guest = Guest(world, port=port)
    guest.say(f"{method} {url} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    assert guest.over() and not guest.visit.abrupt, guest.visit.reason
    head, _, body = guest.said.partition(b"\r\n\r\n")
    return head, body


@pytest.fixture
def stored() -> tuple[World, str, bytes]:
    """A world with a stored file: its path, its bytes."""
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    body = bytes(range(256)) * 1000
    alice.send(P2P, 1002, body)
    [received] = bob.received()
    assert isinstance(received, FileReceived) and received.url
    world.advance(5)
    return world, received.url.split(str(FILE_PORT))[1], body


Stored = tuple[World, str, bytes]


@BOTH_PORTS
def test_a_stored_file_is_served_whole(stored: Stored, port: Port) -> None:
    world, path, body = stored
    before = world.gate.held()
    head, served = fetch(world, path, port=port)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert served == body
    assert world.gate.held() == before


def test_only_the_head_is_served_where_only_the_head_is_asked_for(stored: Stored) -> None:
    world, path, body = stored
    head, served = fetch(world, path, method="HEAD")
    assert f"Content-Length: {len(body)}".encode() in head and served == b""


def test_a_store_that_cannot_look_is_a_500(stored: Stored) -> None:
    world, path, _ = stored
    world.store_faults = [StoreFault("a path that is nobody's business")]
    head, body = fetch(world, path)
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"nobody" not in body


def test_a_store_that_fails_at_the_first_bytes_is_a_500(stored: Stored) -> None:
    world, path, _ = stored
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path), now=world.now)
    world.settle()
    world.store_faults = [StoreFault("no")]
    guest.look()
    assert guest.said.startswith(b"HTTP/1.1 500 ")
    assert guest.over()


def test_a_store_that_fails_in_the_middle_cuts_the_answer_short(stored: Stored) -> None:
    world, path, body = stored
    before = world.gate.held()
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path), now=world.now)
    reads = 0
    while not guest.over():
        guest.visit.collect(now=world.now)
        for effect in world.gate.effects():
            fault = None
            result: Result = None
            if isinstance(effect, ReadFile) and (reads := reads + 1) == 3:
                fault = StoreFault("gone")
            else:
                result = world.store.carry_out(effect)
            world.gate.carried_out(effect, result, fault, now=world.now)
        guest.said += b"".join(guest.visit.data_to_send())
    assert guest.visit.abrupt and guest.reason().text == "gone"
    assert 0 < len(guest.said) < len(body)
    assert world.gate.held() == before


def test_one_part_is_read_for_each_that_was_taken(stored: Stored) -> None:
    """A slow reader does not make the gate hold the file in memory."""
    world, path, body = stored
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path), now=world.now)
    for _ in range(5):
        guest.visit.collect(now=world.now)
        world.settle()
    first = b"".join(guest.visit.data_to_send())
    assert first == b"", "nothing is read before the transport asks"
    guest.visit.collect(now=world.now)
    world.settle()
    for _ in range(5):
        guest.visit.collect(now=world.now)
        world.settle()
    first = b"".join(guest.visit.data_to_send())
    assert 64 * 1024 <= len(first) < 66 * 1024
    guest.look()
    assert (first + guest.said).endswith(body)


def test_a_reader_that_stands_still_for_a_minute_is_cut_off(stored: Stored) -> None:
    world, path, _ = stored
    before = world.gate.held()
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path), now=world.now)
    guest.visit.collect(now=world.now)
    world.settle()
    world.now += IDLE_TIMEOUT + 1
    guest.visit.handle_timeout(now=world.now)
    assert guest.over() and guest.visit.abrupt
    assert guest.reason().kind is CloseKind.IDLE
    assert world.gate.held() == before


def test_a_reader_that_takes_a_part_every_forty_seconds_gets_the_whole(stored: Stored) -> None:
    world, path, body = stored
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path), now=world.now)
    parts = 0
    while not guest.over():
        guest.visit.collect(now=world.now)
        world.settle()
        part = b"".join(guest.visit.data_to_send())
        if part:
            guest.said += part
            parts += 1
            world.now += 40
            guest.visit.handle_timeout(now=world.now)
    assert parts == 4 and guest.said.endswith(body)
    assert not guest.visit.abrupt
    assert guest.reason() == CloseReason(CloseKind.LOCAL, "file served")


def test_the_bell_is_rung_when_a_download_is_over(stored: Stored) -> None:
    """The transport has just asked for more, and waits to hear of anything."""
    world, path, _ = stored
    guest = Guest(world, port=Port.FILES)
    guest.say(get(path))
    assert guest.over()
    over = guest.rings
    assert over >= 1
    guest = Guest(world, port=Port.FILES)
    guest.say(b"GET /files/none HTTP/1.1\r\nHost: x\r\n\r\n")
    assert guest.over() and guest.rings == 1


def test_what_the_store_says_to_who_has_left_is_dropped(stored: Stored) -> None:
    world, path, _ = stored
    before = world.gate.held()
    world.store_waits = True
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path), now=world.now)
    guest.look()
    assert guest.said == b"" and world.gate.held().downloads == 1
    guest.visit.abort(CloseReason(CloseKind.PEER_RESET))
    assert world.gate.held() == before
    world.store_waits = False
    world.settle()
    assert guest.rings == 0


def test_half_a_close_does_not_end_a_download(stored: Stored) -> None:
    world, path, body = stored
    guest = Guest(world, port=Port.FILES)
    guest.visit.receive_data(get(path) + b"more that nobody reads", now=world.now)
    guest.visit.receive_eof(now=world.now)
    guest.look()
    assert guest.said.endswith(body[-100:])


def test_results_of_the_wrong_kind_are_no_file(stored: Stored) -> None:
    world, path, _ = stored
    for wrong in (b"bytes where a file was asked for", None):
        guest = Guest(world, port=Port.FILES)
        guest.visit.receive_data(get(path), now=world.now)
        [effect] = world.gate.effects()
        assert isinstance(effect, FindFile)
        world.gate.carried_out(effect, wrong, None, now=world.now)
        guest.look()
        assert guest.said.startswith(b"HTTP/1.1 404 ")


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


# --- the store ---


def test_nothing_is_answered_or_pushed_before_it_is_stored() -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    world.store_waits = True
    run = world.start(alice, alice.transfer(P2P, 1002).run(), b"x")
    world.advance(1)
    assert not run.done and bob.received() == []
    world.store_waits = False
    world.settle()
    assert isinstance(run.result(), FileSent) and len(bob.received()) == 1


def test_what_could_not_be_stored_is_tried_again_by_the_sender() -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    world.store_faults = [StoreFault("no room for a moment")]
    sent = alice.send(P2P, 1002)
    assert sent.attempts == 2
    assert len(bob.received()) == 1


def test_a_store_without_room_is_a_clear_refusal() -> None:
    world = World(store=MemoryStore(max_bytes=10))
    alice = world.log_in(1001)
    with pytest.raises(FileRefused, match="no room for 11 bytes") as caught:
        alice.send(P2P, 1002, b"x" * 11)
    assert caught.value.code == 20011
    assert alice.send(P2P, 1002, b"x" * 10).attempts == 1


@pytest.mark.parametrize("who", ["the file link", "the sender", "the receiver", "everybody"])
def test_whoever_leaves_before_the_store_is_done_breaks_nothing(who: str) -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    world.store_waits = True
    run = world.start(alice, alice.transfer(P2P, 1002, mid=5).run(), b"x")
    world.settle()
    main_links = {"the sender": alice.pipe, "the receiver": bob.pipe}
    file_link = world.pipes[-1]
    if who == "the file link":
        run.give_up()
        file_link.cut()
    elif who == "everybody":
        run.give_up()
        for pipe in world.pipes:
            pipe.cut()
    else:
        main_links[who].cut()
    world.store_waits = False
    world.settle()
    assert isinstance(world.store, MemoryStore) and len(world.store.messages()) == 1
    came = [event for event in bob.received() if isinstance(event, FileReceived)]
    assert len(came) == (who in ("the file link", "the sender"))
    assert world.log_in(1001).send(P2P, 1002, b"x", mid=5).duplicate
    assert everybody_left(world)


def test_a_late_report_for_a_visit_that_is_gone_says_nothing() -> None:
    world = World()
    world.store_waits = True
    guest = Guest(world)
    guest.ask("auth", dict(AUTH))
    guest.ask("addgroupmembers", {"gid": 5, "uids": [1001]}, seq=2)
    guest.visit.abort(CloseReason(CloseKind.PEER_RESET))
    guest.look()
    world.store_waits = False
    world.settle()
    assert world.gate.held() == EMPTY_HANDS
    assert guest.rings == 0


# --- cut anywhere ---


def counted(world: World, mid: int | None = None) -> int:
    """How many messages are stored: all, or those with *mid*."""
    store = world.store
    assert isinstance(store, MemoryStore)
    return sum(mid in (None, message.mid) for message in store.messages())


def passed_by_a_good_send(scheme: str) -> tuple[int, int, int, int]:
    """Bytes that a good send passes: up and down, of the main link and of the file link."""
    world = World(scheme=scheme)
    links: list[Pipe] = []
    world.on_pipe = links.append
    world.log_in(1001).send(P2P, 1002)
    main, file = links
    return main.sent_up, main.sent_down, file.sent_up, file.sent_down


@SCHEMES
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_file_link_cut_after_any_byte_leaves_a_true_outcome(scheme: str, way: str) -> None:
    """Every file link is cut there, at every attempt; then the same mid is sent without cuts."""
    _, _, up, down = passed_by_a_good_send(scheme)
    world = World(scheme=scheme)
    alice, bob = world.log_in(1001), world.log_in(1002)
    outcomes: set[str] = set()
    for count in range((up if way == "up" else down) + 2):

        def cut(pipe: Pipe, count: int = count) -> None:
            if way == "up":
                pipe.up_left = count
            else:
                pipe.down_left = count

        world.on_pipe = cut
        transfer = alice.transfer(P2P, 1002)
        try:
            outcome: object = world.run(alice, transfer.run(), b"hello")
        except SendFailed as failed:
            outcome = failed
            assert failed.mid == transfer.mid
        outcomes.add(type(outcome).__name__)
        stored = counted(world, transfer.mid)
        if isinstance(outcome, FileSent):
            assert stored == 1
        elif isinstance(outcome, FileNotSent):
            assert stored == 0, f"{outcome} but it has arrived (cut after {count} {way})"
        else:
            assert isinstance(outcome, OutcomeUnknown) and stored <= 1
        world.on_pipe = None
        again = alice.send(P2P, 1002, mid=transfer.mid)
        assert again.duplicate == (stored == 1)
        assert counted(world, transfer.mid) == 1
        assert sum(isinstance(event, FileReceived) for event in bob.received()) == 1
    assert outcomes == {"FileNotSent", "OutcomeUnknown", "FileSent"}
    assert everybody_left(world)


@SCHEMES
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_main_link_cut_after_any_byte_leaves_a_true_outcome(scheme: str, way: str) -> None:
    up, down, _, _ = passed_by_a_good_send(scheme)
    for count in range((up if way == "up" else down) + 1):
        world = World(scheme=scheme)

        def cut(pipe: Pipe, count: int = count, world: World = world) -> None:
            world.on_pipe = None
            if way == "up":
                pipe.up_left = count
            else:
                pipe.down_left = count

        world.on_pipe = cut
        try:
            alice = world.log_in(1001)
        except LoginFailed:
            assert counted(world) == 0
        else:
            try:
                alice.send(P2P, 1002)
            except FileNotSent as failed:
                assert failed.stage == "token"
                assert counted(world) == 0
            else:
                assert counted(world) == 1
        assert everybody_left(world)


def test_a_receiver_cut_in_the_middle_of_a_push_does_not_hurt_the_sender() -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    bob.pipe.down_left = 10
    assert isinstance(alice.send(P2P, 1002), FileSent)
    assert isinstance(bob.received()[-1], Disconnected)
    assert world.gate.held().decisions.logins == 1


@SCHEMES
def test_a_file_gate_that_nobody_reaches_is_not_sent(scheme: str) -> None:
    world = World(scheme=scheme)
    alice = world.log_in(1001)
    world.refused_dials = 3
    with pytest.raises(FileNotSent) as caught:
        alice.send(P2P, 1002)
    assert caught.value.stage == "connecting"
    world.refused_dials = 1
    assert alice.send(P2P, 1002).attempts == 2


@pytest.mark.parametrize(("scheme", "kind"), [("ws", FileNotSent), ("tcp", OutcomeUnknown)])
def test_a_file_gate_that_says_nothing_ends_at_the_deadline(
    scheme: str, kind: type[SendFailed]
) -> None:
    """Over raw TCP nobody says hello: the body is handed over to whoever does not read it."""
    world = World(scheme=scheme)
    alice = world.log_in(1001)
    world.file_port_deaf = True
    began = world.now
    with pytest.raises(SendFailed) as caught:
        alice.send(P2P, 1002)
    assert isinstance(caught.value, (FileNotSent, kind))
    assert world.now - began == pytest.approx(20.0)
    world.file_port_deaf = False
    assert alice.send(P2P, 1002, mid=caught.value.mid).duplicate is False


def test_a_main_link_that_stands_still_times_out() -> None:
    world = World()
    alice = world.log_in(1001)
    alice.pipe.stalled = True
    with pytest.raises(QuestTimeout):
        alice.quest("ping", {}, timeout=3)
    with pytest.raises(FileNotSent) as caught:
        alice.send(P2P, 1002)
    assert caught.value.stage == "token"


def test_who_gives_up_in_the_middle_leaves_the_world_as_it_was() -> None:
    """At every step of a send, by closing its flow."""
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    whole = world.start(alice, alice.transfer(P2P, 1002).run(), b"hello")
    world.settle()
    for count in range(len(whole.steps)):
        transfer = alice.transfer(P2P, 1002)
        run = world.start(alice, transfer.run(), b"hello")
        for _ in range(200):
            if len(run.steps) > count or run.done:
                break
            for pipe in world.pipes:
                pipe.move()
            run.advance()
        before = counted(world)
        told = transfer.given_up(QuestError("the caller left", "sendfile"))
        run.give_up()
        world.advance(30)
        if isinstance(told, FileNotSent):
            assert counted(world) == before
        assert isinstance(alice.send(P2P, 1002, mid=transfer.mid), FileSent)
    mids = [event.mid for event in bob.received() if isinstance(event, FileReceived)]
    assert len(mids) == len(set(mids)) == len(whole.steps) + 1
    assert everybody_left(world)


# --- anything at all ---

beginnings = st.sampled_from(
    [
        b"",
        UPGRADE,
        UPGRADE + b"\x82\x8d\x00\x00\x00\x00",
        encode_quest(b"auth", encode(AUTH), 1),
        encode_quest(b"enterroom", encode({"rid": 1}), 2),
        encode_quest(b"filetoken", encode({"cmd": "sendfile", "to": 1}), 3),
        encode_quest(b"addgroupmembers", encode({"gid": 1, "uids": [1001]}), 4),
        encode_quest(b"bye", b"\x80", 5),
        encode_quest(b"*ping", b"\x80", 6),
        b"GET /files/00000000000000000000000000000000/x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"FPNN\x01\x80\x01\x04\xff\xff\xff\xff\x01\x00\x00\x00auth",
    ]
)
pieces = st.one_of(beginnings, st.binary(max_size=40))
doings = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(
            st.tuples(st.just("say"), pieces, st.integers(0, 400)),
            st.tuples(st.just("wait"), st.floats(0, 70)),
            st.tuples(st.sampled_from(["leave", "vanish", "read", "kick", "store"])),
        ),
    ),
    max_size=30,
)


@settings(max_examples=150)
@given(doings, st.lists(st.sampled_from(Port), min_size=4, max_size=4), st.booleans())
def test_garbage_cuts_and_early_ends_leave_nothing_behind(
    doings: list[tuple[int, tuple[object, ...]]], ports: list[Port], store_waits: bool
) -> None:
    world = World()
    world.store_waits = store_waits
    gate = world.gate
    visits = [gate.visit(str(place), port=port) for place, port in enumerate(ports)]
    for visit in visits:
        visit.bell = lambda visit=visit: visit.collect(now=world.now)
        visit.connected(now=world.now)
    for place, doing in doings:
        visit = visits[place]
        match doing:
            case ("say", bytes(data), int(count)):
                if not visit.finished:
                    visit.receive_data(data[: count if count < len(data) else None], now=world.now)
            case ("wait", float(seconds)):
                world.now += seconds
                for other in visits:
                    other.handle_timeout(now=world.now)
                    other.collect(now=world.now)
            case ("leave",):
                visit.receive_eof(now=world.now)
            case ("vanish",):
                visit.abort(CloseReason(CloseKind.PEER_RESET))
            case ("read",):
                visit.data_to_send()
            case ("kick",):
                gate.kick(1001, now=world.now)
            case _:
                world.store_waits = not world.store_waits
        visit.collect(now=world.now)
        world.settle()
        check(visits, gate)
    for visit in visits:
        visit.abort(CloseReason(CloseKind.PEER_RESET))
        visit.collect(now=world.now)
    world.store_waits = False
    world.settle()
    held = gate.held()
    assert held == Held(0, 0, 0, 0, decisions.Held(0, 0, held.decisions.tokens, 0))
    check(visits, gate)


def check(visits: list[Visit], gate: Gate) -> None:
    over = [visit for visit in visits if visit.finished]
    assert gate.held().visits == len(visits) - len(over)
    for visit in over:
        assert visit.reason is not None
        assert visit.next_timeout() is None
        assert visit.visitor.uid is None


@given(st.binary(max_size=200), st.sampled_from(Port))
def test_how_the_first_bytes_are_cut_does_not_matter(data: bytes, port: Port) -> None:
    said: list[tuple[bytes, bool, str]] = []
    for cuts in ([data], [data[:1], data[1:]], [data[i : i + 1] for i in range(len(data))]):
        world = World()
        guest = Guest(world, port=port)
        guest.say(*cuts)
        guest.hang_up()
        said.append((guest.said, guest.over(), str(guest.visit.reason)))
    assert said[0] == said[1] == said[2]


def test_every_effect_of_a_send_is_one() -> None:
    world = World()
    alice = world.log_in(1001)
    world.store_waits = True
    world.start(alice, alice.transfer(P2P, 1002).run(), b"x")
    world.settle()
    [effect] = world.gate.effects()
    assert isinstance(effect, SaveFile)
    world.gate.carried_out(effect, None, None, now=world.now)
    world.gate.carried_out(effect, None, None, now=world.now)
    world.settle()


def test_refusals_of_the_gate_reach_the_caller_with_code_and_text() -> None:
    world = World()
    alice = world.log_in(1001)
    with pytest.raises(QuestRefused) as caught:
        alice.quest("nonsense", {})
    assert caught.value.code == 20004 and "nonsense" in caught.value.text
    with pytest.raises(FileRefused) as refused:
        alice.send(P2P, 1001)
    assert refused.value.code == 200052


def test_what_a_visitor_has_not_taken_is_counted() -> None:
    world = World()
    alice, bob = world.log_in(1001), world.log_in(1002)
    assert world.gate.visit("new", port=Port.MAIN).unsent == 0
    bob.pipe.stalled = True
    alice.send(P2P, 1002)
    assert bob.pipe.visit.unsent > 100
    bob.pipe.stalled = False
    world.settle()
    assert bob.pipe.visit.unsent == 0
