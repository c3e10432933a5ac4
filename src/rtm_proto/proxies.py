"""The way through a proxy: its URL, and the handshake of HTTP proxies.

    http://[USER:PASSWORD@]HOST:PORT      CONNECT (RFC 9110, section 9.3.6), Basic (RFC 7617)
    socks5://[USER:PASSWORD@]HOST:PORT    ``rtm_proto.socks``; socks5h:// is the same

    client                                 proxy
    CONNECT host:port HTTP/1.1        ─►   looks the name up and connects
    Host, Proxy-Authorization
                                      ◄─   2xx: whatever comes behind its head is the target's
                                      ◄─   anything else: refused

It is spoken on the stream to the proxy before TLS and the link: these see only the target. The
first 8 KiB of a proxy's answer have to hold its head. A user, a password and a URL that is none are
in no message and no repr.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

try:
    import h11
except ModuleNotFoundError as exc:
    raise ImportError(
        f"rtm_proto.proxies needs {exc.name}: pip install 'rtm-proto[websocket]'", name=exc.name
    ) from exc

from .address import Address, parse_endpoint
from .errors import ConnectFailed, LocalProtocolError, show_bytes
from .link import Buffer

if TYPE_CHECKING:
    from .socks import SocksTunnel

MAX_HEAD = 8_192  # bytes of a proxy's answer, with the interim answers before it (ours)
SHOWN_REASON = 80  # characters of a proxy's reason that an error message shows
_HTTP = b"HTTP/"  # how every answer begins; RFC 9112, section 4
_SCHEMES = {"http": "http", "socks5": "socks5", "socks5h": "socks5"}
_URL = re.compile(r"([A-Za-z0-9+.-]+)://(?:([^/?#]*)@)?([^/?#@]*)/?")
_EXPECTED = "a proxy is http://[USER:PASSWORD@]HOST:PORT or socks5://[USER:PASSWORD@]HOST:PORT"


class Tunnel(Protocol):
    """The handshake with a proxy, over bytes.

    Send ``data_to_send``, hand in what comes, and so on until ``receive_data`` says that the way is
    open. Then send what is left to send; ``behind`` is what came behind the proxy's answer, the
    target's first bytes.
    """

    behind: bytes

    def data_to_send(self) -> bytes:
        """What to send now, each byte once."""
        ...

    def receive_data(self, data: Buffer) -> bool:
        """Whether the way is open. Raises ConnectFailed with the proxy's answer if it is not."""
        ...

    def receive_eof(self) -> ConnectFailed:
        """What the end of the stream means here."""
        ...


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; ``user`` is empty where it wants no login.

    Raises LocalProtocolError for what cannot be one, and ImportError where SOCKS5 lacks the extra
    ``proxy``.
    """

    scheme: str
    """``http`` or ``socks5``."""
    host: str
    port: int
    user: bytes = field(default=b"", repr=False)
    password: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.scheme not in _SCHEMES.values():
            raise LocalProtocolError(f"a proxy's scheme is http or socks5, got {self.scheme!r}")
        if self.password and not self.user:
            raise LocalProtocolError("a password of a proxy needs a user")
        parse_endpoint(Address("tcp", self.host, self.port).authority)
        _kind(self.scheme).check_login(self.user, self.password)

    def __str__(self) -> str:
        return f"{self.scheme}://{Address('tcp', self.host, self.port).authority}"

    def tunnel(self, host: str, port: int) -> Tunnel:
        """The handshake for a way to *host*, which the proxy looks up.

        Raises ConnectFailed for an address with a zone, LocalProtocolError for what is no host.
        """
        host, port = parse_endpoint(Address("tcp", host, port).authority)
        if "%" in host:
            raise ConnectFailed(f"a zone means nothing to a proxy, got {host}")
        return _kind(self.scheme)(host, port, self.user, self.password)


def parse_proxy(url: str) -> Proxy:
    """The proxy in *url*; what is special in user and password is percent-encoded.

    Raises LocalProtocolError for anything else than the forms above, https:// among it, and as
    Proxy does.
    """
    if not isinstance(url, str):
        raise LocalProtocolError(f"{_EXPECTED}, got a {type(url).__name__}")
    match = _URL.fullmatch(url)
    if match is None or " " in url or not url.isprintable():
        raise LocalProtocolError(f"{_EXPECTED}, got another form")
    scheme = _SCHEMES.get(match[1].lower())
    if scheme is None:
        raise LocalProtocolError(f"{_EXPECTED}, got another scheme")
    user, _, password = map(unquote_to_bytes, (match[2] or "").partition(":"))
    if match[2] is not None and not user:
        raise LocalProtocolError(f"{_EXPECTED}, got one without USER before the @")
    place = _place(match[3])
    if place is None:
        raise LocalProtocolError(f"{_EXPECTED}, got one without HOST:PORT")
    return Proxy(scheme, *place, user, password)


class HttpTunnel:
    """CONNECT: the handshake with an HTTP proxy."""

    behind = b""

    def __init__(self, host: str, port: int, user: bytes = b"", password: bytes = b"") -> None:
        """*host*, *port*: as ``parse_endpoint`` gives them, without a zone."""
        target = Address("tcp", host, port).authority
        headers = [("Host", target)]
        if user:
            login = b64encode(user + b":" + password).decode()
            headers.append(("Proxy-Authorization", f"Basic {login}"))
        self._known = bool(user)
        self._taken = 0  # bytes so far
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        request = h11.Request(method="CONNECT", target=target, headers=headers)
        self._out = self._http.send(request)
        self._http.send(h11.EndOfMessage())

    @staticmethod
    def check_login(user: bytes, password: bytes) -> None:
        """Raises LocalProtocolError for what Basic cannot carry."""
        if b":" in user:
            raise LocalProtocolError("a user of an HTTP proxy has no colon")

    def data_to_send(self) -> bytes:
        """See Tunnel."""
        data, self._out = self._out, b""
        return data

    def receive_data(self, data: Buffer) -> bool:
        """See Tunnel."""
        data = bytes(data)
        room = MAX_HEAD - self._taken
        self._taken += len(data)
        if data[:room]:  # to h11, no bytes are the end of the stream
            self._http.receive_data(data[:room])
        response = self._head()
        if response is None:
            if self._taken > MAX_HEAD:
                raise ConnectFailed(f"the head of the proxy's answer is over {MAX_HEAD} bytes")
            return False
        if not 200 <= response.status_code < 300:
            raise self._refusal(response)
        self.behind = self._http.trailing_data[0] + data[room:]
        return True

    def receive_eof(self) -> ConnectFailed:
        """See Tunnel."""
        if self._taken:
            text = f"the proxy closed inside its answer, after {self._taken} bytes of it"
            return ConnectFailed(text)
        return ConnectFailed("the proxy closed without an answer")

    def _head(self) -> h11.Response | None:
        """The final answer's head, or None if it is not whole."""
        while True:
            # h11 would wait for the line's end; what it says before that depends on the cuts.
            start = self._http.trailing_data[0][: len(_HTTP)]
            if not _HTTP.startswith(start):
                wrong = next(n for n in range(1, len(_HTTP) + 1) if not _HTTP.startswith(start[:n]))
                raise ConnectFailed(f"the proxy's answer is not HTTP: {show_bytes(start[:wrong])}")
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                text = str(exc).partition(": bytearray")[0]  # it quotes without a limit
                raise ConnectFailed(f"the proxy's answer is not HTTP: {text}") from exc
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                return None

    def _refusal(self, response: h11.Response) -> ConnectFailed:
        reason = response.reason.decode("ascii", "backslashreplace")
        shown = reason[:SHOWN_REASON] + (" ..." if len(reason) > SHOWN_REASON else "")
        text = f"the proxy answered {response.status_code} {shown}".rstrip()
        if response.status_code == 407:
            wish = "it did not take the user and password" if self._known else "it wants a login"
            text = f"{text}: {wish}"
        return ConnectFailed(text)


def _kind(scheme: str) -> type[HttpTunnel] | type[SocksTunnel]:
    if scheme == "http":
        return HttpTunnel
    from .socks import SocksTunnel  # only who uses it needs its extra

    return SocksTunnel


def _place(text: str) -> tuple[str, int] | None:
    try:
        return parse_endpoint(text)
    except LocalProtocolError:
        return None  # its message shows the text
