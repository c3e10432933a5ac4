"""Files over HTTP, from the message that tells of one to its last byte: links that expire, small
pictures, types that are recognised, and several requests on one stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import md5
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import StoreFault
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.frames import BINARY, frame_head
from rtm_proto.gate.front import MAX_HEAD
from rtm_proto.gate.gate import Gate
from rtm_proto.gate.http import MAX_AGE, PIECE
from rtm_proto.gate.limits import HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, LOGIN_TIMEOUT
from rtm_proto.gate.links import parse_link
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import GateSettings, Port
from rtm_proto.gate.store import MakeThumbnail, StoredMessage, Table
from rtm_proto.gate.thumbnail_queue import MAX_SOURCE
from rtm_proto.gate.visit import MAX_BEHIND
from rtm_proto.package import encode_quest
from rtm_proto.payload import decode, encode
from rtm_proto.received import Conversation, FileReceived
from tests.feeding import cut_up
from tests.world import FILE_PORT, HOST, PID, WALL, Client, World

P2P = Conversation.P2P
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
LIFE = 3600.0
UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


def frame(payload: bytes) -> bytes:
    """A client's."""
    key = bytes(4)
    return frame_head(BINARY, len(payload), key) + payload


class Reader:
    """A stream to the file port on which somebody asks for files."""

    def __init__(self, world: World, *, port: Port = Port.FILES) -> None:
        self.world = world
        self.said = b""
        self.visit = world.gate.visit("a reader", port=port)
        self.visit.bell = lambda: None
        self.visit.connected(now=world.now)

    def ask(self, *targets: str, method: str = "GET", headers: str = "") -> None:
        """Requests for *targets*, all at once."""
        lines = f"HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n"
        self.say("".join(f"{method} {target} {lines}" for target in targets).encode())

    def say(self, data: bytes) -> None:
        """These bytes, as one."""
        self.visit.receive_data(data, now=self.world.now)
        self.look()

    def look(self) -> None:
        """Take what there is, until there is nothing more."""
        quiet = 0
        while quiet < 3:
            self.visit.collect(now=self.world.now)
            self.world.settle()
            data = b"".join(bytes(buffer) for buffer in self.visit.data_to_send())
            self.said += data
            quiet = 0 if data else quiet + 1

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.now += seconds
        self.visit.handle_timeout(now=self.world.now)
        self.look()

    def answers(self, count: int, *, method: str = "GET") -> list[tuple[h11.Response, bytes]]:
        """What a strict client reads on a stream that goes on, and nothing behind it."""
        http = h11.Connection(h11.CLIENT)
        http.receive_data(self.said)
        self.said = b""
        found: list[tuple[h11.Response, bytes]] = []
        for number in range(count):
            if number:
                http.start_next_cycle()
            http.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
            http.send(h11.EndOfMessage())
            found.append(next_answer(http))
        assert http.trailing_data[0] == b""
        return found

    def answer(self, *, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of the one answer."""
        [(response, body)] = self.answers(1, method=method)
        return response.status_code, body


def next_answer(http: h11.Connection) -> tuple[h11.Response, bytes]:
    response = http.next_event()
    assert isinstance(response, h11.Response), response
    body = b""
    while isinstance(event := http.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response, body


def value(response: h11.Response, name: bytes) -> str:
    [found] = [found.decode() for header, found in response.headers if header == name]
    return found


def target(url: str | None) -> str:
    assert url is not None
    return url.partition(f":{FILE_PORT}")[2]


def told_of(world: World, body: bytes = PICTURE, *, mtype: int = 40) -> FileReceived:
    """What is told of a file that was sent."""
    alice, bob = world.log_in(1001), world.log_in(1002)
    world.run(alice, alice.transfer(P2P, 1002, mtype=mtype).run(), body)
    [received] = [event for event in bob.received() if isinstance(event, FileReceived)]
    return received


def messages(world: World) -> list[StoredMessage]:
    """What the store has kept."""
    assert isinstance(world.store, MemoryStore)
    return world.store.messages()


def small(data: bytes) -> bytes | None:
    """Stands for a decoder."""
    return b"small " + data[:8] if b"bomb" not in data else None


# --- several requests on one stream ---


def test_one_stream_brings_many_files() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    for _ in range(3):
        reader.ask(path)
        assert reader.answer() == (200, PICTURE)
        reader.ask(path, headers="Range: bytes=3-5\r\n")
        assert reader.answer() == (206, PICTURE[3:6])
        reader.ask(path, headers="If-None-Match: *\r\n")
        assert reader.answer() == (304, b"")
        reader.ask(path, method="HEAD")
        assert reader.answer(method="HEAD") == (200, b"")
    assert not reader.visit.finished
    held = world.gate.held()
    assert (held.downloads, held.visits) == (0, 3)


def test_requests_may_come_before_their_turn() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path, path, path)
    assert [body for _, body in reader.answers(3)] == [PICTURE] * 3
    assert not reader.visit.finished and not reader.visit.full


@given(st.data())
def test_how_requests_are_cut_does_not_matter(draw: st.DataObject) -> None:
    world = World()
    path = target(told_of(world).url)
    one = f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n".encode()
    reader = Reader(world)
    for piece in draw.draw(cut_up(one * 3)):
        reader.say(piece)
    assert [body for _, body in reader.answers(3)] == [PICTURE[:10]] * 3


def test_nothing_is_read_while_requests_wait() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    world.store_waits = True
    full = [reader.visit.full]
    reader.ask(path, path)
    full.append(reader.visit.full)
    world.store_waits = False
    reader.look()
    assert [*full, reader.visit.full] == [False, True, False]
    assert [body for _, body in reader.answers(2)] == [PICTURE] * 2


def test_what_is_too_much_to_wait_is_dropped_and_the_stream_ends() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    world.store_waits = True
    reader.ask(path)
    for _ in range(MAX_BEHIND // MAX_HEAD + 1):
        reader.say(bytes(MAX_HEAD))
    assert not reader.visit.full  # nothing is kept
    world.store_waits = False
    reader.look()
    assert reader.answer() == (200, PICTURE)
    assert reader.visit.finished and not reader.visit.abrupt


@pytest.mark.parametrize("headers", ["Connection: close\r\n", "Connection: Close, x\r\n"])
def test_the_stream_ends_where_that_is_asked_for(headers: str) -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path, path, headers=headers)
    assert reader.answer() == (200, PICTURE)
    assert reader.visit.finished and not reader.visit.abrupt
    assert reader.visit.reason == CloseReason(CloseKind.LOCAL, "file served")


def test_an_old_client_gets_one_answer() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.say(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert reader.answer() == (200, PICTURE)
    assert reader.visit.finished


def test_who_has_ended_his_side_is_answered_and_parted_from() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    world.store_waits = True
    reader.ask(path)
    reader.visit.receive_eof(now=world.now)
    world.store_waits = False
    reader.look()
    assert reader.answer() == (200, PICTURE)
    assert reader.visit.finished and not reader.visit.abrupt


@pytest.mark.parametrize("wrong", [f"/files/{'0' * 32}", "/nothing"])
def test_what_is_not_there_ends_the_stream(wrong: str) -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path, wrong, path)
    [(_, body), (missing, _)] = reader.answers(2)
    assert (body, missing.status_code) == (PICTURE, 404)
    assert reader.visit.finished and not reader.visit.abrupt


@pytest.mark.parametrize("port", [Port.MAIN, Port.FILES])
def test_a_websocket_may_follow_a_file(port: Port) -> None:
    """Browsers take a stream that they have."""
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world, port=port)
    reader.ask(path)
    assert reader.answer() == (200, PICTURE)
    for _ in range(4):
        reader.wait(HANDSHAKE_TIMEOUT - 1)
        reader.ask(path)
        assert reader.answer() == (200, PICTURE)
    reader.say(UPGRADE + frame(encode_quest(b"*ping", encode({}), 1)))
    assert reader.said.startswith(b"HTTP/1.1 101 ") and b"FPNN" in reader.said
    assert reader.visit.kind == "websocket"
    reader.wait(LOGIN_TIMEOUT - 0.1)
    assert not reader.visit.finished
    reader.wait(0.1)
    assert reader.visit.finished == (port is Port.MAIN)  # there one has to log in


@pytest.mark.parametrize("behind", [encode_quest(b"*ping", encode({}), 1), b"\x00"])
def test_nothing_but_http_follows_http(behind: bytes) -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path)
    assert reader.answer() == (200, PICTURE)
    reader.say(behind)
    assert reader.said == b""
    assert reader.visit.finished and reader.visit.abrupt
    assert reader.visit.reason == CloseReason(CloseKind.HANDSHAKE, "no GET")


def test_another_request_is_waited_for_as_long_as_for_the_first() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path)
    assert reader.visit.next_timeout() == world.now + HANDSHAKE_TIMEOUT
    reader.wait(HANDSHAKE_TIMEOUT - 0.1)
    reader.ask(path)
    assert [body for _, body in reader.answers(2)] == [PICTURE] * 2
    reader.say(b"GET /")
    reader.wait(HANDSHAKE_TIMEOUT)
    assert reader.visit.finished and reader.visit.abrupt
    assert reader.visit.reason == CloseReason(CloseKind.IDLE, "the request took too long")


def test_who_leaves_between_two_requests_is_gone() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path)
    reader.visit.receive_eof(now=world.now)
    assert reader.visit.finished and not reader.visit.abrupt
    assert reader.visit.reason == CloseReason(CloseKind.PEER_CLOSED, "left without a word")
    assert world.gate.held().visits == 2


def test_a_reader_that_never_reads_is_cut() -> None:
    world = World()
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.visit.receive_data(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), now=world.now)
    said = b""
    while not said:
        reader.visit.collect(now=world.now)
        world.settle()
        said = b"".join(map(bytes, reader.visit.data_to_send()))
    assert len(said) > PIECE  # and nobody takes it
    for _ in range(int(IDLE_TIMEOUT)):
        assert not reader.visit.finished
        world.now += 1
        reader.visit.collect(now=world.now)
        reader.visit.handle_timeout(now=world.now)
    assert reader.visit.finished and reader.visit.abrupt
    assert world.gate.held().downloads == 0


def test_the_gate_that_stops_waits_for_no_other_request() -> None:
    world = World()
    path = target(told_of(world).url)
    busy, idle = Reader(world), Reader(world)
    idle.ask(path)
    world.store_waits = True
    busy.ask(path)
    world.gate.drain(now=world.now)
    finished = [idle.visit.finished, busy.visit.finished]
    world.store_waits = False
    busy.look()
    assert busy.answer() == (200, PICTURE)
    assert [*finished, busy.visit.finished] == [True, False, True]
    assert not busy.visit.abrupt


# --- links that expire ---


def test_links_that_expire_are_told_signed_and_stored_plain() -> None:
    world = World(link_life=LIFE)
    received = told_of(world)
    until = WALL // 1000 + 3600
    assert f"?until={until}&sign=" in (received.url or "")
    [message] = messages(world)
    assert "until" not in message.msg
    reader = Reader(world)
    reader.ask(target(received.url))
    [(response, body)] = reader.answers(1)
    assert (response.status_code, body) == (200, PICTURE)
    assert value(response, b"cache-control") == "private, max-age=3600, immutable"


def test_a_link_is_not_kept_by_anybody_for_longer_than_it_is_good() -> None:
    world = World(link_life=LIFE)
    path = target(told_of(world).url)
    world.now += 3000
    reader = Reader(world)
    reader.ask(path)
    [(response, _)] = reader.answers(1)
    assert value(response, b"cache-control") == "private, max-age=600, immutable"
    world = World(link_life=10.0 * MAX_AGE)
    reader = Reader(world)
    reader.ask(target(told_of(world).url))
    [(response, _)] = reader.answers(1)
    assert value(response, b"cache-control") == f"private, max-age={MAX_AGE}, immutable"


def test_a_link_that_is_too_old_or_not_ours_is_refused_without_a_look() -> None:
    world = World(link_life=LIFE)
    path = target(told_of(world).url)
    bare = path.partition("?")[0]
    world.store_faults = [StoreFault("nobody should look")]
    for asked, status, text in (
        (bare, 403, b"a link has to be signed here\n"),
        (path[:-1] + ("0" if path[-1] != "0" else "1"), 403, b"the link's sign is wrong\n"),
        (path.replace("until=1", "until=2"), 403, b"the link's sign is wrong\n"),
        (
            bare.replace("0", "1", 1) + "?" + path.partition("?")[2],
            403,
            b"the link's sign is wrong\n",
        ),
    ):
        reader = Reader(world)
        reader.ask(asked)
        assert reader.answer() == (status, text)
    world.now += LIFE
    reader = Reader(world)
    reader.ask(path)
    assert reader.answer() == (410, b"the link has expired\n")
    assert len(world.store_faults) == 1


def test_links_outlive_the_gate_that_has_told_them() -> None:
    world = World(link_life=LIFE)
    path = target(told_of(world).url)
    world.restart()
    reader = Reader(world)
    reader.ask(path)
    assert reader.answer() == (200, PICTURE)
    assert [r[:2] for r in world.store.kept(0).records] == [(Table.LINK_KEY, 0)]
    reader = Reader(World(link_life=LIFE, store=other_store()))
    reader.ask(path)
    assert reader.answer() == (403, b"the link's sign is wrong\n")


def other_store() -> MemoryStore:
    """A store that has kept another key, and another record before it."""
    store = MemoryStore()
    store.save_record(Table.LOGIN_TOKEN, 0, "no key")
    store.save_record(Table.LINK_KEY, 0, "another key")
    return store


def test_links_of_a_gate_without_a_store_are_good_for_its_life() -> None:
    tokens = iter(["first", "second"])
    settings = GateSettings(PID, {}, "e:1", link_life=LIFE)
    links = [
        Gate(settings, wall_ms=lambda: WALL, make_token=lambda: next(tokens)).downloads.links
        for _ in range(2)
    ]
    link = parse_link(links[0].signed(f"/files/{'0' * 32}/a", "0" * 32))
    assert link is not None
    assert links[0].refusal(link) is None
    assert links[1].refusal(link) == (403, "the link's sign is wrong")


def test_no_key_is_kept_where_links_need_none() -> None:
    assert World().store.kept(0).records == ()


def test_a_store_that_cannot_keep_the_key_lets_no_gate_begin() -> None:
    class Full(MemoryStore):
        def save_record(self, table: Table, key: int, value: str | None) -> None:
            raise StoreFault("no space")

    with pytest.raises(StoreFault, match="no space"):
        World(store=Full(), link_life=LIFE)


def test_a_file_that_was_only_uploaded_has_a_signed_link_too() -> None:
    world = World(link_life=LIFE)
    alice = world.log_in(1001)
    url = uploaded(world, alice)
    reader = Reader(world)
    reader.ask(target(url))
    assert reader.answer() == (200, b"uploaded")


def uploaded(world: World, alice: Client) -> str:
    """The URL that the answer to an uploadfile tells."""
    grant = alice.quest("filetoken", {"cmd": "uploadfile"})
    digest = md5(b"uploaded").hexdigest()
    sign = md5(f"{digest}:{grant['token']}".encode()).hexdigest()
    quest = {
        "pid": PID,
        "from": 1001,
        "uid": 1001,
        "mtype": 50,
        "token": grant["token"],
        "file": b"uploaded",
        "attrs": json.dumps({"rtm": {"sign": sign, "ext": "txt"}}),
    }
    reader = Reader(world)
    reader.say(encode_quest(b"uploadfile", encode(quest), 1))
    answer = decode(reader.said[16:])
    url = answer["url"]
    assert isinstance(url, str)
    return url


# --- small pictures ---


@pytest.fixture
def pictures() -> Iterator[World]:
    """A world whose gate makes small pictures."""
    world = World(make_thumbnail=small)
    yield world
    assert len(world.gate.downloads.thumbnails) == 0


def test_a_picture_is_told_with_a_small_one(pictures: World) -> None:
    received = told_of(pictures)
    assert received.surl == (received.url or "").replace("/note.txt", "/thumbnail/note.txt")
    reader = Reader(pictures)
    reader.ask(target(received.surl))
    [(response, body)] = reader.answers(1)
    assert (response.status_code, body) == (200, b"small " + PICTURE[:8])
    assert value(response, b"content-type") == "image/jpeg"
    assert value(response, b"content-disposition") == 'inline; filename="thumbnail.jpg"'
    etag = value(response, b"etag")
    assert etag == f'"thumbnail-{target(received.url).split("/")[2]}"'
    reader.ask(target(received.surl), headers=f"If-None-Match: {etag}\r\n")
    assert reader.answer() == (304, b"")
    reader.ask(target(received.surl), method="HEAD")
    [(head, _)] = reader.answers(1, method="HEAD")
    assert head.headers == response.headers
    reader.ask(target(received.url))
    [(whole, body)] = reader.answers(1)
    assert body == PICTURE and value(whole, b"etag") != etag


def test_it_is_made_once(pictures: World) -> None:
    path = target(told_of(pictures).surl)
    made: list[Any] = []
    carry_out = pictures.store.carry_out

    def count(effect: Any) -> Any:
        made.append(effect) if isinstance(effect, MakeThumbnail) else None
        return carry_out(effect)

    pictures.store.carry_out = count  # type: ignore[method-assign]
    pictures.store_waits = True
    readers = [Reader(pictures) for _ in range(3)]
    for reader in readers:
        reader.ask(path)
        reader.ask(path)
    pictures.store_waits = False
    for reader in readers:
        reader.look()
    assert [len(reader.answers(2)) for reader in readers] == [2] * 3
    assert len(made) == 1


@pytest.mark.parametrize(
    "body", [b"\x89PNG\r\n\x1a\n bomb", b"\xff\xd8\xff" + bytes(100) + b"bomb"]
)
def test_where_none_can_be_made_the_file_itself_is_named(pictures: World, body: bytes) -> None:
    path = target(told_of(pictures, body).surl)
    for _ in range(2):
        reader = Reader(pictures)
        reader.ask(path)
        [(response, _)] = reader.answers(1)
        assert response.status_code == 302
        assert value(response, b"location") == "../note.txt"
    reader = Reader(pictures)
    reader.ask(path.replace("/thumbnail/note.txt", "/note.txt"))
    assert reader.answer() == (200, body)


def test_a_store_that_fails_is_asked_again(pictures: World) -> None:
    path = target(told_of(pictures).surl)
    reader = Reader(pictures)
    pictures.store_waits = True
    reader.ask(path)
    pictures.store_waits = False
    carry_out = pictures.store.carry_out

    def fail(effect: Any) -> Any:
        if isinstance(effect, MakeThumbnail):
            raise StoreFault("not now")
        return carry_out(effect)

    pictures.store.carry_out = fail  # type: ignore[method-assign]
    reader.look()
    pictures.store.carry_out = carry_out  # type: ignore[method-assign]
    [(response, _)] = reader.answers(1)
    assert response.status_code == 302
    again = Reader(pictures)
    again.ask(path)
    assert again.answer()[0] == 200


def test_the_signs_go_along() -> None:
    world = World(make_thumbnail=small, link_life=LIFE)
    received = told_of(world, b"\x89PNG\r\n\x1a\n bomb")
    reader = Reader(world)
    reader.ask(target(received.surl))
    [(response, _)] = reader.answers(1)
    query = (received.surl or "").partition("?")[2]
    assert query.startswith("until=")
    assert value(response, b"location") == f"../note.txt?{query}"
    reader = Reader(world)
    reader.ask(f"{target(received.url).partition('?')[0]}?{query}")
    assert reader.answer()[0] == 200


def test_who_leaves_before_it_is_made_leaves_nothing(pictures: World) -> None:
    path = target(told_of(pictures).surl)
    reader = Reader(pictures)
    pictures.store_waits = True
    reader.ask(path)
    pictures.store_waits = False
    pictures.settle()
    pictures.store_waits = True
    reader.look()
    reader.visit.abort(CloseReason(CloseKind.PEER_RESET))
    pictures.store_waits = False
    pictures.settle()
    again = Reader(pictures)
    again.ask(path)
    assert again.answer()[0] == 200


@pytest.mark.parametrize("body", [b"", b"text", b"BM" + bytes(100), b"%PDF-1.7\x00"])
def test_other_files_have_none(pictures: World, body: bytes) -> None:
    received = told_of(pictures, body)
    assert received.surl is None
    reader = Reader(pictures)
    reader.ask(target(received.url))
    assert reader.answer() == (200, body)


def test_without_a_decoder_nothing_is_told_and_the_file_is_named() -> None:
    world = World()
    received = told_of(world)
    assert received.surl is None
    reader = Reader(world)
    reader.ask(target(received.url).replace("/note.txt", "/thumbnail/%C3%A4%20b"))
    [(response, _)] = reader.answers(1)
    assert response.status_code == 302
    assert value(response, b"location") == "../%C3%A4%20b"


def test_a_file_that_is_gone_has_no_picture(pictures: World) -> None:
    reader = Reader(pictures)
    reader.ask(f"/files/{'0' * 32}/thumbnail/a")
    assert reader.answer() == (404, b"no such file\n")


def test_a_large_picture_comes_in_pieces_and_has_a_small_one_too(pictures: World) -> None:
    body = PICTURE * 5
    assert len(body) < MAX_SOURCE
    received = told_of(pictures, body)
    reader = Reader(pictures)
    reader.ask(target(received.surl))
    assert reader.answer() == (200, b"small " + PICTURE[:8])


# --- types that are recognised ---


def by_letter(head: bytes) -> int | None:
    """Stands for the real thing."""
    return {b"I": 40, b"A": 41, b"V": 42}.get(head[:1])


@pytest.mark.parametrize("size", [1, 200_000])
@pytest.mark.parametrize(
    ("letter", "mtype", "told"),
    [("I", 50, 40), ("A", 50, 41), ("V", 50, 42), ("x", 50, 50), ("I", 41, 41), ("V", 40, 40)],
)
def test_a_file_of_no_kind_gets_its_own(letter: str, mtype: int, told: int, size: int) -> None:
    world = World(recognise=by_letter)
    received = told_of(world, letter.encode() * size, mtype=mtype)
    assert received.mtype == told
    [message] = messages(world)
    assert message.mtype == told and message.file is not None
    file = world.store.find_file(message.file)
    assert file is not None and file.mtype == told


def test_nothing_is_recognised_where_nobody_is_asked_to() -> None:
    assert told_of(World(), b"I", mtype=50).mtype == 50


# --- pages, and settings ---


@pytest.mark.parametrize("origin", ["*", "https://app.example", "http://[::1]:8080", None])
def test_pages_may_read_as_the_setting_says(origin: str | None) -> None:
    world = World(allow_origin=origin)
    path = target(told_of(world).url)
    reader = Reader(world)
    reader.ask(path, method="OPTIONS", headers="Origin: https://app.example\r\n")
    allowed = f"Access-Control-Allow-Origin: {origin}\r\n".encode()
    assert reader.said.startswith(b"HTTP/1.1 204 ") and (allowed in reader.said) is bool(origin)
    assert reader.visit.finished and not reader.visit.abrupt
    reader = Reader(world)
    for _ in range(2):
        reader.ask(path)
        assert (allowed in reader.said) is bool(origin)
        assert reader.answer()[0] == 200


@pytest.mark.parametrize(
    "origin", ["", "null", "app.example", "https://a b", "https://a/", "*\r\nX: y", "https://a\n"]
)
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="allow_origin is"):
        World(allow_origin=origin)


def test_a_life_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="a second at the least"):
        World(link_life=0.0)
