"""What a stream has to hold that a client is given by ``connect=``: ``check_stream(open_pair)``.

    async def open_pair():
        ...                                     # both ends of a fresh stream of yours
        return near, far

    async def test_my_stream():                 # on trio, or on asyncio
        await check_stream(open_pair)

For ``rtm_trio`` a stream is a ``trio.abc.Stream``, for ``rtm_asyncio`` an ``anyio.abc.ByteStream``;
both have the same rules. Each stands in ``RULES`` with its name; a stream that breaks one is told
by an AssertionError that begins with that name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

try:
    import anyio
except ModuleNotFoundError as exc:
    raise ImportError(
        "rtm_proto.testing.streams needs anyio: pip install 'rtm-proto[testing]'", name="anyio"
    ) from exc

OpenPair = Callable[[], Awaitable[tuple[Any, Any]]]
"""Gives both ends of a fresh stream."""
Reset = Callable[[Any], Awaitable[object]]
"""Breaks a stream from one end, so that the other end learns of it by an error."""

SOON = 5.0  # seconds for anything that should not wait
PIECE = 65_536  # bytes
MUCH = 1_000_000  # bytes, more than fits between two ends
TOO_MUCH = 64 * 1024 * 1024  # bytes: a stream that takes as many without a reader never waits

RULES: Mapping[str, str] = {
    "whole": "bytes arrive in order and whole, however they are sent and received",
    "size": "receive waits for a byte, and gives as many as it was asked for at the most",
    "both ways": "both ends can send much at the same time, in one task and receive in another",
    "end": "the end of the stream is told behind the last byte, and again when asked again",
    "half close": "after send_eof the other direction goes on, where a stream can end one side",
    "gone": "sending to a peer that has closed raises BrokenResourceError or OSError, soon",
    "reset": "a stream that breaks raises BrokenResourceError or OSError where it is received from",
    "cancelled": "a receive that is cancelled loses nothing",
    "closed": "closing twice is fine, and who receives from a closed stream is told so",
    "backpressure": "send waits while nobody reads",
}
"""The name of each rule, and what it asks for."""


async def check_stream(
    open_pair: OpenPair, *, reset: Reset | None = None, rules: Iterable[str] = RULES
) -> None:
    """Hold a stream against *rules*. Raises AssertionError that begins with the name of the rule.

    *reset*: how an end is made to break the stream; without it ``reset`` is left out. Raises
    ValueError for a name that is no rule. Runs in the loop of whoever calls it.
    """
    names = [*rules]
    for name in names:
        if name not in RULES:
            raise ValueError(f"no rule {name!r}: there are {', '.join(RULES)}")
    for name, check in _CHECKS.items():
        if name in names:
            await _hold(name, open_pair, check)
    if reset is not None and "reset" in names:
        breaks = reset
        await _hold("reset", open_pair, lambda open_ends: _reset(open_ends, breaks))


class _Broken(Exception):
    """A rule does not hold."""


async def _hold(name: str, open_pair: OpenPair, check: Check) -> None:
    ends: list[_End] = []

    async def open_ends() -> tuple[_End, _End]:
        near, far = map(_End, await open_pair())
        ends.extend((near, far))
        return near, far

    try:
        with anyio.fail_after(4 * SOON):
            await check(open_ends)
    except TimeoutError:
        raise AssertionError(f"{name}: {RULES[name]}; it did not get on in time") from None
    except Exception as exc:
        reason = _reason(exc)
        what = str(reason) if isinstance(reason, _Broken) else f"{type(reason).__name__}: {reason}"
        raise AssertionError(f"{name}: {RULES[name]}; {what}") from exc
    finally:
        for end in ends:
            if not end.was_closed:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await end.close()


def _reason(exc: BaseException) -> BaseException:
    """The first error in a group, or the error itself."""
    if isinstance(exc, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", exc).exceptions
        return _reason(errors[0])
    return exc


class _End:
    """One end of either kind, with one face."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.was_closed = False
        self._of_trio = hasattr(stream, "receive_some")
        self.broken: tuple[type[Exception], ...] = (anyio.BrokenResourceError, OSError)
        self.closed: tuple[type[Exception], ...] = (anyio.ClosedResourceError,)
        if self._of_trio:
            import trio

            self.broken = (trio.BrokenResourceError, OSError)
            self.closed = (trio.ClosedResourceError,)

    async def send(self, data: bytes) -> None:
        if self._of_trio:
            await self.stream.send_all(data)
        else:
            await self.stream.send(data)

    async def receive(self, size: int = PIECE) -> bytes:
        """Some bytes, none at the end."""
        if self._of_trio:
            data = bytes(await self.stream.receive_some(size))
        else:
            try:
                data = bytes(await self.stream.receive(size))
            except anyio.EndOfStream:
                return b""
            if not data:
                raise _Broken("receive gave no bytes: the end is told by EndOfStream")
        if len(data) > size:
            raise _Broken(f"receive gave {len(data)} bytes, it was asked for {size}")
        return data

    async def receive_exactly(self, count: int, size: int = PIECE) -> bytes:
        data = b""
        while len(data) < count:
            piece = await self.receive(min(size, count - len(data)))
            if not piece:
                raise _Broken(f"the stream ended after {len(data)} of {count} bytes")
            data += piece
        return data

    async def send_eof(self) -> bool:
        """End one side; whether the stream can."""
        try:
            await self.stream.send_eof()
        except (AttributeError, NotImplementedError):
            return False
        return True

    async def close(self) -> None:
        self.was_closed = True
        await self.stream.aclose()


