"""The log of a gate: lines of text, or of JSON for whoever collects them; on stderr."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

LOGGERS = ("rtm_trio", "rtm_asyncio")


class TextLines(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO logged in visit='visit 1' uid=1001``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and more where there is a traceback."""
        line = f"{_time(record)} {record.levelname} {record.getMessage()}"
        return (
            line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"
        )


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, event, and the facts of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        told: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", None) or record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info is not None:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


@contextmanager
def logging_to(stream: TextIO | None, *, level: str, form: str) -> Generator[None]:
    """Write the log to *stream* meanwhile; *form*: text or json."""
    if stream is None:
        yield
        return
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level.upper())
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(old)


def _time(record: logging.LogRecord) -> str:
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{second}.{int(record.msecs):03}Z"
