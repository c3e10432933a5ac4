"""What the system lets one process have, and what Python takes of its time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager

COLLECT = (300_000, 10, 10)  # thresholds of Python's collector (its usual ones: 700, 10, 10)
SPARE = 200  # files that a gate has open beside its connections: listeners, store, downloads


@contextmanager
def collecting_seldom() -> Generator[None]:
    """Let Python look for cycles but seldom, meanwhile.

    With its usual thresholds it looks, while 5,000 users come and go, at all that is there for all
    of them again and again: 0.5 s and more in which nobody is served. What ends here leaves few
    cycles (on trio none, on asyncio some 20 KB for each connection), so up to 300,000 objects, some
    60 MB, may wait to be looked at.
    """
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def make_room(connections: int) -> str | None:
    """Let this process open as many files as it may; what to say where that is too few."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    if most >= wanted:
        return None
    return (
        f"the system allows this process {most} open files: {wanted} are needed for "
        f"{connections} connections (`ulimit -n`, or LimitNOFILE of the service)"
    )
