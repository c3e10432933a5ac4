"""``rtm gate``: all of it but the waiting."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from ..address import Address
from ..gate.memory import MEMORY_BYTES, MemoryStore
from ..gate.store import Store, Table, text_of_uids
from . import limits_of_system
from .exits import Exit, UsageError
from .gate_options import ADMIN_SOCKET, GateOptions
from .notify import READY, STOPPING, notify
from .screen import Screen

_FAR = 2**62  # ms since 1970: no message is as young


class Running(Protocol):
    """A gate that runs: a GateServer of either adapter."""

    endpoint: str
    address: Address
    tls_address: Address | None
    watch_address: Address | None


class Serving:
    """One ``rtm gate``: what it needs, and what it says."""

    def __init__(self, options: GateOptions, screen: Screen) -> None:
        self.options = options
        self.status = Exit.DONE
        self._screen = screen
        self._store: Store | None = None

    def arguments(self) -> dict[str, Any]:
        """What to call ``serve_gate`` with; the store is open then.

        Raises OSError, UsageError, StoreFault for what cannot be read or used.
        """
        options = self.options
        same = ("host", "port", "file_port", "tls_port", "tls_file_port", "endpoint", "users")
        more = (
            *("tls_endpoint", "file_url", "allow_origin", "link_life", "limits", "watch_port"),
            *("watch_host", "max_connections", "max_per_address", "handshake_timeout"),
            *("login_timeout", "idle_timeout", "ping_every", "pid"),
        )
        found: dict[str, Any] = {name: getattr(options, name) for name in (*same, *more)}
        found |= prepare(options)
        found["store"] = self._store = self._open_store()
        return found

    def close(self) -> None:
        """The gate has ended: let go of what it kept things in."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def started(self, server: Running) -> None:
        """It can be reached."""
        options, screen = self.options, self._screen
        raw = replace(server.address, scheme="tcps" if server.address.tls else "tcp")
        watch = None if server.watch_address is None else f"http://{server.watch_address.authority}"
        tls = server.tls_address
        if screen.json:
            told = {"url": str(server.address), "tcp_url": str(raw)}
            more = {"tls_url": tls and str(tls), "watch_url": watch}
            socket = {"admin_socket": admin_socket(options)}
            screen.result({**told, "file_endpoint": server.endpoint, **more, **socket})
        else:
            screen.result(f"{server.address} {raw}")
        users = (
            f"users {', '.join(map(str, sorted(options.users)))}" if options.users else "no users"
        )
        screen.say(f"project {options.pid}, {users}, files on {server.endpoint}; Ctrl-C ends it")
        if tls is not None:
            screen.say(f"with TLS: {tls}")
        if watch is not None:
            screen.say(f"figures: {watch}/metrics")
        if options.data is None:
            screen.say("everything is kept in memory and gone when it ends")
        else:
            screen.say(f"everything is kept in {options.data}")
        told_address = options.endpoint or options.tls_endpoint
        if told_address is None and any(map(_is_wildcard, options.host)):
            screen.say(f"no client can reach files on {server.endpoint}: give --endpoint HOST:PORT")
        shortage = limits_of_system.make_room(options.max_connections)
        if shortage is not None:
            screen.say(shortage)
        notify(READY, os.environ)

    def stopping(self) -> None:
        """It was told to stop."""
        notify(STOPPING, os.environ)
        text = f"what is under way may take {self.options.grace:g} s; a second signal ends at once"
        self._screen.say(f"stopping: {text}")

    def interrupted(self) -> str:
        """What a person who stops it now must know."""
        return "ended"

    # --- private ---

    def _open_store(self) -> Store:
        options = self.options
        store: Store
        if options.data is None:
            store = MemoryStore(
                max_bytes=options.max_bytes or MEMORY_BYTES,
                max_user_bytes=options.max_user_bytes,
                history=options.history,
                history_life=options.history_life,
            )
        else:
            from ..disk.store import DiskStore  # sqlite3 is not in every Python

            store = DiskStore(
                options.data,
                max_bytes=options.max_bytes,
                max_user_bytes=options.max_user_bytes,
                history=options.history,
                history_life=options.history_life,
            )
        try:
            known = store.kept(_FAR).uids(Table.MEMBERS)
            for gid, members in options.groups.items():
                if gid not in known:
                    store.save_record(Table.MEMBERS, gid, text_of_uids(members))
        except BaseException:
            store.close()
            raise
        return store


def admin_socket(options: GateOptions) -> str | None:
    """Where ``rtm admin`` reaches a gate with these options."""
    if options.admin_socket is None and options.data is not None:
        return os.path.join(options.data, ADMIN_SOCKET)
    return options.admin_socket


def prepare(options: GateOptions) -> dict[str, Any]:
    """What *options* only name: secrets, certificates and keys, read.

    Raises OSError, UsageError, ImportError for what cannot be used.
    """
    found: dict[str, Any] = {"secret": _secret(options), "admin_socket": admin_socket(options)}
    if options.certificate is not None:
        found["ssl_context"] = _ssl_context(options.certificate, options.key)
    if options.encryption_key is not None:
        from ..encryption import EncryptedLink, PrivateKey
        from ..errors import LocalProtocolError

        try:
            key = PrivateKey.load(Path(options.encryption_key).read_bytes())
        except LocalProtocolError as exc:
            raise UsageError(f"encryption_key: {options.encryption_key}: {exc}") from exc
        found["raw_link"] = partial(EncryptedLink.server, key, required=False)
    if options.recognise:
        from ..gate.recognised import recognise

        found["recognise"] = recognise
    if options.thumbnails:
        from ..gate.thumbnails import make_thumbnail

        found["make_thumbnail"] = make_thumbnail
    if options.strict:
        from ..testing.strict import strict_gate

        try:
            found["make_gate"] = strict_gate(options.strict)
        except ValueError as exc:
            raise UsageError(f"strict: {exc}") from exc
    return found


def _secret(options: GateOptions) -> str | None:
    if options.secret_file is None:
        return options.secret
    try:
        secret = Path(options.secret_file).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as exc:
        raise UsageError(f"secret_file: {options.secret_file} is no text") from exc
    if not secret:
        raise UsageError(f"secret_file: {options.secret_file} is empty")
    return secret


def _ssl_context(certificate: str, key: str | None) -> ssl.SSLContext:
    for path in filter(None, (certificate, key)):
        Path(path).read_bytes()  # an error that names the file
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as exc:
        raise UsageError(f"certificate: {certificate}: no certificate and key that fit") from exc
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
