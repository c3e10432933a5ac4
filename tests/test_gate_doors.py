"""The doors of a gate, and what clients are told about its file port."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.address import Address
from rtm_proto.errors import LocalProtocolError
from rtm_proto.gate.doors import Door, Told, address, doors_of, find, told
from rtm_proto.gate.settings import GateSettings, Port

MAIN, FILES = Port.MAIN, Port.FILES


@pytest.mark.parametrize(
    ("ports", "tls", "doors"),
    [
        ((1, 2, None, None), False, [Door(MAIN, 1), Door(FILES, 2)]),
        ((1, 2, None, None), True, [Door(MAIN, 1, True), Door(FILES, 2, True)]),
        (
            (1, 2, 3, 4),
            True,
            [Door(MAIN, 1), Door(MAIN, 3, True), Door(FILES, 2), Door(FILES, 4, True)],
        ),
        ((None, None, 3, 4), True, [Door(MAIN, 3, True), Door(FILES, 4, True)]),
        ((1, 2, 3, None), True, [Door(MAIN, 1), Door(MAIN, 3, True), Door(FILES, 2)]),
    ],
)
def test_which_doors_a_gate_has(
    ports: tuple[int | None, ...], tls: bool, doors: list[Door]
) -> None:
    assert doors_of(*ports, tls=tls) == doors


@pytest.mark.parametrize(
    ("ports", "tls", "text"),
    [
        ((1, 2, 3, None), False, "a TLS port needs an ssl_context"),
        ((1, 2, None, 4), False, "a TLS port needs an ssl_context"),
        ((None, 2, None, None), False, "a gate needs a main port"),
        ((1, None, None, None), True, "a gate needs a file port"),
        ((None, None, 3, None), True, "a gate needs a file port"),
    ],
)
def test_what_makes_no_gate(ports: tuple[int | None, ...], tls: bool, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        doors_of(*ports, tls=tls)


PLAIN = {Door(MAIN, 0): address("h", 1, tls=False), Door(FILES, 0): address("h", 2, tls=False)}
SECURE = {
    Door(MAIN, 0, True): address("h", 3, tls=True),
    Door(FILES, 0, True): address("h", 4, tls=True),
}


@pytest.mark.parametrize(
    ("opened", "endpoints", "expected"),
    [
        (PLAIN, (None, None), Told("h:2", False, None)),
        (PLAIN, ("files.test:9", None), Told("files.test:9", False, None)),
        (SECURE, (None, None), Told("h:4", True, None)),
        (SECURE, (None, "files.test:9"), Told("files.test:9", True, None)),
        (PLAIN | SECURE, (None, None), Told("h:2", False, "h:4")),
        (PLAIN | SECURE, ("files.test:9", None), Told("files.test:9", False, "files.test:4")),
        (PLAIN | SECURE, ("[::1]:9", None), Told("[::1]:9", False, "[::1]:4")),
        (PLAIN | SECURE, ("a:9", "b:8"), Told("a:9", False, "b:8")),
    ],
)
def test_what_clients_are_told(
    opened: dict[Door, Address], endpoints: tuple[str | None, str | None], expected: Told
) -> None:
    assert told(opened, *endpoints) == expected


def test_a_door_is_found_by_its_kind() -> None:
    assert find(PLAIN | SECURE, FILES, tls=True) == Address("wss", "h", 4)
    assert find(PLAIN, FILES, tls=True) is None


def test_links_to_files_are_the_safest_there_are() -> None:
    """A page that was loaded over TLS may not read what was not."""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "http://f:1/files"),
        ({"tls": True}, "https://f:1/files"),
        ({"tls_endpoint": "f:2"}, "https://f:2/files"),
        ({"tls_endpoint": "f:2", "file_url": "http://cdn/x/"}, "http://cdn/x"),
    )
    for more, url in cases:
        assert GateSettings(1, {}, "f:1", **more).url_of_files == url
