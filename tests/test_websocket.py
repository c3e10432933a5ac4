"""FPNN over WebSocket: the link, both roles, against the recorded bytes of other programs."""

from __future__ import annotations

import itertools
import tracemalloc
from base64 import b64decode
from typing import Any

import h11
import pytest

from rtm_proto.errors import LocalProtocolError
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.link import Buffer
from rtm_proto.package import Package, Splitter, encode_answer, encode_quest, quest_head
from rtm_proto.upgrade import HandshakeRefused
from rtm_proto.websocket import WebSocketLink
from tests.fuzz.footprint import footprint
from tests.parts import put_together
from tests.raw_frames import cuts, joined, load_vectors, raw_frame

KEY = b"\x37\xfa\x21\x3d"
NONCE = b64decode("dGhlIHNhbXBsZSBub25jZQ==")  # RFC 6455, section 1.3
QUEST = encode_quest(b"ping", b"\x80", 1)
ANSWER = encode_answer(b"\x80", 1)
LOCAL = CloseReason(CloseKind.LOCAL)


class Pair:
    """A client and a server whose bytes go to each other, in chunks of *step* (0: whole)."""

    def __init__(self, step: int = 0, **options: Any) -> None:
        self.client = WebSocketLink.client("gate:1", nonce=NONCE, mask_key=lambda: KEY, **options)
        self.server = WebSocketLink.server(**options)
        self.step = step
        self.client.start()
        self.server.start()
        self.flow()

    def flow(self) -> None:
        """Carry bytes until neither has anything to say."""
        while True:
            to_server = joined(self.client.data_to_send())
            to_client = joined(self.server.data_to_send())
            if not to_server and not to_client:
                return
            for link, data in ((self.server, to_server), (self.client, to_client)):
                step = self.step or len(data) or 1
                for i in range(0, len(data), step):
                    link.receive_data(data[i : i + step], now=0.0)


def opened(role: str, **options: Any) -> WebSocketLink:
    """A link of *role* whose handshake is done and whose bytes of it are taken."""
    pair = Pair(**options)
    link = pair.client if role == "client" else pair.server
    assert link.is_open
    return link


def receive(link: WebSocketLink, *chunks: bytes) -> list[Package]:
    packages: list[Package] = []
    for chunk in chunks:
        link.receive_data(bytearray(chunk), now=0.0)
        packages += link.packages()
    return packages


def one(package: bytes) -> list[Package]:
    return Splitter().feed(package)


def masked(payload: bytes, opcode: int = 2, **more: Any) -> bytes:
    return raw_frame(payload, opcode, key=KEY, **more)


# --- the pair ---


@pytest.mark.parametrize("step", [0, 1, 7])
def test_packages_pass_in_both_directions(step: int) -> None:
    pair = Pair(step)
    pair.client.send_package(QUEST)
    pair.server.send_package(ANSWER)
    pair.server.send_package(ANSWER)
    pair.flow()
    assert pair.server.packages() == one(QUEST)
    assert pair.client.packages() == one(ANSWER) * 2
    assert pair.client.ping()
    assert pair.server.ping()
    pair.flow()
    assert pair.client.ended is None
    assert pair.server.ended is None


@pytest.mark.parametrize("size", [60, 125, 126, 127, 18_000, 65_535, 65_536, 300_000])
def test_a_package_of_any_size_passes(size: int) -> None:
    pair = Pair()
    package = encode_quest(b"echo", bytes(i & 0xFF for i in range(size - 20)), 7)
    assert len(package) == size
    for link in (pair.client, pair.server):
        link.send_package(package)
    pair.flow()
    assert pair.client.packages() == pair.server.packages() == one(package)


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("head", [1, 20, 1_000, 5_000])
def test_a_package_in_pieces_equals_the_whole(role: str, head: int) -> None:
    package = encode_quest(b"sendfile", bytes(4_980), 3)
    whole = opened(role)
    whole.send_package(package)
    pieces = opened(role)
    pieces.begin_package(len(package), package[:head])
    for i in range(head, len(package), 999):
        assert pieces.in_package
        assert not pieces.ping()
        piece: Buffer = memoryview(package)[i : i + 999]
        pieces.send_piece(piece)
    assert not pieces.in_package
    assert joined(pieces.data_to_send()) == joined(whole.data_to_send())


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_ping_that_arrives_inside_a_package_is_answered_behind_it(role: str) -> None:
    link = opened(role)
    key = KEY if role == "client" else None
    link.begin_package(len(QUEST), QUEST[:5])
    receive(link, raw_frame(b"?", 9, key=None if key else KEY))
    link.send_piece(QUEST[5:])
    assert joined(link.data_to_send()) == raw_frame(QUEST, key=key) + raw_frame(b"?", 10, key=key)


