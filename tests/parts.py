"""Packages that came in parts, put together again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rtm_proto.package import Package


def put_together(packages: Iterable[Package]) -> list[Package]:
    """The packages, and those that came in parts, whole; the last may still have some ``left``.

    Their parts are in order, of one head, and leave no gap.
    """
    whole: list[Package] = []
    before: Package | None = None
    for package in packages:
        if before is None:
            assert package.part in (0, 1)
            assert (package.left > 0) == (package.part == 1)
            whole.append(replace(package, part=0))
            assert not package.part or package.payload == b""
        else:
            assert package.part == before.part + 1
            assert package.payload and package.left == before.left - len(package.payload)
            assert replace(package, payload=b"", part=0, left=0) == replace(
                before, payload=b"", part=0, left=0
            )
            whole[-1].payload += package.payload
            whole[-1].left = package.left
        before = package if package.left else None
    return whole
