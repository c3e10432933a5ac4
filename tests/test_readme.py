"""Every Python snippet of the README runs, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_has_its_snippets() -> None:
    assert len(SNIPPETS) == 3


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["trio", "asyncio", "core"])
def test_a_snippet_runs_as_it_stands(snippet: str, tmp_path: Path) -> None:
    photo = os.urandom(200_000)
    (tmp_path / "photo.jpg").write_bytes(photo)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", snippet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if "send_file" in snippet:
        assert "received 200000 bytes" in done.stdout
        assert (tmp_path / "received.jpg").read_bytes() == photo
    else:
        assert "QuestReceived(quest_id=1, method='filetoken'" in done.stdout