@pytest.mark.parametrize("role", ["client", "server"])
def test_what_is_always_wrong_is_a_local_error(role: str) -> None:
    link = opened(role)
    link.begin_package(30, b"x" * 10)
    with pytest.raises(LocalProtocolError, match="20 bytes are missing"):
        link.send_package(QUEST)
    with pytest.raises(LocalProtocolError, match="20 bytes are missing"):
        link.begin_package(50, b"x" * 10)
    with pytest.raises(LocalProtocolError, match="20 more bytes, got 21"):
        link.send_piece(bytes(21))
    link.send_piece(bytes(20))
    link.send_package(QUEST)


def test_nothing_is_sent_before_the_101() -> None:
    link = WebSocketLink.client("gate:1", nonce=NONCE, mask_key=lambda: KEY)
    link.start()
    assert joined(link.data_to_send()).startswith(b"GET /service/websocket HTTP/1.1\r\n")
    with pytest.raises(LocalProtocolError, match="handshake"):
        link.send_package(QUEST)
    with pytest.raises(LocalProtocolError, match="handshake"):
        link.begin_package(20, b"")
    assert not link.in_package
    assert not link.ping()
    link.close(LOCAL)
    assert link.data_to_send() == []


def test_frames_may_stand_behind_the_101() -> None:
    server = WebSocketLink.server()
    client = WebSocketLink.client("gate:1", nonce=NONCE, mask_key=lambda: KEY)
    client.start()
    server.receive_data(joined(client.data_to_send()) + masked(QUEST), now=0.0)
    assert server.packages() == one(QUEST)
    server.send_package(ANSWER)
    assert receive(client, joined(server.data_to_send())) == one(ANSWER)


def test_nothing_of_the_handshake_is_kept() -> None:
    without = WebSocketLink.upgraded(request())
    without.start()
    without.data_to_send()
    assert footprint(opened("server")) <= footprint(without) + 500


# --- a request that somebody else has read ---


