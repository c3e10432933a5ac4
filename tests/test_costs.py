"""What a small quest costs the core: the measured work is right, and has not become more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import costs, counting
from benchmarks.counting import Cost, Steps
from benchmarks.trips import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_is_measured_is_a_whole_trip_and_by_hand_comes_to_the_same(row: Row) -> None:
    trip, by_hand = row.make(), row.by_hand()
    for _ in range(3):
        assert trip() == row.result
        assert by_hand() == row.one_result


def test_a_small_quest_takes_no_more_calls_and_lines_than_accepted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = costs.main(["--quick", "--check"])
    assert status == 0, capsys.readouterr().out


def test_what_is_counted_is_what_was_executed() -> None:
    def callee(number: int) -> int:
        return number + 1

    def trip() -> object:
        number = callee(1)
        return [number, *[callee(each) for each in (number, number)]]

    row = Row("three calls", lambda: trip, lambda: trip, [2, 3, 3], [2, 3, 3])
    assert counting.count_steps(row).calls == 4  # the trip itself too, and no comprehension
    assert counting.count_steps(row._replace(quests=2)).calls == 2


def test_seconds_are_those_of_one_quest() -> None:
    found = counting.seconds([ROWS[0], ROWS[4]], repeats=2)
    assert list(found) == [ROWS[0].name, ROWS[4].name]
    assert all(0 < cost.by_hand < 0.01 and 0 < cost.core < 0.01 for cost in found[ROWS[4].name])


def test_of_the_totals_at_the_marks_every_second_one_is_a_trip() -> None:
    # callgrind's totals: up to a mark, between two marks, ...; here of two rows, core and by hand
    totals = [99_000, 600, 7, 200, 7, 1_000, 7, 50]
    found = counting.read_totals(totals, {"one": [2, 4], "two": [10, 5]})
    assert found == {"one": Cost(300, 50), "two": Cost(100, 10)}
    with pytest.raises(RuntimeError, match="saw 7 marks of 8"):
        counting.read_totals(totals[1:], {"one": [2, 4], "two": [10, 5]})


def test_a_call_more_or_two_percent_more_is_too_much() -> None:
    accepted = {
        "calls": {"a": 100.0, "b": 100.0},
        "lines": {"a": 1000.0, "b": 1000.0},
        "instructions, here": {"a": 10_000.0, "b": 10_000.0},
        "instructions, elsewhere": {"a": 1.0},
    }
    assert costs.compare(accepted, accepted) == []
    assert costs.compare({"instructions, unknown": {"a": 1.0}}, accepted) == []

    def worse(what: str, count: float) -> list[bool]:
        return [each.worse for each in costs.compare({what: {"a": count}}, accepted)]

    assert worse("calls", 101) == [True] and worse("calls", 99) == [False]
    assert worse("lines", 1019) == [] and worse("lines", 1021) == [True]
    assert worse("instructions, here", 9_801) == []
    assert worse("instructions, here", 9_799) == [False]
    [difference] = costs.compare({"instructions, here": {"a": 10_500.0}}, accepted)
    assert difference.text == "a: instructions 10,000 -> 10,500 (+5.0%): more than accepted"
    [difference] = costs.compare({"lines": {"c": 7.0}}, accepted)
    assert difference == ("c: lines 7: not accepted yet", True)


def test_without_valgrind_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(counting, "steps", lambda: {"encode": Steps(8, 17)})
    monkeypatch.setenv("PATH", str(tmp_path))
    accepted = tmp_path / "costs.json"
    assert costs.main(["--accept"], accepted) == costs.main(["--check"], accepted) == 3
    assert json.loads(accepted.read_text()) == {"calls": {"encode": 8}, "lines": {"encode": 17}}
    assert "apt-get install valgrind" in capsys.readouterr().err


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(*_: object) -> dict[str, list[Cost]]:
        return {"encode": [Cost(3e-6, 2e-6), Cost(2e-6, 1e-6), Cost(9e-6, 9e-6)]}

    monkeypatch.setattr(counting, "steps", lambda: {"encode": Steps(8, 17)})
    monkeypatch.setattr(counting, "instructions", lambda: {"encode": Cost(15_000.4, 7_500)})
    monkeypatch.setattr(counting, "seconds", seconds)
    assert costs.main([]) == 0
    *_, head, line = capsys.readouterr().out.splitlines()
    expected = "best us  median  x hand  instructions  x hand  calls  lines"
    assert head.split() == expected.split()
    assert line.split() == "encode 2.00 3.00 2.00 15,000 2.00 8.0 17.0".split()


def test_a_check_against_what_was_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    accepted = tmp_path / "costs.json"
    monkeypatch.setattr(counting, "steps", lambda: {"encode": Steps(8, 17)})
    monkeypatch.setattr(counting, "instructions", lambda: {"encode": Cost(15_000.4, 7_500)})
    assert costs.main(["--check"], accepted) == 4
    assert f"nothing was accepted yet for instructions, {costs.build()}" in capsys.readouterr().out
    assert costs.main(["--accept"], accepted) == 0
    assert costs.main(["--check"], accepted) == 0
    out = capsys.readouterr().out
    assert "as accepted" in out and "median" not in out

    monkeypatch.setattr(counting, "instructions", lambda: {"encode": Cost(15_400, 7_500)})
    assert costs.main(["--check"], accepted) == 1
    assert "encode: instructions 15,000 -> 15,400 (+2.7%)" in capsys.readouterr().out


def test_callgrind_sees_every_mark() -> None:
    if shutil.which("valgrind") is None:
        with pytest.raises(FileNotFoundError):
            counting.instructions(ROWS[:1])
        return
    found = counting.instructions(ROWS[:1])
    assert list(found) == ["encode"]
    assert 2_000 < found["encode"].by_hand < found["encode"].core < 50_000
