"""What the gate does with everything odd that was tried on the original server.

Each case ends in an answer, a refusal, a counted drop or a close with a reason: never in silence
where an answer is owed, and never in a connection that nobody reads (spec, fpnn.md 8 and 11.2).
"""

from __future__ import annotations

import pytest

from rtm_proto.frames import mask_in_python
from rtm_proto.gate.limits import IDLE_TIMEOUT, LOGIN_TIMEOUT
from rtm_proto.gate.settings import Port
from rtm_proto.gate.visit import Visit
from rtm_proto.package import Kind, Package, Splitter, encode_quest
from rtm_proto.payload import decode, decode_json
from tests.vectors import Reaction, reactions
from tests.world import World

UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
MASK = b"\x01\x02\x03\x04"

# What ours does, by transport and case; a number behind # is the seq that is answered. The gate
# has no method `echo`: what the original echoes is 20004 here.
OURS = {
    ("tcp", "bad magic XPNN"): "closed: protocol error",
    ("tcp", "bad magic lower fpnn"): "closed: protocol error",
    ("tcp", "header only 12 bytes (twoway echo)"): "waits for the rest",
    ("tcp", "header 12 then rest later"): "20004 #5",
    ("tcp", "three quests in one write"): "20004 #5, 20004 #6, 20004 #7",
    ("tcp", "version 0"): "20004 #5",
    ("tcp", "version 2"): "20004 #5",
    ("tcp", "version 255"): "20004 #5",
    ("tcp", "flag 0x80 msgpack payload"): "20004 #5",
    ("tcp", "flag 0x40 msgpack payload"): "10004 #5 in JSON",
    ("tcp", "flag 0x81 msgpack payload"): "20004 #5",
    ("tcp", "flag 0x90 msgpack payload"): "20004 #5",
    ("tcp", "flag 0xb0 msgpack payload"): "20004 #5",
    ("tcp", "flag 0x20 msgpack payload"): "10002 #5",
    ("tcp", "flag 0x01 msgpack payload"): "10002 #5",
    ("tcp", "flag 0xbf msgpack payload"): "20004 #5",
    ("tcp", "mtype 4"): "closed: protocol error",
    ("tcp", "mtype 255"): "closed: protocol error",
    ("tcp", "mtype 2 (answer) ss=1, unknown seq"): "dropped",
    ("tcp", "answer with psize 0"): "dropped",
    ("tcp", "seq 0xffffffff"): "20004 #4294967295",
    ("tcp", "dup seq x2"): "20004 #5, 20004 #5",
    ("tcp", "empty method"): "10003 #5",
    ("tcp", "empty method oneway"): "dropped",
    ("tcp", "utf8 method"): "20004 #5",
    ("tcp", "non-utf8 method"): "20004 #5",
    ("tcp", "empty payload psize=0 echo"): "10003 #5",
    ("tcp", "empty payload psize=0 *ping"): "answered #5",
    ("tcp", "bad msgpack c1"): "10003 #5",
    ("tcp", "truncated msgpack 82a161"): "10003 #5",
    ("tcp", "msgpack str payload"): "10003 #5",
    ("tcp", "msgpack nil payload"): "10003 #5",
    ("tcp", "msgpack int-key map to fail (reads keys)"): "20004 #5",
    ("tcp", "msgpack int-key map to throw (wants key)"): "20004 #5",
    ("tcp", "bad msgpack oneway"): "dropped",
    ("tcp", "bad msgpack *ping"): "answered #5",
    ("tcp", "oneway to twoway method (auth)"): "dropped",
    ("tcp", "oneway echo"): "dropped",
    ("tcp", "oneway *status"): "dropped",
    ("tcp", "oneway throw"): "dropped",
    ("tcp", "* unknown builtin"): "20004 #5",
    ("tcp", "psize 0xffffffff"): "10003 #5, closed: over a limit",
    ("tcp", "psize 8MiB+1"): "10003 #5, closed: over a limit",
    ("tcp", "psize exactly 8MiB-20 (hdr only)"): "10003 #5, closed: over a limit",
    ("ws", "binary"): "20004 #1",
    ("ws", "text"): "20004 #1",
    ("ws", "2 packages in one message"): "close frame 1007, closed: protocol error",
    ("ws", "1 package split over 2 messages"): "close frame 1007, closed: protocol error",
    ("ws", "fragmented 2 in one write"): "20004 #1",
    ("ws", "fragmented 3"): "20004 #1",
    ("ws", "fragmented with ping(payload) between"): "pong hello, 20004 #1",
    ("ws", "fragmented with pong between"): "20004 #1",
    ("ws", "empty last fragment"): "20004 #1",
    ("ws", "empty middle fragment"): "20004 #1",
    ("ws", "continuation without start"): "close frame 1002, closed: protocol error",
    ("ws", "unfinished fragment then new full message"): (
        "close frame 1002, closed: protocol error"
    ),
    ("ws", "ping empty"): "pong",
    ("ws", "ping payload abc"): "pong abc",
    ("ws", "ping 126 (illegal)"): "close frame 1002, closed: protocol error",
    ("ws", "ping 70000 (illegal)"): "close frame 1002, closed: protocol error",
    ("ws", "ping empty fin=0"): "close frame 1002, closed: protocol error",
    ("ws", "pong unsolicited"): "taken as a sign of life",
    ("ws", "close empty"): "close frame, closed: closed by the peer",
    ("ws", "close 1000"): "close frame 1000, closed: closed by the peer",
    ("ws", "opcode 3"): "close frame 1002, closed: protocol error",
    ("ws", "opcode 7"): "close frame 1002, closed: protocol error",
    ("ws", "opcode f"): "close frame 1002, closed: protocol error",
    ("ws", "opcode 3 empty"): "close frame 1002, closed: protocol error",
    ("ws", "RSV=2"): "close frame 1002, closed: protocol error",
    ("ws", "RSV=4"): "close frame 1002, closed: protocol error",
    ("ws", "mask zero"): "20004 #1",
    ("ws", "non-minimal 16-bit length"): "20004 #1",
    ("ws", "empty binary message"): "close frame 1007, closed: protocol error",
    ("ws", "11-byte message"): "close frame 1007, closed: protocol error",
    ("ws", "bad magic"): "close frame 1002, closed: protocol error",
    ("ws", "magic POST"): "close frame 1002, closed: protocol error",
    ("ws", "mtype 3"): "close frame 1002, closed: protocol error",
    ("ws", "flag C0"): "10002 #1",
    ("ws", "psize 0 echo"): "10003 #1",
    ("ws", "psize 0 *ping"): "answered #1",
    ("ws", "oneway *status"): "dropped",
    ("ws", "answer unknown seq"): "dropped",
    ("ws", "*key over ws"): "20013 #1",
    ("ws", "ws upgrade again inside"): "close frame 1002, closed: protocol error",
}

