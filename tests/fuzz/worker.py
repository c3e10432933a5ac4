"""One target under atheris: ``python -m tests.fuzz.worker TARGET [libFuzzer's arguments]``.

The only place that knows atheris, which has no types. Only our own code is instrumented: what the
table calls edges are edges of rtm_proto.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast


class Engine(Protocol):
    """What we use of atheris."""

    def instrument_imports(self, *, include: list[str]) -> AbstractContextManager[None]: ...

    def Setup(self, args: list[str], run: Callable[[bytes], None]) -> list[str]: ...

    def Fuzz(self) -> None: ...


def is_installed() -> bool:
    """Whether there is an atheris here."""
    return find_spec("atheris") is not None


def main(args: list[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    engine = cast("Engine", import_module("atheris"))
    with engine.instrument_imports(include=["rtm_proto"]):
        targets: dict[str, Callable[[bytes], None]] = import_module("tests.fuzz.targets").TARGETS
    engine.Setup([sys.argv[0], *args[1:]], targets[args[0]])
    engine.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
