"""Files: a token for each on the main port, the file itself on the file port.

    filetoken{cmd, to | gid | rid | tos} -> {token, endpoint}     a server with {from}
    sendfile{to, ...}    sendgroupfile{gid, ...}    sendroomfile{rid, ...}    -> {mtime}
    uploadfile{uid, ...} -> {url, size}
    servers: sendfiles{tos, ...}, broadcastfile{...} -> {mtime}
    ... is pid, from, mid, mtype, token, file, attrs[, endpoint]

The checks of a file quest, in this order, with the code of each refusal:

    file or attrs over the limit            200031
    attrs no JSON object, or without sign   200004
    token unknown, spent, old, not for it   200003
    sign does not match                     200003   (from here on the token is spent)
    mtype not 40..50                        200007
    rights                                  see ``rights``
    mid was delivered before                200053

The token says who sends: a file quest needs no login. What was granted to a server needs no room
and no group of the sender. Only servers send to many users or to everybody (spec 4): for clients
that is 200020. Rates count a file when its token is asked for, before the file is on its way.

Sources: the published codes of 2018 and of the SDKs; the order is our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import md5, sha256
from typing import NamedTuple
from urllib.parse import quote

from ...attrs import FileAttrs, clean_name, extension, parse_attrs, sign_matches
from ...codes import Code
from ...payload import Params, bytes_of, int_of, text_of
from ...received import FILE_MTYPES, Conversation, FileType
from ..actions import HEAD, SERVER, Asked, Body, Method, Methods, Refusal, Who
from ..limits import Limits
from ..links import THUMBNAIL, Links
from ..store import Result, SaveFile, StoredFile, StoredMessage
from ..thumbnail_queue import has_thumbnail
from ..tokens import Grant, Tokens
from .keeping import Keeping
from .lists import receivers
from .mail import EVERYBODY, Mail, mid_key
from .messages import checked_mid
from .rates import Rates
from .rights import Rights

BODY_LIFE = 600.0  # seconds that a token stays good once its file has begun to come


class _Send(NamedTuple):
    """What a file method does: whom its messages are for, and the field that names them."""

    kind: Conversation | None  # None: it makes no message
    key: str
    servers_only: bool = False


SENDS = {
    "sendfile": _Send(Conversation.P2P, "to"),
    "sendgroupfile": _Send(Conversation.GROUP, "gid"),
    "sendroomfile": _Send(Conversation.ROOM, "rid"),
    "sendfiles": _Send(Conversation.P2P, "tos", servers_only=True),
    "broadcastfile": _Send(Conversation.BROADCAST, "", servers_only=True),
    "uploadfile": _Send(None, "uid"),
}

_CPP_CMDS = {"GroupFile": "sendgroupfile", "BroadcastFile": "broadcastfile"}  # C++ server SDK


class Files:
    """Gives tokens, and takes the files that come with them."""

    def __init__(
        self,
        keeping: Keeping,
        mail: Mail,
        rights: Rights,
        rates: Rates,
        limits: Limits,
        *,
        pid: int,
        endpoint: str,
        tls_endpoint: str | None,
        file_url: str,
        links: Links,
        pictures: bool,
        recognise: Callable[[bytes], int | None] | None,
        wall_ms: Callable[[], int],
        make_token: Callable[[], str],
    ) -> None:
        """*endpoint*: the file gate's ``host:port``; *tls_endpoint*: the one for who came over TLS.

        *file_url*: what URLs of files begin with. *links*: signs them. *pictures*: whether there
        are small pictures of images, so that messages tell of them (``surl``). *recognise*: what a
        file of mtype 50 is, by its first bytes.
        """
        self.tokens = Tokens(make_token)
        self._keeping = keeping
        self._mail = mail
        self._rights = rights
        self._rates = rates
        self._limits = limits
        self._pid = pid
        self._endpoint = endpoint
        self._tls_endpoint = tls_endpoint or endpoint
        self._file_url = file_url
        self._links = links
        self._pictures = pictures
        self._recognise = recognise
        self._wall_ms = wall_ms
        self._make_token = make_token
        self.methods: Methods = {
            "filetoken": Method(Who.EITHER, self._filetoken),
            **{
                cmd: Method(Who.ANYBODY, partial(self._send, cmd, send))
                for cmd, send in SENDS.items()
            },
        }

    def check_head(self, method: str, params: Params, size: int, *, now: float) -> None:
        """Refuse what is wrong already before the file of *size* bytes has come.

        *params*: those that stand before the file, whichever these are. A token that is good stays
        so for BODY_LIFE, in which the file has to come. Raises PayloadError.
        """
        send = SENDS[method]
        self._check_file_size(size)
        if "token" in params:
            token = text_of(params, "token")
            grant = self._granted(token, now)
            pid, sender = int_of(params, "pid", grant.pid), int_of(params, "from", grant.uid)
            target = grant.target
            if send.key in params:
                target = _target(self._targets(send, params))
            if grant != Grant(pid, sender, method, target):
                raise Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "token is not for this")
            self.tokens.renew(token, BODY_LIFE, now=now)

    # --- methods ---

    def _filetoken(self, asked: Asked) -> Params:
        params, now = asked.params, asked.now
        cmd = text_of(params, "cmd")
        cmd = _CPP_CMDS.get(cmd, cmd)
        send = SENDS.get(cmd)
        if send is None:
            text = f"cmd is one of {', '.join(SENDS)}, got {cmd!r:.40}"
            raise Refusal(Code.INVALID_PARAMETER, text)
        by_server = asked.user == SERVER
        if send.servers_only and not by_server:
            raise Refusal(Code.METHOD_FORBIDDEN, f"{cmd} is for servers")
        sender = asked.speaks_for("from")
        if cmd == "uploadfile":  # the target is one's own uid, said in the file quest only
            target: int | str = sender
        else:
            if send.key and params.get(send.key) is None:
                raise Refusal(Code.INVALID_PARAMETER, f"{cmd} needs {send.key}")
            target = _target(self._targets(send, params))
        whose = [] if by_server else [("user_files", sender)]
        self._rates.spend(*whose, ("all_files", 0), now=now)
        grant = Grant(self._pid, sender, cmd, target, by_server=by_server)
        endpoint = self._tls_endpoint if asked.visitor.tls else self._endpoint
        return {"token": self.tokens.issue(grant, now=now), "endpoint": endpoint}

    def _send(self, cmd: str, send: _Send, asked: Asked) -> None:
        """A file quest: the checks of the table above, then SaveFile."""
        params, now = asked.params, asked.now
        pid, sender = int_of(params, "pid"), int_of(params, "from")
        targets = self._targets(send, params)
        mid = 0 if send.kind is None else int_of(params, "mid")
        token, attrs_text = text_of(params, "token"), text_of(params, "attrs")
        file = params.get("file")
        if not isinstance(file, Body):
            file = bytes_of(params, "file")
        self._check_file_size(file.size if isinstance(file, Body) else len(file))
        self._check_attrs_size(attrs_text)
        attrs = parse_attrs(attrs_text)
        if not attrs.sign:
            raise Refusal(Code.ATTRS_LACK_SIGN_OR_EXT, "attrs lack sign")
        if text_of(params, "endpoint", self._endpoint) not in (self._endpoint, self._tls_endpoint):
            raise Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "endpoint is none of this gate's")
        grant = self._granted(token, now)
        if grant != Grant(pid, sender, cmd, _target(targets)):
            raise Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "token is not for this")
        body = file if isinstance(file, Body) else self._whole(file)
        if not sign_matches(attrs.sign, body.digest, token):
            raise Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "sign does not match file and token")
        self.tokens.spend(token)
        mtype = self._mtype(params, body.head)
        stored = _stored(body, attrs, mtype, sender, self._wall_ms())
        messages: tuple[StoredMessage, ...] = ()
        if send.kind is not None:
            by_server = grant.by_server
            self._rights.check_sending(send.kind, sender, targets, by_server=by_server)
            checked_mid(params)
            messages = self._mail.write(
                send.kind,
                sender,
                self._mail.fresh(send.kind, sender, targets, mid, now=now),
                mid=mid,
                mtype=stored.mtype,
                msg=json.dumps(self._place(stored, body.head), separators=(",", ":")),
                attrs=_nested(attrs, attrs_text),
                file=stored.key,
            )

        def kept(result: Result, now: float) -> None:
            self._keeping.answer(asked, self._answer(stored, messages))
            self._mail.kept(messages, now=now)

        effect = SaveFile(self._keeping.next_id(), stored, messages, body.rest)
        self._keeping.ask(asked, effect, kept, holds=map(mid_key, messages))

    # --- private ---

    def _check_file_size(self, size: int) -> None:
        limit = self._limits.max_file
        if size > limit:
            raise Refusal(
                Code.FILE_TOO_LARGE, f"a file of {size} bytes is over the limit of {limit}"
            )

    def _check_attrs_size(self, attrs: str) -> None:
        size, limit = len(attrs.encode("utf-8", "surrogateescape")), self._limits.max_attrs
        if size > limit:
            raise Refusal(
                Code.FILE_TOO_LARGE, f"attrs of {size} bytes are over the limit of {limit}"
            )

    def _granted(self, token: str, now: float) -> Grant:
        grant = self.tokens.granted(token, now=now)
        if grant is None:
            raise Refusal(Code.BAD_FILE_SIGN_OR_TOKEN, "token is unknown, used or too old")
        return grant

    def _whole(self, data: bytes) -> Body:
        """A file that came in one piece."""
        digest = md5(data, usedforsecurity=False).hexdigest()
        return Body(self._make_token(), len(data), digest, 0, data, data[:HEAD])

    def _targets(self, send: _Send, params: Params) -> list[int]:
        """For whom a file is: its one target, or the users of ``tos``."""
        if send.key == "tos":
            return receivers(params, self._limits.max_receivers)
        return [int_of(params, send.key) if send.key else EVERYBODY]

    def _mtype(self, params: Params, head: bytes) -> int:
        """The mtype of a file, a more specific one than 50 where that is clear (spec 6)."""
        mtype = _file_mtype(params)
        if mtype != FileType.FILE or self._recognise is None:
            return mtype
        return self._recognise(head) or mtype

    def _answer(self, file: StoredFile, messages: Sequence[StoredMessage]) -> Params:
        if messages:
            return {"mtime": messages[0].mtime}
        place = self._place(file, b"")
        return {**place, "url": self._links.signed(str(place["url"]), file.key)}

    def _place(self, file: StoredFile, head: bytes) -> dict[str, object]:
        """Where a stored file is, and its size: what a message tells of it."""
        base, name = f"{self._file_url}/{file.key}", quote(file.name, safe="", errors="replace")
        place: dict[str, object] = {"url": f"{base}/{name}", "size": file.size}
        if self._pictures and has_thumbnail(head):
            place["surl"] = f"{base}/{THUMBNAIL}/{name}"
        return place


def _file_mtype(params: Params) -> int:
    """mtype, also as decimal text (the Java SDK of 2018)."""
    value = params.get("mtype")
    if isinstance(value, str):
        mtype = int(value) if value.isascii() and value.isdigit() and len(value) < 4 else -1
    else:
        value = mtype = int_of(params, "mtype")
    if mtype not in FILE_MTYPES:
        raise Refusal(Code.BAD_FILE_MTYPE, f"a file's mtype is 40 to 50, got {value!r:.20}")
    return mtype


def _stored(body: Body, attrs: FileAttrs, mtype: int, owner: int, at: int) -> StoredFile:
    """The file as it is kept, under a name that is safe in a URL."""
    ext = "".join(c for c in (attrs.ext or "")[:16] if c.isascii() and c.isalnum())
    name = clean_name(attrs.name or "") or (f"file.{ext}" if ext else "file")
    if ext and not extension(name):
        name = f"{name}.{ext}"
    return StoredFile(body.key, body.size, body.digest, name, mtype, owner, at)


def _target(targets: Sequence[int]) -> int | str:
    """What a token is bound to: the one target, or a digest of many."""
    if len(targets) == 1:
        return targets[0]
    return sha256(",".join(map(str, targets)).encode()).hexdigest()


def _nested(attrs: FileAttrs, text: str) -> str:
    """Attrs for the receivers: as they came, or the flat shape wrapped (Objective-C needs it).

    What came is not written again, where that can be avoided: 1e999 would become no JSON at all.
    """
    raw = attrs.raw
    if isinstance(raw.get("rtm"), dict):
        return text
    outer = {key: raw[key] for key in ("custom", "excludedUids") if key in raw}
    try:
        more = json.dumps(outer, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        more = "{}"
    return f'{{"rtm":{text}{"," if more != "{}" else ""}{more[1:]}'
