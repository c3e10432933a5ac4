"""``rtm gate``: all of it but the waiting."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from ..address import Address
from ..gate.store import MemoryStore, Store
from .exits import Exit
from .options import GateOptions
from .screen import Screen


class Serving:
    """One ``rtm gate``: what it says."""

    def __init__(self, options: GateOptions, screen: Screen) -> None:
        self.options = options
        self.status = Exit.DONE
        self._screen = screen

    def store(self) -> Store:
        """What the gate keeps: nothing but its groups, at first."""
        store = MemoryStore()
        for gid, members in self.options.groups.items():
            store.save_members(gid, members)
        return store

    def started(self, address: Address, file_address: Address) -> None:
        """It can be reached."""
        options, screen = self.options, self._screen
        endpoint = options.endpoint or file_address.authority
        raw = replace(address, scheme="tcp")
        if screen.json:
            screen.result({"url": str(address), "tcp_url": str(raw), "file_endpoint": endpoint})
        else:
            screen.result(f"{address} {raw}")
        users = ", ".join(map(str, sorted(options.users)))
        screen.say(f"project {options.pid}, users {users}, files on {endpoint}; Ctrl-C ends it")
        screen.say("everything is kept in memory and gone when it ends")
        if options.endpoint is None and _is_wildcard(options.host):
            screen.say(f"no client can reach files on {endpoint}: give --endpoint HOST:PORT")

    def interrupted(self) -> str:
        """What a person who stops it now must know."""
        return "ended"


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
