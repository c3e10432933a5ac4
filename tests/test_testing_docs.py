"""Every Python snippet of docs/testing.md is a test that passes; its tables are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rtm_proto.testing import links, runtimes, streams
from rtm_proto.testing.scripted import Faults
from rtm_proto.testing.strict import QUIRKS

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text(encoding="utf-8")
SNIPPETS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
OTHERS = ("cacheprovider", "looptime_plugin", "looptime_timeproxies", "looptime_chronometers")


def test_the_page_has_its_snippets() -> None:
    assert len(SNIPPETS) == 8


def test_every_snippet_is_a_test_that_passes(tmp_path: Path) -> None:
    for number, snippet in enumerate(SNIPPETS):
        (tmp_path / f"test_{number}.py").write_text(snippet)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *(f"-pno:{o}" for o in OTHERS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rules", [links.RULES, streams.RULES, runtimes.RULES])
def test_every_rule_stands_in_the_page_word_by_word(rules: Mapping[str, str]) -> None:
    rows = "".join(f"| {name} | {text} |\n" for name, text in rules.items())
    assert f"|---|---|\n{rows}\n" in PAGE


def test_every_order_stands_in_the_page() -> None:
    names = {
        name
        for name, value in vars(Faults).items()
        if callable(value) and not name.startswith("_") and name != "take"
    }
    assert names == {name for name in names if f"`{name}(" in PAGE}


def test_every_quirk_stands_in_the_page_word_by_word() -> None:
    rows = "".join(f"| `{name}` | {text} |\n" for name, text in QUIRKS.items())
    assert f"| quirk | what it does |\n|---|---|\n{rows}\n" in PAGE
