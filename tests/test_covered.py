"""``./dev coverage``: whose tests a module's own are, and what is said of it."""

from __future__ import annotations

import pytest

from tests import covered
from tests.covered import Covered


def test_every_module_has_tests_that_bear_its_name() -> None:
    modules = [*covered.modules()]
    assert "payload" in modules and "gate" not in modules  # where there is only a docstring
    for module in modules:
        assert covered.own_tests(module), module


@pytest.mark.parametrize(
    ("module", "some", "not_there"),
    [
        ("gate/store", "test_gate_store.py", "test_gate.py"),
        ("gate/gate", "test_gate_reactions.py", "test_gate_store.py"),
        ("connection", "test_connection_machine.py", "test_link.py"),
        ("simulation/clock", "test_simulation_ledger.py", "test_mids.py"),
        ("command/simulating", "test_command_simulate.py", "test_simulation.py"),
        ("websocket", "test_extras.py", "test_messages.py"),
    ],
)
def test_own_tests_are_the_nearest_by_name(module: str, some: str, not_there: str) -> None:
    files = covered.own_tests(module)
    assert some in files and not_there not in files


def test_the_table_names_what_is_missing() -> None:
    whole = Covered("mids", (40, 40), (8, 8), "")
    part = Covered("link", (9, 10), (3, 4), "17, 20->exit")
    lines = covered.table([whole, part]).splitlines()
    assert lines[0].split() == "link lines 9 of 10 branches 3 of 4 17, 20->exit".split()
    assert lines[1:] == [
        "1 of 2 modules are covered by their own tests; lines 49 of 50, branches 11 of 12"
    ]


def test_a_module_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        covered.main(["nowhere"])
    assert caught.value.code == 2
    assert "no module begins with nowhere" in capsys.readouterr().err


def test_what_is_reached_is_measured() -> None:
    passed, [found, never] = covered.measure(["test_mids.py"], ["mids", "gate/nowhere"])
    assert passed and found.module == "mids" and found.lines[0] > 20
    assert never.missing == "never imported"
