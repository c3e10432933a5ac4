"""The ledger: what everybody was told, held against what was sent and what was kept.

What the service promises, and what is checked, the moment it happens or when all is over:

    a file that is stored       was sent so: sender, target, mid, name and every byte; one message
                                is stored once, whatever was tried again
    FileSent                    it was stored before, by this sending, and still is in the end
      (duplicate)               it was stored before, by an earlier attempt or sending of the mid
    FileRefused, FileNotSent    it is not stored by this sending, not even later
    OutcomeUnknown              either; sending again with the mid settles it
    a call                      ends once, at its deadline at the latest
    an event                    its file was sent to its reader, by somebody else, and was stored
                                before; no reader sees a mid twice
    a reader                    whose login was good, and whose stream was whole, when the gate
                                was told that a file is stored, gets the event, unless the login
                                or the stream ends before; what it misses is found in the store
    unread                      a message is, for everybody whom it is for by name, until it is
                                told to be delivered, and it is only told so of what is read in the
                                end
    a file token                goes into one attempt, and never into a text
    a calm seed                 every call succeeds, at its first attempt
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..codes import Code
from ..errors import FileNotSent, FileRefused, OutcomeUnknown, SendFailed, StoreFault
from ..flows.transfer import FileSent
from ..gate.store import (
    Delivered,
    DropBody,
    Effect,
    SaveFile,
    SaveRecord,
    Store,
    Table,
    Unread,
    WriteBody,
    uids_of,
)
from ..gate.visit import Visit
from ..received import Conversation, FileReceived
from .clock import Clock
from .trace import Trace
from .weather import Sky

SLACK = 0.001  # seconds; what floats may lose


class Violation(Exception):
    """Something was promised and is not so."""


@dataclass(eq=False, slots=True)
class Presence:
    """A login that its user knows to be good, until something may have been lost on its stream."""

    uid: int
    visit: Visit | None = None
    good: bool = True
    in_room: bool = False
    """Whether it certainly is in the room."""
    maybe_in_room: bool = False
    moves: int = 0
    """How often it has gone into the room, or out."""


@dataclass(eq=False, slots=True)
class Message:
    """What a user wants to be delivered once: one mid, sent as often as it takes."""

    number: int
    sender: int
    kind: Conversation
    target: int
    mid: int
    body: bytes = field(repr=False)
    sendings: list[Sending] = field(default_factory=list["Sending"])
    stored_as: SaveFile | None = None
    settled: bool = False
    """Whether its user has no reason to send it again."""


@dataclass(eq=False, slots=True)
class Sending:
    """One call of the API; the file's name tells which call has stored it."""

    message: Message
    name: str
    deadline: float
    crashes: int
    codes: int
    """How many codes had been given by mood when it began."""
    odd: bool
    presence: Presence | None
    moves: int
    outcome: FileSent | SendFailed | None = None


