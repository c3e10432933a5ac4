"""The file-sending flow: token, file link, body, answer, and all of it again where that helps.

    main link                         file link (no login)
    filetoken {cmd, target} ──►
    ◄── {token, endpoint}
                                      connect ──►
                                      send*file {pid, from, target, mtype, mid, token,
                                                 endpoint?, file, attrs} ──►
                                      ◄── {mtime}, or of uploadfile {url, size}

    method           target in both    whom its message is for      who may send it
    sendfile         to                a user                       users, servers
    sendgroupfile    gid               a group                      users, servers
    sendroomfile     rid               a room                       users, servers
    sendfiles        tos               several users, one each      servers
    broadcastfile    none              everybody                    servers
    uploadfile       uid, file quest   nobody: it is only stored    users, servers

A server has no login: it signs the filetoken quest and names the sender in it (``Signer``).

``file`` and ``attrs`` come last, so that the file is read once and hashed as it is sent; the sign
in the attrs has a fixed length, so the package's size is known before its first byte. One
deadline stands over everything; every attempt has a new token and the same mid.

    what happened                                         outcome
    status 0                                              FileSent
    200053 when this mid was sent before                  FileSent(duplicate=True)
    error answer                                          FileRefused
    the last byte was never handed over                   FileNotSent
    the last byte was handed over, and no answer          OutcomeUnknown

Sources: all SDKs; sendfiles and broadcastfile the server SDKs, uploadfile the Unity SDKs; the
order of the keys is our own (any order is read).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import Generic, TypeVar

from ..address import FileRoute
from ..attrs import NO_SIGN, file_sign, write_attrs
from ..codes import Code, Retry, retry
from ..errors import (
    ConnectFailed,
    ConnectionLost,
    FileNotSent,
    FileRefused,
    FileUnusable,
    LocalProtocolError,
    OutcomeUnknown,
    PayloadError,
    QuestError,
    QuestRefused,
    QuestTimeout,
    RtmError,
    SendFailed,
)
from ..mids import check_mid
from ..payload import INT64_MAX, INT64_MIN, Params, envelope, int_of, text_of
from ..received import FILE_MTYPES, Conversation
from ..signs import Signer
from .steps import (
    Ask,
    Begin,
    Dial,
    Discard,
    Finish,
    Flow,
    Hand,
    Now,
    OpenSource,
    Pause,
    Progress,
    Read,
    SourceOpened,
    Stage,
    Tell,
    check_timeout,
)

MAX_FILE = 5_242_880  # bytes (published limit: 5 MiB for the file)
PIECE = 64 * 1024  # bytes read, hashed and handed over at a time
SEND_TIMEOUT = 20.0  # seconds, over the whole call (File API documentation: 20 s)
MAX_ATTEMPTS = 3
MAX_RECEIVERS = 2000  # of one sending (published limit)
RETRY_PAUSE = 1.0  # seconds before the second attempt where a pause is due; then doubled

Result = TypeVar("Result")

_COMMANDS: Mapping[Conversation, str] = {
    Conversation.P2P: "sendfile",
    Conversation.GROUP: "sendgroupfile",
    Conversation.ROOM: "sendroomfile",
}
_COMMAND_TARGETS = {command: kind.value for kind, command in _COMMANDS.items()}


@dataclass(frozen=True, slots=True)
class FileToken:
    """What filetoken answers: a token for one send, and the address of the file gate."""

    token: str = field(repr=False)
    endpoint: str


@dataclass(frozen=True, slots=True)
class FileSent:
    """The gate has the file. ``mtime`` is its time in milliseconds, None where it gave none.

    ``duplicate``: the gate had this mid already, so an earlier sending was delivered.
    """

    mid: int
    mtime: int | None
    attempts: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class FileUploaded:
    """The gate has stored the file, and told nobody. ``size`` in bytes."""

    url: str
    size: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, and the way to the file gate; ``signer``: a server speaks for the user ``uid``."""

    pid: int
    uid: int
    route: FileRoute
    max_file: int = MAX_FILE
    signer: Signer | None = None

    def token_quest(self, params: Params) -> Params:
        """The params of filetoken as they go over the main link: of a server with a new sign."""
        if self.signer is None:
            return params
        return self.signer.signed("filetoken", {"from": check_int64("from", self.uid), **params})


