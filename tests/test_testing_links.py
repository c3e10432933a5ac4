"""The suite for links: it passes what is right, and catches every fault that was planted."""

from __future__ import annotations

from functools import partial

import pytest

from rtm_proto.encryption import Curve, EncryptedLink, PrivateKey
from rtm_proto.errors import LocalProtocolError
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.link import Buffer, Link, StreamLink
from rtm_proto.package import Package, Splitter
from rtm_proto.testing.links import GARBAGE, RULES, SMALL, MakePair, check_link
from rtm_proto.websocket import WebSocketLink

KEY = PrivateKey.from_seed(bytes(range(40)), Curve.SECP256K1)


def websockets(*, strict: bool = False, lane: bool = True) -> tuple[Link, Link]:
    client = WebSocketLink.client(
        "gate.test", nonce=bytes(16), mask_key=lambda: b"\x01\x02\x03\x04", strict=strict, lane=lane
    )
    return client, WebSocketLink.server(lane=lane)


def encrypted(*, stream: bool, bits: int, required: bool = True) -> tuple[Link, Link]:
    client = EncryptedLink.client(KEY.public, seed=bytes(range(1, 41)), stream=stream, bits=bits)
    return client, EncryptedLink.server(KEY, required=required)


# --- a link of one's own, as the documentation says ---


class HelloLink(Link):
    """Each side says HELLO first; then each package stands behind its length."""

    HELLO = b"HELLO\n"

    def __init__(self) -> None:
        super().__init__()
        self._greeting = b""
        self._length = bytearray()
        self._missing = 0
        self._splitter = Splitter()

    def start(self) -> None:
        """Say hello."""
        self._out.append(self.HELLO)

    def close(self, reason: CloseReason) -> None:
        """A length of 0 is the goodbye."""
        if self.is_open and self.ended is None:
            self._out.append(bytes(4))
        self._end(reason.kind, reason.text)

    def set_max_package(self, size: int) -> None:
        """Change the limit."""
        self._splitter.limit = size

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Read the greeting, then lengths and packages."""
        rest = bytes(data)
        if not self.is_open and self.ended is None:
            self._greeting += rest
            greeting, rest = self._greeting[: len(self.HELLO)], self._greeting[len(self.HELLO) :]
            if not self.HELLO.startswith(greeting):
                self._end(CloseKind.HANDSHAKE, "the peer did not say hello")
            self.is_open = greeting == self.HELLO
        while rest and self.is_open and self.ended is None:
            rest = self._read(rest)

    def receive_eof(self) -> None:
        """The peer is gone."""
        self._end(CloseKind.PEER_CLOSED if self.is_open else CloseKind.HANDSHAKE)

    def _read(self, data: bytes) -> bytes:
        """Read a piece of a package, or of a length; what is left of *data*."""
        if self._missing:
            piece, rest = data[: self._missing], data[self._missing :]
            self._missing -= len(piece)
            self._packages += self._splitter.feed(piece)
            if self._splitter.fault is not None:
                self._end_with(self._splitter.fault)
            return rest
        wanted = 4 - len(self._length)
        self._length += data[:wanted]
        if len(self._length) == 4:
            self._missing = int.from_bytes(self._length, "big")
            self._length.clear()
            if not self._missing:
                self._end(CloseKind.PEER_CLOSED, "the peer said goodbye")
        return data[wanted:]

    def _check_idle(self) -> None:
        if not self.is_open:
            raise LocalProtocolError("not open yet")
        super()._check_idle()

    def _send_whole(self, package: bytes) -> None:
        self._send_begin(len(package), package)

    def _send_begin(self, size: int, head: bytes) -> None:
        self._out.append(size.to_bytes(4, "big") + head)

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._out.append(bytes(piece))


GOOD: dict[str, MakePair] = {
    "stream": lambda: (StreamLink(), StreamLink()),
    "websocket": websockets,
    "websocket, strict": partial(websockets, strict=True),
    "websocket, without the lane": partial(websockets, lane=False),
    "hello": lambda: (HelloLink(), HelloLink()),
    **{
        f"encrypted, {'stream' if stream else 'package'} mode, {bits} bits": partial(
            encrypted, stream=stream, bits=bits
        )
        for stream in (False, True)
        for bits in (128, 256)
    },
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make_pair", GOOD.values(), ids=list(GOOD))
def test_a_link_holds_every_rule(make_pair: MakePair, rule: str) -> None:
    check_link(make_pair, rules=[rule])


# --- planted faults ---


class _Deaf(StreamLink):
    def start(self) -> None:
        """It never opens."""


class _Leaking(HelloLink):
    def start(self) -> None:
        """The greeting comes out as a package."""
        super().start()
        self._packages += Splitter().feed(SMALL[0])


class _Unbuffered(StreamLink):
    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Only whole packages in one piece."""
        packages = Splitter().feed(data)
        self._packages += packages


