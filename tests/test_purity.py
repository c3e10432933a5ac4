"""The core is pure: what it loads, what it imports, and in which direction."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "src" / "rtm_proto"
EDGES = ("files", "disk", "command")  # the rooms that may touch a disk or a terminal
WAITING = ("testing.background", "testing.runtimes", "testing.streams")  # they test what waits

IMPURE = {  # I/O, clocks, randomness, environment, logs, tasks
    *("_socket", "aifc", "asyncio", "builtins", "concurrent", "ctypes", "fcntl", "ftplib", "glob"),
    *("http", "imaplib", "io", "locale", "logging", "mmap", "multiprocessing", "os", "pathlib"),
    *("platform", "poplib", "queue", "random", "resource", "sched", "secrets", "select"),
    *("selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl"),
    *("subprocess", "sys", "tempfile", "threading", "time", "tkinter", "urllib.request", "uuid"),
    *("trio", "anyio", "sniffio", "uvloop"),
}
# A simulation draws from random.Random(seed), and the seed is an argument.
SEEDED = {("simulation.chance", "random"), ("simulation.chance", "random.Random")}
# Pillow reads and writes what looks like a file: here it is memory.
IN_MEMORY = {("gate.thumbnails", "io"), ("gate.thumbnails", "io.BytesIO")}

IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"}
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "getenv", "environ", "urandom"}

LOADED_BY_NOTHING = {  # beside what every Python loads when it starts
    *("asyncio", "socket", "_socket", "ssl", "_ssl", "select", "selectors", "subprocess"),
    *("random", "secrets", "logging", "threading", "multiprocessing", "concurrent", "tempfile"),
    *("http", "email", "urllib.request", "uuid", "ctypes", "pathlib", "shutil"),
}


def modules() -> Iterator[tuple[str, Path]]:
    """The name within rtm_proto and the file of each module of the core."""
    for path in sorted(CORE.rglob("*.py")):
        parts = path.relative_to(CORE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


PURE = [
    (name, path)
    for name, path in modules()
    if name.partition(".")[0] not in EDGES and name not in WAITING
]


def imports(name: str, path: Path) -> Iterator[str]:
    """Every module that *name* imports when it runs: relative imports begin with ``rtm_proto.``"""
    package = ["rtm_proto", *name.split(".")] if name else ["rtm_proto"]
    if path.name != "__init__.py":
        package.pop()
    tree = ast.parse(path.read_text())
    for_types_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for part in block.body
        for node in ast.walk(part)
    }
    for node in ast.walk(tree):
        if id(node) in for_types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def loaded(statement: str) -> set[str]:
    """What a fresh Python has loaded after *statement*, beside what it starts with."""
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code, str(ROOT / "src")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return set(names)


def installed(names: set[str]) -> set[str]:
    """The distributions' top-level packages among *names*: neither ours nor Python's own."""
    tops = {name.partition(".")[0] for name in names}
    return {
        top
        for top in tops - sys.stdlib_module_names - {"rtm_proto"}
        if not top.startswith(("_cython", "cython"))
    }


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("rtm_proto", {"msgpack"}),
        ("rtm_proto.inspection", {"msgpack"}),
        ("rtm_proto.disk", {"msgpack"}),
        ("rtm_proto.download", {"msgpack", "h11"}),
        ("rtm_proto.websocket", {"msgpack", "h11", "wsproto"}),
        ("rtm_proto.proxies", {"msgpack", "h11"}),
        ("rtm_proto.socks", {"msgpack", "socksio"}),
        ("rtm_proto.testing.links", {"msgpack"}),
        ("rtm_proto.testing.pair", {"msgpack"}),
        ("rtm_proto.testing.runtimes", {"msgpack"}),
        ("rtm_proto.testing.scripted", {"msgpack", "h11", "wsproto"}),
        ("rtm_proto.testing.strict", {"msgpack", "h11", "wsproto"}),
    ],
)
def test_importing_a_room_loads_only_what_it_needs(module: str, needs: set[str]) -> None:
    names = loaded(f"import {module}")
    optional = {"websockets"} if "wsproto" in needs else set[str]()
    assert installed(names) - optional == needs
    if module == "rtm_proto":
        assert not names & LOADED_BY_NOTHING
        assert not {name for name in names if name.startswith(("rtm_trio", "rtm_asyncio"))}
        for edge in (*EDGES, "websocket", "download", "gate", "testing"):
            assert f"rtm_proto.{edge}" not in names


@pytest.mark.parametrize(("name", "path"), PURE, ids=[name or "rtm_proto" for name, _ in PURE])
def test_a_module_of_the_core_has_no_io_no_clock_and_no_randomness(name: str, path: Path) -> None:
    impure = {
        module
        for module in imports(name, path)
        if (module in IMPURE or module.partition(".")[0] in IMPURE)
        and (name, module) not in SEEDED | IN_MEMORY
    }
    assert not impure
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{node.func.id}() in line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            words = (node.value.id, node.attr)
            assert words[0] not in ("datetime", "date", "os") or words[1] not in IMPURE_ATTRIBUTES


def layers() -> list[str]:
    """The rooms as the contract in pyproject.toml has them, outermost first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (each for each in settings["contracts"] if each["type"] == "layers")
    assert contract["containers"] == ["rtm_proto"]
    names: list[str] = contract["layers"]
    return [name.strip("()") for name in names]


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {name.partition(".")[0] for name, _ in modules() if name}
    assert rooms <= set(layers())
    assert len(layers()) == len(set(layers()))


@pytest.mark.parametrize(
    ("name", "path"),
    INNER := [(name, path) for name, path in modules() if name.partition(".")[0] in layers()],
    ids=[name for name, _ in INNER],
)
def test_imports_point_inward(name: str, path: Path) -> None:
    order = layers()
    room = name.partition(".")[0]
    for module in imports(name, path):
        top, _, rest = module.partition(".")
        assert top not in ("rtm_trio", "rtm_asyncio")
        other = rest.partition(".")[0]
        if top == "rtm_proto" and other in order and other != room:
            assert order.index(other) > order.index(room), f"{name} imports {module}"
