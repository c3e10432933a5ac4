"""What the runner says around the SDK, which is not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdks.run import SCRIPTS, main, show


def test_a_folder_without_the_sdk_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "libs").mkdir()
    (tmp_path / SCRIPTS[0]).write_text("")
    assert main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path) in told
    assert [name for name in SCRIPTS if name in told] == SCRIPTS[1:]


def test_a_report_is_shown_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    good = {"name": "log in", "ok": True}
    bad = {"name": "send a file", "ok": False, "told": "Error: no mtime"}
    assert show("node", {"version": "1.2.3", "steps": [good]}) is True
    assert show("node", {"version": "1.2.3", "steps": [good, bad]}) is False
    assert show("node", {"fault": "the page is not there"}) is False
    assert show("node", "no node is installed") is None
    told = capsys.readouterr().out
    for words in ("SDK 1.2.3 in node", "1 passed, 1 failed", "no mtime", "not there", "not run"):
        assert words in told
