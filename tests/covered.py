"""``./dev coverage``: every line and branch of rtm_proto, each module from its own test files.

    ./dev coverage                     every module
    ./dev coverage simulation gate/    the modules whose path begins with one of these

A module's own test files bear its name: test_gate_store*.py for gate/store.py. Where there are
none, and in the packages that are tested as one, the package's do: test_simulation*.py. A line
that only another module's tests run is not covered: nobody looks there at what it does.

Exit status: 0 all of it, 1 something is not covered or a test failed, 2 usage.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "src" / "rtm_proto"
TESTS = ROOT / "tests"
AS_ONE = ("command/", "disk/", "simulation/")  # whole commands, whole stores, whole stories
# Whose tests bear another name: what all rooms share, and what one test asks of many modules.
ELSEWHERE = {
    "__init__": ["test_extras"],
    "events": ["test_connection"],
    "download": ["test_download", "test_extras"],
    "encryption": ["test_encryption", "test_extras"],
    "files": ["test_files", "contract/test_gate_server"],
    "gate/gate": ["test_gate.py", "test_gate_reactions", "test_gate_stop", "test_gate_watch"],
    "gate/notes": ["test_gate_watch"],
    "gate/settings": ["test_gate.py", "test_gate_doors"],
    "gate/visit": [
        "test_gate.py",
        "test_gate_downloads",
        "test_gate_http",
        "test_gate_stop",
        "test_gate_watch",
    ],
    "gate/recognised": ["test_gate_recognised", "test_extras"],
    "gate/thumbnails": ["test_gate_thumbnails", "test_extras"],
    "proxies": ["test_proxies", "test_extras"],
    "socks": ["test_proxies", "test_extras"],
    "testing/scripted": ["contract/test_scripted_gate"],
    "testing/strict": ["contract/test_strict"],
    "websocket": ["test_websocket", "test_extras"],
}
CONFIG = """
[run]
branch = true
source = {source}
data_file = {data}
parallel = true
patch = subprocess
disable_warnings = no-data-collected, module-not-imported
"""


class Covered(NamedTuple):
    """What of a module was executed, of all that there is; ``missing``: what was not."""

    module: str
    lines: tuple[int, int]
    branches: tuple[int, int]
    missing: str

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def main(args: Sequence[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="./dev coverage", description="What tests do not reach.")
    parser.add_argument("modules", metavar="MODULE", nargs="*", help="as gate/store; or simulation")
    wanted = tuple(parser.parse_args(args).modules)
    chosen = [name for name in modules() if not wanted or name.startswith(wanted)]
    if not chosen:
        parser.error(f"no module begins with {' or '.join(wanted)}")
    together: dict[tuple[str, ...], list[str]] = {}
    for name in chosen:
        together.setdefault(own_tests(name), []).append(name)

    status = 0
    found: list[Covered] = []
    for files, names in together.items():
        print(f"== {' '.join(files)}", file=sys.stderr, flush=True)
        passed, covered = measure(files, names)
        found += covered
        if not passed or not all(each.whole for each in covered):
            status = 1
    print(table(found))
    return status


def modules() -> Iterator[str]:
    """Every module of the core that has code, as gate/store."""
    for path in sorted(CORE.rglob("*.py")):
        if _has_code(path):
            name = path.relative_to(CORE).with_suffix("").as_posix()
            yield name.removesuffix("/__init__")


@cache
def _has_code(path: Path) -> bool:
    return any(not isinstance(part, ast.Expr) for part in ast.parse(path.read_text()).body)


def own_tests(module: str) -> tuple[str, ...]:
    """The test files of a module, or else those of its package; none that is another's own."""
    if module in ELSEWHERE:
        return _named(ELSEWHERE[module])
    name = _test(module.partition("/")[0] if module.startswith(AS_ONE) else module)
    while not _named([name]):
        if "_" not in name.removeprefix("test_"):
            raise SystemExit(f"{module} has no test file {name}.py")
        name = name.rpartition("_")[0]
    others = [_test(other) for other in modules() if not other.startswith(AS_ONE)]
    theirs = _named([other for other in others if other.startswith(f"{name}_")])
    return tuple(file for file in _named([name]) if file not in theirs)


def measure(files: Sequence[str], names: Sequence[str]) -> tuple[bool, list[Covered]]:
    """Run the tests in *files*; whether they passed, and what of the modules *names* they reach."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        data = Path(folder) / "data"
        config.write_text(CONFIG.format(source=CORE, data=data))
        tests = ["-m", "pytest", "-q", "--no-header", *(f"tests/{name}" for name in files)]
        passed = _coverage("run", f"--rcfile={config}", *tests)
        _coverage("combine", f"--rcfile={config}", "--quiet")
        report = Path(folder) / "report.json"
        _coverage("json", "--quiet", f"--data-file={data}", "-o", str(report))
        read: dict[str, dict[str, Any]] = json.loads(report.read_text())["files"]
    return passed, [_covered(name, read.get(_path(name), {})) for name in names]


def table(found: Sequence[Covered]) -> str:
    """One line for each module that is not covered, and one for all."""
    lines = [
        f"{each.module:<22} lines {each.lines[0]:>5} of {each.lines[1]:<5} "
        f"branches {each.branches[0]:>5} of {each.branches[1]:<5} {each.missing}".rstrip()
        for each in found
        if not each.whole
    ]
    sums = [sum((*each.lines, *each.branches)[at] for each in found) for at in range(4)]
    whole = sum(each.whole for each in found)
    lines.append(
        f"{whole} of {len(found)} modules are covered by their own tests; "
        f"lines {sums[0]} of {sums[1]}, branches {sums[2]} of {sums[3]}"
    )
    return "\n".join(lines)


# --- private -------------------------------------------------------------------------------------


def _test(module: str) -> str:
    return "_".join(["test", *(part.strip("_") for part in module.split("/"))])


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """The test files that are called so, alone or, without their ``.py``, with more behind it."""
    paths = {path for name in names for path in TESTS.glob(f"{name.removesuffix('.py')}.py")}
    paths |= {path for name in names for path in TESTS.glob(f"{name}_*.py")}
    return tuple(sorted(path.relative_to(TESTS).as_posix() for path in paths))


def _path(module: str) -> str:
    path = CORE / module
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.relative_to(ROOT).as_posix()


def _coverage(*args: str) -> bool:
    program = [sys.executable, "-m", "coverage", *args]
    environ = {**os.environ, "COVERAGE_CORE": "ctrace"}  # the same on every Python
    return subprocess.run(program, cwd=ROOT, env=environ).returncode == 0


def _covered(module: str, read: dict[str, Any]) -> Covered:
    """What the JSON report says of a module."""
    if not read:
        return Covered(module, (0, 1), (0, 0), "never imported")
    sums = read["summary"]
    missing = [str(line) for line in read["missing_lines"]]
    missing += [
        f"{start}->{'exit' if end < 0 else end}"
        for start, end in read["missing_branches"]
        if end not in read["missing_lines"]
    ]
    return Covered(
        module,
        (sums["covered_lines"], sums["num_statements"]),
        (sums["covered_branches"], sums["num_branches"]),
        ", ".join(missing),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
