"""Where to connect: URLs, endpoints, and the way to the file gate.

    ws://HOST:PORT[/PATH]    FPNN in WebSocket frames, 13321, path /service/websocket
    wss://HOST:PORT[/PATH]   the same in TLS, 13322
    tcp://HOST:PORT          raw FPNN, 13321
    tcps://HOST:PORT         the same in TLS, 13322
    http://, https://        a stored file

A host is a name of letters, digits, ``-``, ``_`` and dots (others are written as IDNA), an IPv4
address, or an IPv6 address in brackets.

The file gate is either the ``endpoint`` of a filetoken answer (direct: the raw TCP SDKs) or the
proxy ``fileproxy-HOST`` on 13461, with TLS 13462 (proxied: the JavaScript and Unity-WS SDKs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from .errors import LocalProtocolError

WEBSOCKET_PATH = "/service/websocket"
_PORTS = {"ws": 13321, "wss": 13322, "tcp": 13321, "tcps": 13322}
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # RFC 1035, and underscores
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_PORT = re.compile("[0-9]{1,5}")
_IPV6 = re.compile("[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?")
_BRACKETED = re.compile("\\[[^]]*](?::[0-9]*)?")
_USER = re.compile("(?<=//).*@", re.DOTALL)
_HTTP_PORTS = {"http": 80, "https": 443}
_HTTP_USER = re.compile(r"//[^/?#]*@")
_SHOWN_URL = 80  # characters of a URL that an error message shows
_PROXY_PORTS = {"ws": 13461, "wss": 13462, "tcp": 13461, "tcps": 13462}


@dataclass(frozen=True, slots=True)
class Address:
    """A place to connect to; ``path`` matters for WebSocket only."""

    scheme: str
    host: str
    port: int
    path: str = WEBSOCKET_PATH

    @property
    def tls(self) -> bool:
        """Whether the transport is TLS."""
        return self.scheme in ("wss", "tcps")

    @property
    def websocket(self) -> bool:
        """Whether packages travel in WebSocket frames."""
        return self.scheme in ("ws", "wss")

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path if self.websocket else ''}"


def parse_url(url: str) -> Address:
    """The address in *url*.

    Raises LocalProtocolError that names what was expected for anything else than the four forms
    above.
    """
    expected = "expected ws://, wss://, tcp:// or tcps:// and HOST[:PORT]"
    if not isinstance(url, str):
        raise LocalProtocolError(f"{expected}, got {url!r}")
    shown = repr(_USER.sub("***@", url))  # a password is nobody's business
    if any(c.isspace() or not c.isprintable() for c in url):
        raise LocalProtocolError(f"{expected}, got {shown}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise LocalProtocolError(f"{expected}, got {shown}") from exc
    if parts.scheme not in _PORTS or port == 0:
        raise LocalProtocolError(f"{expected}, got {shown}")
    if parts.username is not None or parts.fragment:
        raise LocalProtocolError(f"{expected} without user or fragment, got {shown}")
    host = _host(parts.hostname or "", bracketed=bool(_BRACKETED.fullmatch(parts.netloc)))
    if host is None:
        raise LocalProtocolError(f"{expected}, got {shown} whose host is none")
    query = f"?{parts.query}" if parts.query else ""
    websocket = parts.scheme in ("ws", "wss")
    path = parts.path if parts.path != "/" else ""
    if not websocket and path + query:
        raise LocalProtocolError(f"a {parts.scheme}:// URL has no path, got {shown}")
    path = (path or WEBSOCKET_PATH) + query
    if not path.isascii():
        raise LocalProtocolError(f"a path is ASCII, anything else percent-encoded, got {shown}")
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], path)


def parse_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port in ``host:port`` or ``[v6]:port``; LocalProtocolError for anything else."""
    name, _, digits = endpoint.rpartition(":")
    bracketed = name.startswith("[") and name.endswith("]")
    host = _host(name[1:-1] if bracketed else name, bracketed=bracketed)
    port = int(digits) if _PORT.fullmatch(digits) else 0
    if host is None or not 0 < port < 0x10000:
        raise LocalProtocolError(f"an endpoint is host:port or [v6]:port, got {endpoint!r}")
    return host, port


