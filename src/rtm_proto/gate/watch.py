"""What a gate tells whoever watches it: its health, and its figures.

/healthz   200 ok; 503 while it stops, or while its store fails
/metrics   Prometheus' text format
stats      a quest of operators: the same in short
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..flows.login import VERSION_TEXT
from .figures import Family, Sample, exposition, gauge
from .store import Used

if TYPE_CHECKING:
    from .gate import Gate

HEALTH, METRICS = "/healthz", "/metrics"  # paths
VERSION = VERSION_TEXT.rpartition("-")[2]


def health(gate: Gate) -> tuple[int, str]:
    """The status and the text of /healthz."""
    if gate.draining:
        return 503, "stopping"
    if gate.store_fails:
        return 503, "the store fails"
    return 200, "ok"


def metrics(gate: Gate, used: Used | None) -> str:
    """The text of /metrics; *used* is None where the store could not tell."""
    held, started = gate.held(), gate.started_ms / 1000
    under_way = held.decisions.effects + held.downloads + held.uploads
    visits = Counter((visit.port.value, visit.kind) for visit in gate.visits())
    families = [
        Family("rtm_gate_info", "gauge", "Which gate this is.", [Sample({"version": VERSION}, 1)]),
        gauge("rtm_gate_start_time_seconds", "When it began, since 1970.", started),
        gauge("rtm_gate_uptime_seconds", "Since then.", gate.wall_ms() / 1000 - started),
        gauge("rtm_gate_ready", "Whether /healthz says 200.", health(gate)[0] == 200),
        Family(
            "rtm_gate_connections",
            "gauge",
            "Streams that are open, by port and what they speak.",
            [Sample({"port": p, "kind": k}, n) for (p, k), n in sorted(visits.items())],
        ),
        gauge("rtm_gate_users", "Users that are logged in.", held.decisions.logins),
        gauge(
            "rtm_gate_file_tokens", "File tokens that wait for their file.", held.decisions.tokens
        ),
        gauge("rtm_gate_uploads", "Large files that are coming.", _uploads(gate)),
        gauge("rtm_gate_store_effects", "Effects that the store is at.", under_way),
        *gate.figures.families(),
    ]
    if used is not None:
        families += [
            gauge("rtm_gate_kept_files", "Files that are kept.", used.files),
            gauge("rtm_gate_kept_bytes", "Bytes that they take.", used.bytes),
            gauge("rtm_gate_kept_messages", "Messages that are kept.", used.messages),
        ]
    return exposition(families)


def stats(gate: Gate, used: Used | None) -> dict[str, object]:
    """The answer to ``stats``."""
    held, figures = gate.held(), gate.figures
    answered = sum(count for (_, code), count in figures.quests.items() if not code)
    status, text = health(gate)
    kept = {} if used is None else {
        "files": used.files, "file_bytes": used.bytes, "messages": used.messages
    }  # fmt: skip
    return {
        "health": text,
        "ready": status == 200,
        "version": VERSION,
        "uptime": (gate.wall_ms() - gate.started_ms) // 1000,
        "connections": held.visits,
        "users": held.decisions.logins,
        "uploads": _uploads(gate),
        "quests_answered": answered,
        "quests_refused": sum(figures.quests.values()) - answered,
        "pushes": sum(figures.pushes.values()),
        "bytes_in": figures.bytes_in,
        "bytes_out": figures.bytes_out,
        **kept,
    }


def _uploads(gate: Gate) -> int:
    return sum(visit.uploads for visit in gate.visits())