def request(target: str = "/service/websocket") -> h11.Request:
    return h11.Request(
        method="GET",
        target=target,
        headers=[
            ("Host", "gate"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ],
    )


@pytest.mark.parametrize("cut", [0, 1, 10, len(QUEST) + 6])
def test_a_request_read_by_a_front_door(cut: int) -> None:
    wire = masked(QUEST)
    link = WebSocketLink.upgraded(request(), wire[:cut])
    link.start()
    assert link.is_open
    packages = link.packages() + receive(link, wire[cut:])
    assert packages == one(QUEST)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in joined(link.data_to_send())


def test_a_message_behind_a_request_is_one_package() -> None:
    link = WebSocketLink.upgraded(request(), masked(QUEST + QUEST))
    link.start()
    assert link.packages() == []
    assert link.ended is not None
    assert link.ended.kind is CloseKind.PROTOCOL_ERROR
    assert "more bytes behind it" in link.ended.text


def test_control_frames_behind_a_request_have_their_limit() -> None:
    link = WebSocketLink.upgraded(request(), masked(b"", 9) * 51)
    link.start()
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT


def test_bytes_before_the_start_are_kept() -> None:
    link = WebSocketLink.upgraded(request())
    link.receive_data(masked(QUEST), now=0.0)
    assert link.data_to_send() == []
    link.start()
    assert link.packages() == one(QUEST)
    early = WebSocketLink.upgraded(request())
    early.receive_eof()
    assert early.ended is None


def test_a_front_doors_request_can_be_refused() -> None:
    link = WebSocketLink.upgraded(request("/files/1"), masked(QUEST))
    assert link.data_to_send() == []
    link.start()
    assert joined(link.data_to_send()).startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert str(link.ended) == "handshake failed: no WebSocket is served here"
    assert isinstance(link.refusal, HandshakeRefused)
    assert link.packages() == []


def test_a_server_refuses_what_is_no_upgrade() -> None:
    for data in (
        b"FPNN" + bytes(20),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\r\n",
    ):
        link = WebSocketLink.server()
        link.start()
        receive(link, data)
        if link.ended is None:
            receive(link, b"\r\n\r\n")
        assert link.ended is not None
        assert link.ended.kind is CloseKind.HANDSHAKE
        assert joined(link.data_to_send()).startswith(b"HTTP/1.1 4")
        link.close(link.ended)
        receive(link, b"more")
        assert link.data_to_send() == []


def test_a_client_that_is_refused_says_why() -> None:
    link = WebSocketLink.client("gate:1", nonce=NONCE, mask_key=lambda: KEY)
    link.start()
    link.data_to_send()
    receive(link, b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")
    assert str(link.ended) == "handshake failed: the server answered 404 Not Found: nope"
    assert link.refusal is not None
    assert (link.refusal.status, link.refusal.body) == (404, b"nope")
    assert link.data_to_send() == []


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "closed without an answer"), (b"HTTP/1.1 503 Busy\r\n\r\nnot now", "503 Busy: not now")],
)
def test_a_stream_that_ends_in_the_handshake(data: bytes, said: str) -> None:
    link = WebSocketLink.client("gate:1", nonce=NONCE, mask_key=lambda: KEY)
    link.start()
    receive(link, data)
    link.receive_eof()
    link.receive_eof()
    assert link.ended is not None
    assert link.ended.kind is CloseKind.HANDSHAKE
    assert said in link.ended.text


# --- recorded bytes ---


def from_c2s() -> list[Any]:
    return [
        pytest.param(bytes.fromhex(case["hex"]), id=case["name"])
        for case in load_vectors("fpnn.json")
        if case["transport"] == "ws"
        and case["direction"] == "c2s"
        and "hex" in case
        and case["decoded"].get("fpnn")
    ]


def from_s2c() -> list[Any]:
    return [
        pytest.param(bytes.fromhex(case["hex"]), case["decoded"]["fpnn"], id=case["name"])
        for case in load_vectors("fpnn.json")
        if case["transport"] == "ws"
        and case["direction"] == "s2c"
        and "hex" in case
        and case["decoded"].get("fpnn")
    ]


@pytest.mark.parametrize("wire", from_c2s())
def test_what_the_frameworks_client_sends(wire: bytes) -> None:
    for chunks in cuts(wire):
        link = opened("server")
        (package,) = receive(link, *chunks)
        assert link.ended is None
        assert package.version == 1
    if wire[0] == 0x82 and not wire[1] == 0xFE:
        # what we write for the same package is the same, byte for byte
        (head,) = {wire[2:6]}
        client = opened("client")
        payload = bytes(byte ^ head[i % 4] for i, byte in enumerate(wire[6:]))
        client.send_package(payload)
        assert joined(client.data_to_send()) == wire


@pytest.mark.parametrize(("wire", "decoded"), from_s2c())
def test_what_the_frameworks_server_sends(wire: bytes, decoded: dict[str, Any]) -> None:
    for chunks in cuts(wire):
        for tail in (b"", raw_frame(ANSWER)):
            link = opened("client")
            first, *rest = receive(link, *chunks[:-1], chunks[-1] + tail)
            assert (first.seq, len(first.payload)) == (decoded["seq"], decoded["psize"])
            assert rest == (one(ANSWER) if tail else [])
            assert link.ended is None


def from_js() -> list[Any]:
    return [
        pytest.param(case, id=case["name"])
        for case in load_vectors("js-sdk.json")
        if not case.get("hex_truncated") and len(case["hex"]) > 2
    ]


