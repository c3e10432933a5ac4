"""Each planted fault is found, and soon; the long form is ``./dev simulate --planted``."""

from __future__ import annotations

import pytest

from tests.planted import FAULTS, Fault, main

WITHIN = 300  # seeds; each is found within 40 as things are


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    found = fault.find(WITHIN)
    assert found is not None, f"hidden in {WITHIN} seeds"
    _, verdict = found
    assert verdict.violation is not None and fault.shows in verdict.violation
    again = fault.run(verdict.seed)
    assert (again.digest, again.violation) == (verdict.digest, verdict.violation)


def test_there_are_many_of_them_and_each_says_what_it_is() -> None:
    assert len(FAULTS) >= 10
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_the_long_form_says_how_many_seeds_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--most", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FAULTS)
    assert status == any("NOT FOUND in 1 seeds" in line for line in lines)
