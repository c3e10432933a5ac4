"""``./dev mutants`` in its short form: what it changes, what it tells, and that its list holds."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.mutants.__main__ import ACCEPTED, PACKAGE, TESTS, unfounded
from tests.mutants.core import modules_of
from tests.mutants.mutations import mutants

ROOT = Path(__file__).resolve().parents[1]


def texts(source: str) -> list[str]:
    return [mutant.name for mutant in mutants(ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b < c", ["module: a = b <[ -> =] c"]),
        ("a = b in c", ["module: a = b [ -> not ]in c"]),
        ("a = b and c", ["module: a = [b and  -> ]c", "module: a = b[ and c -> ]"]),
        ("a = not b", ["module: a = [not  -> ]b"]),
        ("a = b + c", ["module: a = b [+ -> -] c"]),
        ("a = 7", ["module: a = [7 -> 8]"]),
        ("a = False", ["module: a = [False -> True]"]),
        ("a = 'b'", ["module: a = '[b -> XXb]'"]),
        ("a = b'c'", ["module: a = b'[c -> XXc]'"]),
        ("a = b[c:]", ["module: a = b[[c -> ]:]"]),
        ("a = min(b, c)", ["module: a = [min -> max](b, c)"]),
        ("a.b = c", ["module: [a.b = c -> pass]"]),
        ("a()", ["module: [a() -> pass]"]),
        ("if a: b = c", ["module: if [ -> not ]a:"]),
        ("a = b if c else d", ["module: a = b if [ -> not ]c else d"]),
        ("a = Code.B, Code.C", [
            "module: a = (Code.[B -> C], Code.C)", "module: a = (Code.B, Code.[C -> B])"]),
        ("a = Code.B", ["module: a = [Code.B -> None]"]),
        ("a = isinstance(b, (C, D))", [
            "module: a = isinstance(b, [(C, D) -> D])",
            "module: a = isinstance(b, [(C, D) -> C])"]),
        ("for a in b:\n    continue", ["module: [continue -> break]"]),
        ("def a(*, b, c=1): return d", ["a: def a(*, b, c=[1 -> 2]):", "a: return [d -> None]"]),
        ("class A:\n    def b(self): del c", ["A.b: [del c -> pass]"]),
        ("match a:\n    case 1: pass\n    case _: pass", [
            "module: [case 1: -> ]", "module: [case _: -> ]", "module: case [1 -> 2]:"]),
        ("try: a = b\nexcept (C, D): a = e", [
            "module: except [(C, D) -> D]:", "module: except [(C, D) -> C]:"]),
        ("a = {**b, 'c': d}", ["module: a = {**b, '[c -> XXc]': d}"]),
        ("a.b = c; a.b = c", ["module: [a.b = c -> pass]", "module: [a.b = c -> pass] (2)"]),
    ],
)  # fmt: skip
def test_what_a_mutant_is_and_what_it_is_called(source: str, names: list[str]) -> None:
    assert texts(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "'''a docstring'''",
        "import a",
        "assert a < 1",
        "a: 'b' = c",
        "@a(b=1)\ndef c(d: 'e') -> 'f': pass",
        "A = B | C",
        "a = 'words for people'",
        "a = f'{b} for people'",
        "a = cast('b', c)",
        "__all__ = ['a']",
        "if TYPE_CHECKING: a = 1",
    ],
)
def test_what_is_no_behaviour_stays_as_it_is(source: str) -> None:
    assert texts(source) == []


def test_of_an_error_the_code_counts_and_the_words_do_not() -> None:
    assert texts("raise A(f'{b + 1}', 'c', Code.D, Code.E, 5)") == [
        "module: [raise A(f'{b + 1}', 'c', Code.D, Code.E, 5) -> pass]",
        "module: raise A(f'{b + 1}', 'c', Code.[D -> E], Code.E, 5)",
        "module: raise A(f'{b + 1}', 'c', Code.D, Code.[E -> D], 5)",
        "module: …aise A(f'{b + 1}', 'c', Code.D, Code.E, [5 -> 6])",
    ]


def test_every_mutant_of_the_core_has_a_name_of_its_own_and_can_be_compiled() -> None:
    for module in modules_of(PACKAGE, TESTS):
        names = [mutant.name for mutant in module.mutants()]
        assert len(names) == len({*names})
    tree = ast.parse("def a(b):\n    return b < 1 and not b")
    for number in range(len(mutants(tree))):
        tree = ast.parse("def a(b):\n    return b < 1 and not b")
        mutants(tree)[number].apply()
        compile(ast.fix_missing_locations(tree), "a", "exec")


def test_what_is_accepted_is_still_there() -> None:
    accepted = tomllib.loads(ACCEPTED.read_text())
    modules = {module.name: module for module in modules_of(PACKAGE, TESTS)}
    assert list(unfounded(modules, accepted)) == []
    for reasons in accepted.values():
        for texts in reasons.values():
            assert all(len(why) > 9 for why in texts.values())


def test_every_module_of_the_core_has_tests_of_its_own() -> None:
    missing = [
        path.name
        for module in modules_of(PACKAGE, TESTS)
        for path in module.tests
        if not path.exists()
    ]
    assert missing == []


SUMS = '''"""Sums."""

LIMIT = 7


def clamp(value: int) -> int:
    """Not below 0, and not above the limit."""
    if value > LIMIT:
        raise ValueError(f"over {LIMIT}")
    return max(value, 0) or 0
'''
TEST = """import pytest
from sums.clamping import clamp

