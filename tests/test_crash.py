"""The short form of ``./dev crash``."""

from __future__ import annotations

import pytest

from tests.crash import RUNTIMES, main


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_gate_that_is_killed_keeps_what_it_acknowledged(
    runtime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--times", "2", "--runtime", runtime]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{runtime}: 2 kills during 64 parallel uploads; ")
    assert " FileSent" in told and "all in history once and whole" in told
