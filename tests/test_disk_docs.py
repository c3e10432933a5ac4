"""What docs/gate-storage.md says is so: its snippet runs, its backup is whole, its figures hold."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from rtm_proto.disk import DiskStore
from rtm_proto.disk.store import PATIENCE, RESERVE
from rtm_proto.gate.store import HISTORY, HISTORY_LIFE
from tests.store_contract import mids, save

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "gate-storage.md").read_text(encoding="utf-8")
(SNIPPET,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_snippet_is_a_gate_with_its_store(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(SNIPPET, names)
    folder = tmp_path / "store"
    with trio.move_on_after(5) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names["main"], str(folder))
            while not (folder / "drafts").is_dir():  # noqa: ASYNC110 - nothing tells of it
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert sorted(os.listdir(folder)) == ["bodies", "drafts", "gate.db", "lock"]


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


pytestmark = pytest.mark.anyio


def test_a_backup_while_it_runs_is_whole(tmp_path: Path) -> None:
    """In the order of the page, with files that come and go between its steps."""
    folder, copy = tmp_path / "store", tmp_path / "copy"
    store = DiskStore(folder)
    for mid in (1, 2):
        save(store, mid, b"before %d" % mid)
    shutil.copytree(folder / "bodies", copy / "bodies")
    save(store, 3, b"between")
    with closing(sqlite3.connect(folder / "gate.db")) as live:
        with closing(sqlite3.connect(copy / "gate.db")) as backup:
            live.backup(backup)
    save(store, 4, b"too late for the database")
    shutil.copytree(folder / "bodies", copy / "bodies", dirs_exist_ok=True)
    store.close()
    restored = DiskStore(copy)
    assert mids(restored) == [1, 2, 3] and restored.missing == 0
    assert restored.read_file("key 3", 0, 7) == b"between"
    assert len(os.listdir(copy / "bodies")) == 3, "what it has too much of is removed"
    restored.close()


def test_the_figures_are_those_of_the_store() -> None:
    said = [
        f"`reserve` bytes ({RESERVE // 1024**2} MiB)",
        f"`patience` ({PATIENCE:g} s)",
        f"newest {HISTORY} messages",
        f"for {HISTORY_LIFE / 86_400:g} days (`history_life`)",
    ]
    for words in said:
        assert words in PAGE
    options = [*inspect.signature(DiskStore).parameters]
    for name in ("max_bytes", "max_user_bytes", "reserve", "patience", "history", "history_life"):
        assert name in options and f"`{name}`" in PAGE
    for path in re.findall(r"tests/\w+\.py", PAGE):
        assert (ROOT / path).is_file()
