"""The network: streams of bytes with a latency, a bandwidth and a bad fate.

    End ─ write ─► Lane (parts, in order, each after its time) ─► on_data ─ End
    End ◄─ on_data ───────────────────────────────────── Lane ◄─ write ─ End

What a stream has taken and its reader has not read is at most its capacity and one write more; a
writer that is over it waits. A stream is cut behind some byte of either direction, reset at some
time, or dies without a word (half open): then its ends learn of it from their own timers, or when
the transport gives up on what nobody acknowledges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

from ..gate.visit import Visit
from .chance import Chance
from .clock import Clock
from .trace import Trace
from .weather import Sky

GIVES_UP = 120.0  # seconds until a transport gives up on bytes nobody acknowledges (Linux: 924 s)


class Lane:
    """One direction of a stream."""

    def __init__(self, clock: Clock, chance: Chance, sky: Sky, name: str, trace: Trace) -> None:
        self.on_data: Callable[[bytes], None] = _ignore
        self.on_eof: Callable[[], None] = _nothing
        self.on_taken: Callable[[], None] = _nothing
        self.on_cut: Callable[[], None] = _nothing
        self.on_unheard: Callable[[], None] = _nothing
        self.cut_after: int | None = None
        self.sent = 0
        self.dead = False
        self._clock = clock
        self._chance = chance
        self._sky = sky
        self._name = name
        self._trace = trace
        self._capacity = sky.weather.capacity
        self._held = 0  # bytes taken from the writer that the reader has not read
        self._blocked = False
        self._paused: set[str] = set()
        self._unread: deque[bytes | None] = deque()
        self._free_at = 0.0  # when the last byte so far has left
        self._last = 0.0  # when it arrives

    def write(self, data: bytes) -> bool:
        """Take *data*; False if the writer has to wait for ``on_taken`` before it goes on."""
        self._held += len(data)
        self._blocked = self._held > self._capacity
        if self.dead:
            self.on_unheard()
            return not self._blocked
        cut = self.cut_after is not None and self.sent + len(data) >= self.cut_after
        if cut and self.cut_after is not None:
            data = data[: self.cut_after - self.sent]
        self.sent += len(data)
        for part in self._parts(data):
            self._send(part)
        if cut:
            self.cut_after = None
            self._trace.say(self._name, f"is cut after {self.sent} bytes")
            self._clock.at(self._last, self.on_cut)
        return not self._blocked

    def end(self) -> None:
        """No byte follows."""
        if not self.dead:
            self._clock.at(self._arrival(0), lambda: self._arrive(None))

    def pause(self, why: str = "the sky") -> None:
        """The reader stops reading."""
        self._paused.add(why)

    def resume(self, why: str = "the sky") -> None:
        """Nothing stops the reader for this reason: it reads what has come meanwhile."""
        self._paused.discard(why)
        while self._unread and not self._paused and not self.dead:
            self._deliver(self._unread.popleft())

    # --- private ---

    def _parts(self, data: bytes) -> list[bytes]:
        if len(data) < 2 or not self._chance.happens(self._sky.weather.split):
            return [data] if data else []
        places = [self._chance.integer(1, len(data) - 1) for _ in range(self._chance.integer(1, 3))]
        places = [0, *sorted(places), len(data)]
        parts = [data[a:b] for a, b in pairwise(places)]
        return [part for part in parts if part]

    def _send(self, part: bytes) -> None:
        self._clock.at(self._arrival(len(part)), lambda: self._arrive(part))

    def _arrival(self, size: int) -> float:
        weather = self._sky.weather
        self._free_at = max(self._free_at, self._clock.now) + size / weather.bandwidth
        delay = weather.latency
        if weather.jitter:
            delay *= 1 + weather.jitter * self._chance.number()
        self._last = max(self._last, self._free_at + delay)
        return self._last

    def _arrive(self, part: bytes | None) -> None:
        if self.dead:
            return
        if self._paused or self._unread:
            self._unread.append(part)
        else:
            self._deliver(part)

    def _deliver(self, part: bytes | None) -> None:
        if part is None:
            self._trace.say(self._name, "ends")
            self.on_eof()
            return
        self._trace.say(self._name, f"brings {len(part)} bytes")
        self._trace.bytes(part)
        self._held -= len(part)
        self.on_data(part)
        if self._blocked and self._held <= self._capacity:
            self._blocked = False
            self.on_taken()


class End:
    """One end of a stream: set the four callbacks, then ``write``, ``finish`` and ``drop``."""

    def __init__(self, stream: Stream, out: Lane, into: Lane) -> None:
        self.on_reset: Callable[[str], None] = _unheard
        self.closed = False
        self._stream = stream
        self._out = out
        self._in = into

    def listen(
        self,
        *,
        on_data: Callable[[bytes], None],
        on_eof: Callable[[], None],
        on_taken: Callable[[], None],
        on_reset: Callable[[str], None],
    ) -> None:
        """What to call from now on."""
        self._in.on_data, self._in.on_eof = on_data, on_eof
        self._out.on_taken, self.on_reset = on_taken, on_reset

    def write(self, data: bytes) -> bool:
        """Hand over bytes; False if ``on_taken`` is to be waited for."""
        return self.closed or self._out.write(data)

    def read(self, *, on: bool) -> None:
        """Go on reading, or read nothing for now."""
        if on:
            self._in.resume("full")
        else:
            self._in.pause("full")

    def finish(self) -> None:
        """No byte follows."""
        if not self.closed:
            self._out.end()

    def drop(self) -> None:
        """Close it at once. What was written may still arrive."""
        if not self.closed:
            self.closed = True
            self.deafen()
            self._stream.dropped(self)

    def reset(self, text: str) -> None:
        """The stream is gone; this end learns of it."""
        if not self.closed:
            self.closed = True
            on_reset = self.on_reset
            self.deafen()
            on_reset(text)

    def deafen(self) -> None:
        """Nothing is called any more."""
        self._in.on_data, self._in.on_eof = _ignore, _nothing
        self._out.on_taken, self.on_reset = _nothing, _unheard


class Stream:
    """A connection between a client and the gate: two lanes, two ends."""

    def __init__(self, clock: Clock, chance: Chance, sky: Sky, trace: Trace, name: str) -> None:
        self.name = name
        self.on_broken: Callable[[], None] = _nothing
        """Called once, when something can be lost from now on."""
        self._clock = clock
        self._chance = chance
        self._sky = sky
        self._trace = trace
        self.up = Lane(clock, chance, sky, f"{name} up", trace)
        self.down = Lane(clock, chance, sky, f"{name} down", trace)
        self.client = End(self, self.up, self.down)
        self.gate = End(self, self.down, self.up)
        self.broken = False
        self.visit: Visit | None = None  # who is at the gate's end
        self.silent = False  # whether a cut is told to nobody
        self._giving_up: set[str] = set()
        self.up.on_cut = self.down.on_cut = self._cut
        self.up.on_unheard = lambda: self._unheard(self.client, "client")
        self.down.on_unheard = lambda: self._unheard(self.gate, "gate")
        weather = sky.weather
        if chance.happens(weather.cut):
            lane = chance.one_of((self.up, self.down))
            lane.cut_after = chance.integer(0, chance.one_of((300, 1500, 20_000)))
            self.silent = chance.happens(weather.half_open)

    def reset(self, text: str) -> None:
        """It breaks, and both ends are told."""
        if self.broken:
            return
        self._break(text)
        for end in (self.client, self.gate):
            delay = self._sky.weather.latency
            self._clock.after(delay, lambda end=end: end.reset(text))  # type: ignore[misc]

    def die(self) -> None:
        """It breaks, and nobody is told."""
        if not self.broken:
            self._break("half open")

    def vanish(self, *, told: bool) -> None:
        """The gate's process is gone; the client is told, or not."""
        self.gate.closed = True
        self.gate.deafen()
        if not self.broken:
            self._break("the gate is gone")
        if told:
            self._clock.after(self._sky.weather.latency, lambda: self.client.reset("reset"))

    def dropped(self, end: End) -> None:
        """For End: this end is closed. The other is told behind what was written, or at once."""
        other = self.gate if end is self.client else self.client
        out, into = (self.up, self.down) if end is self.client else (self.down, self.up)
        into.dead = True
        self._tell_broken()
        if other.closed or self.broken:
            return
        if self._chance.happens(0.5):
            out.end()
        else:
            self._break("dropped")
            delay = self._sky.weather.latency
            self._clock.after(delay, lambda: other.reset("reset"))

    # --- private ---

    def _cut(self) -> None:
        if self.silent:
            self.die()
        else:
            self.reset("cut")

    def _break(self, text: str) -> None:
        self._trace.say(self.name, f"breaks: {text}")
        self.broken = self.up.dead = self.down.dead = True
        self._tell_broken()

    def _tell_broken(self) -> None:
        on_broken, self.on_broken = self.on_broken, _nothing
        on_broken()

    def _unheard(self, end: End, who: str) -> None:
        if who not in self._giving_up:
            self._giving_up.add(who)
            self._clock.after(GIVES_UP, lambda: end.reset("nobody acknowledges"))


def _nothing() -> None:
    pass


def _ignore(data: bytes) -> None:
    pass


def _unheard(text: str) -> None:
    pass
