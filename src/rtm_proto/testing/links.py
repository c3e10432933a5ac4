"""What a Link of one's own has to hold: ``check_link(make_pair)``.

    def test_my_link():
        check_link(lambda: (MyLink(), MyLink()))        # a fresh client's and server's link

Each rule stands in ``RULES`` with its name; a link that breaks one is told by an AssertionError
that begins with that name. What bytes the link puts on the wire is its own affair: the suite only
carries them over, cuts them, damages them and ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ..errors import LocalProtocolError
from ..events import CloseKind, CloseReason
from ..link import Buffer, Link
from ..package import (
    FLAG_JSON,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
)
from ..payload import encode

MakePair = Callable[[], tuple[Link, Link]]
"""Gives a fresh client's link and a fresh server's link that fit; neither has started."""

RULES: Mapping[str, str] = {
    "handshake": "both ends start and every byte is carried over: both are open, without a fault",
    "order": "packages arrive whole, in order and once, however the bytes are cut",
    "pieces": "a package sent in pieces leaves as they come and arrives as one that is sent whole",
    "parts": "with set_max_whole, a large package comes whole or in parts that are all of it",
    "both ways": "what an end sends does not disturb what it receives",
    "buffers": "any buffer is taken, and its owner may change it afterwards",
    "misuse": "a LocalProtocolError comes before anything changes",
    "ping": "ping says whether it sent something, and the peer sees no package in it",
    "peer": "nothing is raised for what the peer sends, wherever it goes wrong or stops",
    "good first": "the packages that came before a fault or an end are given",
    "ended": "ended is set at the end of the stream at the latest, once; nothing comes after it",
    "limit": "a package over set_max_package ends the link before it is kept, one at it passes",
    "close": "close is the reason from then on, and says goodbye at most once",
}
"""The name of each rule, and what it asks for."""


def check_link(make_pair: MakePair, *, rules: Iterable[str] = RULES) -> None:
    """Hold a link against *rules*. Raises AssertionError that begins with the name of the rule.

    *make_pair* is called some thousand times. A link without a limit of its own leaves out
    ``limit``: ``rules=RULES.keys() - {"limit"}``. Raises ValueError for a name that is no rule.
    """
    names = [*rules]
    for name in names:
        if name not in _CHECKS:
            raise ValueError(f"no rule {name!r}: there are {', '.join(RULES)}")
    for name in _CHECKS:
        if name in names:
            try:
                _CHECKS[name](make_pair)
            except _Broken as exc:
                raise AssertionError(f"{name}: {RULES[name]}; {exc}") from None
            except Exception as exc:
                what = f"{type(exc).__name__} was raised: {exc}"
                raise AssertionError(f"{name}: {RULES[name]}; {what}") from exc


# --- what is sent --------------------------------------------------------------------------------

QUEST = encode_quest(b"filetoken", encode({"cmd": "sendfile", "to": 1002}), 7)
ANSWER = encode_answer(encode({"mtime": 1_700_000_000_000}), 7)
SMALL = (
    QUEST,
    encode_oneway(b"kickout", encode({})),
    ANSWER,
    encode_answer(encode({"code": 200010, "ex": "no"}), 0xFFFFFFFF, status=1),
    encode_quest(b"m", b"{}", 1, flag=FLAG_JSON),
    encode_oneway(b"x" * 255, b""),
)
LARGE = (  # at and above the sizes where a WebSocket frame has another header
    encode_quest(b"sendfile", bytes(125 - 24), 1),
    encode_quest(b"sendfile", b"FPNN" * 26, 2),
    encode_quest(b"sendfile", bytes(range(256)) * 256, 3),
    encode_quest(b"sendfile", b"\xff" * 70_000, 4),
)
GARBAGE = (
    bytes(64),
    b"\xff" * 64,
    b"FPNN" + b"\xff" * 60,
    b"FPNN\x01\x80\x03\x00" + bytes(60),
    bytes(range(256)),
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x82\x05hello" * 9,  # WebSocket: a message, not masked
    b"\x88\x02\x03\xe8",  # a close frame
    b"\x89\x80\x00\x00\x00\x00" * 9,  # pings
    b"F",
)
OURS = CloseReason(CloseKind.LOCAL, "the suite is done with it")
LIMIT = 2000  # bytes
ROOM = 1000  # bytes that may come of a package over the limit, beside the limit itself

# --- how it is carried ---------------------------------------------------------------------------

Cut = Callable[[bytes], Iterable[bytes]]


class _Broken(Exception):
    """A rule does not hold."""


def _need(holds: bool, text: str) -> None:
    if not holds:
        raise _Broken(text)


def _pieces_of(size: int) -> Cut:
    return lambda data: (data[at : at + size] for at in range(0, len(data), size))


def _with_empty_pieces(data: bytes) -> Iterable[bytes]:
    return [b"", data, b""]


WHOLE: Cut = lambda data: [data]  # noqa: E731
CUTS: Mapping[str, Cut] = {
    "whole": WHOLE,
    "byte by byte": _pieces_of(1),
    "in pieces of 3": _pieces_of(3),
    "in pieces of 13": _pieces_of(13),
    "with empty pieces": _with_empty_pieces,
}


def _written(link: Link) -> bytes:
    return b"".join(bytes(buffer) for buffer in link.data_to_send())


def _carry(source: Link, target: Link, cut: Cut = WHOLE) -> bool:
    """Carry over what *source* has to send; whether that was anything."""
    data = _written(source)
    for piece in cut(data) if data else ():
        target.receive_data(piece, now=1.0)
    return bool(data)


def _pump(one: Link, other: Link, cut: Cut = WHOLE) -> None:
    for _ in range(50):
        moved = _carry(one, other, cut)
        moved = _carry(other, one, cut) or moved
        if not moved:
            return
    raise _Broken("the ends never stop talking")


def _started(make_pair: MakePair) -> tuple[Link, Link]:
    client, server = make_pair()
    client.start()
    server.start()
    return client, server


def _opened(make_pair: MakePair, cut: Cut = WHOLE) -> tuple[Link, Link]:
    client, server = _started(make_pair)
    _pump(client, server, cut)
    for name, link in (("client", client), ("server", server)):
        _need(link.is_open, f"the {name} is not open after the handshake ({link.ended})")
    return client, server


def _both(make_pair: MakePair, cut: Cut = WHOLE) -> Iterator[tuple[str, Link, Link]]:
    """Each direction of an open pair, in a pair of its own: its name, who sends, who receives."""
    client, server = _opened(make_pair, cut)
    yield "client to server", client, server
    client, server = _opened(make_pair, cut)
    yield "server to client", server, client


def _read(*packages: bytes) -> list[Package]:
    return Splitter().feed(b"".join(packages))


def _compare(way: str, got: list[Package], packages: Iterable[bytes]) -> None:
    sent = _read(*packages)
    if got != sent:
        at = next((at for at in range(min(len(got), len(sent))) if got[at] != sent[at]), None)
        which = "" if at is None else f", number {at + 1} is {got[at]!r:.80}"
        raise _Broken(f"{way}: {len(sent)} packages were sent, {len(got)} came{which}")


# --- the rules -----------------------------------------------------------------------------------


def _handshake(make_pair: MakePair) -> None:
    for name, cut in CUTS.items():
        client, server = make_pair()
        for link in (client, server):
            _need(link.ended is None, f"it has ended before it started: {link.ended}")
        client, server = _opened(make_pair, cut)
        for link in (client, server):
            _need(link.ended is None and link.fault is None, f"{name}: it ended: {link.ended}")
            _need(not link.packages(), f"{name}: a package came that nobody sent")
            _need(not link.in_package, f"{name}: in_package, although none was begun")


def _order(make_pair: MakePair) -> None:
    for name, cut in CUTS.items():
        for way, source, target in _both(make_pair, cut):
            for package in SMALL:
                source.send_package(package)
            _carry(source, target, cut)
            _compare(f"{way}, {name}", target.packages(), SMALL)
            _need(not target.packages(), f"{way}: packages() gives them again")
            _need(not _written(source), f"{way}: data_to_send() gives the bytes again")
            for package in SMALL:
                source.send_package(package)
                _carry(source, target, cut)
                _compare(f"{way}, {name}", target.packages(), [package])
    for way, source, target in _both(make_pair):
        for package in LARGE:
            source.send_package(package)
        _carry(source, target, _pieces_of(9973))
        _compare(f"{way}, large ones", target.packages(), LARGE)
    client, server = _started(
        make_pair
    )  # packages right behind the handshake, in one piece with it
    for _ in range(50):
        if server.is_open:
            break
        _carry(client, server)
        if not server.is_open:
            _carry(server, client)
    server.send_package(QUEST)
    _pump(client, server)
    _compare("right behind the handshake", client.packages(), [QUEST])


def _in_pieces(package: bytes, head: int, size: int) -> Iterator[Buffer]:
    """What is behind the head, in buffers of every type."""
    for count, at in enumerate(range(head, len(package), size)):
        piece = package[at : at + size]
        yield (bytes, bytearray, memoryview)[count % 3](piece)


def _pieces(make_pair: MakePair) -> None:
    for way, source, target in _both(make_pair):
        for package in (*SMALL, *LARGE):
            for head, size in ((0, 1000), (16, 7000), (len(package), 1)):
                head = min(head, len(package))
                source.begin_package(len(package), package[:head])
                _need(source.in_package == (head < len(package)), f"{way}: in_package is wrong")
                _carry(source, target)
                for piece in _in_pieces(package, head, size):
                    _need(source.in_package, f"{way}: in_package is false before the last piece")
                    source.send_piece(piece)
                    moved = _carry(source, target)
                    _need(moved, f"{way}: a piece was handed over and there is nothing to send")
                _need(not source.in_package, f"{way}: in_package is true after the last piece")
                source.send_package(ANSWER)
                _carry(source, target)
                _compare(way, target.packages(), [package, ANSWER])


def _parts(make_pair: MakePair) -> None:
    for size in (1, 100, 9973):
        for way, source, target in _both(make_pair):
            target.set_max_whole(200)
            sent = [QUEST, LARGE[1], ANSWER, *(LARGE if size > 1 else ()), QUEST]
            for package in sent:
                source.send_package(package)
            _carry(source, target, _pieces_of(size))
            _compare(f"{way}, in pieces of {size}", _joined(target.packages()), sent)


def _joined(packages: list[Package]) -> list[Package]:
    """The packages, with those whole that came in parts."""
    whole: list[Package] = []
    expected: tuple[int, int] | None = None  # number of the next part, bytes still to come
    for package in packages:
        here = (package.part, package.left + len(package.payload))
        if expected is None:
            _need(package.part < 2, f"part {package.part} came first")
            whole.append(package)
            if package.part:
                _need(not package.payload, "part 1 has something of the payload")
        else:
            _need(here == expected, f"part {here} came where {expected} was due")
            whole[-1].payload += package.payload
        expected = (package.part + 1, package.left) if package.left else None
        if expected is None:
            whole[-1].part = whole[-1].left = 0
    _need(expected is None, "the last part did not come")
    return whole


def _both_ways(make_pair: MakePair) -> None:
    for seed in range(8):
        ends = _opened(make_pair, WHOLE)
        flying = (bytearray(), bytearray())  # bytes on their way from each end
        plans = [_plan(seed), _plan(seed + 1)]
        got: tuple[list[Package], list[Package]] = ([], [])
        state = seed
        while plans[0] or plans[1] or flying[0] or flying[1]:
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            at = state >> 16 & 1
            if state >> 17 & 1 and plans[at]:
                plans[at].pop(0)(ends[at])
                flying[at].extend(_written(ends[at]))
            elif flying[at]:
                count = 1 + (state >> 18) % min(len(flying[at]), 5000)
                ends[1 - at].receive_data(bytes(flying[at][:count]), now=1.0)
                del flying[at][:count]
                flying[1 - at].extend(_written(ends[1 - at]))
                got[1 - at].extend(ends[1 - at].packages())
        for at, way in enumerate(("server to client", "client to server")):
            _compare(way, got[at], [*SMALL, LARGE[2], *SMALL])


def _plan(seed: int) -> list[Callable[[Link], object]]:
    """Send this and that: packages in one piece, one in several."""
    package = LARGE[2]

    def whole(data: bytes) -> Callable[[Link], object]:
        return lambda link: link.send_package(data)

    def piece(data: Buffer) -> Callable[[Link], object]:
        return lambda link: link.send_piece(data)

    return [
        *map(whole, SMALL),
        lambda link: link.begin_package(len(package), package[:20]),
        *map(piece, _in_pieces(package, 20, 3000 + seed * 777)),
        *map(whole, SMALL),
    ]


def _buffers(make_pair: MakePair) -> None:
    for size in (5, 1_000_000):
        for way, source, target in _both(make_pair):
            for package in (*SMALL, *SMALL):
                source.send_package(package)
            data = _written(source)
            for at in range(0, len(data), size):
                piece = bytearray(data[at : at + size])
                target.receive_data(memoryview(piece) if at % 2 else piece, now=1.0)
                piece[:] = b"\xee" * len(piece)
            _compare(way, target.packages(), [*SMALL, *SMALL])


def _misuse(make_pair: MakePair) -> None:
    for way, source, target in _both(make_pair):
        _refused(source, "a piece of no package", lambda link: link.send_piece(b"x"))
        _refused(source, "too long a head", lambda link: link.begin_package(9, bytes(10)))
        source.begin_package(len(QUEST), QUEST[:20])
        _carry(source, target)
        _refused(source, "a package inside another", lambda link: link.send_package(ANSWER))
        _refused(source, "two at once", lambda link: link.begin_package(len(ANSWER), ANSWER[:9]))
        _refused(source, "too long a piece", lambda link: link.send_piece(QUEST))
        source.send_piece(QUEST[20:])
        source.send_package(ANSWER)
        _carry(source, target)
        _compare(f"{way}, after all that was refused", target.packages(), [QUEST, ANSWER])
    client, server = _started(make_pair)
    taken = [QUEST]
    try:
        client.send_package(QUEST)
    except LocalProtocolError:
        taken = []
    _pump(client, server)
    _need(client.is_open and server.is_open, "a package before the handshake has spoilt it")
    _compare("sent before the handshake", server.packages(), taken)


def _refused(link: Link, what: str, call: Callable[[Link], object]) -> None:
    inside = link.in_package
    try:
        call(link)
    except LocalProtocolError:
        _need(not _written(link), f"{what} is refused, and yet there is something to send")
        _need(link.in_package is inside, f"{what} is refused, and yet in_package has changed")
    else:
        raise _Broken(f"{what} is not refused")


def _ping(make_pair: MakePair) -> None:
    fresh, _ = make_pair()
    _need(not fresh.ping() and not _written(fresh), "a ping was sent before the start")
    for way, source, target in _both(make_pair):
        for inside in (False, True):
            if inside:
                source.begin_package(len(QUEST), QUEST[:20])
            _carry(source, target)
            said = source.ping()
            sent = _carry(source, target)
            _need(
                sent is said,
                f"{way}: ping() gave {said!r}, there is {(sent and 'some') or 'no'}thing",
            )
            if inside:
                source.send_piece(QUEST[20:])
            _pump(source, target)
            _compare(f"{way}, after a ping", target.packages(), [QUEST] * inside)
            _need(not source.packages(), f"{way}: the answer to a ping is no package")
            for link in (source, target):
                _need(link.ended is None, f"{way}: it ended after a ping: {link.ended}")


Spoil = Callable[[bytes, int], bytes]
"""Gets some bytes on their way, and how many came before them; gives what arrives instead."""


def _positions(total: int) -> list[int]:
    """Where to cut or to damage: everywhere at first, then here and there."""
    return [*range(min(total, 40)), *range(40, total, max(1, total // 40))]


def _conversation(
    make_pair: MakePair, to_server: bool, spoil: Callable[[bytes, int], bytes]
) -> Link:
    """A handshake and some packages; *spoil* gets the bytes to one end, and how many came before.

    The end that it happened to.
    """
    client, server = _started(make_pair)
    source, target = (client, server) if to_server else (server, client)
    before = 0
    sent = False
    for _ in range(50):
        if source.is_open and not sent:
            sent = True
            for package in SMALL:
                source.send_package(package)
        data = _written(source)
        spoilt = spoil(data, before)
        before += len(data)
        if spoilt:
            target.receive_data(spoilt, now=1.0)
        if not _carry(target, source) and not data:
            break
    return target


def _length(make_pair: MakePair, to_server: bool) -> int:
    total = 0

    def count(data: bytes, before: int) -> bytes:
        nonlocal total
        total = max(total, before + len(data))
        return data

    _conversation(make_pair, to_server, count)
    return total


def _use_up(link: Link) -> None:
    """Everything that a connection does with a link that has got something odd."""
    link.packages()
    link.ping()
    link.data_to_send()
    link.receive_eof()
    link.receive_data(b"too late", now=2.0)
    link.receive_eof()
    link.packages()
    link.close(OURS)
    link.data_to_send()


def _peer(make_pair: MakePair) -> None:
    for garbage in GARBAGE:
        for cut in CUTS.values():
            for at in (0, 1):
                for begin in (_started, _opened):
                    link = begin(make_pair)[at]
                    for piece in cut(garbage):
                        link.receive_data(piece, now=1.0)
                    _use_up(link)
    for to_server in (True, False):
        for position in _positions(_length(make_pair, to_server)):
            for change in (0xFF, 0x01):

                def damage(data: bytes, before: int, at: int = position, by: int = change) -> bytes:
                    if before <= at < before + len(data):
                        spoilt = bytearray(data)
                        spoilt[at - before] ^= by
                        return bytes(spoilt)
                    return data

                _use_up(_conversation(make_pair, to_server, damage))
            _use_up(_conversation(make_pair, to_server, _stop_at(position)))


def _stop_at(position: int) -> Spoil:
    return lambda data, before: data[: max(0, position - before)]


def _good_first(make_pair: MakePair) -> None:
    for garbage in (b"", *GARBAGE):
        for name, cut in CUTS.items():
            for way, source, target in _both(make_pair):
                for package in SMALL:
                    source.send_package(package)
                for piece in cut(_written(source) + garbage):
                    target.receive_data(piece, now=1.0)
                target.receive_eof()
                got = target.packages()[: len(SMALL)]
                _compare(f"{way}, {name}, garbage behind", got, SMALL)
    for way, source, target in _both(make_pair):
        for package in SMALL:
            source.send_package(package)
        source.close(OURS)
        _carry(source, target)
        target.receive_eof()
        _compare(f"{way}, then a goodbye", target.packages(), SMALL)
        kind = None if target.ended is None else target.ended.kind
        _need(kind is CloseKind.PEER_CLOSED, f"{way}: after a goodbye it ended with {target.ended}")


def _ended(make_pair: MakePair) -> None:
    for garbage in (b"", *GARBAGE):
        for at in (0, 1):
            for begin in (_started, _opened):
                pair = begin(make_pair)
                pair[1 - at].data_to_send()
                link = pair[at]
                if garbage:
                    link.receive_data(garbage, now=1.0)
                link.receive_eof()
                _check_over(link, pair[1 - at])
    for to_server in (True, False):
        for position in _positions(_length(make_pair, to_server)):
            link = _conversation(make_pair, to_server, _stop_at(position))
            link.receive_eof()
            _check_over(link, None)
    for _, source, target in _both(make_pair):
        source.close(OURS)
        _check_over(source, target)


def _check_over(link: Link, other: Link | None) -> None:
    """It has ended, and nothing brings it back."""
    ended = link.ended
    _need(ended is not None, "the stream has ended, and ended is None")
    link.packages()
    link.data_to_send()
    if other is not None and other.is_open:
        other.send_package(QUEST)
        _carry(other, link)
    for garbage in (QUEST, *GARBAGE):
        link.receive_data(garbage, now=2.0)
    link.receive_eof()
    _need(not link.packages(), "packages come after the end")
    _need(not _written(link), "there is something to send after the end")
    _need(link.ended == ended, f"ended was {ended}, and became {link.ended}")
    link.close(CloseReason(CloseKind.IDLE, "another reason"))
    _need(link.ended == ended, f"ended was {ended}, close made it {link.ended}")


def _limit(make_pair: MakePair) -> None:
    at_limit = encode_quest(b"sendfile", bytes(LIMIT - 24), 5)
    over = encode_quest(b"sendfile", bytes(LIMIT - 23), 5)
    for name, cut in CUTS.items():
        for way, source, target in _both(make_pair):
            target.set_max_package(LIMIT)
            source.send_package(at_limit)
            _carry(source, target, cut)
            _compare(f"{way}, {name}, at the limit", target.packages(), [at_limit])
            source.send_package(over)
            _carry(source, target, cut)
            _need(not target.packages(), f"{way}: a package of {len(over)} bytes came through")
            kind = None if target.ended is None else target.ended.kind
            _need(kind is CloseKind.LIMIT, f"{way}: over the limit, ended is {target.ended}")
    for way, source, target in _both(make_pair):
        target.set_max_package(LIMIT)
        huge = encode_quest(b"sendfile", b"", 6)
        huge = huge[:8] + (1_000_000).to_bytes(4, "little") + huge[12:]
        source.begin_package(len(huge) + 1_000_000, huge)
        came = 0
        while target.ended is None and came < LIMIT + ROOM:
            for buffer in source.data_to_send():
                came += len(buffer)
                target.receive_data(buffer, now=1.0)
            source.send_piece(bytes(100))
        _need(target.ended is not None, f"{way}: {came} bytes came, the limit is {LIMIT}")
    for way, source, target in _both(make_pair):
        target.set_max_package(10)
        target.set_max_package(len(LARGE[3]))
        source.send_package(LARGE[3])
        _carry(source, target)
        _compare(f"{way}, the limit was raised", target.packages(), [LARGE[3]])


def _close(make_pair: MakePair) -> None:
    for pair in (make_pair(), _started(make_pair)):
        for link in pair:
            link.data_to_send()
            was_open = link.is_open
            link.close(OURS)
            _need(link.ended == OURS, f"it was closed before it was open, ended is {link.ended}")
            if not was_open:
                link.data_to_send()
            _closed_again(link)
    for way, source, target in _both(make_pair):
        source.close(OURS)
        _need(source.ended == OURS, f"{way}: it was closed, and ended is {source.ended}")
        _carry(source, target)
        _closed_again(source)
        target.receive_eof()
        kind = None if target.ended is None else target.ended.kind
        _need(kind is CloseKind.PEER_CLOSED, f"{way}: the peer closed, ended is {target.ended}")
        target.close(OURS)
        _carry(target, source)
        _closed_again(target)
        _need(not source.packages() and not target.packages(), f"{way}: a goodbye is no package")
    for garbage in GARBAGE:
        for link in _opened(make_pair):
            link.receive_data(garbage, now=1.0)
            before = link.ended
            link.close(OURS)
            _need(link.ended == (before or OURS), f"ended was {before}, close made it {link.ended}")
            link.data_to_send()
            _closed_again(link)


def _closed_again(link: Link) -> None:
    link.data_to_send()
    link.close(CloseReason(CloseKind.IDLE, "again"))
    _need(not _written(link), "close says goodbye a second time")
    _need(link.ended is not None and link.ended.text != "again", "a second close is the reason")


_CHECKS: Mapping[str, Callable[[MakePair], None]] = {
    "handshake": _handshake,
    "order": _order,
    "pieces": _pieces,
    "parts": _parts,
    "both ways": _both_ways,
    "buffers": _buffers,
    "misuse": _misuse,
    "ping": _ping,
    "peer": _peer,
    "good first": _good_first,
    "ended": _ended,
    "limit": _limit,
    "close": _close,
}
