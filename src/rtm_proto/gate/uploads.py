"""Large file quests at the gate: each is read as it comes, its file goes to the store in pieces.

    QuestBegun, QuestPiece ─► begun, piece ─┬─► effects  (WriteBody, DropBody) ─► store ─► written
                                            ├─► refused  (as soon as that is clear)
                                            └─► whole    (its ``file`` is a Body)

What can be refused is refused before its body: an unknown method, a size over the limit, and a
bad token where it stands before the file in the map, as our clients send it. Where it comes later
the body is taken, for at most MAX_UNPROVEN quests at once in the whole gate. Of a body at most
about two pieces are in memory; ``full`` says that no more may be read until the store has written.
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
from .decisions import Body, Refuse, Visitor
from .store import DropBody, WriteBody

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
        "key",
        "method",
        "over",
        "params",
        "quest_id",
        "reader",
        "rest",
        "written",
    )

    def __init__(self, quest_id: QuestId, method: str, key: str) -> None:
        self.quest_id = quest_id
        self.method = method
        self.key = key
        self.reader = PayloadReader("file", limit_code=Code.FILE_TOO_LARGE)
        self.digest = md5(usedforsecurity=False)
        self.rest: list[memoryview] = []  # of the body, not given to the store yet
        self.written = 0  # bytes of it that were
        self.params: dict[str, object] | None = None  # once it is whole
        self.over = False  # refused, or its visitor has left

    @property
    def unwritten(self) -> int:
        return sum(map(len, self.rest))

    def take_rest(self) -> bytes:
        rest, self.rest = b"".join(self.rest), []
        return rest


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

        *piece*: bytes of a file that are given to the store at a time.
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

    def __len__(self) -> int:
        return len(self._coming)

    @property
    def full(self) -> bool:
        """Whether what comes next would have to be kept in memory."""
        return any(upload.unwritten >= self._piece for upload in self._coming.values())

    # --- what happened ---

    def begun(self, event: QuestBegun, *, now: float) -> None:
        """A large quest begins."""
        upload = _Upload(event.quest_id, event.method, self._make_key())
        self._coming[event.quest_id] = upload
        self._heard = now
        self._refuse_if(upload, self._check(event.method, {}, 0, now=now))

    def piece(self, event: QuestPiece, *, now: float) -> None:
        """The next bytes of it."""
        upload = self._coming.get(event.quest_id)
        if upload is None:
            return
        self._heard = now
        reader = upload.reader
        known = reader.size is not None
        try:
            for data in reader.feed(event.data):
                upload.digest.update(data)
                upload.rest.append(data)
            if not known and reader.size is not None:
                self._judge(upload, reader.before(), reader.size, now)
            if not event.left:
                upload.params = reader.params()
        except PayloadError as fault:
            if not upload.over:
                self._refuse(upload, fault.code, str(fault))
        self._go_on(upload)

    def written(self, key: str, fault: StoreFault | None, *, now: float) -> None:
        """The store has carried out a WriteBody, or has failed."""
        upload = self._writing.pop(key)
        self._heard = now  # until now it was not the visitor whom we waited for
        if upload.over:
            self._drop(upload)
        elif fault is not None:
            self._refuse(upload, Code.WORK_QUEUE_FULL, f"not stored: {fault}")
        else:
            self._go_on(upload)

    def left(self) -> None:
        """The visitor is gone."""
        for upload in [*self._coming.values()]:
            self._end(upload)

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` should be called, or None."""
        waits = any(upload.params is None for upload in self._coming.values())
        return self._heard + BODY_TIMEOUT if waits and not self.full else None

    def handle_timeout(self, *, now: float) -> bool:
        """Time has passed; whether the visitor has been silent inside a body for too long."""
        when = self.next_timeout()
        if when is None or now < when:
            return False
        for upload in [*self._coming.values()]:
            text = f"no byte for {BODY_TIMEOUT:g} s inside a body"
            self._refuse(upload, Code.INVALID_CONNECTION, text)
        return True

    # --- private ---

    def _judge(self, upload: _Upload, before: Params, size: int, now: float) -> None:
        """The head of the body is there."""
        self._refuse_if(upload, self._check(upload.method, before, size, now=now))
        if upload.over or "token" in before:
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
        if upload.unwritten >= self._piece:
            data = upload.take_rest()
            upload.written += len(data)
            self._writing[upload.key] = upload
            self.effects.append(WriteBody(self._effect_id(), upload.key, data))
        elif upload.params is not None:
            size, digest, rest = upload.reader.size, upload.digest.hexdigest(), upload.take_rest()
            if size is not None:
                upload.params["file"] = Body(upload.key, size, digest, upload.written, rest)
            self._forget(upload)
            self.whole.append(QuestReceived(upload.quest_id, upload.method, upload.params))

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
