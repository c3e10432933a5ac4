"""docs/transports.md: its examples are those of docs/examples, its tests pass, its names exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import rtm_trio._dial
import rtm_trio._wire
from rtm_proto import Link, connection
from rtm_proto.connection import Machine
from rtm_proto.flows import steps
from rtm_proto.gate import front, limits, settings
from rtm_proto.package import MAX_PACKAGE

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "transports.md").read_text(encoding="utf-8")
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
FILES: dict[str, str] = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
OTHERS = ("cacheprovider", "looptime_plugin", "looptime_timeproxies", "looptime_chronometers")
MAX_LOOP = 60  # lines that the blocking loop stays under


def test_the_page_has_every_example_as_it_stands_in_its_file() -> None:
    shown = {name: text for name, text in FILES.items() if not name.startswith("test_")}
    assert shown == {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES}
    assert PAGE.count("```python") == len(FILES)


def test_every_test_of_the_page_passes_beside_its_examples(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *(f"-pno:{o}" for o in OTHERS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def lines_of_code(text: str) -> int:
    """How many lines there are without docstrings and blank ones."""
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                told.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and number not in told for number, line in lines)


def test_the_blocking_loop_stays_small() -> None:
    assert lines_of_code('"""One."""\n\nx = 1  # two\n\n\ndef y():\n    """Three\n\n    """\n') == 2
    text = (DOCS / "examples" / "blocking_loop.py").read_text(encoding="utf-8")
    assert lines_of_code(text) < MAX_LOOP
    assert f"Less than {MAX_LOOP} lines" in PAGE


@pytest.mark.parametrize("kind", [Link, Machine])
def test_every_method_of_a_face_stands_in_the_page(kind: type) -> None:
    own = {name for name in vars(kind) if not name.startswith("_")}
    names = own | set(getattr(kind, "__abstractmethods__", ()))
    sent = {"send_package", "begin_package", "send_piece", "in_package"}  # Link does these itself
    assert {name for name in names - sent if not re.search(rf"`{name}\b", PAGE)} == set()


def test_every_step_stands_in_the_page() -> None:
    names = {step.__name__ for step in get_args(steps.Step)}
    assert len(names) == 11
    assert {name for name in names if not re.search(rf"\|.*`{name}\b", PAGE)} == set()


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    assert (connection.OPEN_TIMEOUT, limits.HANDSHAKE_TIMEOUT) == (10.0, 5.0)
    assert (connection.CLOSE_TIMEOUT, rtm_trio._wire.LINGER) == (2.0, 2.0)
    assert rtm_trio._dial.CONNECT_TIMEOUT == 10.0
    assert {b"GET ", b"POST "} < set(front.METHODS)
    for size in (MAX_PACKAGE, settings.EARLY_QUEST, limits.MAX_QUEST, 65_536):
        assert f"{size:,}" in PAGE
    assert rtm_trio._wire.RECEIVE_SIZE == 65_536
