"""``rtm gate check``: whether a gate could start with these options, without starting it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .exits import Exit, UsageError
from .gate_options import OPTIONS, GateOptions
from .kinds import shown
from .options import CheckOptions
from .screen import Screen
from .serving import prepare


def check(options: CheckOptions, screen: Screen) -> Exit:
    """Read what it names, and with -v tell what is not as usual.

    Raises OSError, UsageError, ImportError.
    """
    gate = options.gate
    prepare(gate)
    if gate.data is not None:
        _check_folder(gate.data)
    for path in (gate.secret_file, gate.key, gate.encryption_key):
        if path is not None and os.name == "posix" and os.stat(path).st_mode & stat.S_IRWXO:
            screen.say(f"everybody on this machine may read {path}: chmod o= {path}")
    given = {
        option.key: _shown(gate, option.key)
        for option in OPTIONS
        if _value(gate, option.key) != option.default
        and not (gate.certificate is None and option.key.startswith("tls_"))
    }
    if screen.json:
        screen.result({"ok": True, "options": given})
    else:
        for key, value in given.items():
            screen.detail(f"{key} = {value}")
        screen.result("ok")
    return Exit.DONE


def _value(gate: GateOptions, key: str) -> object:
    return getattr(gate if hasattr(gate, key) else gate.limits, key)


def _shown(gate: GateOptions, key: str) -> str:
    """A value in words; of what is secret only that it is there."""
    match key:
        case "secret":
            return "(given)"
        case "users":
            return " ".join(map(str, sorted(gate.users)))
        case "groups":
            return " ".join(map(str, sorted(gate.groups)))
        case _:
            return shown(_value(gate, key))


def _check_folder(data: str) -> None:
    """A folder that can be written, or one that can be made."""
    folder = Path(data)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"data: {data}: expected a folder, found a file")
    there = folder if folder.exists() else folder.absolute().parent
    if not there.is_dir():
        raise UsageError(f"data: {data}: there is no folder {there}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"data: {data}: {there} cannot be written")
