"""The store in memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import StoreFault
from rtm_proto.gate.memory import MEMORY_BYTES, MemoryStore
from rtm_proto.gate.store import HISTORY, Store
from tests.store_contract import StoreContract, message, messages, save


class TestMemoryStore(StoreContract):
    def new_store(self, **options: Any) -> Store:
        return MemoryStore(**options)


def test_its_limits_are_256_mib_and_the_published_ones() -> None:
    assert MEMORY_BYTES == 268_435_456
    store = MemoryStore()
    store.save_messages([message(mid) for mid in range(1, HISTORY + 6)])
    assert [said.mid for said in messages(store)] == list(range(6, HISTORY + 6))


def test_it_waits_for_nothing() -> None:
    assert not MemoryStore.blocking


def test_what_is_kept_is_what_its_messages_are() -> None:
    store = MemoryStore()
    save(store, 1)
    save(store, 2, target=1003)
    assert store.messages() == messages(store)


@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(0, 60))
def test_the_limit_holds_whatever_is_kept(bodies: list[bytes], limit: int) -> None:
    store = MemoryStore(max_bytes=limit)
    kept: list[bytes] = []
    for mid, body in enumerate(bodies, 1):
        try:
            save(store, mid, body)
        except StoreFault as fault:
            assert sum(map(len, kept)) + len(body) > limit
            with pytest.raises(StoreFault, match=str(fault)):
                save(store, mid, body)
        else:
            kept.append(body)
    assert sum(map(len, kept)) <= limit
    assert len(messages(store)) == len(kept)
