"""A machine on a simulated stream, driven as the adapters drive it.

A machine is a client's Connection or a gate's Visit; *collect* takes what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..connection import Machine
from ..events import CloseKind, CloseReason
from .chance import Chance
from .clock import Alarm, Clock
from .network import End
from .tasks import Bell
from .weather import Sky

LINGER = 2.0  # seconds for the peer to end its side


class Wire:
    """Drives *machine* over *end* until it is finished; ``ended`` rings then."""

    def __init__(
        self,
        clock: Clock,
        chance: Chance,
        sky: Sky,
        end: End,
        machine: Machine,
        collect: Callable[[float], None],
    ) -> None:
        self.ended = Bell()
        self._clock = clock
        self._chance = chance
        self._sky = sky
        self._end = end
        self._machine = machine
        self._collect = collect
        self._alarm: Alarm | None = None
        self._writing = False
        self._parting = False
        self._read_all = False
        self._lingering = False
        self._written: Bell | None = None

    def start(self) -> None:
        """The stream is up."""
        self._end.listen(
            on_data=self._data, on_eof=self._eof, on_taken=self._taken, on_reset=self._reset
        )
        self._machine.connected(now=self._clock.now)
        self.turn()

    def turn(self) -> None:
        """Something was done with the machine: take what came of it, and see to the rest."""
        if self.ended.rung:
            self._collect(self._clock.now)
            return
        self._collect(self._clock.now)
        if self._machine.finished and self._machine.abrupt:
            self._over()
        else:
            self._write()
            self._arm()
            self._end.read(on=not self._machine.full)

    def flush(self, bell: Bell) -> None:
        """Ring *bell* once the stream has taken everything there is, or the wire has ended."""
        self._written = bell
        self.turn()
        if self.ended.rung:
            bell.ring()

    def kill(self) -> None:
        """The process is gone: nothing is called any more."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.ended.ring()

    # --- private: what the stream brings ---

    def _data(self, data: bytes) -> None:
        if not self._machine.finished:
            self._machine.receive_data(data, now=self._clock.now)
            self.turn()

    def _eof(self) -> None:
        self._read_all = True
        self._machine.receive_eof(now=self._clock.now)
        self.turn()
        if self._parting:
            self._over()

    def _taken(self) -> None:
        self._writing = False
        self.turn()

    def _reset(self, text: str) -> None:
        self._machine.abort(CloseReason(CloseKind.PEER_RESET, text))
        self.turn()
        self._over()

    # --- private: what the machine wants ---

    def _write(self) -> None:
        machine = self._machine
        while not self._writing and not self._parting:
            data = machine.data_to_send()
            if data:
                self._writing = not self._end.write(b"".join(data))
            elif machine.finished:
                self._part()
            else:
                if self._written is not None:
                    self._written.ring()
                    self._written = None
                self._collect(self._clock.now)
                return

    def _part(self) -> None:
        self._parting = True
        self._end.finish()
        if self._read_all:
            self._over()

    def _arm(self) -> None:
        """See to it that somebody looks at the machine when its time has come."""
        machine, alarm = self._machine, self._alarm
        if self.ended.rung:
            return
        if machine.finished:
            if not self._lingering:
                self._lingering = True
                if alarm is not None:
                    alarm.cancel()
                self._alarm = self._clock.after(LINGER, self._over)
            return
        when = machine.next_timeout()
        if when is None or (alarm is not None and alarm.action is not None and alarm.when <= when):
            return
        if alarm is not None:
            alarm.cancel()
        weather = self._sky.weather
        if self._chance.happens(weather.early):
            when -= (when - self._clock.now) * self._chance.number()
        elif weather.late:
            when += weather.late * self._chance.number()
        self._alarm = self._clock.at(when, self._look)

    def _look(self) -> None:
        self._machine.handle_timeout(now=self._clock.now)
        self.turn()

    def _over(self) -> None:
        if self.ended.rung:
            return
        self.kill()
        self._machine.abort(CloseReason(CloseKind.LOCAL, "the stream has ended"))
        self._collect(self._clock.now)
        self._end.drop()
        if self._written is not None:
            self._written.ring()
