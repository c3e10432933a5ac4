"""The pair of ``rtm_proto.testing``, by the name that the tests have for it."""

from __future__ import annotations

from rtm_proto.testing.pair import (
    Cutter,
    Pair,
    Peer,
    byte_by_byte,
    packages_in,
    server_connection,
    websocket_connections,
    whole,
)

__all__ = [
    "Cutter",
    "Pair",
    "Peer",
    "byte_by_byte",
    "packages_in",
    "server_connection",
    "websocket_connections",
    "whole",
]
