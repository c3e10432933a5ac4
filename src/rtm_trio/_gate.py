"""A gate on real streams: accept, drive the visits, carry out the store's effects."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio

from rtm_proto.address import Address
from rtm_proto.errors import StoreFault
from rtm_proto.gate.decisions import Limits
from rtm_proto.gate.gate import HANDSHAKE_TIMEOUT, Gate, GateSettings, RawLink
from rtm_proto.gate.store import Effect, MemoryStore, Store, StoredFile
from rtm_proto.link import StreamLink

from ._dial import plainly
from ._wire import Wire, wall_ms

_log = logging.getLogger("rtm_trio")


class GateServer:
    """A gate that runs; made by ``serve_gate``.

    ``address`` is the main port's, ``file_address`` the file port's; ``visits`` counts the streams
    that are being served.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        gate: Gate,
        store: Store,
        address: Address,
        file_address: Address,
    ) -> None:
        """For ``serve_gate``."""
        self.address = address
        self.file_address = file_address
        self.visits = 0
        self._nursery = nursery
        self._gate = gate
        self._store = store
        self._arrived = 0

    def __repr__(self) -> str:
        return f"<GateServer {self.address} files {self.file_address}>"

    @property
    def url(self) -> str:
        """What a WebSocket client connects to."""
        return str(self.address)

    def kick(self, uid: int) -> bool:
        """End the login of *uid*; whether there was one."""
        kicked = self._gate.kick(uid, now=trio.current_time())
        self._carry_out_effects()
        return kicked

    async def serve_stream(self, stream: trio.abc.Stream, *, on_file_port: bool) -> None:
        """Serve one stream, of whatever kind, until it ends."""
        self._arrived += 1
        visit = self._gate.visit(f"visit {self._arrived}", on_file_port=on_file_port)

        def collect(now: float) -> None:
            visit.collect(now=now)
            self._carry_out_effects()

        wire = Wire(stream, visit, collect)
        visit.bell = wire.turn
        self.visits += 1
        try:
            await wire.run()
        except Exception:  # a fault of ours in one visit must not end the gate for all others
            _log.exception("%s ended by a fault", visit)
        finally:
            self.visits -= 1

    # --- private ---

    def _carry_out_effects(self) -> None:
        for effect in self._gate.effects():
            if self._store.blocking:
                self._nursery.start_soon(self._carry_out_in_thread, effect)
            else:
                self._carried_out(effect, *_carry_out(self._store, effect))

    async def _carry_out_in_thread(self, effect: Effect) -> None:
        done = await trio.to_thread.run_sync(_carry_out, self._store, effect)
        self._carried_out(effect, *done)

    def _carried_out(
        self, effect: Effect, result: StoredFile | bytes | None, fault: StoreFault | None
    ) -> None:
        self._gate.carried_out(effect, result, fault, now=trio.current_time())
        self._carry_out_effects()


@asynccontextmanager
async def serve_gate(
    *,
    pid: int,
    users: Mapping[int, str],
    secret: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    file_port: int = 0,
    endpoint: str | None = None,
    store: Store | None = None,
    limits: Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    raw_link: RawLink = StreamLink,
    make_gate: Callable[..., Gate] = Gate,
) -> AsyncGenerator[GateServer, None]:
    """Run a gate of one's own; leaving the block ends it.

    *users*: the login token of each uid of the project *pid*. *secret*: the project's, with which
    servers sign their calls (default: there are none). *host*, an address, is bound on two ports,
    of which 0 is a free one: *port* for the main links and *file_port* for files, each for raw
    FPNN and WebSocket (and GET of the stored files). *endpoint*: how clients reach the file
    port, where that is not *host* and *file_port*. *store*: where things are kept (default: in
    memory).
    *ssl_context*: speak TLS on both ports, with this certificate. *raw_link*: makes the link of a
    visitor that speaks no HTTP; ``partial(EncryptedLink.server, key, required=False)`` lets it use
    FPNN's encryption. *make_gate*: called as ``Gate`` is, for a gate of another kind
    (``rtm_proto.testing.scripted``).

    Raises OSError when a port cannot be bound.
    """
    kept = MemoryStore() if store is None else store
    async with AsyncExitStack() as stack:
        main_listeners = await trio.open_tcp_listeners(port, host=host)
        stack.push_async_callback(_close, main_listeners)
        file_listeners = await trio.open_tcp_listeners(file_port, host=host)
        stack.push_async_callback(_close, file_listeners)
        scheme = "ws" if ssl_context is None else "wss"
        address = Address(scheme, host, _port(main_listeners))
        file_address = Address(scheme, host, _port(file_listeners))
        settings = GateSettings(
            pid,
            users,
            endpoint or file_address.authority,
            tls=ssl_context is not None,
            limits=limits or Limits(),
            secret=secret,
            raw_link=raw_link,
        )
        gate = make_gate(settings, wall_ms=wall_ms, make_token=_make_token, store=kept)
        left_with: BaseException | None = None
        async with trio.open_nursery() as nursery:
            server = GateServer(nursery, gate, kept, address, file_address)
            for listeners, on_file_port in ((main_listeners, False), (file_listeners, True)):
                handler = partial(_accept, server, ssl_context, on_file_port)
                nursery.start_soon(_serve, listeners, handler, nursery)
            try:
                yield server
            except trio.Cancelled:
                raise
            except BaseException as exc:
                left_with = exc  # raised below, as itself and not in the nursery's group
            nursery.cancel_scope.cancel()
        if left_with is not None:
            raise left_with


async def _accept(
    server: GateServer,
    ssl_context: ssl.SSLContext | None,
    on_file_port: bool,
    stream: trio.abc.Stream,
) -> None:
    if ssl_context is not None:
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT):
                secure = trio.SSLStream(
                    stream, ssl_context, server_side=True, https_compatible=True
                )
                await secure.do_handshake()
        except (trio.TooSlowError, trio.BrokenResourceError, OSError) as exc:
            _log.debug("no TLS with a visitor: %s", plainly(exc))
            await trio.aclose_forcefully(stream)
            return
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        stream = secure
    await server.serve_stream(stream, on_file_port=on_file_port)


async def _serve(
    listeners: list[trio.SocketListener],
    handler: Callable[[trio.abc.Stream], Awaitable[None]],
    nursery: trio.Nursery,
) -> None:
    await trio.serve_listeners(handler, listeners, handler_nursery=nursery)


async def _close(listeners: list[trio.SocketListener]) -> None:
    for listener in listeners:
        await trio.aclose_forcefully(listener)


def _carry_out(store: Store, effect: Effect) -> tuple[StoredFile | bytes | None, StoreFault | None]:
    try:
        return store.carry_out(effect), None
    except StoreFault as fault:
        return None, fault
    except Exception as exc:  # a fault of the store must not leave its asker without an answer
        _log.exception("the store failed at %s", type(effect).__name__)
        return None, StoreFault(f"{type(exc).__name__} in the store")


def _port(listeners: list[trio.SocketListener]) -> int:
    port: int = listeners[0].socket.getsockname()[1]
    return port


def _make_token() -> str:
    return os.urandom(16).hex()
