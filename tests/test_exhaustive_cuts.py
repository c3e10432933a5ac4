"""A whole conversation, cut after every byte of each direction of each link: one truth each time.

    handshake, login ─ token ─ handshake, upload, answer ─ push, its answer

Three links carry it: the receiver's, the sender's, and the one to the file gate, which takes the
file whole or in pieces. A cut is told to both ends, or to neither. The ledger of the simulation
checks everything: the outcome is true at once and later, the mid is stored once and seen once,
sending again settles what was unknown, both users come back, and nothing is left.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from rtm_proto.received import Conversation
from rtm_proto.simulation import Parts, Simulation, Weather
from rtm_proto.simulation.network import Stream
from rtm_proto.simulation.scenario import Scenario
from rtm_proto.simulation.service import Service
from rtm_proto.simulation.tasks import sleep_until
from rtm_proto.simulation.user import User
from rtm_proto.simulation.world import World

BODY = b"hello, and some more words, so that the file comes in two pieces and a rest: " * 2
CLOUDY = Weather(calm=False)  # nothing goes wrong but what the test does
LINKS = {"1001 main": "sender", "1002 main": "receiver", "1001 file": "file"}
WAYS = ("up", "down")

Place = tuple[str, str]
"""A link and a way."""


class Conversing(Scenario):
    """1001 sends one small file to 1002; the first link of its name is cut, if any."""

    def __init__(
        self,
        cut: tuple[Place, int] | None,
        seen: dict[Place, int],
        told: bool,
        world: World,
        service: Service,
        users: list[User],
    ) -> None:
        super().__init__(world, service, users)
        self._cut = cut
        self._seen = seen
        self._told = told
        self._streams: list[tuple[str, Stream]] = []
        service.on_stream = self._new_stream

    def _new_stream(self, stream: Stream) -> None:
        name = LINKS[stream.name.partition(".")[0]]
        first = name not in [known for known, _ in self._streams]
        self._streams.append((name, stream))
        if first and self._cut is not None and self._cut[0][0] == name:
            (_, way), count = self._cut
            (stream.up if way == "up" else stream.down).cut_after = count
            stream.silent = not self._told

    async def act(self) -> None:
        """The conversation."""
        sender, receiver = self.users
        clock = self.world.clock
        await sender.online.wait(clock.now + 60.0)
        await receiver.online.wait(clock.now + 60.0)
        message = sender.new_message(Conversation.P2P, receiver.uid, BODY)
        await sender.send(message)
        await sleep_until(clock.now + 1.0)
        for name, stream in self._streams:
            self._seen.setdefault((name, "up"), stream.up.sent)
            self._seen.setdefault((name, "down"), stream.down.sent)


def converse(
    scheme: str,
    cut: tuple[Place, int] | None = None,
    *,
    told: bool = True,
    piece: int = 65_536,
) -> tuple[dict[Place, int], Counter[str]]:
    """Run it; how many bytes each way of each link has carried, and the outcomes."""
    seen: dict[Place, int] = {}
    simulation = Simulation(
        1,
        parts=Parts(schemes=(scheme,), pieces=(piece,)),
        weather=CLOUDY,
        users=2,
        scenario=partial(Conversing, cut, seen, told),
    )
    verdict = simulation.run()
    assert verdict.violation is None, "\n".join([f"cut at {cut}", *verdict.trace])
    assert verdict.deliveries <= 1
    if cut is None or cut[0][0] != "receiver":
        assert verdict.deliveries == 1, f"cut at {cut}"
    return seen, Counter(verdict.outcomes)


@pytest.mark.parametrize("piece", [64, 65_536])
@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_a_conversation_that_nobody_cuts_succeeds_at_once(scheme: str, piece: int) -> None:
    seen, outcomes = converse(scheme, piece=piece)
    assert outcomes == {"FileSent": 1}
    assert set(seen) == {(name, way) for name in LINKS.values() for way in WAYS}
    assert all(count > 20 for count in seen.values())


PLACES = [
    *((link, way, 65_536) for link in LINKS.values() for way in WAYS),
    ("file", "up", 64),
    ("file", "down", 64),
]


@pytest.mark.parametrize("told", [True, False], ids=["reset", "half-open"])
@pytest.mark.parametrize(("link", "way", "piece"), PLACES)
@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_a_cut_after_any_byte_leaves_one_true_outcome(
    scheme: str, link: str, way: str, told: bool, piece: int
) -> None:
    whole, _ = converse(scheme, piece=piece)
    outcomes: Counter[str] = Counter()
    for count in range(whole[link, way] + 1):
        outcomes += converse(scheme, ((link, way), count), told=told, piece=piece)[1]
    assert outcomes["FileSent"] == whole[link, way] + 1  # at once, or when it was sent again
    if link == "file":
        assert ("OutcomeUnknown" in outcomes) == (not told)
