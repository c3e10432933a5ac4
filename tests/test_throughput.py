"""``./dev throughput`` in its short form: every kind of send is answered, and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.throughput import SIZES, appends_a_second, measure, new_files_a_second


@pytest.mark.parametrize(
    ("runtime", "store", "work"),
    [("trio", "disk", "file, 1 KiB"), ("asyncio", "memory", "message, 100 B")],
)
def test_a_gate_is_measured(runtime: str, store: str, work: str, tmp_path: Path) -> None:
    row = measure(runtime, store, work, 2, 0.2, str(tmp_path))
    assert row[:4] == (runtime, store, work, 2)
    assert row.a_second > 1 and row.cpu_us > 1
    assert row.mib_a_second == pytest.approx(row.a_second * SIZES[work] / 2**20)
    assert list(tmp_path.iterdir()) == []


def test_the_disk_alone_is_measured(tmp_path: Path) -> None:
    assert appends_a_second(str(tmp_path), 0.05) > 1
    assert new_files_a_second(str(tmp_path), 0.05, 1024) > 1
    assert list(tmp_path.iterdir()) == []