class Ledger:
    """Keeps the books of one simulation; raises Violation."""

    def __init__(self, clock: Clock, sky: Sky, trace: Trace, groups: Mapping[int, frozenset[int]]):
        self.presences: dict[int, Presence] = {}
        self.messages: list[Message] = []
        self.deliveries = 0
        self.calls = 0
        self.crashes = 0
        self.outcomes: dict[str, int] = {}
        self.closed = False
        """Whether nothing counts any more."""
        self._clock = clock
        self._trace = trace
        self.calm = sky.weather.calm
        self._slack = SLACK + sky.weather.late
        self._groups: dict[int, frozenset[int]] = dict(groups)
        self._regrouped: set[int] = set()
        self._sendings: dict[str, Sending] = {}
        self._stored: dict[str, SaveFile] = {}  # by the file's name
        self._bodies: dict[str, bytearray] = {}  # by key: what the gate has written of them
        self._keys: dict[tuple[object, ...], str] = {}
        self._entitled: dict[str, frozenset[int]] = {}  # uids, when the gate was told
        self._seen: dict[tuple[int, int], None] = {}  # reader and number of the message
        self._unread: dict[tuple[int, int], Message] = {}  # by reader and id
        self._delivered: dict[tuple[int, int], None] = {}  # reader and number of the message
        self._owed: dict[tuple[int, int], Presence] = {}
        self._tokens: dict[str, bool] = {}  # and whether an attempt has used it
        self._codes: list[int] = []

    # --- the gate and its store ---

    def gate_started(self, store: Store) -> None:
        """A gate begins with what *store* gives; that is everything that was ever confirmed."""
        self._groups = store.kept(0).uids(Table.MEMBERS)
        self.check_store(store)

    def check_store(self, store: Store) -> None:
        """Everything that was ever kept is there."""
        kept = {(m.kind, m.sender, m.target, m.mid) for m in store.kept(0).messages}
        for key, name in self._keys.items():
            self._check(key in kept, f"{name} was kept, and the store has lost it")
        for (uid, _), message in self._unread.items():
            of = message.sender if message.kind is Conversation.P2P else message.target
            found = Unread(message.kind, of) in store.find_unread(uid)
            self._check(found, f"message {message.number} is neither delivered to {uid} nor unread")

    def gate_crashed(self) -> None:
        """The gate's process is gone."""
        self.crashes += 1
        self._bodies.clear()
        for presence in self.presences.values():
            presence.good = False

    def kicked(self, uid: int) -> None:
        """The gate ends the login of *uid*."""
        if uid in self.presences:
            self.presences[uid].good = False

    def token_issued(self, token: str) -> None:
        """The gate has made a random text; a file's key is one too."""
        self._tokens[token] = False

    def code_given(self, code: int) -> None:
        """The gate has refused something by mood."""
        self._codes.append(code)

    @property
    def tokens_issued(self) -> int:
        """How many random texts the gate has made."""
        return len(self._tokens)

    def member(self, uid: int, gid: int) -> bool:
        """Whether the gate has *uid* in the group *gid*."""
        return uid in self._members(gid)

    def regrouping(self, gid: int) -> None:
        """Somebody is about to change a group."""
        self._regrouped.add(gid)

    def asked_to_store(self, effect: Effect) -> None:
        """The gate wants to keep something."""
        match effect:
            case WriteBody():
                self._bodies.setdefault(effect.key, bytearray()).extend(effect.data)
                return
            case DropBody():
                del self._bodies[effect.key]
                return
            case SaveFile():
                pass
            case _:
                return
        (message,), name = effect.messages, effect.file.name
        sending = self._sendings.get(name)
        if sending is None:
            raise Violation(f"a file is to be stored that nobody sent: {name} {message.mid}")
        sent = sending.message
        self._check(
            (message.kind, message.sender, message.target, message.mid)
            == (sent.kind, sent.sender, sent.target, sent.mid),
            f"{name} was sent as {sent}, is to be stored as {message}",
        )
        if sent.target not in self._regrouped:
            named = [] if sent.kind is Conversation.ROOM else sorted(self._entitled_to(sent))
            self._check([*message.waiting] == named, f"{name} does not wait for {named}: {message}")
        body = self._bodies.pop(effect.file.key, b"") + effect.rest
        self._check(body == sent.body, f"{name} is to be stored with other bytes")
        self._check(not sending.odd, f"{name} is to be stored, and has no such bytes")

    def stored(self, effect: Effect) -> None:
        """The store has kept something, whether or not the gate will hear of it."""
        if isinstance(effect, Delivered):
            read = self._unread.pop((effect.uid, effect.message_id), None)
            if read is not None:
                self._delivered[effect.uid, read.number] = None
        if not isinstance(effect, SaveFile):
            return
        (stored,), name = effect.messages, effect.file.name
        key = (stored.kind, stored.sender, stored.target, stored.mid)
        if key in self._keys:
            raise Violation(f"mid {stored.mid} is stored twice: {self._keys[key]} and {name}")
        self._keys[key] = name
        sending = self._sendings[name]
        message = sending.message
        if message.stored_as is not None:
            raise Violation(f"message {message.number} is stored twice, as {name} the second time")
        message.stored_as = self._stored[name] = effect
        self._unread.update({(uid, stored.id): message for uid in stored.waiting})
        if isinstance(sending.outcome, (FileRefused, FileNotSent)):
            raise Violation(f"{name} is stored, and was {_name(sending.outcome)}")

    def store_answers(self, effect: Effect, fault: StoreFault | None) -> None:
        """The gate is being told: whoever is entitled and there is owed the event."""
        if fault is not None:
            return
        if isinstance(effect, SaveRecord) and effect.table is Table.MEMBERS:
            self._groups[effect.key] = uids_of(effect.value or "[]")
        if isinstance(effect, SaveFile):
            message = self._sendings[effect.file.name].message
            self._entitled[effect.file.name] = self._entitled_to(message)
            for presence in self.receivers(effect):
                if (presence.uid, message.number) not in self._seen:
                    self._owed[presence.uid, message.number] = presence

    def receivers(self, effect: SaveFile) -> list[Presence]:
        """The good logins of everybody that a stored file was for when the gate was told."""
        entitled = self._entitled.get(effect.file.name, frozenset())
        in_room = effect.messages[0].kind is Conversation.ROOM
        return [
            presence
            for presence in self.presences.values()
            if presence.good and presence.uid in entitled and (presence.in_room or not in_room)
        ]

    # --- who sends ---

    def new_message(
        self, sender: int, kind: Conversation, target: int, mid: int, body: bytes
    ) -> Message:
        """A user has something to deliver."""
        number = len(self.messages) + 1
        message = Message(number, sender, kind, target, mid, body)
        self.messages.append(message)
        return message

    def began(self, message: Message, timeout: float, *, odd: bool) -> Sending:
        """A user calls send_file and its like."""
        presence = self.presences.get(message.sender)
        sending = Sending(
            message,
            f"m{message.number}-{len(message.sendings) + 1}.bin",
            self._clock.now + timeout,
            self.crashes,
            len(self._codes),
            odd,
            presence,
            presence.moves if presence is not None else 0,
        )
        self.calls += 1
        message.sendings.append(sending)
        self._sendings[sending.name] = sending
        target = f"{message.kind.name.lower()} {message.target}"
        size = len(message.body)
        text = f"sends {sending.name} to {target}: mid {message.mid}, {size} bytes, {timeout:.3f} s"
        self._trace.say(f"user {message.sender}", text)
        return sending

    def attempts(self, head: bytes, sending: Sending | None) -> None:
        """An attempt begins: its token is in *head*."""
        for token, used in self._tokens.items():
            if token.encode() in head:
                where = sending.name if sending is not None else "a call"
                self._check(not used, f"{where} uses a token for a second attempt")
                self._tokens[token] = True

    def ended(self, sending: Sending, outcome: FileSent | SendFailed) -> None:
        """The call has ended."""
        message = sending.message
        name = _name(outcome)
        if self.closed:
            return
        self._trace.say(f"user {message.sender}", f"{sending.name}: {name} {outcome}")
        self.outcomes[name] = self.outcomes.get(name, 0) + 1
        self._check(sending.outcome is None, f"{sending.name} ends twice")
        sending.outcome = outcome
        late = self._clock.now - sending.deadline - self._slack
        self._check(late <= 0, f"{sending.name} ends {late:.3f} s after its deadline")
        self._check(outcome.mid == message.mid, f"{sending.name} ends with mid {outcome.mid}")
        if isinstance(outcome, FileSent):
            self._check_sent(sending, outcome)
        else:
            self._check_failed(sending, outcome)

    def call_ended(self, what: str, deadline: float) -> None:
        """Any other call has ended."""
        if self.closed:
            return
        late = self._clock.now - deadline - self._slack
        self._check(late <= 0, f"{what} ends {late:.3f} s after its deadline")

    # --- who reads ---

    def received(self, uid: int, event: FileReceived) -> None:
        """A user has read an event."""
        name = event.name or ""
        sending = self._sendings.get(name)
        if sending is None:
            raise Violation(f"{uid} receives what nobody sent: {event}")
        message = sending.message
        what = f"{name} at {uid}"
        self._trace.say(f"user {uid}", f"receives {name}, mid {event.mid}")
        self._check(message.sender != uid, f"{what}: it comes back to its sender")
        self._check(
            (event.kind, event.sender, event.target, event.mid, event.size)
            == (message.kind, message.sender, message.target, message.mid, len(message.body)),
            f"{what}: other than it was sent: {event}",
        )
        self._check(name in self._stored, f"{what}: it is not stored")
        entitled = self._entitled.get(name, frozenset())
        self._check(uid in entitled, f"{what}: it is for {sorted(entitled)} only")
        key = (uid, message.number)
        self._check(key not in self._seen, f"{what}: mid {event.mid} is seen twice")
        self._seen[key] = None
        self._owed.pop(key, None)
        self.deliveries += 1

    # --- when all is over ---

    def settle(self, *, lost: Mapping[int, int]) -> None:
        """Nothing is under way any more. *lost*: how many events each reader was told it lost."""
        missing: dict[int, list[int]] = {}
        for (uid, number), presence in self._owed.items():
            if presence.good:
                missing.setdefault(uid, []).append(number)
        for uid, numbers in missing.items():
            text = f"{uid} was there, and never got messages {numbers}"
            self._check(len(numbers) <= lost.get(uid, 0), text)
        for uid in {uid for uid, _ in self._delivered}:
            never = [n for u, n in self._delivered if u == uid and (u, n) not in self._seen]
            text = f"messages {never} were told to be delivered to {uid}, who never got them"
            self._check(len(never) <= lost.get(uid, 0), text)
        for name, sending in self._sendings.items():
            self._check(sending.outcome is not None, f"{name} has never ended")

    # --- private ---

    def _entitled_to(self, message: Message) -> frozenset[int]:
        match message.kind:
            case Conversation.P2P:
                uids = frozenset({message.target})
            case Conversation.GROUP:
                uids = self._members(message.target)
            case _:
                uids = frozenset(uid for uid, p in self.presences.items() if p.maybe_in_room)
        return uids - {message.sender}

    def _members(self, gid: int) -> frozenset[int]:
        return self._groups.get(gid, frozenset())

    def _check_sent(self, sending: Sending, outcome: FileSent) -> None:
        message, name = sending.message, sending.name
        if message.stored_as is None:
            raise Violation(f"{name} was said to be sent, and is not stored")
        if not outcome.duplicate:
            self._check(name in self._stored, f"{name} was said to be sent by a later sending")
            mtime = message.stored_as.messages[0].mtime
            self._check(outcome.mtime == mtime, f"{name}: mtime {outcome.mtime}, stored {mtime}")
        if self.calm:
            first = outcome.attempts == 1 and not outcome.duplicate
            self._check(first, f"{name} took more than it should in a calm: {outcome}")

    def _check_failed(self, sending: Sending, outcome: SendFailed) -> None:
        name = sending.name
        self._check(not self.calm, f"{name} failed in a calm: {_name(outcome)} {outcome}")
        text = str(outcome)
        for token in self._tokens:
            self._check(token not in text, f"{name}: a token is in the error")
        if isinstance(outcome, OutcomeUnknown):
            return
        if name in self._stored:
            raise Violation(f"{name} was {_name(outcome)}, and is stored")
        if isinstance(outcome, FileRefused):
            self._check_refused(sending, outcome)

    def _check_refused(self, sending: Sending, outcome: FileRefused) -> None:
        """A refusal has a reason: something that did happen."""
        message, code = sending.message, outcome.code
        crashed = self.crashes > sending.crashes
        presence = sending.presence
        stayed = presence is not None and presence.good
        stayed = stayed and presence is self.presences.get(message.sender)
        moved = presence is None or presence.moves != sending.moves or not presence.in_room
        reasons: dict[int, bool] = {
            Code.BAD_FILE_SIGN_OR_TOKEN: crashed,
            Code.NOT_LOGGED_IN: True,
            Code.WORK_QUEUE_FULL: True,
            Code.NOT_IN_ROOM: moved or not stayed,
            Code.SERVER_STOPPING: not stayed,  # what a gate says that is closing the login
            Code.NOT_GROUP_MEMBER: message.target in self._regrouped
            or not self.member(message.sender, message.target),
        }
        reason = code in self._codes[sending.codes :] or reasons.get(code, False)
        self._check(reason, f"{sending.name} was refused with {code} for no reason: {outcome}")

    def _check(self, good: bool, text: str) -> None:
        if not good:
            raise Violation(text)


def _name(outcome: object) -> str:
    return type(outcome).__name__