@dataclass(frozen=True, slots=True)
class FileRoute:
    """The way to the file gate.

    ``fixed`` is an address to use whatever the token's answer says. Otherwise ``proxied`` says
    which of the two ways it is. On the proxied way the quest carries ``endpoint``.
    """

    main: Address
    proxied: bool
    fixed: Address | None = None

    def address(self, endpoint: str) -> Address:
        """Where to connect to; LocalProtocolError when *endpoint* is needed and is none."""
        if self.fixed is not None:
            return self.fixed
        if self.proxied:
            host = f"fileproxy-{self.main.host}"
            return replace(self.main, host=host, port=_PROXY_PORTS[self.main.scheme])
        host, port = parse_endpoint(endpoint)
        return replace(self.main, host=host, port=port)


def file_route(main: Address, route: str) -> FileRoute:
    """What *route* means beside a main link to *main*.

    ``auto``: direct for TCP; for WebSocket proxied, or direct where the host is an address or
    ``localhost``, because such a host has no ``fileproxy-`` name. ``direct``: the endpoint, over
    the main link's transport (TLS stays TLS). ``proxied``: through ``fileproxy-HOST``. Anything
    else is a URL to use. Raises LocalProtocolError where that cannot work.
    """
    proxy = _host(f"fileproxy-{main.host}", bracketed=False)  # a very long name has none
    named = not _is_ip(main.host) and main.host != "localhost" and proxy is not None
    if route == "auto":
        return FileRoute(main, proxied=main.websocket and named)
    if route == "direct":
        return FileRoute(main, proxied=False)
    if route == "proxied":
        if not named:
            raise LocalProtocolError(
                f"there is no fileproxy-{main.host}: give file_route a URL, or 'direct'"
            )
        return FileRoute(main, proxied=True)
    try:
        fixed = parse_url(route)
    except LocalProtocolError as exc:
        raise LocalProtocolError(
            f"file_route is 'auto', 'direct', 'proxied' or a URL: {exc}"
        ) from exc
    return FileRoute(main, proxied=fixed.host.startswith("fileproxy-"), fixed=fixed)


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """Where a file is: ``target`` is path and query, as a request carries them."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port; an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTP_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_http_url(url: str) -> HttpUrl:
    """The parts of *url*, which is http or https, without a user; a fragment is left out.

    Raises LocalProtocolError that names what was expected and what came.
    """
    expected = "a file's URL is http://HOST... or https://HOST..."
    if not isinstance(url, str):
        raise LocalProtocolError(f"{expected}, got {url!r}")
    if _HTTP_USER.search(url):  # and never show it: it may be a password
        raise LocalProtocolError(
            f"{expected} without a user, got {_HTTP_USER.sub('//...@', url)!r}"
        )
    shown = repr(url[:_SHOWN_URL] + ("..." if len(url) > _SHOWN_URL else ""))
    if any(c.isspace() or not c.isprintable() for c in url):
        raise LocalProtocolError(f"{expected} without blanks or control characters, got {shown}")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    except ValueError as exc:
        raise LocalProtocolError(f"{expected}, got {shown}: {exc}") from exc
    if parts.scheme not in _HTTP_PORTS or not host or port == 0 or "%" in host:
        raise LocalProtocolError(f"{expected}, got {shown}")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    if ":" in host:
        host = str(ip_address(host))
    return HttpUrl(parts.scheme, host, port or _HTTP_PORTS[parts.scheme], target)


def _host(text: str, *, bracketed: bool) -> str | None:
    """*text* as the resolver takes it, or None: it raises more than OSError for what is no host."""
    if bracketed:
        return text if ":" in text and _IPV6.fullmatch(text) and _is_ip(text) else None
    if not text.isascii():
        try:
            text = text.encode("idna").decode()
        except UnicodeError:
            return None
    return text if _HOST_NAME.fullmatch(text) else None


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