OURS_ON_THE_FILE_PORT = {
    **OURS,
    ("tcp", "psize 0xffffffff"): "200031 #5, closed: over a limit",
    ("tcp", "psize 8MiB+1"): "200031 #5, closed: over a limit",
    ("tcp", "psize exactly 8MiB-20 (hdr only)"): "20004 #5, waits for the rest",
}

# Of this one the vectors have the length only.
BIG_PING = b"\x89\xff" + (70_000).to_bytes(8, "big") + MASK + mask_in_python(bytes(70_000), MASK)
CASES = (*reactions(), Reaction("ping 70000 (illegal)", "ws", BIG_PING, ("8a00",), "usable"))


def arrive(world: World, transport: str, *, port: Port) -> Visit:
    visit = world.gate.visit("somebody", port=port)
    visit.connected(now=world.now)
    if transport == "ws":
        say(world, visit, UPGRADE)
        assert b"".join(visit.data_to_send()).startswith(b"HTTP/1.1 101 ")
    return visit


def say(world: World, visit: Visit, data: bytes) -> None:
    visit.receive_data(data, now=world.now)
    visit.collect(now=world.now)


def what_came_of_it(transport: str, visit: Visit) -> str:
    data = b"".join(visit.data_to_send())
    items: list[str] = []
    if transport == "tcp":
        items += map(shown, Splitter().feed(data))
    else:
        while data:
            opcode, size = data[0], data[1]
            assert size < 126
            payload, data = data[2 : 2 + size], data[2 + size :]
            if opcode == 0x82:
                [package] = Splitter().feed(payload)
                items.append(shown(package))
            elif opcode == 0x88:
                code = str(int.from_bytes(payload[:2], "big")) if payload else ""
                items.append(f"close frame {code}".rstrip())
            else:
                assert opcode == 0x8A
                items.append(f"pong {payload.decode()}".rstrip())
    items += ["dropped"] * visit.dropped
    if visit.reason is not None:
        items.append(f"closed: {visit.reason.kind.value}")
    return ", ".join(items)


