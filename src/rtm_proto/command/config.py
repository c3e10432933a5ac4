"""The options of ``rtm gate``, read: flags go before variables, these before the file.

    gate.toml ─► table of keys ─┐
    RTM_GATE_... ───────────────┼─► one value for each option ─► GateOptions
    --flags ────────────────────┘

What is unknown is refused, with the name that is nearest to it; what is wrong is told with its
name, what was expected and what was found. A secret is never quoted.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import cast

from ..gate.limits import Limits
from .exits import UsageError
from .gate_options import ADMIN_SOCKET, OPTIONS, VARIABLE, GateOptions, Option
from .kinds import Unfit

CONFIG_VARIABLE = "RTM_GATE_CONFIG"  # the file's path
SECTIONS = tuple(dict.fromkeys(option.section for option in OPTIONS if option.section))


def gate_options(
    flags: Mapping[str, Sequence[str]], environ: Mapping[str, str], config: str | None
) -> GateOptions:
    """What a gate is told. *flags*: the texts given for each key. *config*: the file's path.

    Raises UsageError, and OSError for the file.
    """
    return _checked(_layers(flags, environ, config))


def find_admin_socket(
    path: str | None, data: str | None, environ: Mapping[str, str], config: str | None
) -> str:
    """Where the gate is that has been told so. Raises UsageError, and OSError for the file."""
    if path is None and data is None:
        found = _layers({}, environ, config)
        path, data = (cast("str | None", found.get(name)) for name in ("admin_socket", "data"))
    if path is None and data is None:
        raise UsageError("which gate? give --socket, --data or --config")
    return path or os.path.join(data or "", ADMIN_SOCKET)


# --- private -------------------------------------------------------------------------------------


def _layers(
    flags: Mapping[str, Sequence[str]], environ: Mapping[str, str], config: str | None
) -> dict[str, object]:
    """What was given, by key; where a layer has one of two rivals, those below lose the other."""
    path = config or environ.get(CONFIG_VARIABLE)
    found: dict[str, object] = {}
    for layer in (
        {} if path is None else _from_file(path),
        _from_environ(environ),
        {
            option.key: _of_texts(option, flags[option.key], option.flag)
            for option in OPTIONS
            if option.key in flags
        },
    ):
        for one, other in (("secret", "secret_file"), ("secret_file", "secret")):
            if one in layer and other not in layer:
                found.pop(other, None)
        found |= layer
    return found


def _from_file(path: str) -> dict[str, object]:
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: no TOML: {exc}") from exc
    found: dict[str, object] = {}
    for section in ("", *SECTIONS):
        options = {option.key: option for option in OPTIONS if option.section == section}
        table: object = tables.pop(section, {}) if section else tables
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {section}: expected a table, found {_shown(table)}")
        for key, value in cast("dict[str, object]", table).items():
            where = f"{path}: {section}.{key}" if section else f"{path}: {key}"
            if key in SECTIONS and not section:
                continue
            if key not in options:
                raise UsageError(f"{where}: unknown{_nearest(key, [*options, *SECTIONS])}")
            found[key] = _of_toml(options[key], value, where)
    return found


def _from_environ(environ: Mapping[str, str]) -> dict[str, object]:
    options = {option.variable: option for option in OPTIONS}
    found: dict[str, object] = {}
    for name, text in environ.items():
        if not name.startswith(VARIABLE) or name == CONFIG_VARIABLE:
            continue
        if name not in options:
            raise UsageError(f"{name}: unknown{_nearest(name, [*options, CONFIG_VARIABLE])}")
        option = options[name]
        texts = [text] if option.kind.merge is None else text.split()
        found[option.key] = _of_texts(option, texts, name)
    return found


def _of_toml(option: Option, value: object, where: str) -> object:
    try:
        return option.kind.of_toml(value)
    except Unfit as exc:
        raise UsageError(f"{where}: {exc}") from exc
    except ValueError as exc:
        raise _unfit(option, where, _shown(value)) from exc


def _of_texts(option: Option, texts: Sequence[str], where: str) -> object:
    kind = option.kind
    values: list[object] = []
    try:
        if not texts:
            raise ValueError
        for text in texts:
            values.append(kind.of_text(text))
        if kind.merge is None:
            return values[-1]
        return kind.merge(values)
    except Unfit as exc:
        raise UsageError(f"{where}: {exc}") from exc
    except (ValueError, OverflowError) as exc:
        found = repr(texts[len(values)]) if len(values) < len(texts) else "nothing"
        raise _unfit(option, where, found) from exc


def _unfit(option: Option, where: str, found: str) -> UsageError:
    shown = "" if option.kind.secret else f", found {found}"
    return UsageError(f"{where}: expected {option.kind.expected}{shown}")


def _shown(value: object) -> str:
    match value:
        case list():
            return "a list"
        case dict():
            return "a table"
        case bool():
            return f"the value {value}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r:.60}"
        case _:
            return f"the {type(value).__name__} {value}"


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _checked(found: Mapping[str, object]) -> GateOptions:
    """All of it together: what one value cannot tell."""
    values: dict[str, object] = {}
    limits: dict[str, object] = {}
    for option in OPTIONS:
        value = found.get(option.key, option.default)
        if value is MISSING:
            raise UsageError(
                f"no {option.key}: give {option.flag}, {option.variable}, or {option.key} in a file"
            )
        (limits if option.section else values)[option.key] = value
    made = Limits(**limits)  # type: ignore[arg-type]
    if values["certificate"] is None:
        for name in ("tls_port", "tls_file_port"):
            if found.get(name) is not None:
                raise UsageError(f"{name} needs a certificate")
            values[name] = None
        if values["key"] is not None:
            raise UsageError("key needs a certificate")
    options = GateOptions(**values, limits=made)  # type: ignore[arg-type]
    _check(options)
    return options


def _check(options: GateOptions) -> None:
    if options.secret is not None and options.secret_file is not None:
        raise UsageError("give secret or secret_file, not both")
    servers = options.secret is not None or options.secret_file is not None
    operators = options.admin_socket is not None or options.data is not None
    if not (options.users or servers or operators):
        raise UsageError("nobody could log in: give --user UID:TOKEN, --secret-file or --data")
    if options.ping_every >= options.idle_timeout:
        raise UsageError(
            f"ping_every has to be below idle_timeout, found {options.ping_every:g} s and "
            f"{options.idle_timeout:g} s"
        )
    if options.data is None and options.max_user_bytes is not None:
        raise UsageError("max_user_bytes needs data: a gate in memory keeps no account of users")
    for kind, plain, secure in (
        ("main", options.port, options.tls_port),
        ("file", options.file_port, options.tls_file_port),
    ):
        if plain is None and secure is None:
            raise UsageError(f"a gate needs a {kind} port, with or without TLS")
