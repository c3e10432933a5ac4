"""What an object keeps alive: the bytes of everything that can be reached from it."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType, TracebackType

# Shared by all: code and constants. What only a closure holds is not seen.
_SHARED = (
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    TracebackType,  # of an error that is kept: the frames of whoever called
    re.Pattern,
    Enum,
)


def reachable(root: object) -> Iterator[object]:
    """Every object that *root* keeps alive, *root* included."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        found = todo.pop()
        if id(found) not in seen and not isinstance(found, _SHARED):
            seen.add(id(found))
            yield found
            todo += gc.get_referents(found)


def footprint(root: object) -> int:
    """Bytes of *root* and all that it keeps alive."""
    return sum(map(sys.getsizeof, reachable(root)))