def check_int64(name: str, value: object) -> int:
    """*value* itself, if it is an int64; else LocalProtocolError."""
    if type(value) is not int or not INT64_MIN <= value <= INT64_MAX:
        raise LocalProtocolError(f"{name} is an int64, got {value!r}")
    return value


def check_receivers(tos: Sequence[object]) -> list[int]:
    """*tos* as a list, if they are 1 to 2,000 different int64; else LocalProtocolError."""
    uids = [check_int64("tos", uid) for uid in tos]
    if not 0 < len(uids) <= MAX_RECEIVERS:
        raise LocalProtocolError(f"tos are 1 to {MAX_RECEIVERS} users, got {len(uids)}")
    if len(set(uids)) < len(uids):
        raise LocalProtocolError("a user stands in tos more than once")
    return uids


def token_params(
    cmd: str,
    *,
    tos: list[int] | None = None,
    to: int | None = None,
    rid: int | None = None,
    gid: int | None = None,
) -> Params:
    """The params of a filetoken quest.

    Raises LocalProtocolError unless exactly the target that *cmd* needs is given: ``to`` for
    sendfile, ``gid`` for sendgroupfile, ``rid`` for sendroomfile, ``tos`` for sendfiles, none for
    uploadfile and broadcastfile.
    """
    needed = {**_COMMAND_TARGETS, "sendfiles": "tos", "uploadfile": "", "broadcastfile": ""}
    if cmd not in list(needed):
        raise LocalProtocolError(f"cmd is one of {', '.join(needed)}, got {cmd!r}")
    targets = {"to": to, "gid": gid, "rid": rid, "tos": tos}
    given = [name for name, value in targets.items() if value is not None]
    if given != ([needed[cmd]] if needed[cmd] else []):
        raise LocalProtocolError(
            f"{cmd} needs {needed[cmd] or 'no target'}, got {', '.join(given) or 'no target'}"
        )
    params: dict[str, object] = {"cmd": cmd}
    if tos is not None:
        if type(tos) is not list or not tos:
            raise LocalProtocolError(f"tos is a list of uids that is not empty, got {tos!r}")
        params["tos"] = check_receivers(tos)
    for name, value in (("to", to), ("gid", gid), ("rid", rid)):
        if value is not None:
            params[name] = check_int64(name, value)
    return params


def file_token(params: Params, timeout: float) -> Flow[FileToken]:
    """Get a token. Raises QuestError; 20009 when the answer lacks token or endpoint."""
    now: float = yield Now()
    return (yield from _get_token(params, now + check_timeout(timeout)))


def _get_token(params: Params, deadline: float) -> Flow[FileToken]:
    answer: Params = yield Ask("filetoken", params, deadline)
    try:
        token, endpoint = text_of(answer, "token"), text_of(answer, "endpoint")
    except PayloadError as exc:
        raise bad_answer("filetoken", str(exc)) from exc
    if not token or not endpoint:
        raise bad_answer("filetoken", "token or endpoint is empty")
    return FileToken(token, endpoint)


def bad_answer(method: str, text: str) -> QuestRefused:
    """The error for an answer of success that lacks what it has to say."""
    return QuestRefused(method, Code.INVALID_PACKAGE_CORE, f"bad answer: {text}")


def _check_name(name: object) -> None:
    if name is not None and not isinstance(name, str):
        raise LocalProtocolError(f"a file's name is text, got {name!r}")


def _is_file_mtype(mtype: object) -> bool:
    """An IntEnum is fine; True and 40.0 are not, although a range holds them."""
    return isinstance(mtype, int) and type(mtype) is not bool and mtype in FILE_MTYPES


