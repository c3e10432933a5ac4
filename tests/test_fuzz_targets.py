"""The fuzz targets' short form: their seeds and some mutations of them, the same at every run."""

from __future__ import annotations

import random
import re
import sys

import pytest

from tests.fuzz.footprint import footprint
from tests.fuzz.seeds import WORDS, dictionary, seeds
from tests.fuzz.targets import TARGETS

MUTATIONS = 300  # of each target


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_and_no_mutation_of_one_finds_a_fault(target: str) -> None:
    run = TARGETS[target]
    begun_with = seeds(target)
    assert begun_with
    run(b"")
    for data in begun_with:
        run(data)
    chance = random.Random(target)
    for _ in range(MUTATIONS):
        run(mutated(chance.choice(begun_with), chance))


def test_the_dictionary_has_the_form_that_is_read() -> None:
    lines = dictionary().splitlines()
    assert len(lines) == len({*WORDS})
    assert all(re.fullmatch(r'"(\\x[0-9a-f]{2})+"', line) for line in lines)


def test_a_footprint_counts_what_is_held_and_not_what_is_shared() -> None:
    small, large = footprint([b"", memoryview(b"")]), footprint([b"", memoryview(bytes(10_000))])
    assert 10_000 <= large - small < 10_200
    more = sys.getsizeof([re, str, WORDS]) - sys.getsizeof([WORDS])
    assert footprint([re, str, WORDS]) == footprint([WORDS]) + more


def mutated(data: bytes, chance: random.Random) -> bytes:
    """*data* with one to four small changes."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(changed))
        match chance.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                changed[at:at] = chance.choice(WORDS)
            case 2:
                changed[at:at] = chance.randbytes(chance.randint(1, 4))
            case 3:
                del changed[at : at + chance.randint(1, 8)]
            case 4:
                changed[at:at] = changed[at : at + chance.randint(1, 40)]
            case _:
                changed[at : at + 1] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF))])
    return bytes(changed)
