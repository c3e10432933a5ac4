"""What the system lets one process have."""

from __future__ import annotations

import sys

SPARE = 200  # files that a gate has open beside its connections: listeners, store, downloads


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