class Sending(ABC, Generic[Result]):
    """What Transfer and Upload have in common: a token, a link, a file, an answer, and again."""

    def __init__(
        self,
        sender: Sender,
        mtype: int,
        *,
        mid: int,
        repeat: bool,
        timeout: float,
        name: str | None,
        custom: object,
        piece: int,
    ) -> None:
        self.mid = mid
        self.stage = Stage.CHECK
        self.attempts = 0
        self._handed_over = False  # the last byte of this attempt was handed over
        self._in_doubt = False  # so it was in an earlier attempt, and nothing said that it failed
        self._sender = sender
        self._mtype = mtype
        self._repeat = repeat
        self._timeout = timeout
        self._name = name
        self._custom = custom
        self._piece = piece
        self._size = 0
        self._deadline = 0.0
        self._losses = 0  # of the main link, while it was asked for a token
        self._again: set[Retry] = set()  # what was tried once more already
        self._digest: str | None = None
        self._hash = md5(usedforsecurity=False)

    def given_up(self, cause: Exception) -> SendFailed:
        """The true outcome when it ends here because of *cause*."""
        if self._handed_over or self._in_doubt:
            return OutcomeUnknown(mid=self.mid, stage=self.stage.value, cause=cause)
        return FileNotSent(mid=self.mid, stage=self.stage.value, cause=cause)

    def run(self) -> Flow[Result]:
        """Send the file. Raises FileRefused, FileNotSent or OutcomeUnknown, each with the mid."""
        try:
            source = yield from self._check()
            pause = RETRY_PAUSE
            while True:
                self.attempts += 1
                try:
                    return (yield from self._attempt(source))
                except (QuestError, ConnectFailed) as exc:
                    self._in_doubt = self._in_doubt or self._may_have_arrived(exc)
                    self._handed_over = False
                    wait = self._wait_before_retry(exc, pause)
                    now: float = yield Now()
                    if wait is None or now + wait >= self._deadline:
                        raise
                yield Discard()
                if wait:
                    pause *= 2
                    yield Pause(now + wait)
                source = yield from self._reopen()
        except QuestRefused as exc:
            if self._in_doubt:
                raise OutcomeUnknown(mid=self.mid, stage=self.stage.value, cause=exc) from exc
            raise FileRefused(mid=self.mid, stage=self.stage.value, cause=exc) from exc
        except (RtmError, OSError) as exc:
            raise self.given_up(exc) from exc

    # --- what each of them knows ---

    @abstractmethod
    def _addressed(self) -> tuple[str, Params, Params]:
        """The method, its target in the token quest and in the file quest.

        Raises LocalProtocolError for a target that no gate can take.
        """

    @abstractmethod
    def _answered(self, method: str, answer: Params) -> Result:
        """What this answer means. Raises QuestRefused for one that means nothing."""

    @abstractmethod
    def _repeated(self, refusal: QuestRefused) -> Result:
        """What it means that an earlier sending was delivered."""

    # --- private ---

    def _check(self) -> Flow[SourceOpened]:
        """Everything that can be known to be wrong before any I/O on the network."""
        if check_mid(self.mid) == 0:
            raise LocalProtocolError("a mid of 0 means a new one: it is never sent")
        if not _is_file_mtype(self._mtype):
            raise LocalProtocolError(f"a file's mtype is 40 to 50, got {self._mtype!r}")
        check_int64("from", self._sender.uid)
        self._addressed()
        check_timeout(self._timeout)
        _check_name(self._name)
        now: float = yield Now()
        self._deadline = now + self._timeout
        source: SourceOpened = yield OpenSource()
        limit = self._sender.max_file
        if source.size > limit:
            raise FileUnusable(f"{source.where} has {source.size} bytes, over the limit of {limit}")
        self._size = source.size
        write_attrs(self._name or source.name, NO_SIGN, self._custom)
        return source

    def _reopen(self) -> Flow[SourceOpened]:
        source: SourceOpened = yield OpenSource()
        if source.size != self._size:
            raise FileUnusable(
                f"{source.where} changed between two attempts: "
                f"{self._size} bytes, now {source.size}"
            )
        return source

    def _attempt(self, source: SourceOpened) -> Flow[Result]:
        sender = self._sender
        method, token_target, target = self._addressed()
        yield from self._tell(Stage.TOKEN)
        params = sender.token_quest({"cmd": method, **token_target})
        token = yield from _get_token(params, self._deadline)
        try:
            address = sender.route.address(token.endpoint)
        except LocalProtocolError as exc:
            raise bad_answer("filetoken", f"the file gate's address: {exc}") from exc
        yield from self._tell(Stage.CONNECTING)
        yield Dial(address, self._deadline)
        params = {
            "pid": sender.pid,
            "from": sender.uid,
            **target,
            "mtype": int(self._mtype),
            "mid": self.mid,
            "token": token.token,
        }
        if sender.route.proxied:
            params = {**params, "endpoint": token.endpoint}
        name = self._name or source.name
        head, tail = envelope(
            params, "file", self._size, {"attrs": write_attrs(name, NO_SIGN, self._custom)}
        )
        yield from self._tell(Stage.UPLOADING)
        yield Begin(method, head, len(head) + self._size + len(tail), self._deadline)
        if (yield from self._send_body(source)):
            sign = file_sign(self._finish_digest(source), token.token)
            attrs = write_attrs(name, sign, self._custom)
            _, tail = envelope({}, "file", 0, {"attrs": attrs})
            self._handed_over = True
            yield Hand(tail)
            yield from self._tell(Stage.CONFIRMING, self._size)
        try:
            answer: Params = yield Finish()
        except QuestRefused as exc:
            if exc.code == Code.DUPLICATE_MID and (self._repeat or self._in_doubt):
                self._in_doubt = True  # for whoever gives up from here on: it has arrived
                return (yield from self._done(self._repeated(exc)))
            raise
        if not self._handed_over:
            raise bad_answer(method, "success before the whole file was handed over")
        return (yield from self._done(self._answered(method, answer)))

    def _send_body(self, source: SourceOpened) -> Flow[bool]:
        """Hand over the file, hashing it; False when the quest has ended before the last piece."""
        self._hash = md5(usedforsecurity=False)
        sent = 0
        while sent < self._size:
            piece: bytes = yield Read(min(self._piece, self._size - sent))
            if not piece:
                raise FileUnusable(
                    f"{source.where} announced {self._size} bytes but ended after {sent}"
                )
            if len(piece) > self._size - sent:
                raise self._too_long(source)
            self._hash.update(piece)
            if not (yield Hand(piece)):
                return False
            sent += len(piece)
            yield from self._tell(Stage.UPLOADING, sent)
        if (yield Read(1)):
            raise self._too_long(source)
        return True

    def _too_long(self, source: SourceOpened) -> FileUnusable:
        return FileUnusable(f"{source.where} has more than the announced {self._size} bytes")

    def _finish_digest(self, source: SourceOpened) -> str:
        digest = self._hash.hexdigest()
        if self._digest is not None and digest != self._digest:
            raise FileUnusable(f"{source.where} changed between two attempts")
        self._digest = digest
        return digest

    def _done(self, result: Result) -> Flow[Result]:
        yield Discard()
        yield from self._tell(Stage.DONE, self._size)
        return result

    def _tell(self, stage: Stage, sent: int = 0) -> Flow[None]:
        self.stage = stage
        yield Tell(Progress(self.mid, stage, sent, self._size, self.attempts))

    def _may_have_arrived(self, exc: QuestError | ConnectFailed) -> bool:
        """Whether this attempt may have been delivered although it ended with *exc*."""
        refused = isinstance(exc, QuestRefused) and retry(exc.code) is not Retry.UNKNOWN
        return self._handed_over and not refused

    def _wait_before_retry(self, exc: QuestError | ConnectFailed, pause: float) -> float | None:
        """Seconds to wait before another attempt, or None for no other attempt."""
        if self.attempts >= MAX_ATTEMPTS or isinstance(exc, QuestTimeout):
            return None
        if self.stage is Stage.TOKEN and isinstance(exc, ConnectionLost):
            # Worth one more try: the driver waits where it is logging in again, else it fails now.
            self._losses += 1
            return 0.0 if self._losses == 1 else None
        what = retry(exc.code) if isinstance(exc, QuestRefused) else Retry.NEW_CONNECTION
        if what is Retry.NEW_CONNECTION:
            return 0.0 if self.attempts == 1 else pause
        if what is Retry.AFTER_PAUSE:
            return pause
        if what in (Retry.NEW_TOKEN, Retry.UNKNOWN) and what not in self._again:
            self._again.add(what)
            return 0.0
        return None


