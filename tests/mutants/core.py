"""The modules that are to be tested well, and the files of tests that answer for each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .mutations import Mutant, mutants

NOT_THE_CORE = {"command", "disk", "simulation", "testing"}  # folders
UNTESTED = {"events"}  # values only: those who make them test them
TESTED_BY = {  # else the tests of gate/NAME are in test_gate_NAME.py
    "gate/gate": ("gate",),
    "gate/notes": ("gate_watch",),
    "gate/settings": ("gate", "gate_doors"),
    "gate/visit": ("gate", "gate_http", "gate_stop", "gate_watch"),
    "socks": ("proxies",),
}


@dataclass(frozen=True, slots=True)
class Module:
    """A module: how we call it, how Python does, where it stands, and its tests."""

    name: str
    dotted: str
    path: Path
    tests: tuple[Path, ...]

    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_bytes())

    def mutants(self) -> list[Mutant]:
        return mutants(self.tree())


def modules_of(package: Path, tests: Path) -> Iterator[Module]:
    """The modules of *package* that are its core."""
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).with_suffix("")
        name = place.as_posix()
        if place.name != "__init__" and name not in UNTESTED and place.parts[0] not in NOT_THE_CORE:
            files = TESTED_BY.get(name, (name.replace("/", "_"),))
            dotted = ".".join((package.name, *place.parts))
            yield Module(name, dotted, path, tuple(tests / f"test_{file}.py" for file in files))