OpenEnds = Callable[[], Awaitable[tuple[_End, _End]]]
Check = Callable[[OpenEnds], Awaitable[None]]


async def _close(*ends: _End) -> None:
    for end in ends:
        await end.close()


def _bytes(count: int) -> bytes:
    """Bytes in which a piece that is missing, doubled or out of place shows."""
    numbers = b"".join(number.to_bytes(4, "big") for number in range(count // 4 + 1))
    return numbers[:count]


def _same(got: bytes, sent: bytes) -> None:
    if got != sent:
        at = next((at for at in range(min(len(got), len(sent))) if got[at] != sent[at]), "the end")
        raise _Broken(f"{len(sent)} bytes were sent, {len(got)} came; they differ at {at}")


# --- the rules -----------------------------------------------------------------------------------


async def _whole(open_ends: OpenEnds) -> None:
    for sizes, size in (((1, 2, 3), 1), ((1, 100), 7), ((5000,), PIECE), ((MUCH,), 4096)):
        for turned in (False, True):
            ends = await open_ends()
            source, target = ends[::-1] if turned else ends
            data = _bytes(sum(sizes) * 3)

            async def send(source: _End, data: bytes, sizes: tuple[int, ...]) -> None:
                at = 0
                while at < len(data):
                    for count in sizes:
                        await source.send(data[at : at + count])
                        at += count

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, source, data, sizes)
                _same(await target.receive_exactly(len(data), size), data)
            await _close(source, target)


async def _size(open_ends: OpenEnds) -> None:
    near, far = await open_ends()

    async def send() -> None:
        await anyio.sleep(0.05)
        await near.send(b"0123456789")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        got = await far.receive(4)
        got += await far.receive_exactly(10 - len(got), 3)
        _same(got, b"0123456789")
    await _close(near, far)


async def _both_ways(open_ends: OpenEnds) -> None:
    near, far = await open_ends()
    data = _bytes(MUCH)
    async with anyio.create_task_group() as tasks:
        for end in (near, far):
            tasks.start_soon(end.send, data)

        async def receive(end: _End) -> None:
            _same(await end.receive_exactly(len(data)), data)

        for end in (near, far):
            tasks.start_soon(receive, end)
    await _close(near, far)


async def _end(open_ends: OpenEnds) -> None:
    for close in (False, True):
        near, far = await open_ends()

        async def send(near: _End, close: bool) -> None:
            await near.send(b"the last words")
            if close or not await near.send_eof():
                await near.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, near, close)
            _same(await far.receive_exactly(14), b"the last words")
            for _ in range(2):
                piece = await far.receive()
                if piece:
                    raise _Broken(f"{len(piece)} bytes came behind the last one")
        await _close(near, far)


async def _half_close(open_ends: OpenEnds) -> None:
    near, far = await open_ends()
    if await near.send_eof():
        if await far.receive():
            raise _Broken("bytes came that nobody sent")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(far.send, _bytes(MUCH))
            _same(await near.receive_exactly(MUCH), _bytes(MUCH))
    await _close(near, far)


async def _gone(open_ends: OpenEnds) -> None:
    near, far = await open_ends()
    await far.close()
    try:
        for _ in range(100):
            await near.send(bytes(PIECE))
            await anyio.sleep(0.001)
    except near.broken:
        await near.close()
        return
    raise _Broken(f"{100 * PIECE} bytes were taken for nobody")


async def _reset(open_ends: OpenEnds, reset: Reset) -> None:
    near, far = await open_ends()
    error: list[Exception] = []

    async def receive() -> None:
        try:
            while await near.receive():
                pass  # what came before it
        except near.broken as exc:
            error.append(exc)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.sleep(0.01)
        await reset(far.stream)
    if not error:
        raise _Broken("the stream was broken, and receive told an end in order")
    await _close(near, far)


async def _cancelled(open_ends: OpenEnds) -> None:
    near, far = await open_ends()
    data = _bytes(4000)
    got = bytearray()

    async def send() -> None:
        for at in range(0, len(data), 40):
            await far.send(data[at : at + 40])
            await anyio.sleep(0.001 if at % 3 else 0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        for count in range(200):
            with anyio.move_on_after((0, 0.0005, 0.001, 0.002)[count % 4]):
                got += await near.receive(17)
        got += await near.receive_exactly(len(data) - len(got))
    _same(bytes(got), data)
    await _close(near, far)


async def _closed(open_ends: OpenEnds) -> None:
    near, far = await open_ends()
    for _ in range(2):
        await near.close()
    try:
        data = await near.receive()
    except near.closed:
        pass  # as it should be
    else:
        raise _Broken(f"receive gave {data!r} from a stream that is closed")
    await _close(far)


async def _backpressure(open_ends: OpenEnds) -> None:
    near, far = await open_ends()
    async with anyio.create_task_group() as tasks:  # a stream may read on until it is first asked
        tasks.start_soon(near.send, b"x")
        await far.receive()
    taken = 0
    with anyio.move_on_after(0.5) as scope:
        while taken < TOO_MUCH:
            await near.send(bytes(PIECE))
            taken += PIECE
    if not scope.cancelled_caught:
        raise _Broken(f"{taken} bytes were taken, and nobody read any")
    await _close(near, far)


_CHECKS: Mapping[str, Check] = {
    "whole": _whole,
    "size": _size,
    "both ways": _both_ways,
    "end": _end,
    "half close": _half_close,
    "gone": _gone,
    "cancelled": _cancelled,
    "closed": _closed,
    "backpressure": _backpressure,
}