class Transfer(Sending[FileSent]):
    """The sending of one file. ``run`` is the flow; the fields say where it stands.

    ``mid`` is fixed from the start, ``stage`` is where it stands. When the flow is ended early,
    ``given_up`` tells the true outcome. An outcome speaks of this sending alone: where the mid
    was sent before, that earlier sending may have arrived whatever becomes of this one.
    """

    def __init__(
        self,
        sender: Sender,
        kind: Conversation,
        mtype: int,
        target: int | tuple[int, ...] | None,
        *,
        mid: int,
        repeat: bool,
        timeout: float = SEND_TIMEOUT,
        name: str | None = None,
        custom: object = None,
        piece: int = PIECE,
    ) -> None:
        """*target*: a uid (or a tuple of uids, for a server), a gid, a rid; None for a broadcast.

        *mid* is the message id to use; *repeat* says that it was sent before: of several users
        those who had it then are left out. *timeout* in seconds is for the whole call. *name* is
        the file's name for the receiver (default: the source's own), *custom* any JSON value.
        Nothing is checked before ``run``.
        """
        super().__init__(
            sender,
            mtype,
            mid=mid,
            repeat=repeat,
            timeout=timeout,
            name=name,
            custom=custom,
            piece=piece,
        )
        self._kind = kind
        self._target = target

    def _addressed(self) -> tuple[str, Params, Params]:
        kind, target = self._kind, self._target
        params: Params
        if kind is Conversation.P2P and isinstance(target, tuple):
            method, params = "sendfiles", {"tos": check_receivers(target)}
            if self._sender.uid in target:
                raise LocalProtocolError("a file cannot be sent to its sender")
        elif kind in _COMMANDS:
            method, params = _COMMANDS[kind], {kind.value: check_int64(kind.value, target)}
        elif kind is Conversation.BROADCAST and target is None:
            method, params = "broadcastfile", {}
        else:
            raise LocalProtocolError(
                f"a file is sent to users, a group, a room, or as a broadcast without a target, "
                f"not to {target!r} of {kind}"
            )
        return method, params, params

    def _answered(self, method: str, answer: Params) -> FileSent:
        mtime = answer.get("mtime")
        return FileSent(
            self.mid, mtime if type(mtime) is int else None, self.attempts, duplicate=False
        )

    def _repeated(self, refusal: QuestRefused) -> FileSent:
        return FileSent(self.mid, None, self.attempts, duplicate=True)


