"""How many streams a gate has at once: in all, and from one address.

An IPv6 address stands for its /64, which is what one customer of a network gets at the least.
Local ports are not counted: whoever watches or administers a gate that is full must get in.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address


class Places:
    """Counts streams in and out."""

    def __init__(self, *, most: int, most_per_address: int) -> None:
        """*most* and *most_per_address*: streams at once."""
        self.taken = 0
        self._most = most
        self._most_per_address = most_per_address
        self._by_origin: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_origin)

    def take(self, address: str | None) -> str | None:
        """A stream came from *address* (None: it has none). Why there is no place, or None.

        Where there was one, ``leave`` follows.
        """
        if self.taken >= self._most:
            return f"all {self._most} places are taken"
        where = origin(address)
        if where is not None:
            count = self._by_origin.get(where, 0)
            if count >= self._most_per_address:
                return f"all {self._most_per_address} places of one address are taken"
            self._by_origin[where] = count + 1
        self.taken += 1
        return None

    def leave(self, address: str | None) -> None:
        """The stream that took a place is gone."""
        self.taken -= 1
        where = origin(address)
        if where is not None:
            count = self._by_origin.pop(where, 0) - 1
            if count > 0:
                self._by_origin[where] = count


def origin(address: str | None) -> str | None:
    """What streams from *address* are counted under; None for none."""
    if not address:
        return None
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{ip.packed[:8].hex()}::/64"
