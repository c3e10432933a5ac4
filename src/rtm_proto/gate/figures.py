"""What a gate counts, and its figures in Prometheus' text format (0.0.4).

    connections, logins, quests by method and code, pushes, bytes   counted here, as they happen
    store                                                           told by the adapter, which waits
    what is held right now                                          asked for when it is read

Labels are bounded: a method or a code that no gate of ours has counts as ``other``. Quests that
never came to a decision (``*ping``, more than 64 in hand, malformed ones) are not among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ..codes import Code

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
OTHER = "other"

_CODES = frozenset(int(code) for code in Code)


class Sample(NamedTuple):
    """One line: what stands behind the family's name, labels, value."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(NamedTuple):
    """Figures of one name; ``kind``: counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


class Histogram:
    """How often something took how long, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """It took so long."""
        place = next((i for i, most in enumerate(BUCKETS) if seconds <= most), len(BUCKETS))
        self.counts[place] += 1
        self.total += seconds

    def samples(self, labels: Mapping[str, str]) -> list[Sample]:
        """As Prometheus wants them: each bucket has those below it too."""
        out: list[Sample] = []
        count = 0
        for most, here in zip((*map(_number, BUCKETS), "+Inf"), self.counts, strict=True):
            count += here
            out.append(Sample({**labels, "le": most}, count, "_bucket"))
        return [*out, Sample(labels, self.total, "_sum"), Sample(labels, count, "_count")]


class Figures:
    """The counters of one gate since it began."""

    def __init__(self, methods: Collection[str]) -> None:
        """*methods*: those that get a label of their own."""
        self.came: Counter[str] = Counter()  # streams, by port
        self.turned_away: Counter[str] = Counter()  # streams there was no place for, by port
        self.logins: Counter[str] = Counter()  # by result
        self.quests: Counter[tuple[str, int]] = Counter()  # by method and code (0: answered)
        self.pushes: Counter[str] = Counter()  # by method
        self.push_ends: Counter[str] = Counter()  # by how they ended
        self.bytes_in = 0
        self.bytes_out = 0
        self.store_faults: Counter[str] = Counter()  # by effect
        self.store_times: dict[str, Histogram] = {}  # by effect
        self._methods = frozenset(methods)

    def quest_ended(self, method: str, code: int) -> None:
        """A quest was answered (0) or refused."""
        if method not in self._methods:
            method = OTHER
        self.quests[method, code if code in _CODES or not code else -1] += 1

    def stored(self, effect: str, seconds: float, *, failed: bool) -> None:
        """A store has carried out an effect, or failed, *seconds* after it was asked."""
        self.store_times.setdefault(effect, Histogram()).add(seconds)
        self.store_faults[effect] += failed

    def families(self) -> list[Family]:
        """All that is counted."""
        quests = [
            Sample({"method": method, "code": OTHER if code < 0 else str(code)}, count)
            for (method, code), count in sorted(self.quests.items())
        ]
        times = [
            sample
            for effect, histogram in sorted(self.store_times.items())
            for sample in histogram.samples({"effect": effect})
        ]
        return [
            _counters(
                "rtm_gate_connections_total", "Streams that were accepted.", "port", self.came
            ),
            _counters(
                "rtm_gate_connections_refused_total",
                "Streams that there was no place for.",
                "port",
                self.turned_away,
            ),
            _counters("rtm_gate_logins_total", "Logins, by result.", "result", self.logins),
            Family(
                "rtm_gate_quests_total",
                "counter",
                "Quests that were decided, by method and code of the refusal (0: answered).",
                quests,
            ),
            _counters("rtm_gate_pushes_total", "Pushes that were sent.", "method", self.pushes),
            _counters(
                "rtm_gate_push_ends_total",
                "How pushes ended: answered, refused, not answered in time, or lost with the link.",
                "end",
                self.push_ends,
            ),
            Family(
                "rtm_gate_bytes_total",
                "counter",
                "Bytes of all streams, below them TLS.",
                [
                    Sample({"direction": "in"}, self.bytes_in),
                    Sample({"direction": "out"}, self.bytes_out),
                ],
            ),
            _counters(
                "rtm_gate_store_faults_total",
                "Effects that the store could not carry out.",
                "effect",
                self.store_faults,
            ),
            Family(
                "rtm_gate_store_seconds",
                "histogram",
                "Time from asking the store for an effect until it was carried out.",
                times,
            ),
        ]


def gauge(name: str, text: str, value: float) -> Family:
    """One figure that goes up and down."""
    return Family(name, "gauge", text, [Sample({}, value)])


def exposition(families: Iterable[Family]) -> str:
    """*families* as text."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value, suffix in family.samples:
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            shown = f"{{{inner}}}" if inner else ""
            lines.append(f"{family.name}{suffix}{shown} {_number(value)}")
    return "\n".join(lines)


def _counters(name: str, text: str, label: str, counts: Counter[str]) -> Family:
    samples = [Sample({label: value}, count) for value, count in sorted(counts.items())]
    return Family(name, "counter", text, samples)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