@pytest.mark.parametrize("case", from_js())
def test_what_the_js_sdk_sends_and_takes(case: dict[str, Any]) -> None:
    package = bytes.fromhex(case["hex"])
    assert one(package)
    if case["direction"] == "c2s":
        link = opened("server")
        assert receive(link, masked(package)) == one(package)
        half = len(package) // 2
        wire = masked(package[:half], fin=False) + masked(package[half:], 0)
        assert receive(link, wire) == one(package)
    else:
        link = opened("client")
        assert receive(link, raw_frame(package, case["ws_opcode"])) == one(package)
        bytewise = [raw_frame(package[i : i + 1]) for i in range(len(package))]
        assert receive(link, *bytewise) == one(package)


REFUSED_BY_US_ONLY = {
    # what the framework takes although RFC 6455 does not allow it: case -> our close code
    "continuation without start": 1002,
    "ping 126 (illegal)": 1002,
    "ping 70000 (illegal)": 1002,
    "ping empty fin=0": 1002,
    "RSV=2": 1002,
    "RSV=4": 1002,
}
CLOSE_CODES = {
    "2 packages in one message": 1007,
    "1 package split over 2 messages": 1007,
    "unfinished fragment then new full message": 1002,
    "close empty": None,
    "close 1000": 1000,
    "opcode 3": 1002,
    "opcode 7": 1002,
    "opcode f": 1002,
    "opcode 3 empty": 1002,
    "empty binary message": 1007,
    "11-byte message": 1007,
    "bad magic": 1002,
    "magic POST": 1002,
    "mtype 3": 1002,
    "ws upgrade again inside": 1002,
}
JUDGED_FURTHER_IN = {  # whole packages: what is wrong with them is the connection's to find
    "flag C0",
    "psize 0 echo",
    "oneway *status",
    "*key over ws",
}
NO_PACKAGE = {"ping empty", "ping payload abc", "pong unsolicited"}


def reactions() -> list[Any]:
    return [
        pytest.param(case, id=case["name"])
        for case in load_vectors("reactions.json")
        if case["transport"] == "ws"
    ]


@pytest.mark.parametrize("case", reactions())
def test_every_input_ends_in_a_package_or_in_a_reason(case: dict[str, Any]) -> None:
    name = case["name"]
    if "hex" in case:
        wire = bytes.fromhex(case["hex"])
    else:  # too long to be recorded
        wire = masked(bytes(70_000), 9)
        assert len(wire) == case["length"]
    for chunks in cuts(wire) if len(wire) < 1_000 else [[wire]]:
        link = opened("server")
        packages = receive(link, *chunks)
        if name in CLOSE_CODES or name in REFUSED_BY_US_ONLY:
            assert packages == []
            assert link.ended is not None
            link.close(link.ended)
            sent = joined(link.data_to_send())
            code = CLOSE_CODES.get(name, 1002)
            assert sent[:1] == b"\x88"
            assert sent[2:4] == (b"" if code is None else code.to_bytes(2))
            assert receive(link, masked(QUEST)) == []
        else:
            assert link.ended is None
            assert len(packages) == (0 if name in NO_PACKAGE else 1)
            closed = case["connection_after"] == "closed"
            assert closed == (name in JUDGED_FURTHER_IN)
            assert receive(link, masked(QUEST)) == one(QUEST)


# --- the frame whose length is missing ---

ANSWER_126 = encode_answer(b"x" * 110, 5)
BUG_126 = b"\x82\x7e" + ANSWER_126
TRUE_18000 = raw_frame(encode_answer(b"y" * 17_984, 6))


def test_the_frame_of_126_bytes_is_repaired_however_it_is_cut() -> None:
    assert len(ANSWER_126) == 126
    wire = BUG_126 + BUG_126 + raw_frame(ANSWER) + BUG_126
    expected = one(ANSWER_126) * 2 + one(ANSWER) + one(ANSWER_126)
    for cut in range(1, len(wire)):
        assert receive(opened("client"), wire[:cut], wire[cut:]) == expected
    assert receive(opened("client"), *cuts(wire)[1]) == expected


