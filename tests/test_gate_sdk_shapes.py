"""The gate and each SDK in its own dialect: what it sends is taken, what it needs is in the push.

    sender      written here byte by byte, as that SDK writes it (SDKS)
    receiver    reads what every SDK reads, as strictly as the strictest of them (`check_push`)

The dialects are known from the SDKs' sources; the bytes that the JavaScript SDK really sent are
replayed in ``test_gate_decisions``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import md5
from typing import Any, cast

import msgpack
import pytest

from rtm_proto.codes import Code
from rtm_proto.frames import head_size, payload_size
from rtm_proto.gate.limits import Limits
from rtm_proto.gate.settings import PUSH_TIMEOUT, Port
from rtm_proto.gate.visit import KICK_GRACE
from rtm_proto.package import FLAG_MSGPACK, Kind, Package, Splitter, encode_answer
from rtm_proto.payload import EMPTY, INT64_MAX
from rtm_proto.signs import call_sign
from tests.raw_frames import raw_frame
from tests.world import FILE_PORT, HOST, PID, USERS, WALL, World

SECRET = "the project's secret"
SENDER, RECEIVER, STRANGER = USERS  # the last one is never logged in: a server speaks for him
GROUP, ROOM = 5, 6
LARGE_ID = 2**52 + 1  # of an app that makes its ids of a clock
FRAGMENT = 131_000  # bytes of payload in a frame of Chromium's
KEY = b"\x01\x02\x03\x04"
UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
TARGETS = {"sendfile": "to", "sendgroupfile": "gid", "sendroomfile": "rid"}
PUSHES = {"sendfile": b"pushmsg", "sendgroupfile": b"pushgroupmsg", "sendroomfile": b"pushroommsg"}

Write = Callable[[Any], bytes]


# --- msgpack, in the families that the SDKs choose ---


def smallest(value: object) -> bytes:
    """As C++, Python, PHP, C# and Java write: the smallest family, unsigned from 0 on."""
    return msgpack.packb(value)


def signed(value: int) -> bytes:
    """As Go writes an int: signed where it is over 127."""
    if value < 128:
        return smallest(value)
    size = 2 if value < 2**15 else 4 if value < 2**31 else 8
    return {2: b"\xd1", 4: b"\xd2", 8: b"\xd3"}[size] + value.to_bytes(size)


def int64(value: int) -> bytes:
    """As JavaScript writes every Int64."""
    return b"\xd3" + value.to_bytes(8)


def number(value: int) -> bytes:
    """As JavaScript writes a number."""
    return smallest(value if value < 2**32 else float(value))


def text(data: bytes) -> bytes:
    """Bytes as str, whatever they are: what a std::string of C++ is, and a string of PHP."""
    value = data.decode("utf-8", "surrogateescape")
    return msgpack.packb(value, unicode_errors="surrogateescape")


def decimal(value: int) -> bytes:
    """As the Java SDK of 2018 writes mtype."""
    return smallest(str(value))


def a_map(entries: Mapping[str, bytes]) -> bytes:
    """A map of values that are written already."""
    pairs = b"".join(smallest(key) + value for key, value in entries.items())
    return bytes([0x80 | len(entries)]) + pairs


# --- the SDKs ---


@dataclass(frozen=True)
class Sdk:
    """How an SDK writes; ``stored`` is what the gate calls its file then.

    ``attrs`` makes them of the sign. ``upper``: both digests in upper case. ``endpoint``: the key
    is in the file quest. ``every_target``: one id as to, gid and rid. ``order``: of the file
    quest's keys, where it matters to us whether the token is known before the file.
    """

    attrs: Callable[[str], object]
    stored: str
    integer: Write = smallest
    mtype: Write = smallest
    file: Write = smallest  # of bytes: bin
    version: int = 1
    websocket: bool = False
    server: bool = False
    upper: bool = False
    endpoint: bool = False
    every_target: bool = False
    order: tuple[str, ...] = ("pid", "token", "mtype", "from", "mid", "*", "file", "attrs")
    auth: Mapping[str, object] | None = None


def nested(custom: object = None, **rtm: object) -> Callable[[str], object]:
    more = {} if custom is None else {"custom": custom}
    return lambda sign: {"rtm": {"sign": sign, **rtm}, **more}


def flat(**more: object) -> Callable[[str], object]:
    return lambda sign: {"sign": sign, **more}


