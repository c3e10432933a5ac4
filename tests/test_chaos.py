"""The short form of ``./dev chaos``."""

from __future__ import annotations

import pytest

from tests.chaos import RUNTIMES, main


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_outcome_is_true_through_a_proxy_of_ill_will(
    runtime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--sends", "150", "--runtime", runtime]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{runtime}: 150 files in ")
    assert " FileSent" in told and " cut" in told and " replayed" in told
