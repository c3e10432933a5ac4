"""A payload that comes in pieces: one large value of it is handed on, the rest is read at the end.

    piece ─► feed ─┬─► the bytes of the value at *key* (a bin or str of the map itself)
                   └─► collected ─► params()          (the value's place holds b"")

What is collected has a limit; the value has none here: ``size`` tells it before its first byte.
All other rules are those of :func:`rtm_proto.payload.decode`.
"""

from __future__ import annotations

from .codes import Code
from .errors import PayloadError
from .payload import LAYOUT, MAX_DEPTH, MAX_NODES, Params, decode, unpack

MAX_COLLECTED = 32_768  # bytes of a payload apart from its large value; 2,000 receivers take 18,000

_MAP32 = 0xDF
_EMPTY_BIN = b"\xc4\x00"
_MAPS = frozenset({*range(0x80, 0x90), 0xDE, _MAP32})
_TEXTS = frozenset({*range(0xA0, 0xC0), 0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB})  # str and bin


class PayloadReader:
    """Reads one payload.

    ``size``  bytes of the value at *key*, or None as long as its header has not come
    """

    def __init__(
        self, key: str, *, limit: int = MAX_COLLECTED, limit_code: int = Code.INVALID_PACKAGE
    ) -> None:
        """*key*: whose value is handed on. *limit*: bytes of everything else; what is over it is
        refused with *limit_code*.
        """
        self.size: int | None = None
        self._key = key
        self._limit = limit
        self._limit_code = limit_code
        self._collected = bytearray()
        self._head = bytearray()  # of a value: its lead byte and its length, as far as they came
        self._to_collect = 0  # bytes of the current value
        self._to_hand_on = 0  # the same of the large one
        self._left = [1]  # values still to come at each level
        self._nodes = 0
        self._entries = 0  # of the map itself
        self._map_head = 0  # bytes of its lead byte and length
        self._key_at = 0  # where the current key of the map begins in what is collected
        self._key_seen = False
        self._before: tuple[int, int] | None = None  # entries and bytes before the large value

    def feed(self, data: bytes) -> list[memoryview]:
        """The next bytes of the payload; what they bring of the large value, as views of *data*.

        Raises PayloadError (10003) for what is no msgpack, is too deep or has too many values, and
        with *limit_code* when too much would have to be collected. Nothing may be fed after that.
        """
        out: list[memoryview] = []
        view = memoryview(data)
        offset = 0
        while offset < len(data) and self._left:
            if self._to_hand_on:
                size = min(self._to_hand_on, len(data) - offset)
                out.append(view[offset : offset + size])
                self._to_hand_on -= size
            elif self._to_collect:
                size = min(self._to_collect, len(data) - offset)
                self._collected += view[offset : offset + size]
                self._to_collect -= size
            else:
                lead = self._head[0] if self._head else data[offset]
                missing = 1 + LAYOUT[lead][0] - len(self._head)
                size = min(missing, len(data) - offset)
                self._head += view[offset : offset + size]
                if size == missing:
                    self._begin_value()
            offset += size
            self._climb()
        return out

    def before(self) -> Params:
        """What stands before the large value, once ``size`` is known. Raises PayloadError."""
        if self._before is None:
            return {}
        entries, end = self._before
        head = bytes([_MAP32]) + entries.to_bytes(4, "big")
        return decode(head + self._collected[self._map_head : end])

    def params(self) -> dict[str, object]:
        """The whole map, at the end of the payload; ``b""`` stands for the large value.

        Raises PayloadError (10003) when it is cut short, or as :func:`rtm_proto.payload.decode`.
        """
        if self._to_hand_on:
            raise PayloadError(
                f"payload is cut short: {self._to_hand_on} bytes of {self._key} are missing",
                Code.INVALID_PACKAGE,
            )
        return decode(bytes(self._collected + self._head))

    # --- private ---

    def _begin_value(self) -> None:
        """The head of a value is there."""
        head, left = self._head, self._left
        lead = head[0]
        length_size, fixed, per_item = LAYOUT[lead]
        length = int.from_bytes(head[1:], "big") if length_size else 0
        in_map = self._entries > 0 and len(left) == 2
        is_key = in_map and left[-1] % 2 == 0
        left[-1] -= 1
        self._nodes += 1
        if fixed < 0 or self._nodes > MAX_NODES or (per_item and len(left) > MAX_DEPTH):
            self._refuse(fixed, lead)
        if is_key:
            self._key_at = len(self._collected)
        if in_map and not is_key and self._is_the_one() and lead in _TEXTS:
            self.size = self._to_hand_on = fixed + length
            self._before = (self._entries - left[-1] // 2 - 1, self._key_at)
            self._collected += _EMPTY_BIN
        else:
            self._to_collect = 0 if per_item else fixed + length
            if len(self._collected) + len(head) + self._to_collect > self._limit:
                raise PayloadError(
                    f"payload has more than {self._limit} bytes beside {self._key}",
                    self._limit_code,
                )
            self._collected += head
        if per_item:
            items = length if length_size else fixed
            if len(left) == 1 and lead in _MAPS:
                self._entries, self._map_head = items, len(head)
            left.append(per_item * items)
        head.clear()

    def _is_the_one(self) -> bool:
        """Whether the value that begins is the first one at *key*."""
        if self._key_seen:
            return False
        key = unpack(bytes(self._collected[self._key_at :]), _nothing)
        self._key_seen = key in (self._key, self._key.encode())
        return self._key_seen

    def _climb(self) -> None:
        """Leave the levels that are whole."""
        left = self._left
        if not self._to_collect and not self._to_hand_on and not self._head:
            while left and left[-1] == 0:
                left.pop()

    def _refuse(self, fixed: int, lead: int) -> None:
        if fixed < 0:
            text = f"payload has the unused lead byte {lead:#04x}"
        elif self._nodes > MAX_NODES:
            text = f"payload holds more values than the limit of {MAX_NODES}"
        else:
            text = f"payload is nested deeper than the limit of {MAX_DEPTH}"
        raise PayloadError(text, Code.INVALID_PACKAGE)


def _nothing(pairs: list[tuple[object, object]]) -> None:
    """What a map that is a key is read as: it is none that anybody asks for."""
