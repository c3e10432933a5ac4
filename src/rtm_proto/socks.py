"""The handshake of SOCKS5 proxies (RFC 1928, RFC 1929).

    client                                             proxy
    05 n methods: 00 none, 02 user and password   ─►
                                                  ◄─   05 method, ff: none of these
    01 n user n password                          ─►   (after 02)
                                                  ◄─   01 status, 00: welcome
    05 01 00 kind host port                       ─►   looks the name up and connects
                                                  ◄─   05 code 00 kind host port, code 00: open

    kind     01 IPv4, 4 bytes     03 name, u8 length and bytes     04 IPv6, 16 bytes

socksio writes the requests and reads the answers, each of which it wants whole and alone: where one
ends is found here. A refusal counts from its code on, because some proxies send no more of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

try:
    from socksio import ProtocolError
    from socksio.socks5 import (
        SOCKS5AuthMethod,
        SOCKS5AuthMethodsRequest,
        SOCKS5AuthReply,
        SOCKS5Command,
        SOCKS5CommandRequest,
        SOCKS5Connection,
        SOCKS5ReplyCode,
        SOCKS5State,
        SOCKS5UsernamePasswordReply,
        SOCKS5UsernamePasswordRequest,
    )
except ModuleNotFoundError as exc:
    missing = str(exc.name).partition(".")[0]
    raise ImportError(
        f"rtm_proto.socks needs {missing}: pip install 'rtm-proto[proxy]'", name=missing
    ) from exc

from .errors import ConnectFailed, LocalProtocolError, show_bytes
from .link import Buffer

MAX_LOGIN = 255  # bytes of a user, and of a password; RFC 1929
_NAME = 3  # the kind of a host that is a name
_HOST_SIZES = {1: 4, 4: 16}  # bytes of the other kinds


class SocksTunnel:
    """The handshake with a SOCKS5 proxy; see ``rtm_proto.proxies.Tunnel``."""

    behind = b""

    def __init__(self, host: str, port: int, user: bytes = b"", password: bytes = b"") -> None:
        """*host*, *port*: as ``parse_endpoint`` gives them, without a zone."""
        self._login = SOCKS5UsernamePasswordRequest(user, password) if user else None
        self._target = SOCKS5CommandRequest.from_address(SOCKS5Command.CONNECT, (host, port))
        self._socks = SOCKS5Connection()
        self._buffer = bytearray()  # of an answer, 262 bytes at the most
        self._taken = 0  # bytes so far
        methods = [SOCKS5AuthMethod.NO_AUTH_REQUIRED]
        if user:
            methods.append(SOCKS5AuthMethod.USERNAME_PASSWORD)
        self._send(SOCKS5AuthMethodsRequest(methods))

    @staticmethod
    def check_login(user: bytes, password: bytes) -> None:
        """Raises LocalProtocolError for what SOCKS5 cannot carry."""
        for name, value in (("user", user), ("password", password)):
            if len(value) > MAX_LOGIN:
                text = f"a {name} of a SOCKS5 proxy has up to {MAX_LOGIN} bytes, got {len(value)}"
                raise LocalProtocolError(text)

    def data_to_send(self) -> bytes:
        """See Tunnel."""
        return self._socks.data_to_send()

    def receive_data(self, data: Buffer) -> bool:
        """See Tunnel."""
        self._taken += len(data)
        self._buffer += data
        while self._socks.state != SOCKS5State.TUNNEL_READY:
            size = self._answer_size()
            if len(self._buffer) < size:
                return False
            answer = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._receive(answer)
        self.behind = bytes(self._buffer)
        return True

    def receive_eof(self) -> ConnectFailed:
        """See Tunnel."""
        if self._socks.state == SOCKS5State.SERVER_VERIFY_USERNAME_PASSWORD:
            return ConnectFailed("the proxy closed after it got the user and password")
        if self._taken:
            text = f"the proxy closed inside its answer, after {self._taken} bytes of it"
            return ConnectFailed(text)
        return ConnectFailed("the proxy closed without an answer")

    def _answer_size(self) -> int:
        """How many bytes the next answer has, as far as is known; a refusal is raised."""
        data = self._buffer
        verifies = self._socks.state == SOCKS5State.SERVER_VERIFY_USERNAME_PASSWORD
        if data and data[0] != (1 if verifies else 5):
            raise _is_not_socks(data[:1])
        if self._socks.state != SOCKS5State.CLIENT_AUTHENTICATED:
            return 2
        if len(data) > 1 and data[1]:
            raise ConnectFailed(f"the proxy answered: {_words(data[1])}")
        if len(data) < 5:
            return 5
        if data[3] == _NAME:
            return 7 + data[4]
        if data[3] not in _HOST_SIZES:
            raise _is_not_socks(data[:4])
        return 6 + _HOST_SIZES[data[3]]

    def _receive(self, answer: bytes) -> None:
        """Take an answer that is whole, and say what comes next."""
        try:
            reply = self._socks.receive_data(answer)
        except ProtocolError as exc:
            raise _is_not_socks(answer) from exc
        if isinstance(reply, SOCKS5AuthReply):
            self._log_in(reply.method)
        elif isinstance(reply, SOCKS5UsernamePasswordReply):
            if not reply.success:
                raise ConnectFailed("the proxy did not take the user and password")
            self._send(self._target)

    def _send(self, request: NamedTuple) -> None:
        socks: Any = self._socks  # its send is a decorator's work, which has no type
        socks.send(request)

    def _log_in(self, method: SOCKS5AuthMethod) -> None:
        if method is SOCKS5AuthMethod.NO_AUTH_REQUIRED:
            self._send(self._target)
        elif self._login is None:
            raise ConnectFailed("the proxy wants a login")
        elif method is SOCKS5AuthMethod.USERNAME_PASSWORD:
            self._send(self._login)
        else:
            raise ConnectFailed("the proxy wants another login than a user and password")


def _words(code: int) -> str:
    """A refusal's code as RFC 1928, section 6, calls it."""
    try:
        return SOCKS5ReplyCode(bytes([code])).name.lower().replace("_", " ")
    except ValueError:
        return f"refused with code {code}"


def _is_not_socks(answer: bytes | bytearray) -> ConnectFailed:
    return ConnectFailed(f"the proxy's answer is not SOCKS5: {show_bytes(answer)}")