JS_ORDER = ("pid", "from", "mid", "endpoint", "token", "attrs", "file", "*", "mtype")
JS = {"integer": int64, "websocket": True, "order": JS_ORDER}
UNITY_AUTH = {"lang": "en", "ts": WALL // 1000, "authv": 2, "attrs": {"my": "own"}}
VOICE = {"type": "audiomsg", "lang": "zh-CN"}

SDKS: dict[str, Sdk] = {
    "javascript": Sdk(nested(ext="jpg"), "file.jpg", endpoint=True, **cast(Any, JS)),
    "javascript, a name without a dot": Sdk(
        nested(ext=None), "file", endpoint=True, **cast(Any, JS)
    ),
    "javascript before 2022-08": Sdk(flat(ext="jpg"), "file.jpg", upper=True, **cast(Any, JS)),
    "c#": Sdk(nested(ext="txt", filename="a.txt", custom={"x": 1}), "a.txt"),
    "unity, a name without a dot": Sdk(nested(filename="bare", custom=""), "bare", auth=UNITY_AUTH),
    "unity over websocket": Sdk(
        nested(ext="txt", filename="a.txt", custom="words"),
        "a.txt",
        websocket=True,
        endpoint=True,
        auth=UNITY_AUTH,
    ),
    "android": Sdk(
        nested(ext="", filename="v", codec="AMR_WB", srate=16000, duration=900, **VOICE),
        "v",
        auth={"attrs": None, "device": "a phone", "lang": ""},
    ),
    "objective-c": Sdk(
        nested(ext="amr", filename="v.amr", codec="AMR-WB", srate=16000, duration=900, **VOICE),
        "v.amr",
        integer=signed,
    ),
    "windows": Sdk(nested(filename="a.txt", custom={"x": [1]}), "a.txt", file=text),
    "unreal": Sdk(
        nested(filename="v.amr", srate="16000", duration="900", custom="words", **VOICE),
        "v.amr",
        file=text,
    ),
    "java of 2018": Sdk(flat(ext="jpg", filename="a.jpg"), "a.jpg", mtype=decimal),
    "python server": Sdk(nested(ext="jpg"), "file.jpg", version=0, server=True, every_target=True),
    "python server, without ext": Sdk(nested(), "file", version=0, server=True, every_target=True),
    "node server": Sdk(flat(ext="jpg"), "file.jpg", server=True),
    "go server": Sdk(
        nested(ext="jpg", filename="a", custom={"x": 1}), "a.jpg", integer=signed, server=True
    ),
    "c++ server": Sdk(nested(fileExtension="jpg"), "file.jpg", file=text, server=True),
    "php server": Sdk(nested(ext="jpg", filename="a"), "a.jpg", file=text, server=True),
    "java server": Sdk(nested(ext="jpg", filename="a.jpg", custom=""), "a.jpg", server=True),
}
EVERY_SDK = pytest.mark.parametrize("name", SDKS)


# --- a stream to the gate, in bytes ---


class Stream:
    """What a program has that speaks FPNN by itself."""

    def __init__(self, world: World, port: Port, *, websocket: bool = False) -> None:
        self.world = world
        self.visit = world.gate.visit("an SDK", port=port)
        self.visit.connected(now=world.now)
        self.websocket = websocket
        self.heard = bytearray()
        self.asked = 0
        if websocket:
            self.say(UPGRADE)
            _, _, rest = bytes(self.heard).partition(b"\r\n\r\n")
            self.heard[:] = rest

    def say(self, data: bytes) -> None:
        self.visit.receive_data(data, now=self.world.now)
        self.look()

    def look(self) -> None:
        """Take what there is to take, as a socket does."""
        quiet = 0
        while quiet < 2:
            self.visit.collect(now=self.world.now)
            self.world.settle()
            data = b"".join(self.visit.data_to_send())
            self.heard += data
            quiet = 0 if data else quiet + 1

    def write(self, package: bytes) -> None:
        if not self.websocket:
            self.say(package)
            return
        parts = [package[at : at + FRAGMENT] for at in range(0, len(package), FRAGMENT)]
        for at, part in enumerate(parts):
            ends = at == len(parts) - 1
            self.say(raw_frame(part, 0 if at else 2, fin=ends, key=KEY))

    def packages(self) -> list[Package]:
        """What has come since the last time; on WebSocket one package is one binary frame."""
        data, self.heard = bytes(self.heard), bytearray()
        if not self.websocket:
            return Splitter().feed(data)
        found: list[Package] = []
        while data:
            start = head_size(data[1])
            end = start + payload_size(data[:start])
            assert data[0] == 0x82 and not data[1] & 0x80
            found += Splitter().feed(data[start:end])
            data = data[end:]
        return found

    def ask(self, method: str, params: Mapping[str, bytes], *, version: int = 1) -> Any:
        """The answer's params; *params* are written already."""
        self.asked += 1
        name, payload = method.encode(), a_map(params)
        head = b"FPNN" + bytes([version, FLAG_MSGPACK, Kind.TWOWAY, len(name)])
        sizes = len(payload).to_bytes(4, "little") + self.asked.to_bytes(4, "little")
        self.write(head + sizes + name + payload)
        [answer] = self.packages()
        assert (answer.kind, answer.version, answer.flag) == (Kind.ANSWER, version, FLAG_MSGPACK)
        assert answer.seq == self.asked
        told = msgpack.unpackb(answer.payload)
        if answer.status:
            check_error(told)
        return told


def check_error(params: dict[str, object]) -> None:
    """JavaScript takes an error for a success without both, and a code of 64 bits for an object."""
    assert list(params) == ["code", "ex"]
    assert type(params["code"]) is int and 0 < params["code"] < 2**32
    assert type(params["ex"]) is str


class User:
    """An SDK with a main link: of a user who is logged in, or of a server that signs."""

    def __init__(self, world: World, sdk: Sdk) -> None:
        self.world = world
        self.sdk = sdk
        self.main = Stream(world, Port.MAIN, websocket=sdk.websocket)
        self.uid = STRANGER if sdk.server else SENDER
        self.salt = 2**40
        if not sdk.server:
            login = {
                "pid": smallest(PID),
                "uid": sdk.integer(self.uid),
                "token": smallest(USERS[self.uid]),
                "version": smallest("SDK-1.2.3"),
                **{key: smallest(value) for key, value in (sdk.auth or {}).items()},
            }
            assert self.ask("auth", login) == {"ok": True}

    def ask(self, method: str, params: Mapping[str, bytes]) -> Any:
        return self.main.ask(method, params, version=self.sdk.version)

    def token(self, cmd: str, target: int) -> str:
        """Ask for one; every SDK takes the endpoint apart at its colon."""
        write = self.sdk.integer
        keys = TARGETS.values() if self.sdk.every_target else [TARGETS[cmd]]
        params = {"cmd": smallest(cmd), **dict.fromkeys(keys, write(target))}
        if self.sdk.server:
            self.salt, ts = self.salt + 1, WALL // 1000
            sign = call_sign(PID, SECRET, self.salt, "filetoken", ts)
            mine = {"pid": smallest(PID), "sign": smallest(sign), "ts": write(ts)}
            params = {**mine, "salt": write(self.salt), "from": write(self.uid), **params}
        told = self.ask("filetoken", params)
        assert type(told["token"]) is str and told["token"]
        assert type(told["endpoint"]) is str
        assert told["endpoint"].split(":") == [HOST, str(FILE_PORT)]
        return str(told["token"])

    def send(self, cmd: str, target: int, body: bytes, *, mid: int, token: str = "") -> Any:
        """The answer to a file quest on a link of its own, with a token of its own unless told."""
        sdk = self.sdk
        token = token or self.token(cmd, target)
        sign = md5(f"{self.digest(body)}:{token}".encode()).hexdigest()
        attrs = json.dumps(sdk.attrs(sign.upper() if sdk.upper else sign))
        written = {
            "pid": smallest(PID),
            "from": sdk.integer(self.uid),
            "mid": sdk.integer(mid),
            "token": smallest(token),
            "attrs": smallest(attrs),
            "file": sdk.file(body),
            "mtype": sdk.mtype(40),
            "*": sdk.integer(target),
        }
        if sdk.endpoint:
            written["endpoint"] = smallest(f"{HOST}:{FILE_PORT}")
        names = {"*": TARGETS[cmd]}
        quest = {names.get(key, key): written[key] for key in sdk.order if key in written}
        files = Stream(self.world, Port.FILES, websocket=sdk.websocket)
        return files.ask(cmd, quest, version=sdk.version)

    def digest(self, body: bytes) -> str:
        digest = md5(body).hexdigest()
        return digest.upper() if self.sdk.upper else digest


@pytest.fixture
def world() -> World:
    """A gate that takes servers too."""
    return World(secret=SECRET)


def receiver(world: World, *, websocket: bool = False) -> Stream:
    """A stream on which the pushes for a logged-in user come; nobody answers them."""
    stream = Stream(world, Port.MAIN, websocket=websocket)
    params = {"pid": PID, "uid": RECEIVER, "token": USERS[RECEIVER], "version": "SDK-1.2.3"}
    assert stream.ask("auth", {key: smallest(value) for key, value in params.items()})["ok"] is True
    members = {"gid": GROUP, "uids": [RECEIVER, SENDER]}
    stream.ask("addgroupmembers", {key: smallest(value) for key, value in members.items()})
    stream.ask("enterroom", {"rid": smallest(ROOM)})
    return stream


def check_push(push: Package, method: bytes, fields: Mapping[str, object], size: int) -> Any:
    """What every SDK needs of a push, and none of them stumbles over; its attrs are given."""
    assert (push.kind, push.version, push.flag) == (Kind.TWOWAY, 1, FLAG_MSGPACK)
    assert push.method == method  # JavaScript throws at any other name
    params: dict[str, Any] = msgpack.unpackb(push.payload)
    msg, attrs = params.pop("msg"), params.pop("attrs")
    mtime = params.pop("mtime")
    assert params == fields  # C#, Unity and Android fail without `to`
    assert all(type(value) is int for value in params.values())
    assert type(mtime) is int and WALL <= mtime <= INT64_MAX
    assert type(msg) is str and type(attrs) is str  # bin is no text for C++ and C#
    told = json.loads(msg)
    assert type(told["url"]) is str and told["url"].startswith(f"http://{HOST}:{FILE_PORT}/files/")
    assert type(told["size"]) is int and told["size"] == size  # Android, Windows
    given = json.loads(attrs)
    assert isinstance(given["rtm"], dict)  # Objective-C takes no URL without
    return told["url"], given


# --- the tests ---


@EVERY_SDK
@pytest.mark.parametrize("cmd", TARGETS)
@pytest.mark.parametrize(
    ("size", "websocket"), [(5, False), (300_000, True)], ids=["small to tcp", "large to websocket"]
)
def test_what_an_sdk_sends_reaches_every_other(
    world: World, name: str, cmd: str, size: int, websocket: bool
) -> None:
    sdk = SDKS[name]
    theirs = receiver(world, websocket=websocket)
    user = User(world, sdk)
    target = {"to": RECEIVER, "gid": GROUP, "rid": ROOM}[TARGETS[cmd]]
    if cmd == "sendroomfile" and not sdk.server:
        assert user.ask("enterroom", {"rid": sdk.integer(ROOM)}) == {}
    body = (b"\xff\x00\xc0" + bytes(range(256)) * (size // 256 + 1))[:size]
    mid = (WALL << 16) + 1 if not sdk.websocket else WALL * 1000 + 1

    told = user.send(cmd, target, body, mid=mid)

    assert list(told) == ["mtime"] and type(told["mtime"]) is int
    theirs.look()
    [push] = theirs.packages()
    fields = {"from": user.uid, TARGETS[cmd]: target, "mid": mid, "mtype": 40}
    url, attrs = check_push(push, PUSHES[cmd], fields, len(body))
    assert url.rpartition("/")[2] == sdk.stored
    sent = json.loads(json.dumps(sdk.attrs(attrs["rtm"]["sign"])))
    assert attrs == (sent if "rtm" in sent else {"rtm": sent})
    key = url.split("/")[4]
    assert world.store.read_file(key, 0, len(body)) == body


@EVERY_SDK
def test_a_refusal_has_what_every_sdk_reads(world: World, name: str) -> None:
    user = User(world, SDKS[name])
    told = user.send("sendfile", RECEIVER, b"body", mid=1, token="no token of ours")
    assert told["code"] == Code.BAD_FILE_SIGN_OR_TOKEN


@EVERY_SDK
def test_large_ids_keep_every_digit(world: World, name: str) -> None:
    """Rooms have any number, so one of them shows it."""
    sdk = SDKS[name]
    theirs = receiver(world)
    theirs.ask("enterroom", {"rid": smallest(LARGE_ID)})
    user = User(world, sdk)
    if not sdk.server:
        user.ask("enterroom", {"rid": sdk.integer(LARGE_ID)})
    user.send("sendroomfile", LARGE_ID, b"body", mid=INT64_MAX)
    theirs.look()
    [push] = theirs.packages()
    fields = {"from": user.uid, "rid": LARGE_ID, "mid": INT64_MAX, "mtype": 40}
    check_push(push, b"pushroommsg", fields, 4)


def test_where_it_is_told_to_the_gate_takes_the_numbers_of_javascript() -> None:
    """A script that gives numbers where the SDK wants Int64 sends floats from 2**32 on."""
    plain = replace(SDKS["javascript"], integer=number)
    for lenient in (False, True):
        world = World(limits=Limits(lenient_ids=lenient))
        user = User(world, plain)
        told = user.ask("enterroom", {"rid": number(LARGE_ID)})
        if not lenient:
            assert told["code"] == Code.TYPE_CONVERSION
            continue
        theirs = receiver(world)
        theirs.ask("enterroom", {"rid": smallest(LARGE_ID)})
        user.send("sendroomfile", LARGE_ID, b"body", mid=WALL)
        theirs.look()
        [push] = theirs.packages()
        fields = {"from": SENDER, "rid": LARGE_ID, "mid": WALL, "mtype": 40}
        check_push(push, b"pushroommsg", fields, 4)


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
def test_who_never_answers_a_push_gets_the_next_one_all_the_same(
    world: World, websocket: bool
) -> None:
    """The Windows SDK answers none."""
    theirs = receiver(world)
    user = User(world, SDKS["javascript"] if websocket else SDKS["windows"])
    for mid in (1, 2, 3):
        user.send("sendfile", RECEIVER, b"body", mid=mid)
        theirs.look()
        [push] = theirs.packages()
        assert msgpack.unpackb(push.payload)["mid"] == mid
        world.now += PUSH_TIMEOUT + 1
        theirs.visit.handle_timeout(now=world.now)


def test_what_javascript_answers_to_a_kickout_is_overlooked(world: World) -> None:
    """It answers every quest, this one with seq 0, and then it leaves."""
    theirs = receiver(world)
    assert world.gate.kick(RECEIVER, now=world.now)
    theirs.look()
    [kickout] = theirs.packages()
    assert (kickout.kind, kickout.method, kickout.payload) == (Kind.ONEWAY, b"kickout", EMPTY)
    theirs.say(encode_answer(EMPTY, 0))
    theirs.visit.receive_eof(now=world.now)
    theirs.look()
    assert theirs.packages() == [] and theirs.visit.finished and not theirs.visit.abrupt


def test_an_upload_tells_where_the_file_is(world: World) -> None:
    """Of the Unity family: it makes no message, and its answer is read for url and size."""
    user = User(world, SDKS["unity over websocket"])
    token = user.ask("filetoken", {"cmd": smallest("uploadfile")})["token"]
    sign = md5(f"{md5(b'body').hexdigest()}:{token}".encode()).hexdigest()
    quest = {
        "pid": PID,
        "from": SENDER,
        "uid": SENDER,
        "token": token,
        "mtype": 40,
        "endpoint": f"{HOST}:{FILE_PORT}",
        "file": b"body",
        "attrs": json.dumps({"rtm": {"sign": sign, "ext": "txt", "filename": "a.txt"}}),
    }
    files = Stream(world, Port.FILES, websocket=True)
    told = files.ask("uploadfile", {key: smallest(value) for key, value in quest.items()})
    assert list(told) == ["url", "size"]
    assert type(told["url"]) is str and told["url"].endswith("/a.txt")
    assert type(told["size"]) is int and told["size"] == 4


def test_who_is_kicked_out_has_the_time_to_read_it(world: World) -> None:
    """JavaScript reads a package per tick of a timer, and forgets at the close what it has not."""
    theirs = receiver(world, websocket=True)
    assert world.gate.kick(RECEIVER, now=world.now)
    theirs.look()
    [kickout] = theirs.packages()  # and no close frame behind it
    assert kickout.method == b"kickout" and not theirs.visit.finished
    theirs.world.now += KICK_GRACE
    theirs.visit.handle_timeout(now=theirs.world.now)
    theirs.look()
    assert theirs.heard[:1] == b"\x88"


def test_a_websocket_may_be_asked_for_where_a_file_was_served(world: World) -> None:
    """Node's fetch and its WebSocket share their connections."""
    theirs = receiver(world)
    User(world, SDKS["javascript"]).send("sendfile", RECEIVER, b"body", mid=1)
    theirs.look()
    [push] = theirs.packages()
    url = json.loads(msgpack.unpackb(push.payload)["msg"])["url"]
    stream = Stream(world, Port.FILES)
    path = url.removeprefix(f"http://{HOST}:{FILE_PORT}")
    stream.say(f"GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n".encode())
    assert stream.heard.endswith(b"body")
    stream.heard.clear()
    stream.say(UPGRADE)
    assert stream.heard.startswith(b"HTTP/1.1 101 ")