class _Backwards(StreamLink):
    def packages(self) -> list[Package]:
        """The last one first."""
        return super().packages()[::-1]


class _Repeating(StreamLink):
    def packages(self) -> list[Package]:
        """They stay."""
        return list(self._packages)


class _WritingTwice(StreamLink):
    def data_to_send(self) -> list[Buffer]:
        """They stay."""
        return list(self._out)


class _Hoarding(StreamLink):
    """Sends the pieces of a package when all are there."""

    def _send_begin(self, size: int, head: bytes) -> None:
        self._hoard: list[Buffer] = [head]
        if size == len(head):
            self._out.append(head)

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._hoard.append(bytes(piece))
        if last:
            self._out += self._hoard


class _LosingTheLast(StreamLink):
    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._out.append(bytes(len(piece)) if last and len(piece) > 1 else piece)


class _LosingAPart(StreamLink):
    def packages(self) -> list[Package]:
        """Without the last part."""
        return [package for package in super().packages() if package.part < 2 or package.left]


class _Entangled(StreamLink):
    """Sending forgets what has been received of a package."""

    def _send_whole(self, package: bytes) -> None:
        super()._send_whole(package)
        self._splitter = Splitter(self._splitter.limit)


class _Lazy(StreamLink):
    """Looks at the bytes when it is asked for packages."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[Buffer] = []

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Keep them as they are."""
        self._seen.append(data)

    def packages(self) -> list[Package]:
        """Now."""
        for data in self._seen:
            super().receive_data(data, now=0.0)
        self._seen.clear()
        return super().packages()


class _Hasty(StreamLink):
    """Sends, and then looks whether it may."""

    def send_package(self, package: bytes) -> None:
        """Wrongly."""
        self._out.append(package)
        self._check_idle()


class _Counting(StreamLink):
    """Counts, and then looks whether it may."""

    def send_piece(self, piece: Buffer) -> None:
        """Wrongly."""
        self._left = max(0, self._left - len(piece))
        super().send_piece(piece)


class _Careless(StreamLink):
    """Takes a package inside another."""

    def _check_idle(self) -> None:
        pass


class _Boasting(StreamLink):
    def ping(self) -> bool:
        """It says so, and does nothing."""
        return True


class _PingingWithAPackage(StreamLink):
    def ping(self) -> bool:
        """Whenever."""
        if self.is_open:
            self._out.append(SMALL[0])
        return self.is_open


class _Raising(StreamLink):
    def receive_data(self, data: Buffer, *, now: float) -> None:
        """What is wrong comes out as an exception."""
        super().receive_data(data, now=now)
        if self.fault is not None:
            raise self.fault


class _RaisingAtTheEnd(StreamLink):
    def receive_eof(self) -> None:
        """An end inside a package comes out as an exception."""
        if self._splitter.pending:
            raise EOFError("inside a package")
        super().receive_eof()


class _RaisingLater(HelloLink):
    """Trips over a length that is damaged."""

    def _read(self, data: bytes) -> bytes:
        rest = super()._read(data)
        if self._missing > 100_000:
            raise OverflowError(self._missing)
        return rest


class _Strict(StreamLink):
    """A fault takes the good packages with it."""

    def _end(self, kind: CloseKind, text: str = "") -> None:
        super()._end(kind, text)
        if kind is CloseKind.PROTOCOL_ERROR:
            self._packages.clear()


class _GoodbyeFirst(HelloLink):
    """A goodbye takes the good packages with it."""

    def _end(self, kind: CloseKind, text: str = "") -> None:
        super()._end(kind, text)
        if text == "the peer said goodbye":
            self._packages.clear()


class _Endless(StreamLink):
    def receive_eof(self) -> None:
        """It does not care."""


class _Fickle(StreamLink):
    def receive_eof(self) -> None:
        """The last reason counts."""
        self.ended = CloseReason(CloseKind.PEER_CLOSED, f"{self.ended}"[-9:])


class _Undead(StreamLink):
    def receive_data(self, data: Buffer, *, now: float) -> None:
        """It goes on after its end."""
        self._packages += self._splitter.feed(data)
        if self._splitter.fault is not None:
            self._end_with(self._splitter.fault)


