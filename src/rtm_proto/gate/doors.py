"""Which ports a gate opens, and what clients are told about the file port.

    main port, file port                 plain, or with TLS where it is the only pair
    TLS main port, TLS file port         beside the plain ones
    admin socket, watch port             local

``filetoken`` tells a visitor that came over TLS the TLS file port, and everybody else the plain
one: the raw TCP SDKs connect there as they are told, without TLS. The JavaScript SDK connects to
``fileproxy-HOST`` on 13461 (13462 with TLS) whatever it is told, and echoes what it was told, which
may be either. Sources: spec 5, 12.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..address import Address
from ..errors import LocalProtocolError
from .settings import Port


@dataclass(frozen=True, slots=True)
class Door:
    """A port to open: what kind, its number (0: any that is free), and whether it speaks TLS."""

    kind: Port
    number: int
    tls: bool = False


class Told(NamedTuple):
    """What clients are told: where the file port is, whether that speaks TLS, and the other."""

    endpoint: str
    tls: bool
    tls_endpoint: str | None


def doors_of(
    port: int | None,
    file_port: int | None,
    tls_port: int | None,
    tls_file_port: int | None,
    *,
    tls: bool,
) -> list[Door]:
    """The doors of a gate that has a certificate (*tls*) or has none; None is no such port.

    Without TLS ports of their own, *port* and *file_port* are what a certificate is for. Raises
    LocalProtocolError where that makes no gate.
    """
    separate = tls_port is not None or tls_file_port is not None
    if separate and not tls:
        raise LocalProtocolError("a TLS port needs an ssl_context")
    plain_speaks_tls = tls and not separate
    asked = [
        (Port.MAIN, port, plain_speaks_tls),
        (Port.MAIN, tls_port, True),
        (Port.FILES, file_port, plain_speaks_tls),
        (Port.FILES, tls_file_port, True),
    ]
    doors = [Door(kind, number, tls) for kind, number, tls in asked if number is not None]
    for kind in (Port.MAIN, Port.FILES):
        if not any(door.kind is kind for door in doors):
            name = "main" if kind is Port.MAIN else "file"
            raise LocalProtocolError(f"a gate needs a {name} port, with or without TLS")
    return doors


def address(host: str, number: int, *, tls: bool) -> Address:
    """Where a door is."""
    return Address("wss" if tls else "ws", host, number)


def told(opened: Mapping[Door, Address], endpoint: str | None, tls_endpoint: str | None) -> Told:
    """What clients are told. *endpoint*, *tls_endpoint*: what somebody wants them to be told.

    Where only the first is given, the other is the same host with the TLS file port's number.
    """
    plain, secure = (find(opened, Port.FILES, tls=tls) for tls in (False, True))
    if plain is None or secure is None:
        only = plain or secure
        assert only is not None, "doors_of has seen to it"
        return Told(endpoint or tls_endpoint or only.authority, only.tls, None)
    if tls_endpoint is None:
        host = secure.host if endpoint is None else endpoint.rpartition(":")[0].strip("[]")
        tls_endpoint = address(host, secure.port, tls=True).authority
    return Told(endpoint or plain.authority, False, tls_endpoint)


def find(opened: Mapping[Door, Address], kind: Port, *, tls: bool) -> Address | None:
    """Where the door of this kind is."""
    for door, where in opened.items():
        if (door.kind, door.tls) == (kind, tls):
            return where
    return None
