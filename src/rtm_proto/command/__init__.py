"""The command line ``rtm``: reads it, chooses who waits, prints, and gives the exit status.

    argv ─► parser ─► Request ─► a job (demo, serving, sending, listening) ─► screen
                                   └─ an adapter's ``_commands.run`` does its waiting
                             ─► inspecting, simulating, checking, which wait for nobody,
                                and administering, which waits by itself

The edge of the core: it looks at the environment, the clock and files. Not loaded by
``import rtm_proto``. An adapter is imported by its name, here only, once it is chosen.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from .exits import Exit, Failure, UsageError, explain
from .gate_options import GateOptions
from .options import AdminOptions, CheckOptions, InspectOptions, Request, SimulateOptions
from .parser import parse
from .screen import OutputGone, Screen, abandon

if TYPE_CHECKING:
    from .jobs import Job

__all__ = ["main"]


class _Adapter(Protocol):
    """What ``rtm_trio._commands`` and ``rtm_asyncio._commands`` have."""

    def run(self, job: Job) -> int | None:
        """Do the waiting of *job*; the signal that ended it, or None."""
        ...


def main(argv: Sequence[str] | None = None, *, runtime: str | None = None) -> int:
    """Carry out a command line; its exit status.

    *argv*: the arguments, without the program's name (default: ``sys.argv``). *runtime*: asyncio
    or trio, where it is not to be chosen by ``--runtime``.
    """
    arguments = sys.argv[1:] if argv is None else argv
    program = "rtm" if runtime is None else f"python -m rtm_{runtime}"
    screen = Screen("rtm", sys.stdout, sys.stderr, os.environ)
    try:
        request = parse(arguments, os.environ, program=program, runtime=runtime)
    except SystemExit as exc:
        return _flush(int(exc.code or 0))
    except (UsageError, OSError) as exc:
        return _fail(screen, exc)
    screen = Screen(
        f"rtm {request.name}",
        sys.stdout,
        sys.stderr,
        os.environ,
        verbosity=request.verbosity,
        json=request.json,
    )
    try:
        return _carry_out(request, screen)
    except OutputGone as exc:
        return _output_gone(screen, exc)
    except KeyboardInterrupt:
        screen.interrupted("interrupted")
        return Exit.INTERRUPTED
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        screen.interrupted("interrupted")
        return Exit.INTERRUPTED
    except Exception as exc:
        return _fail(screen, exc)
    finally:
        screen.close()


# --- private -------------------------------------------------------------------------------------


def _carry_out(request: Request, screen: Screen) -> int:
    if isinstance(request.options, InspectOptions):
        from .inspecting import show_packages

        return show_packages(request.options, screen)
    if isinstance(request.options, SimulateOptions):
        from .simulating import run_seeds

        return run_seeds(request.options, screen)
    if isinstance(request.options, CheckOptions):
        from .checking import check

        return check(request.options, screen)
    if isinstance(request.options, AdminOptions):
        from .administering import administer

        return administer(request.options, screen)
    adapter = cast("_Adapter", importlib.import_module(f"rtm_{request.runtime}._commands"))
    from .jobs import open_job  # needs what the adapter needs, and that names a missing extra

    with open_job(request, screen) as job:
        stopped_by = adapter.run(job)
        if stopped_by is None:
            return job.status
        screen.interrupted(job.interrupted())
        if stopped_by == signal.SIGINT:
            return Exit.INTERRUPTED
        return job.status if isinstance(request.options, GateOptions) else Exit.TERMINATED


def _fail(screen: Screen, exc: Exception) -> int:
    failure = explain(exc)
    if failure is None:
        raise exc
    if screen.json:
        try:
            screen.result(failure.json())
        except OutputGone:
            abandon(sys.stdout)
    screen.fail(failure, exc)
    return failure.status


def _output_gone(screen: Screen, exc: OutputGone) -> int:
    abandon(sys.stdout)
    if isinstance(exc.__cause__, BrokenPipeError):
        return Exit.OUTPUT_GONE  # as others do who are ended by SIGPIPE
    text = f"cannot write to stdout: {exc.__cause__}"
    screen.fail(Failure(Exit.FILE, text, "see where it is redirected to"))
    return Exit.FILE


def _flush(status: int) -> int:
    """*status*, once what argparse has printed is out."""
    out = sys.stdout
    if out is None:
        return status
    try:
        out.flush()
    except OSError:
        abandon(out)
        return Exit.OUTPUT_GONE
    return status