class _Talkative(StreamLink):
    def receive_data(self, data: Buffer, *, now: float) -> None:
        """It answers after its end."""
        if self.ended is not None:
            self._out.append(b"I am gone")
        super().receive_data(data, now=now)


class _Unlimited(StreamLink):
    def set_max_package(self, size: int) -> None:
        """It does not care."""


class _LimitedTooLate(StreamLink):
    """Looks at the size of a package when it is whole."""

    _limit = 10**9

    def set_max_package(self, size: int) -> None:
        """For later."""
        self._limit = size

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """The limit is looked at when it is too late."""
        before = len(self._packages)
        super().receive_data(data, now=now)
        if any(package.size > self._limit for package in self._packages[before:]):
            del self._packages[before:]
            self._end(CloseKind.LIMIT)


class _LimitedByOneLess(StreamLink):
    def set_max_package(self, size: int) -> None:
        """A byte too early."""
        super().set_max_package(size - 1)


class _LimitedOnce(StreamLink):
    def set_max_package(self, size: int) -> None:
        """It can only be lowered."""
        super().set_max_package(min(size, self._splitter.limit))


class _Clinging(HelloLink):
    """Says goodbye as often as it is asked to."""

    def close(self, reason: CloseReason) -> None:
        """Again and again."""
        if self.is_open:
            self._out.append(bytes(4))
        self._end(reason.kind, reason.text)


class _ChangingItsMind(StreamLink):
    def close(self, reason: CloseReason) -> None:
        """Its reason counts, whatever was before."""
        self.ended = reason


class _NotClosing(StreamLink):
    def close(self, reason: CloseReason) -> None:
        """It does not end."""


PLANTED: list[tuple[type[Link], str]] = [
    (_Deaf, "handshake"),
    (_Leaking, "handshake"),
    (_Unbuffered, "order"),
    (_Backwards, "order"),
    (_Repeating, "order"),
    (_WritingTwice, "order"),
    (_Hoarding, "pieces"),
    (_LosingTheLast, "pieces"),
    (_LosingAPart, "parts"),
    (_Entangled, "both ways"),
    (_Lazy, "buffers"),
    (_Hasty, "misuse"),
    (_Counting, "misuse"),
    (_Careless, "misuse"),
    (_Boasting, "ping"),
    (_PingingWithAPackage, "ping"),
    (_Raising, "peer"),
    (_RaisingAtTheEnd, "peer"),
    (_RaisingLater, "peer"),
    (_Strict, "good first"),
    (_GoodbyeFirst, "good first"),
    (_Endless, "ended"),
    (_Fickle, "ended"),
    (_Undead, "ended"),
    (_Talkative, "ended"),
    (_Unlimited, "limit"),
    (_LimitedTooLate, "limit"),
    (_LimitedByOneLess, "limit"),
    (_LimitedOnce, "limit"),
    (_Clinging, "close"),
    (_ChangingItsMind, "close"),
    (_NotClosing, "close"),
]


@pytest.mark.parametrize(("link", "rule"), PLANTED, ids=[link.__name__ for link, _ in PLANTED])
def test_a_planted_fault_is_caught_by_the_rule_that_it_breaks(link: type[Link], rule: str) -> None:
    def make_pair() -> tuple[Link, Link]:
        return link(), link()

    with pytest.raises(AssertionError) as caught:
        check_link(make_pair, rules=[rule])
    assert str(caught.value).startswith(f"{rule}: {RULES[rule]}; ")
    with pytest.raises(AssertionError):
        check_link(make_pair)


def test_every_rule_catches_something() -> None:
    assert {rule for _, rule in PLANTED} == set(RULES)


def test_a_rule_that_there_is_not_is_told() -> None:
    with pytest.raises(ValueError, match="no rule 'speed': there are handshake, order"):
        check_link(GOOD["stream"], rules=["speed"])


def test_a_link_without_a_limit_of_its_own_leaves_that_rule_out() -> None:
    check_link(lambda: (_Unlimited(), _Unlimited()), rules=RULES.keys() - {"limit"})


def test_what_an_end_says_may_be_refused_before_the_handshake_or_kept_for_later() -> None:
    """``misuse`` takes both; what it does not take is a package that is lost."""

    class Keeping(HelloLink):
        def _check_idle(self) -> None:
            Link._check_idle(self)

    check_link(GOOD["hello"], rules=["misuse"])
    check_link(lambda: (Keeping(), Keeping()), rules=["misuse"])


def test_garbage_is_none_that_a_link_could_take() -> None:
    assert all(not Splitter().feed(garbage) for garbage in GARBAGE)
