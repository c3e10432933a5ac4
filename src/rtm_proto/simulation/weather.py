"""The weather: how bad everything is, drawn once for a seed.

Each kind of trouble is there in some seeds and not in others, so that each is also seen alone:
what one trouble hides, another seed shows. One seed in eight is calm: nothing is to go wrong then.
"""

from __future__ import annotations

from dataclasses import dataclass

from .chance import Chance

CALM_SHARE = 0.125  # of all seeds
TROUBLE_SHARE = 0.35  # of the seeds that are not calm, for each kind of trouble


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares are of all the occasions; times in seconds, sizes in bytes, bandwidth in bytes/s."""

    calm: bool = True
    latency: float = 0.005
    jitter: float = 0.0  # a delay grows by up to this factor
    bandwidth: float = 10_000_000.0
    capacity: int = 65_536  # what a stream takes before its reader has read
    split: float = 0.0  # writes that arrive in parts
    cut: float = 0.0  # streams that break at some byte
    half_open: float = 0.0  # breaks that neither end is told of
    refused: float = 0.0  # connections that are refused
    unanswered: float = 0.0  # connections that nobody answers
    reset: float = 0.0  # chances a second that some stream is reset
    pause: float = 0.0  # chances a second that some reader stops reading for a while
    late: float = 0.0  # seconds that a timer may be late
    early: float = 0.0  # timers that ring once too early
    store_time: float = 0.0  # seconds that the store may need
    store_fault: float = 0.0  # effects that fail
    crash: float = 0.0  # chances a second that the gate dies
    kick: float = 0.0  # chances a second that somebody is kicked out
    jump: float = 0.0  # chances a second that a wall clock is set
    token_refused: float = 0.0
    token_delayed: float = 0.0
    swallowed: float = 0.0  # sends that are carried out, and never or falsely answered
    turned_away: float = 0.0  # sends that are refused unprocessed
    doubled: float = 0.0  # pushes that come once more
    cancel: float = 0.0  # calls that their caller gives up
    odd_source: float = 0.0  # files that are not as long as they say
    lazy: float = 0.0  # seconds that a user may take for an event
    stale_token: float = 0.0  # logins that begin with an old login token
    thief: float = 0.0  # file tokens that are used once more by somebody else
    regroup: float = 0.0  # chances a second that a group is changed
    leave_room: float = 0.0  # chances a second that somebody goes out of the room, or in


CALM = Weather()


def draw_weather(chance: Chance) -> Weather:
    """The weather of a seed."""
    if chance.happens(CALM_SHARE):
        return CALM

    def some(low: float, high: float) -> float:
        there, how_much = chance.number() < TROUBLE_SHARE, chance.between(low, high)
        return how_much if there else 0.0

    return Weather(
        calm=False,
        latency=chance.one_of((0.0005, 0.005, 0.05, 0.3, 1.0)),
        jitter=some(0.5, 3.0),
        bandwidth=chance.one_of((2_000.0, 64_000.0, 1_000_000.0, 10_000_000.0)),
        capacity=chance.one_of((64, 1_000, 16_384, 65_536)),
        split=some(0.1, 0.9),
        cut=some(0.1, 0.6),
        half_open=some(0.2, 1.0),
        refused=some(0.1, 0.5),
        unanswered=some(0.05, 0.3),
        reset=some(0.02, 0.5),
        pause=some(0.02, 0.3),
        late=some(0.001, 0.2),
        early=some(0.05, 0.3),
        store_time=some(0.01, 3.0),
        store_fault=some(0.1, 0.6),
        crash=some(0.02, 0.2),
        kick=some(0.02, 0.2),
        jump=some(0.05, 0.3),
        token_refused=some(0.1, 0.5),
        token_delayed=some(0.1, 0.6),
        swallowed=some(0.1, 0.6),
        turned_away=some(0.1, 0.5),
        doubled=some(0.1, 0.8),
        cancel=some(0.1, 0.5),
        odd_source=some(0.1, 0.3),
        lazy=some(0.1, 10.0),
        stale_token=some(0.2, 1.0),
        thief=some(0.2, 0.6),
        regroup=some(0.05, 0.3),
        leave_room=some(0.05, 0.3),
    )


class Sky:
    """The weather as it is now."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather

    def clear(self) -> None:
        """From now on nothing goes wrong that is not wrong already."""
        self.weather = CALM
