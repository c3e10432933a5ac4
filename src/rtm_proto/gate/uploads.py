"""Large file quests at the gate: each is read as it comes, its file goes to the store in pieces.

    QuestBegun, QuestPiece ─► begun, piece ─┬─► effects  (WriteBody, DropBody) ─► store ─► written
                                            ├─► refused  (as soon as that is clear)
                                            └─► whole    (its ``file`` is a Body)

What can be refused is refused before its body: an unknown method, a size over the limit, and a
bad token where it stands before the file in the map, as our clients send it. Where it comes later
the body is taken, for at most MAX_UNPROVEN quests at once in the whole gate, and for no longer than
a token lives. Of a body at most
two pieces and what was read at once are in memory, and there is one at a time: ``full`` says that
no more may be read until the store has written.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5
from typing import Protocol

from ..codes import Code
from ..errors import PayloadError, StoreFault
from ..events import QuestBegun, QuestId, QuestPiece, QuestReceived
from ..payload import Params
from ..payload_reader import PayloadReader
from .actions import HEAD
from .decisions import BODY_LIFE, Body, Refuse, Visitor
from .store import DropBody, WriteBody
from .tokens import TOKEN_LIFE

PIECE = 65_536  # bytes of a package that is received whole, and that the store gets at a time
BODY_TIMEOUT = 30.0  # seconds without a byte inside a body (spec 16)
MAX_UNPROVEN = 16  # bodies that a gate takes at once before it has seen their tokens


class Check(Protocol):
    """What is wrong before the file of *size* bytes has come, or None: a code and a text.

    *params* are those that stand before the file.
    """

    def __call__(
        self, method: str, params: Params, size: int, *, now: float
    ) -> tuple[int, str] | None: ...


class _Upload:
    """One quest that is coming."""

    __slots__ = (
        "digest",
        "ended",
        "head",
        "key",
        "method",
        "over",
        "quest_id",
        "reader",
        "rest",
        "until",
        "with_store",
        "written",
    )

    def __init__(self, quest_id: QuestId, method: str, key: str, until: float) -> None:
        self.quest_id = quest_id
        self.method = method
        self.key = key
        self.until = until  # the body has to be here by then
        self.reader = PayloadReader("file", limit_code=Code.FILE_TOO_LARGE)
        self.digest = md5(usedforsecurity=False)
        self.head = b""  # of the body
        self.rest = bytearray()  # of the body, not given to the store yet
        self.with_store = 0  # bytes of it that the store is at
        self.written = 0  # bytes of it that were given to the store
        self.ended = False  # nothing more of it will come
        self.over = False  # refused, or its visitor has left

    def take(self, size: int) -> bytes:
        data = bytes(self.rest[:size])
        del self.rest[:size]
        return data


class Uploads:
    """The large quests of one visitor. Take and clear the three lists after each call."""

    def __init__(
        self,
        visitor: Visitor,
        *,
        check: Check,
        make_key: Callable[[], str],
        effect_id: Callable[[], int],
        unproven: set[object],
        piece: int = PIECE,
    ) -> None:
        """*make_key*: a fresh text for the key of a file. *unproven*: one set for a whole gate.

        *piece*: bytes of a file that are given to the store at a time, or a multiple of it where
        more has come at once.
        """
        self.refused: list[Refuse] = []
        self.effects: list[WriteBody | DropBody] = []
        self.whole: list[QuestReceived] = []
        self._visitor = visitor
        self._check = check
        self._make_key = make_key
        self._effect_id = effect_id
        self._unproven = unproven
        self._piece = piece
        self._coming: dict[QuestId, _Upload] = {}
        self._writing: dict[str, _Upload] = {}  # by key: the store is at it
        self._heard = 0.0
        self._gone = False

    def __len__(self) -> int:
        return len(self._coming)

    @property
    def full(self) -> bool:
        """Whether what comes next would have to be kept in memory.

        So it is while the store is at a body of which nothing more comes: another is not begun.
        """
        return not self._gone and any(
            upload.over or upload.ended or len(upload.rest) >= self._piece
            for upload in self._writing.values()
        )

    @property
    def held(self) -> int:
        """Bytes of bodies in memory, those that the store is at included."""
        uploads = {*self._coming.values(), *self._writing.values()}
        return sum(len(upload.rest) + upload.with_store for upload in uploads)

    # --- what happened ---

    def begun(self, event: QuestBegun, *, now: float) -> None:
        """A large quest begins."""
        upload = _Upload(event.quest_id, event.method, self._make_key(), now + TOKEN_LIFE)
        self._coming[event.quest_id] = upload
        self._heard = now
        self._refuse_if(upload, self._check(event.method, {}, 0, now=now))

    def piece(self, event: QuestPiece, *, now: float) -> None:
        """The next bytes of it."""
        upload = self._coming.get(event.quest_id)
        if upload is None:
            return
        self._heard = now
        try:
            self._read(upload, event.data, now)
        except PayloadError as fault:
            if not upload.over:
                self._refuse(upload, fault.code, str(fault))
        upload.ended = not event.left
        self._go_on(upload)

    def written(self, key: str, fault: StoreFault | None, *, now: float) -> None:
        """The store has carried out a WriteBody, or has failed."""
        upload = self._writing.pop(key)
        upload.with_store = 0
        self._heard = now  # until now it was not the visitor whom we waited for
        if upload.over:
            self._drop(upload)
        elif fault is not None:
            self._refuse(upload, Code.WORK_QUEUE_FULL, f"not stored: {fault}")
        else:
            self._go_on(upload)

    def left(self) -> None:
        """The visitor is gone."""
        self._gone = True
        for upload in [*self._coming.values()]:
            self._end(upload)

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` should be called, or None."""
        times = [upload.until for upload in self._coming.values() if not upload.ended]
        return min(*times, self._heard + BODY_TIMEOUT) if times and not self.full else None

    def handle_timeout(self, *, now: float) -> str | None:
        """Time has passed; why the visitor is to go, if it is: a body does not come on."""
        when = self.next_timeout()
        if when is None or now < when:
            return None
        silent = now >= self._heard + BODY_TIMEOUT
        text = (
            f"no byte for {BODY_TIMEOUT:g} s inside a body" if silent else "a body came too slowly"
        )
        for upload in [*self._coming.values()]:
            self._refuse(upload, Code.INVALID_CONNECTION, text)
        return text

    # --- private ---

    def _read(self, upload: _Upload, data: bytes, now: float) -> None:
        reader = upload.reader
        known = reader.size is not None
        try:
            for part in reader.feed(data):
                upload.digest.update(part)
                upload.head += part[: HEAD - len(upload.head)]
                upload.rest += part
        finally:  # also before a fault that came behind it: how the bytes are cut does not matter
            if not known and reader.size is not None:
                self._judge(upload, reader.before(), reader.size, now)

    def _judge(self, upload: _Upload, before: Params, size: int, now: float) -> None:
        """The head of the body is there."""
        self._refuse_if(upload, self._check(upload.method, before, size, now=now))
        if upload.over:
            return
        if "token" in before:
            upload.until = now + BODY_LIFE
            return
        if len(self._unproven) >= MAX_UNPROVEN:
            text = f"{MAX_UNPROVEN} files whose token comes behind them are on their way already"
            self._refuse(upload, Code.WORK_QUEUE_FULL, text)
        else:
            self._unproven.add(upload)

    def _go_on(self, upload: _Upload) -> None:
        """Give the store what is due, or the quest to whoever decides."""
        if upload.over or upload.key in self._writing:
            return
        due = len(upload.rest) // self._piece * self._piece
        if due:
            data = upload.take(due)
            upload.with_store = len(data)
            upload.written += len(data)
            self._writing[upload.key] = upload
            self.effects.append(WriteBody(self._effect_id(), upload.key, data))
        elif upload.ended:
            self._hand_over(upload)

    def _hand_over(self, upload: _Upload) -> None:
        """The quest is whole: its map is read only now, so that it is not held meanwhile."""
        try:
            params = upload.reader.params()
        except PayloadError as fault:
            self._refuse(upload, fault.code, str(fault))
            return
        size, digest = upload.reader.size, upload.digest.hexdigest()
        if size is not None:
            rest = upload.take(self._piece)
            params["file"] = Body(upload.key, size, digest, upload.written, rest, upload.head)
        self._forget(upload)
        self.whole.append(QuestReceived(upload.quest_id, upload.method, params))

    def _refuse_if(self, upload: _Upload, refusal: tuple[int, str] | None) -> None:
        if refusal is not None:
            self._refuse(upload, *refusal)

    def _refuse(self, upload: _Upload, code: int, text: str) -> None:
        self.refused.append(Refuse(self._visitor, upload.quest_id, code, text))
        self._end(upload)

    def _end(self, upload: _Upload) -> None:
        """Nothing will come of it: what the store has is dropped, once it is not at it."""
        self._forget(upload)
        upload.over = True
        upload.rest.clear()
        if upload.key not in self._writing:
            self._drop(upload)

    def _forget(self, upload: _Upload) -> None:
        del self._coming[upload.quest_id]
        self._unproven.discard(upload)

    def _drop(self, upload: _Upload) -> None:
        if upload.written:
            self.effects.append(DropBody(self._effect_id(), upload.key))