def test_it():
    assert [clamp(value) for value in (-1, 0, 7)] == [0, 0, 7]
    with pytest.raises(ValueError):
        clamp(9)
"""


def run(folder: Path, accepted: str, *args: str) -> tuple[int, list[str]]:
    """Exit status and lines of the command, over a package that it finds in *folder*."""
    (folder / "sums").mkdir()
    (folder / "sums/__init__.py").touch()
    (folder / "sums/clamping.py").write_text(SUMS)
    (folder / "test_clamping.py").write_text(TEST)
    (folder / "accepted.toml").write_text(accepted)
    said = subprocess.run(
        [sys.executable, "-c", COMMAND, folder, *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (folder / "sums/clamping.py").read_text() == SUMS
    return said.returncode, said.stdout.splitlines()


COMMAND = """
import sys
from pathlib import Path
from tests.mutants.__main__ import main
folder = Path(sys.argv[1])
accepted = folder / "accepted.toml"
sys.exit(main(sys.argv[2:], package=folder / "sums", tests=folder, accepted=accepted))
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="a mutant runs in a forked process")


@needs_fork
def test_survivors_are_told_and_what_is_accepted_in_vain(tmp_path: Path) -> None:
    status, lines = run(
        tmp_path,
        """
        [clamping.clamp]
        "return [max -> min](value, 0) or 0" = "but it is killed"
        "return max(value, [0 -> 7]) or 0" = "but there is none of this name"
        [elsewhere.clamp]
        "return [max -> min](value, 0) or 0" = "but there is no such module"
        """,
    )
    assert status == 1
    head, row = lines[2].split(), lines[3].split()
    assert head == "module mutants killed timed out survived accepted killed explained".split()
    assert row == "clamping 9 7 0 2 0 77.8 % 77.8 %".split()
    assert lines[:2] + lines[4:] == [
        "clamping clamp: return max(value, [0 -> 7]) or 0: accepted, but there is no such mutant",
        "elsewhere: accepted, but there is no such module",
        "  sums/clamping.py:3 module: LIMIT = [7 -> 8]",
        "  sums/clamping.py:10 clamp: return max(value, 0)[ or 0 -> ]",
        "  sums/clamping.py:10 clamp: return [max -> min](value, 0) or 0"
        ": accepted, but it is killed",
    ]


@needs_fork
def test_with_every_survivor_explained_all_is_well(tmp_path: Path) -> None:
    status, lines = run(
        tmp_path,
        """
        [clamping.module]
        "LIMIT = [7 -> 8]" = "nobody minds"
        """,
        "--jobs=2",
        "clamping:module",
    )
    assert status == 0
    assert lines[1].split() == "clamping 1 0 0 1 1 0.0 % 100.0 %".split()
