"""What an adapter waits for: a job is a command with its options, checks and words."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .demo import Demo
from .gate_options import GateOptions
from .limits_of_system import collecting_seldom
from .listening import Listening
from .logs import logging_to
from .options import DemoOptions, ListenOptions, Request, SendOptions
from .screen import Screen
from .sending import Sending
from .serving import Serving

Job = Demo | Serving | Sending | Listening

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM) if os.name == "posix" else ()
"""What an adapter ends a job for. Elsewhere asyncio cannot wait for signals: Ctrl-C raises."""


@contextmanager
def open_job(request: Request, screen: Screen) -> Generator[Job]:
    """The job that *request* asks for. Raises OSError or FileUnusable for what it needs."""
    match request.options:
        case DemoOptions() as options:
            with TemporaryDirectory(prefix="rtm-demo-") as folder:
                yield Demo(options, screen, Path(folder), request.runtime)
        case GateOptions() as options:
            logging = logging_to(sys.stderr, level=options.log_level, form=options.log_format)
            with logging, collecting_seldom():
                serving = Serving(options, screen)
                try:
                    yield serving
                finally:
                    serving.close()
        case SendOptions() as options:
            yield Sending(options, screen)
        case ListenOptions() as options:
            yield Listening(options, screen)
        case options:
            raise TypeError(f"nothing to wait for in {options!r}")