def shown(package: Package) -> str:
    assert package.kind == Kind.ANSWER and package.version in (0, 1)
    if package.status == 0:
        return f"answered #{package.seq}"
    in_json = package.flag == 0x40
    params = (decode_json if in_json else decode)(package.payload)
    assert package.status == 1 and list(params) == ["code", "ex"]
    return f"{params['code']} #{package.seq}{' in JSON' if in_json else ''}"


@pytest.mark.parametrize("port", [Port.MAIN, Port.FILES], ids=["main port", "file port"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.transport} {case.name}")
def test_every_odd_input_ends_as_the_table_says(case: Reaction, port: Port) -> None:
    table = OURS_ON_THE_FILE_PORT if port is Port.FILES else OURS
    expected = table[case.transport, case.name]
    pieces = [
        [case.data],
        [case.data[:1], case.data[1:]],
        [case.data[:12], case.data[12:]],
        [*(case.data[i : i + 1] for i in range(min(300, len(case.data)))), case.data[300:]],
    ]
    for way in pieces:
        world = World()
        visit = arrive(world, case.transport, port=port)
        for piece in way:
            say(world, visit, piece)
        came = what_came_of_it(case.transport, visit)
        if came:
            assert came == expected.removesuffix(", waits for the rest")
        else:
            assert expected in ("waits for the rest", "taken as a sign of life")
        assert visit.finished == ("closed:" in expected)
        if visit.finished:
            assert not visit.abrupt, "the last words would be lost"
            assert world.gate.held().visits == 0
        else:
            is_alive_and_ends(world, case, visit, expected)


def is_alive_and_ends(world: World, case: Reaction, visit: Visit, expected: str) -> None:
    """It is read and answered, and it is closed when nothing more comes."""
    if not expected.endswith("waits for the rest"):
        ping = encode_quest(b"*ping", b"\x80", 99)
        say(world, visit, ping if case.transport == "tcp" else frame(ping))
        assert what_came_of_it(case.transport, visit).startswith("answered #99")
    world.now += max(LOGIN_TIMEOUT, IDLE_TIMEOUT) + 1
    for _ in range(3):
        visit.handle_timeout(now=world.now)
        visit.collect(now=world.now)
        visit.data_to_send()
        world.now += 61
    assert visit.finished and visit.reason is not None
    assert world.gate.held().visits == 0


def frame(package: bytes) -> bytes:
    assert len(package) < 126
    return bytes([0x82, 0x80 | len(package)]) + MASK + mask_in_python(package, MASK)


def test_the_table_has_every_case_and_no_other() -> None:
    assert {(case.transport, case.name) for case in CASES} == set(OURS)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_sixteen_malformed_packages_are_enough(transport: str) -> None:
    world = World()
    visit = arrive(world, transport, port=Port.MAIN)
    came = ""
    for seq in range(1, 17):
        assert "closed" not in came
        bad = encode_quest(b"echo", b"\xc1", seq)
        say(world, visit, bad if transport == "tcp" else frame(bad))
        came = what_came_of_it(transport, visit)
        assert came.startswith(f"10003 #{seq}")
    assert came.endswith("closed: protocol error")
    assert "too many bad packages" in str(visit.reason)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_too_many_quests_at_once_are_20011_and_the_connection_stays(transport: str) -> None:
    """Answers that wait for the store count; here the store waits."""
    world = World(scheme=transport)
    client = world.log_in(1001)
    world.store_waits = True
    tickets = [
        client.desk.ask("addgroupmembers", {"gid": gid, "uids": [1001]}, deadline=None)
        for gid in range(70)
    ]
    world.settle()
    assert [ticket.done for ticket in tickets] == [False] * 64 + [True] * 6
    world.store_waits = False
    world.settle()
    assert all(ticket.done for ticket in tickets)
    assert client.quest("ping", {}) == {}