def test_a_true_length_of_18000_is_left_alone_however_it_is_cut() -> None:
    assert TRUE_18000[:8] == b"\x82\x7eFPFPNN"
    expected = one(TRUE_18000[4:])
    for cut in range(1, 40):
        link = opened("client")
        assert receive(link, TRUE_18000[:cut], TRUE_18000[cut:] + BUG_126) == [
            *expected,
            *one(ANSWER_126),
        ]
    assert receive(opened("client"), *cuts(TRUE_18000)[1]) == expected


def test_only_a_frame_that_begins_a_package_is_repaired() -> None:
    # A package of 18,020 bytes in two frames; the second is 18,000 long and begins with "NN".
    package = encode_answer(b"x" * 4 + b"NN" + b"y" * 17_998, 5)
    wire = raw_frame(package[:20]) + raw_frame(package[20:])
    assert wire[24:28] == b"FPNN"
    assert receive(opened("client"), wire) == one(package)


@pytest.mark.parametrize("front_door", [False, True])
def test_a_client_writes_its_lengths_so_a_server_repairs_nothing(front_door: bool) -> None:
    """A frame of 18,000 bytes whose mask key begins with "NN" looks like the one without length."""
    package = encode_quest(b"echo", bytes(17_980), 5)
    wire = raw_frame(package, key=b"NN\x01\x02")
    assert wire[2:6] == b"FPNN"
    for step in (1, 5, len(wire)):
        link = opened("server")
        if front_door:
            link = WebSocketLink.upgraded(request())
            link.start()
        got = receive(link, *(wire[i : i + step] for i in range(0, len(wire), step)))
        assert got == one(package)
        assert link.ended is None


# --- messages and packages ---


def test_a_client_takes_payloads_as_one_stream() -> None:
    stream = ANSWER + ANSWER_126 + ANSWER
    link = opened("client")
    wire = (
        raw_frame(stream[:5]) + raw_frame(b"") + raw_frame(stream[5:100]) + raw_frame(stream[100:])
    )
    assert receive(link, wire) == one(ANSWER) + one(ANSWER_126) + one(ANSWER)
    assert receive(link, raw_frame(ANSWER * 3)) == one(ANSWER) * 3
    assert link.ended is None


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "got nothing"),
        (QUEST[:-1], "got a package, after 20 bytes of it"),
        (QUEST + b"\x00", "more bytes behind it"),
        (QUEST + b"F", "more bytes behind it"),
        (QUEST + QUEST, "more bytes behind it"),
    ],
)
def test_strictly_a_message_is_one_package(role: str, payload: bytes, said: str) -> None:
    key = KEY if role == "server" else None
    good = raw_frame(QUEST, key=key)
    half = len(payload) // 2
    for bad in (
        raw_frame(payload, key=key),
        raw_frame(payload[:half], key=key, fin=False) + raw_frame(payload[half:], 0, key=key),
        raw_frame(payload, key=key, fin=False) + raw_frame(b"", 0, key=key),
    ):
        for chunks in cuts(good + bad):
            link = opened(role, strict=True)
            assert receive(link, *chunks) == one(QUEST)
            assert link.ended is not None
            assert link.ended.kind is CloseKind.PROTOCOL_ERROR
            assert said in link.ended.text
            assert link.fault is None
            link.close(link.ended)
            assert b"\x03\xef" in joined(link.data_to_send())[:8] or role == "client"


LARGE = encode_quest(b"sendfile", bytes(range(150)), 7)