class Upload(Sending[FileUploaded]):
    """The storing of one file, of which nobody is told; like Transfer, and with its outcomes.

    The mid is on the wire as in every file quest, but nothing is delivered with it and no gate has
    to filter it: sending again is harmless, and stores the file once more.
    """

    def __init__(
        self,
        sender: Sender,
        mtype: int,
        *,
        mid: int,
        timeout: float = SEND_TIMEOUT,
        name: str | None = None,
        custom: object = None,
        piece: int = PIECE,
    ) -> None:
        """The arguments are those of Transfer."""
        super().__init__(
            sender,
            mtype,
            mid=mid,
            repeat=False,
            timeout=timeout,
            name=name,
            custom=custom,
            piece=piece,
        )

    def _addressed(self) -> tuple[str, Params, Params]:
        return "uploadfile", {}, {"uid": self._sender.uid}

    def _answered(self, method: str, answer: Params) -> FileUploaded:
        try:
            url, size = text_of(answer, "url"), int_of(answer, "size", self._size)
        except PayloadError as exc:
            self._in_doubt = True  # it was confirmed, but nobody knows where it is
            raise bad_answer(method, str(exc)) from exc
        return FileUploaded(url, size, self.attempts)

    def _repeated(self, refusal: QuestRefused) -> FileUploaded:
        raise refusal  # it does not say where the file is
