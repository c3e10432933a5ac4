"""What the benchmarks ask of the system: a core for a process, and how much memory it has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def on_core(pid: int, core: int) -> None:
    """Keep a process (0: this one) on one core, where the system can do that and has two."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        with suppress(OSError):
            os.sched_setaffinity(pid, {core})


def memory_kib(pid: int, what: str) -> int:
    """VmRSS, what a process has resident now, or VmHWM, the most that it has had; in KiB.

    Raises RuntimeError where the system is not Linux.
    """
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1])
    raise RuntimeError(f"no {what}: this runs on Linux only")