def in_frames(payload: bytes, *places: int, key: bytes | None = KEY) -> bytes:
    """A message whose payload is cut into frames at *places*."""
    marks = [0, *places, len(payload)]
    wire = b""
    for number, (start, end) in enumerate(itertools.pairwise(marks)):
        fin = number == len(marks) - 2
        wire += raw_frame(payload[start:end], 2 if number == 0 else 0, key=key, fin=fin)
    return wire


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("places", [(), (5,), (24,), (25,), (0, 3, 24, 24, 100, 173), (174,)])
def test_a_message_with_a_large_package_comes_in_parts(
    role: str, places: tuple[int, ...], lane: bool
) -> None:
    key = KEY if role == "server" else None
    small = raw_frame(QUEST, key=key)
    for chunks in cuts(small + in_frames(LARGE, *places, key=key) + small):
        link = opened(role, strict=True, lane=lane)
        link.set_max_whole(50)
        packages = receive(link, *chunks)
        assert put_together(packages) == one(QUEST) + one(LARGE) + one(QUEST)
        assert link.ended is None
        if len(chunks) > 100:
            assert len(packages) > 50, "they came as their bytes did"


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (b"\x00", "more bytes behind it"),
        (b"F", "more bytes behind it"),
        (QUEST, "more bytes behind it"),
        (LARGE, "more bytes behind it"),
        (LARGE[:30], "more bytes behind it"),
        (LARGE[:3], "more bytes behind it"),
    ],
)
def test_bytes_behind_a_large_package_end_the_link_before_its_last_part(
    behind: bytes, said: str
) -> None:
    payload = LARGE + behind
    for places in ((), (24,), (100,), (len(LARGE),), (len(LARGE) - 1, len(LARGE), len(LARGE))):
        for chunks in cuts(in_frames(payload, *places)):
            link = opened("server")
            link.set_max_whole(50)
            whole = put_together(receive(link, *chunks))
            assert all(package.left for package in whole), "it did not come to its end"
            assert link.ended is not None and link.ended.kind is CloseKind.PROTOCOL_ERROR
            assert said in link.ended.text
            assert link.fault is None


@pytest.mark.parametrize("size", [1, 11, 12, 23, 24, 25, 100, len(LARGE) - 1])
def test_a_message_that_ends_inside_a_large_package_ends_the_link(size: int) -> None:
    for places in ((), (size // 2,), (size,)):
        for chunks in cuts(in_frames(LARGE[:size], *places) + masked(QUEST)):
            link = opened("server")
            link.set_max_whole(50)
            whole = put_together(receive(link, *chunks))
            assert [package.method for package in whole] == [b"sendfile"] * (size >= 24)
            assert all(package.left for package in whole)
            assert link.ended is not None and link.ended.kind is CloseKind.PROTOCOL_ERROR
            assert f"got a package, after {size} bytes of it" in link.ended.text


def test_a_stream_that_ends_inside_a_large_package_says_how_much_of_it_came() -> None:
    link = opened("server")
    link.set_max_whole(50)
    receive(link, in_frames(LARGE)[: 4 + 4 + 100])
    link.receive_eof()
    text = "inside a package, after 100 bytes of it"
    assert link.ended == CloseReason(CloseKind.PEER_CLOSED, text)


def test_the_parts_of_a_large_package_are_not_kept() -> None:
    link = opened("server")
    link.set_max_whole(1000)
    size = 5_000_000
    head = quest_head(b"sendfile", size, 1)
    link.receive_data(masked(head, announced=len(head) + size), now=0.0)
    link.packages()
    fresh = footprint(link)
    for _ in range(20):
        assert len(receive(link, bytes(65_536))) == 1
    assert footprint(link) <= fresh + 2000


@pytest.mark.parametrize("lane", [True, False])
def test_a_client_refuses_a_broken_package(lane: bool) -> None:
    link = opened("client", lane=lane)
    assert receive(link, raw_frame(ANSWER + b"HTTP")) == one(ANSWER)
    assert link.fault is not None
    assert link.ended is not None
    assert link.ended.kind is CloseKind.PROTOCOL_ERROR
    link.close(link.ended)
    assert joined(link.data_to_send())[6:8] == bytes(
        byte ^ KEY[i] for i, byte in enumerate(b"\x03\xea")
    )


def test_an_over_long_quest_is_refused_by_its_name() -> None:
    size = 1 << 32
    quest = encode_quest(b"sendfile", b"", 77)[:8] + (size - 24).to_bytes(4, "little")
    quest += (77).to_bytes(4, "little") + b"sendfile"
    wire = masked(quest, announced=size)
    for chunks in cuts(wire):
        link = opened("server")
        assert receive(link, *chunks) == []
        assert link.fault is not None
        assert (link.fault.seq, link.fault.limit) == (77, True)
        assert link.ended is not None
        assert link.ended.kind is CloseKind.LIMIT
        assert link.data_to_send() == []
        link.send_package(ANSWER)  # the refusal goes out before the close
        link.close(link.ended)
        first, close = link.data_to_send()
        assert first == raw_frame(ANSWER)
        assert bytes(close)[:4] == b"\x88" + bytes([len(close) - 2]) + b"\x03\xf1"


def test_a_package_over_the_limit_in_a_message_that_is_not_is_too_big_as_well() -> None:
    link = opened("server", max_package=100)
    assert receive(link, masked(quest_head(b"sendfile", 1000, 77))) == []
    assert link.fault is not None
    assert (link.fault.seq, link.fault.limit) == (77, True)
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT
    link.close(link.ended)
    assert joined(link.data_to_send()) == raw_frame(b"\x03\xf1" + str(link.fault).encode(), 8)


def test_an_over_long_message_of_small_packages_is_over_the_limit() -> None:
    link = opened("client", max_package=100)
    wire = raw_frame(ANSWER * 10)
    assert receive(link, wire) == []
    assert link.fault is None
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT


def test_the_limit_can_be_raised() -> None:
    link = opened("server", max_package=50)
    link.set_max_package(200)
    package = encode_quest(b"echo", bytes(150), 1)
    assert receive(link, masked(package)) == one(package)
    receive(link, masked(encode_quest(b"echo", bytes(200), 1)))
    assert link.fault is not None
    assert link.fault.limit


def test_a_huge_announced_length_takes_no_memory() -> None:
    link = opened("server")
    tracemalloc.start()
    try:
        wire = masked(b"FPNN\x01\x80\x00\x04" + b"\xff\xff\xff\x00", announced=1 << 40)
        receive(link, *cuts(wire + b"FPNN")[1])
        assert link.ended is not None
        for _ in range(100):
            receive(link, bytes(65_536))
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


# --- the end ---


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CloseKind.LOCAL, 1000),
        (CloseKind.KICKOUT, 1000),
        (CloseKind.IDLE, 1000),
        (CloseKind.PROTOCOL_ERROR, 1002),
        (CloseKind.LIMIT, 1008),
        (CloseKind.HANDSHAKE, None),
        (CloseKind.CONNECT, None),
        (CloseKind.TLS, None),
        (CloseKind.PEER_RESET, None),
    ],
)
def test_a_close_says_why(kind: CloseKind, code: int | None) -> None:
    link = opened("server")
    link.close(CloseReason(kind, "the detail"))
    expected = b"" if code is None else raw_frame(code.to_bytes(2) + b"the detail", 8)
    assert joined(link.data_to_send()) == expected
    assert link.ended == CloseReason(kind, "the detail")
    link.close(LOCAL)
    assert link.data_to_send() == []


def test_a_close_is_answered_and_ends_both() -> None:
    pair = Pair()
    pair.client.close(LOCAL)
    pair.flow()
    assert str(pair.client.ended) == "closed by us"
    assert str(pair.server.ended) == "closed by the peer: close frame 1000"
    pair.server.send_package(ANSWER)
    pair.server.close(LOCAL)
    assert pair.server.data_to_send() == []


def test_the_end_of_the_stream_needs_no_close() -> None:
    link = opened("client")
    receive(link, raw_frame(ANSWER))
    link.receive_eof()
    assert link.ended == CloseReason(CloseKind.PEER_CLOSED)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (raw_frame(ANSWER)[:1], "inside a WebSocket message"),
        (raw_frame(ANSWER)[:9], "inside a package, after 7 bytes of it"),
        (raw_frame(ANSWER[:5]), "inside a package, after 5 bytes of it"),
        (raw_frame(b"", fin=False), "inside a WebSocket message"),
    ],
)
def test_an_end_in_the_middle_says_so(wire: bytes, said: str) -> None:
    link = opened("client")
    receive(link, wire)
    link.receive_eof()
    assert link.ended == CloseReason(CloseKind.PEER_CLOSED, said)
