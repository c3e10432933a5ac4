"""The file-sending flow: whatever happens at whichever step, the outcome is the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.address import Address, FileRoute
from rtm_proto.attrs import parse_attrs, sign_matches
from rtm_proto.codes import Code, Retry, retry
from rtm_proto.errors import (
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
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.flows.steps import (
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
    Step,
    Tell,
    check_timeout,
)
from rtm_proto.flows.transfer import (
    MAX_ATTEMPTS,
    MAX_FILE,
    MAX_RECEIVERS,
    PIECE,
    RETRY_PAUSE,
    SEND_TIMEOUT,
    FileSent,
    FileToken,
    FileUploaded,
    Sender,
    Transfer,
    Upload,
    check_int64,
    file_token,
    token_params,
)
from rtm_proto.payload import bytes_of, decode
from rtm_proto.received import Conversation, FileType
from rtm_proto.signs import Signer, call_sign

MAIN = Address("ws", "gate.test", 13321)
DIRECT = Sender(11000001, 1001, FileRoute(MAIN, proxied=False))
PROXIED = Sender(11000001, 1001, FileRoute(MAIN, proxied=True))
BODY = b"0123456789"
MID = 7_000_001
START = 5000.0

LOST = ConnectionLost("sendfile", CloseReason(CloseKind.PEER_RESET, "gone"))
LATE = QuestTimeout("sendfile")
UNREACHABLE = ConnectFailed("nobody there")
WRONG = LocalProtocolError("over the limit")
READ_ERROR = OSError(5, "Input/output error")
ODD = PayloadError("not to be expected here", Code.INVALID_PACKAGE)


def refused(code: int) -> QuestRefused:
    return QuestRefused("sendfile", code, "no")


OF_EACH_CLASS = {
    Retry.NEVER: Code.FILE_TOO_LARGE,
    Retry.NEW_TOKEN: Code.BAD_FILE_SIGN_OR_TOKEN,
    Retry.AFTER_PAUSE: Code.WORK_QUEUE_FULL,
    Retry.NEW_CONNECTION: Code.SERVER_STOPPING,
    Retry.UNKNOWN: Code.UNKNOWN_RTM,
    Retry.AFTER_LOGIN: Code.NOT_LOGGED_IN,
    Retry.USER_ACTION: Code.NOT_IN_ROOM,
    Retry.DELIVERED: Code.DUPLICATE_MID,
}
assert set(OF_EACH_CLASS) == set(Retry)
REFUSALS = [refused(code) for code in OF_EACH_CLASS.values()]


def test_the_limits_are_what_is_written_of_them() -> None:
    assert (MAX_FILE, MAX_RECEIVERS, PIECE) == (5_242_880, 2000, 65_536)
    assert (SEND_TIMEOUT, MAX_ATTEMPTS, RETRY_PAUSE) == (20.0, 3, 1.0)


def transfer(
    *,
    sender: Sender = DIRECT,
    kind: Conversation = Conversation.P2P,
    mtype: Any = FileType.FILE,
    target: Any = 1002,
    mid: Any = MID,
    repeat: bool = False,
    timeout: Any = SEND_TIMEOUT,
    name: Any = None,
    custom: object = None,
    piece: int = 4,
) -> Transfer:
    return Transfer(
        sender,
        kind,
        mtype,
        target,
        mid=mid,
        repeat=repeat,
        timeout=timeout,
        name=name,
        custom=custom,
        piece=piece,
    )


@dataclass
class World:
    """The truth beside a transfer: what it asked for, and what the file gate can know of it.

    A world carries out the steps of one flow. ``choose`` picks what becomes of each step among
    its possible outcomes (the first is the good one); every pick is a new world.
    """

    choose: Callable[[Step, Sequence[object]], object]
    body: bytes = BODY
    repeat: bool = False
    now: float = START
    steps: list[Step] = field(default_factory=list[Step])
    progress: list[Progress] = field(default_factory=list[Progress])
    packages: list[bytes] = field(default_factory=list[bytes])
    """The payload of each attempt, as far as it was handed over."""
    announced: int = 0
    tokens: int = 0
    handed: bool = False
    """Whether this attempt's last byte was, or is being, handed over."""
    doubt: bool = False

    def options(self, step: Step) -> Sequence[object]:
        match step:
            case Ask():
                token = {"token": f"{self.tokens:032x}", "endpoint": "files.test:13461"}
                return [token, LOST, LATE, *REFUSALS]
            case Dial():
                return [None, UNREACHABLE]
            case Begin():
                return [None, LOST, WRONG]
            case Hand():
                return [True, False]
            case Finish():
                return [{"mtime": 1_700_000_000_123}, LOST, LATE, *REFUSALS]
            case OpenSource():
                return [SourceOpened(len(self.body), "note.txt", "note.txt"), READ_ERROR]
            case Read(size):
                return [self.read(size), READ_ERROR]
            case _:
                return [None]

    def read(self, size: int) -> bytes:
        at = sum(len(s.piece) for s in self.since_opened(Hand))
        return self.body[at : at + size]

    def since_opened(self, kind: type[Hand]) -> Iterator[Hand]:
        last = max(i for i, s in enumerate(self.steps) if isinstance(s, OpenSource))
        return (s for s in self.steps[last:] if isinstance(s, kind))

    def carry_out(self, step: Step) -> object:
        """Note what *step* means, and give what became of it; an exception is what it raised."""
        self.steps.append(step)
        match step:
            case Ask():
                self.tokens += 1
                self.handed = False
            case Now():
                return self.now
            case Pause(until):
                assert until > self.now
                self.now = until
                return self.now
            case Begin(_method, head, psize, _deadline):
                self.packages.append(head)
                self.announced = psize
            case Hand(piece):
                self.packages[-1] += piece
                assert len(self.packages[-1]) <= self.announced
                self.handed = len(self.packages[-1]) == self.announced
            case Tell(told):
                self.progress.append(told)
            case _:
                pass
        outcome = self.choose(step, self.options(step))
        if isinstance(outcome, QuestRefused) and retry(outcome.code) is not Retry.UNKNOWN:
            self.handed = False  # this attempt has certainly not been delivered
            if isinstance(step, Finish) and outcome.code == Code.DUPLICATE_MID and self.repeat:
                self.doubt = True  # but an earlier one has
        elif isinstance(outcome, Exception) and self.handed:
            self.doubt = True
        return outcome


def drive(flow: Flow[FileSent], world: World) -> FileSent | SendFailed:
    """Carry out *flow* in *world* to its end."""
    sent = ended(flow, world)
    assert isinstance(sent, (FileSent, SendFailed))
    return sent


def ended(flow: Flow[Any], world: World) -> object:
    """What the flow gives in the end, or the SendFailed that it raises."""
    outcome: object = None
    try:
        while True:
            if isinstance(outcome, Exception):
                step = flow.throw(outcome)
            else:
                step = flow.send(outcome)
            outcome = world.carry_out(step)
    except StopIteration as stop:
        return cast("object", stop.value)
    except SendFailed as failed:
        return failed


def good(step: Step, options: Sequence[object]) -> object:
    return options[0]


def at(place: int, what: object, kind: type[Any]) -> Callable[[Step, Sequence[object]], object]:
    """Let *what* become of step number *place* among those of this kind (from 0), else all good."""
    seen = -1

    def choose(step: Step, options: Sequence[object]) -> object:
        nonlocal seen
        if isinstance(step, kind):
            seen += 1
            if seen == place:
                return what
        return options[0]

    return choose


def in_turn(*outcomes: object, kind: type[Any]) -> Callable[[Step, Sequence[object]], object]:
    """Let these become of the steps of this kind, then all good."""
    left = list(outcomes)

    def choose(step: Step, options: Sequence[object]) -> object:
        return left.pop(0) if isinstance(step, kind) and left else options[0]

    return choose


def every_world(
    play: Callable[[Callable[[Step, Sequence[object]], object]], None], most: int
) -> int:
    """Call *play* with every sequence of choices that has at most *most* of them not good."""
    count = 0
    todo: list[list[int]] = [[]]
    while todo:
        path = todo.pop()
        taken: list[int] = []
        widths: list[int] = []

        def choose(
            step: Step,
            options: Sequence[object],
            path: list[int] = path,
            taken: list[int] = taken,
            widths: list[int] = widths,
        ) -> object:
            pick = path[len(taken)] if len(taken) < len(path) else 0
            taken.append(pick)
            widths.append(len(options))
            return options[pick]

        play(choose)
        count += 1
        if sum(map(bool, path)) < most:
            for place in range(len(path), len(taken)):
                todo += [[*taken[:place], pick] for pick in range(1, widths[place])]
    return count


# --- the good way ---


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 10])
def test_a_file_is_sent_whole_with_its_sign_behind_it(size: int) -> None:
    body = bytes(range(size))
    world = World(good, body=body)
    sent = drive(transfer().run(), world)
    assert sent == FileSent(MID, 1_700_000_000_123, 1, duplicate=False)
    [payload] = world.packages
    assert len(payload) == world.announced
    params = decode(payload)
    assert list(params) == ["pid", "from", "to", "mtype", "mid", "token", "file", "attrs"]
    assert params["file"] == body
    assert (params["pid"], params["from"], params["to"]) == (11000001, 1001, 1002)
    assert (params["mtype"], params["mid"]) == (50, MID)
    attrs = parse_attrs(str(params["attrs"]))
    assert attrs.sign is not None and attrs.name == "note.txt"
    assert sign_matches(attrs.sign, md5(body).hexdigest(), str(params["token"]))


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        (Conversation.P2P, "sendfile"),
        (Conversation.GROUP, "sendgroupfile"),
        (Conversation.ROOM, "sendroomfile"),
    ],
)
def test_the_token_is_asked_for_the_very_send_that_follows(
    kind: Conversation, command: str
) -> None:
    world = World(good)
    drive(transfer(kind=kind, target=-5).run(), world)
    [ask] = [step for step in world.steps if isinstance(step, Ask)]
    [begin] = [step for step in world.steps if isinstance(step, Begin)]
    assert (ask.method, ask.params) == ("filetoken", {"cmd": command, kind.value: -5})
    assert begin.method == command
    assert decode(world.packages[0])[kind.value] == -5


def test_only_the_proxied_way_carries_the_endpoint() -> None:
    world = World(good)
    drive(transfer(sender=PROXIED).run(), world)
    assert decode(world.packages[0])["endpoint"] == "files.test:13461"
    [dial] = [step for step in world.steps if isinstance(step, Dial)]
    assert dial.address == Address("ws", "fileproxy-gate.test", 13461)
    world = World(good)
    drive(transfer().run(), world)
    assert "endpoint" not in decode(world.packages[0])
    [dial] = [step for step in world.steps if isinstance(step, Dial)]
    assert dial.address == Address("ws", "files.test", 13461)


def test_progress_goes_through_every_stage_and_only_the_answer_makes_it_done() -> None:
    world = World(good)
    drive(transfer().run(), world)
    assert [(told.stage, told.sent) for told in world.progress] == [
        (Stage.TOKEN, 0),
        (Stage.CONNECTING, 0),
        (Stage.UPLOADING, 0),
        (Stage.UPLOADING, 4),
        (Stage.UPLOADING, 8),
        (Stage.UPLOADING, 10),
        (Stage.CONFIRMING, 10),
        (Stage.DONE, 10),
    ]
    assert {(told.mid, told.total, told.attempt) for told in world.progress} == {(MID, 10, 1)}


def test_confirming_is_told_only_when_the_last_byte_was_handed_over() -> None:
    world = World(good)
    drive(transfer().run(), world)
    told = [s.progress.stage for s in world.steps if isinstance(s, Tell)]
    last_hand = max(i for i, s in enumerate(world.steps) if isinstance(s, Hand))
    confirming = [
        i
        for i, s in enumerate(world.steps)
        if isinstance(s, Tell) and s.progress.stage is Stage.CONFIRMING
    ]
    assert told.count(Stage.CONFIRMING) == 1
    assert confirming[0] > last_hand


def test_the_name_and_custom_attrs_of_the_caller_are_sent() -> None:
    world = World(good)
    drive(transfer(name="../evil/photo.JPG", custom={"a": [1]}).run(), world)
    attrs = parse_attrs(str(decode(world.packages[0])["attrs"]))
    assert (attrs.name, attrs.ext, attrs.custom) == ("photo.JPG", "JPG", {"a": [1]})


@pytest.mark.parametrize("mtime", [None, "12", 1.5, b"1", True])
def test_an_odd_mtime_is_none_but_the_file_is_sent(mtime: object) -> None:
    sent = drive(transfer().run(), World(at(0, {"mtime": mtime}, Finish)))
    assert sent == FileSent(MID, None, 1, duplicate=False)


def test_the_file_link_is_closed_once_the_answer_is_there() -> None:
    world = World(good)
    drive(transfer().run(), world)
    kinds = [type(step) for step in world.steps if not isinstance(step, Tell)]
    assert kinds[-2:] == [Finish, Discard]


# --- what is wrong before any I/O ---


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mid": 0}, "never sent"),
        ({"mid": -1}, "a mid is 0"),
        ({"mid": 2**63}, "a mid is 0"),
        ({"mid": True}, "a mid is 0"),
        ({"mid": 1.0}, "a mid is 0"),
        ({"mtype": 39}, "mtype is 40 to 50, got 39"),
        ({"mtype": 51}, "mtype is 40 to 50"),
        ({"mtype": True}, "mtype is 40 to 50"),
        ({"mtype": 40.0}, "mtype is 40 to 50, got 40.0"),
        ({"mtype": "40"}, "mtype is 40 to 50"),
        ({"mtype": None}, "mtype is 40 to 50"),
        ({"kind": Conversation.BROADCAST}, "without a target, not to 1002"),
        ({"kind": "to"}, "sent to users"),
        ({"kind": "to", "target": None}, "sent to users"),
        ({"target": None}, "to is an int64"),
        ({"kind": Conversation.GROUP, "target": (5, 6)}, "gid is an int64"),
        ({"target": ()}, "1 to 2000 users, got 0"),
        ({"target": tuple(range(2, MAX_RECEIVERS + 3))}, "1 to 2000 users, got 2001"),
        ({"target": (5, 6, 5)}, "more than once"),
        ({"target": (5, "6")}, "tos is an int64"),
        ({"target": (5, 1001)}, "its sender"),
        ({"sender": Sender(1, 2**63, FileRoute(MAIN, proxied=False))}, "from is an int64"),
        ({"target": 2**63}, "to is an int64"),
        ({"target": -(2**63) - 1}, "to is an int64"),
        ({"target": "1002"}, "to is an int64"),
        ({"target": True}, "to is an int64"),
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": -1.0}, "seconds above 0"),
        ({"timeout": float("nan")}, "seconds above 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"timeout": True}, "seconds above 0"),
        ({"timeout": "20"}, "seconds above 0"),
        ({"name": 5}, "name is text"),
        ({"name": b"x.txt"}, "name is text"),
        ({"name": "x" * 3000}, "attrs of"),
        ({"custom": object()}, "not JSON"),
        ({"custom": float("nan")}, "not JSON"),
        ({"custom": "x" * 2048}, "over the limit of 2048"),
    ],
)
def test_a_wrong_argument_is_found_before_anybody_is_asked(
    wrong: dict[str, Any], says: str
) -> None:
    world = World(good)
    failed = drive(transfer(**wrong).run(), world)
    assert isinstance(failed, FileNotSent)
    assert isinstance(failed.cause, LocalProtocolError)
    assert says in str(failed)
    if says.endswith("is an int64"):
        assert str(failed.cause).startswith(says)
    assert failed.stage == "check"
    assert failed.mid == wrong.get("mid", MID)
    assert not any(isinstance(step, (Ask, Dial, Read)) for step in world.steps)
    if not {"name", "custom"} & wrong.keys():
        assert not any(isinstance(step, OpenSource) for step in world.steps)


def test_no_more_is_read_than_was_announced_but_one_byte_that_should_not_be_there() -> None:
    world = World(good)
    drive(transfer().run(), world)
    assert [step.size for step in world.steps if isinstance(step, Read)] == [4, 4, 2, 1]


def test_a_file_may_be_as_large_as_the_limit() -> None:
    sender = Sender(11000001, 1001, FileRoute(MAIN, proxied=False), max_file=len(BODY))
    assert isinstance(drive(transfer(sender=sender).run(), World(good)), FileSent)
    larger = World(good, body=BODY + b"x")
    assert isinstance(drive(transfer(sender=sender).run(), larger), FileNotSent)


def test_a_file_over_the_limit_is_named_with_limit_and_size() -> None:
    big = SourceOpened(MAX_FILE + 1, "big.bin", "/folder/big.bin")
    failed = drive(transfer().run(), World(at(0, big, OpenSource)))
    assert isinstance(failed, FileNotSent)
    assert isinstance(failed.cause, FileUnusable)
    for part in ("/folder/big.bin", "5242881", "5242880"):
        assert part in str(failed)


@pytest.mark.parametrize(
    "cause",
    [FileNotFoundError(2, "No such file"), IsADirectoryError(21, "dir"), FileUnusable("a pipe")],
)
def test_a_source_that_cannot_be_opened_is_not_sent(cause: Exception) -> None:
    failed = drive(transfer().run(), World(at(0, cause, OpenSource)))
    assert isinstance(failed, FileNotSent)
    assert failed.cause is cause and failed.__cause__ is cause


# --- every place where it can end ---


@pytest.mark.parametrize("repeat", [False, True])
def test_the_outcome_is_true_for_every_sequence_of_faults(repeat: bool) -> None:
    """All worlds in which up to three steps go wrong, each in every way that it can."""
    outcomes: set[str] = set()

    def play(choose: Callable[[Step, Sequence[object]], object]) -> None:
        world = World(choose, body=b"12345", repeat=repeat)
        sending = transfer(repeat=repeat)
        outcome = drive(sending.run(), world)
        outcomes.add(type(outcome).__name__)
        check_the_truth(world, sending, outcome, repeat=repeat)

    count = every_world(play, 3)
    assert count > 2000
    assert outcomes == {"FileSent", "FileRefused", "FileNotSent", "OutcomeUnknown"}


def check_the_truth(
    world: World, sending: Transfer | Upload, outcome: FileSent | SendFailed, *, repeat: bool
) -> None:
    asked = [step for step in world.steps if isinstance(step, Ask)]
    assert outcome.mid == MID
    assert len(asked) <= sending.attempts <= MAX_ATTEMPTS
    deadlines = {step.deadline for step in world.steps if isinstance(step, (Ask, Dial, Begin))}
    assert deadlines <= {START + SEND_TIMEOUT}
    assert world.now < START + SEND_TIMEOUT
    tokens: list[object] = []
    for payload in world.packages:
        if len(payload) == world.announced:
            params = decode(payload)
            assert params["mid"] == MID
            tokens.append(params["token"])
    assert len(set(tokens)) == len(tokens), "a token was used twice"
    if isinstance(outcome, FileSent):
        assert outcome.attempts == sending.attempts
        if outcome.duplicate:
            assert repeat or world.doubt
        else:
            assert world.handed, "told as sent before its last byte was"
    elif isinstance(outcome, FileRefused):
        assert isinstance(outcome.cause, QuestRefused)
        assert (outcome.code, outcome.text) == (outcome.cause.code, outcome.cause.text)
        assert not world.doubt
    elif isinstance(outcome, FileNotSent):
        assert not world.doubt and not world.handed
        assert not isinstance(outcome.cause, QuestRefused)
    else:
        assert isinstance(outcome, OutcomeUnknown)
        assert world.doubt or world.handed
    if isinstance(outcome, SendFailed):
        assert outcome.stage == sending.stage.value != "done"
        assert outcome.__cause__ is outcome.cause


@pytest.mark.parametrize("repeat", [False, True])
def test_whoever_gives_up_at_any_step_is_told_the_truth(repeat: bool) -> None:
    """The same worlds, with two faults; the flow is closed at every single yield."""
    left = RtmError("the caller left")

    def play(choose: Callable[[Step, Sequence[object]], object]) -> None:
        world = World(choose, body=b"12345", repeat=repeat)
        sending = transfer(repeat=repeat)
        flow = sending.run()
        outcome: object = None
        while True:
            try:
                step = flow.throw(outcome) if isinstance(outcome, Exception) else flow.send(outcome)
            except (StopIteration, SendFailed):
                return
            unknown = world.doubt or world.handed
            outcome = world.carry_out(step)
            if isinstance(step, Hand):  # while it is being handed over it may arrive
                unknown = world.doubt or len(world.packages[-1]) == world.announced
            told = sending.given_up(left)
            assert isinstance(told, OutcomeUnknown if unknown else FileNotSent), step
            assert (told.mid, told.cause, told.stage) == (MID, left, sending.stage.value)

    assert every_world(play, 2) > 100


def test_closing_the_flow_at_any_step_runs_no_further_step() -> None:
    whole = World(good)
    drive(transfer().run(), whole)
    for count in range(len(whole.steps)):
        world = World(good)
        flow = transfer().run()
        outcome: object = None
        for _ in range(count + 1):
            outcome = world.carry_out(flow.send(outcome))
        flow.close()
        with pytest.raises(StopIteration):
            next(flow)


def test_an_error_that_nobody_expects_is_an_outcome_too() -> None:
    failed = drive(transfer().run(), World(at(0, ODD, Dial)))
    assert isinstance(failed, FileNotSent) and failed.cause is ODD
    failed = drive(transfer().run(), World(at(0, ODD, Finish)))
    assert isinstance(failed, OutcomeUnknown) and failed.cause is ODD


# --- stage by stage ---


def test_a_late_token_is_not_asked_for_again() -> None:
    sending = transfer()
    failed = drive(sending.run(), World(at(0, LATE, Ask)))
    assert isinstance(failed, FileNotSent)
    assert (failed.stage, failed.cause, sending.attempts) == ("token", LATE, 1)


def test_a_main_link_that_was_lost_is_tried_once_more_at_once() -> None:
    sending = transfer()
    world = World(at(0, LOST, Ask))
    sent = drive(sending.run(), world)
    assert isinstance(sent, FileSent) and sent.attempts == 2
    assert not [step for step in world.steps if isinstance(step, Pause)]


def test_a_main_link_that_stays_away_is_not_tried_a_third_time() -> None:
    sending = transfer()
    failed = drive(
        sending.run(), World(lambda step, options: LOST if isinstance(step, Ask) else options[0])
    )
    assert isinstance(failed, FileNotSent)
    assert (failed.stage, failed.cause, sending.attempts) == ("token", LOST, 2)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, "token is missing"),
        ({"token": "t"}, "endpoint is missing"),
        ({"endpoint": "a:1"}, "token is missing"),
        ({"token": "", "endpoint": "a:1"}, "empty"),
        ({"token": "t", "endpoint": ""}, "empty"),
        ({"token": 5, "endpoint": "a:1"}, "token must be text"),
        ({"token": "t", "endpoint": [1]}, "endpoint must be text"),
        ({"token": "t", "endpoint": b"\xff:1"}, "host:port"),
        ({"token": "t", "endpoint": "a b:1"}, "host:port"),
        ({"token": "t", "endpoint": "nowhere"}, "host:port"),
        ({"token": "t", "endpoint": "a:0"}, "host:port"),
        ({"token": "t", "endpoint": "http://a:1/"}, "host:port"),
    ],
)
def test_a_bad_answer_to_filetoken_is_20009_at_the_token_stage(
    answer: dict[str, object], says: str
) -> None:
    world = World(at(0, answer, Ask))
    failed = drive(transfer().run(), world)
    assert isinstance(failed, FileRefused)
    assert (failed.code, failed.stage) == (20009, "token")
    assert says in str(failed)
    assert not any(isinstance(step, Dial) for step in world.steps)


@pytest.mark.parametrize("token", [b"abc", b"\xff\x00", "t\udc80"])
def test_a_token_goes_back_as_it_came_and_is_signed_as_it_came(token: str | bytes) -> None:
    world = World(at(0, {"token": token, "endpoint": b"files.test:1"}, Ask))
    assert isinstance(drive(transfer().run(), world), FileSent)
    params = decode(world.packages[0])
    raw = token if isinstance(token, bytes) else token.encode("utf-8", "surrogateescape")
    assert bytes_of(params, "token") == raw
    signed = md5(md5(BODY).hexdigest().encode() + b":" + raw).hexdigest()
    assert parse_attrs(str(params["attrs"])).sign == signed


def test_a_file_gate_that_nobody_reaches_is_tried_three_times_then_not_sent() -> None:
    sending = transfer()
    world = World(in_turn(*[UNREACHABLE] * 9, kind=Dial))
    failed = drive(sending.run(), world)
    assert isinstance(failed, FileNotSent)
    assert (failed.stage, sending.attempts) == ("connecting", 3)
    assert [s.until for s in world.steps if isinstance(s, Pause)] == [START + RETRY_PAUSE]


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_link_lost_before_the_last_byte_means_not_sent(last: int) -> None:
    choose = in_turn(*[True] * last, False, kind=Hand)

    def lose(step: Step, options: Sequence[object]) -> object:
        return LATE if isinstance(step, Finish) else choose(step, options)

    failed = drive(transfer().run(), World(lose))
    assert isinstance(failed, FileNotSent)
    assert failed.stage == "uploading"


def test_a_link_lost_behind_the_last_byte_leaves_it_open() -> None:
    failed = drive(transfer().run(), World(in_turn(*[LOST] * 9, kind=Finish)))
    assert isinstance(failed, OutcomeUnknown)
    assert failed.stage == "confirming"


def test_no_answer_by_the_deadline_leaves_it_open_and_is_not_repeated() -> None:
    sending = transfer()
    failed = drive(sending.run(), World(at(0, LATE, Finish)))
    assert isinstance(failed, OutcomeUnknown)
    assert (failed.stage, sending.attempts, failed.cause) == ("confirming", 1, LATE)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_refusal_in_the_middle_of_the_body_is_heard_and_nothing_more_is_handed_over(
    last: int,
) -> None:
    choose = in_turn(*[True] * last, False, kind=Hand)

    def refuse(step: Step, options: Sequence[object]) -> object:
        return refused(200031) if isinstance(step, Finish) else choose(step, options)

    world = World(refuse)
    failed = drive(transfer().run(), world)
    assert isinstance(failed, FileRefused)
    assert (failed.code, failed.stage) == (200031, "uploading")
    assert sum(isinstance(step, Hand) for step in world.steps) == last + 1


def test_a_gate_that_thanks_for_half_a_file_has_no_file() -> None:
    failed = drive(transfer().run(), World(at(1, False, Hand)))
    assert isinstance(failed, FileRefused)
    assert (failed.code, failed.stage) == (20009, "uploading")
    assert "before the whole file" in str(failed)


def test_a_body_that_cannot_begin_is_not_sent() -> None:
    failed = drive(transfer().run(), World(at(0, WRONG, Begin)))
    assert isinstance(failed, FileNotSent)
    assert failed.stage == "uploading"


# --- the source ---


@pytest.mark.parametrize("nth", range(4))
def test_a_source_that_fails_at_any_read_is_not_sent(nth: int) -> None:
    failed = drive(transfer().run(), World(at(nth, READ_ERROR, Read)))
    assert isinstance(failed, FileNotSent)
    assert (failed.cause, failed.stage) == (READ_ERROR, "uploading")


@pytest.mark.parametrize("nth", range(3))
def test_a_source_that_shrinks_while_it_is_sent_is_not_sent(nth: int) -> None:
    failed = drive(transfer().run(), World(at(nth, b"", Read)))
    assert isinstance(failed, FileNotSent)
    assert f"announced 10 bytes but ended after {4 * nth}" in str(failed)


def test_a_source_that_grows_while_it_is_sent_is_not_sent() -> None:
    world = World(at(3, b"x", Read))
    failed = drive(transfer().run(), world)
    assert isinstance(failed, FileNotSent)
    assert "more than the announced 10 bytes" in str(failed)
    assert len(world.packages[0]) < world.announced


def test_a_source_that_gives_more_than_it_was_asked_for_is_not_sent() -> None:
    failed = drive(transfer().run(), World(at(2, b"x" * 9, Read)))
    assert isinstance(failed, FileNotSent)
    assert "more than the announced 10 bytes" in str(failed)


def test_a_source_that_reads_in_small_pieces_is_sent() -> None:
    world = World(good)
    flow = transfer(piece=1).run()
    assert isinstance(drive(flow, world), FileSent)
    assert decode(world.packages[0])["file"] == BODY


def test_a_source_that_changed_its_size_between_two_attempts_is_not_sent_again() -> None:
    def choose(step: Step, options: Sequence[object]) -> object:
        if isinstance(step, Finish):
            world.body = b"shorter"
            return refused(Code.WORK_QUEUE_FULL)
        return options[0]

    world = World(choose)
    failed = drive(transfer().run(), world)
    assert isinstance(failed, FileNotSent)
    assert "changed between two attempts: 10 bytes, now 7" in str(failed)


def test_a_source_that_changed_its_bytes_between_two_attempts_is_not_sent_again() -> None:
    def choose(step: Step, options: Sequence[object]) -> object:
        if isinstance(step, Finish):
            world.body = b"9876543210"
            return refused(Code.WORK_QUEUE_FULL)
        return options[0]

    world = World(choose)
    failed = drive(transfer().run(), world)
    assert isinstance(failed, FileNotSent)
    assert "changed between two attempts" in str(failed)
    assert len(world.packages[1]) < world.announced, "a package with the wrong bytes was completed"


def test_a_source_that_changed_after_a_doubtful_attempt_leaves_it_open() -> None:
    def choose(step: Step, options: Sequence[object]) -> object:
        if isinstance(step, Finish):
            world.body = b"shorter"
            return LOST
        return options[0]

    world = World(choose)
    failed = drive(transfer().run(), world)
    assert isinstance(failed, OutcomeUnknown)
    assert isinstance(failed.cause, FileUnusable)


# --- trying again ---


def test_a_duplicate_at_the_first_try_of_a_new_mid_is_an_error() -> None:
    failed = drive(transfer().run(), World(at(0, refused(200053), Finish)))
    assert isinstance(failed, FileRefused)
    assert failed.code == 200053


def test_a_duplicate_of_a_repeat_is_success() -> None:
    sent = drive(transfer(repeat=True).run(), World(at(0, refused(200053), Finish)))
    assert sent == FileSent(MID, None, 1, duplicate=True)


@pytest.mark.parametrize("first", [LOST, refused(Code.UNKNOWN_RTM)])
def test_a_duplicate_behind_an_attempt_in_doubt_is_success(first: Exception) -> None:
    sent = drive(transfer().run(), World(in_turn(first, refused(200053), kind=Finish)))
    assert sent == FileSent(MID, None, 2, duplicate=True)


def test_a_duplicate_behind_an_attempt_that_certainly_failed_is_an_error() -> None:
    choose = in_turn(refused(Code.WORK_QUEUE_FULL), refused(200053), kind=Finish)
    failed = drive(transfer().run(), World(choose))
    assert isinstance(failed, FileRefused) and failed.code == 200053


def test_a_duplicate_at_the_token_stage_is_no_success() -> None:
    failed = drive(transfer(repeat=True).run(), World(at(0, refused(200053), Ask)))
    assert isinstance(failed, FileRefused)


@pytest.mark.parametrize("kind", [Ask, Finish])
@pytest.mark.parametrize("code", [*Code, 1, -1, 999_999_999])
def test_refusals_are_tried_again_as_the_table_says(kind: type[Any], code: int) -> None:
    """How often one and the same refusal, at every attempt, is taken before it is final."""
    attempts = {
        Retry.NEW_TOKEN: 2,  # "once more"
        Retry.UNKNOWN: 2,  # "once"
        Retry.AFTER_PAUSE: MAX_ATTEMPTS,
        Retry.NEW_CONNECTION: MAX_ATTEMPTS,
    }.get(retry(code), 1)
    pauses = {
        Retry.AFTER_PAUSE: [RETRY_PAUSE, 2 * RETRY_PAUSE],
        Retry.NEW_CONNECTION: [RETRY_PAUSE],
    }.get(retry(code), [])
    sending = transfer()
    world = World(in_turn(*[refused(code)] * 9, kind=kind))
    failed = drive(sending.run(), world)
    assert sending.attempts == attempts
    until = [step.until for step in world.steps if isinstance(step, Pause)]
    assert until == [START + sum(pauses[: count + 1]) for count in range(len(pauses))]
    doubtful = kind is Finish and retry(code) is Retry.UNKNOWN
    assert isinstance(failed, OutcomeUnknown if doubtful else FileRefused)


def test_each_thing_that_is_tried_once_more_is_tried_once_more_whatever_came_before() -> None:
    choose = in_turn(LOST, refused(200003), kind=Finish)
    sent = drive(transfer().run(), World(choose))
    assert sent == FileSent(MID, 1_700_000_000_123, 3, duplicate=False)


@pytest.mark.parametrize(
    ("timeout", "attempts"), [(0.5, 1), (1.0, 1), (1.5, 2), (3.0, 2), (3.5, 3), (20.0, 3)]
)
def test_no_attempt_begins_behind_the_deadline(timeout: float, attempts: int) -> None:
    sending = transfer(timeout=timeout)
    world = World(in_turn(*[refused(Code.RATE_LIMIT)] * 9, kind=Finish))
    failed = drive(sending.run(), world)
    assert isinstance(failed, FileRefused)
    assert sending.attempts == attempts
    assert world.now < START + timeout


def test_a_new_attempt_opens_the_source_again_and_drops_the_file_link_first() -> None:
    world = World(at(0, LOST, Finish))
    drive(transfer().run(), world)
    kinds = [type(step) for step in world.steps if not isinstance(step, Tell)]
    again = kinds.index(Finish) + 1
    assert kinds[again : again + 4] == [Now, Discard, OpenSource, Ask]
    assert [told.attempt for told in world.progress if told.stage is Stage.TOKEN] == [1, 2]


def test_the_same_file_is_signed_anew_for_each_token() -> None:
    world = World(at(0, LOST, Finish))
    drive(transfer().run(), world)
    first, second = map(decode, world.packages)
    assert first["token"] != second["token"] and first["attrs"] != second["attrs"]
    assert (first["mid"], first["file"]) == (second["mid"], second["file"])


@given(
    body=st.binary(max_size=60),
    piece=st.integers(1, 70),
    faults=st.lists(st.tuples(st.sampled_from([Finish, Dial]), st.booleans()), max_size=2),
)
def test_every_completed_package_carries_the_whole_file_and_a_right_sign(
    body: bytes, piece: int, faults: list[tuple[type[Any], bool]]
) -> None:
    left = list(faults)

    def choose(step: Step, options: Sequence[object]) -> object:
        if left and isinstance(step, left[0][0]) and left.pop(0)[1]:
            return options[1]
        return options[0]

    world = World(choose, body=body)
    assert isinstance(drive(transfer(piece=piece).run(), world), FileSent)
    for payload in world.packages:
        params = decode(payload)
        attrs = parse_attrs(str(params["attrs"]))
        assert params["file"] == body
        assert sign_matches(str(attrs.sign), md5(body).hexdigest(), str(params["token"]))


# --- several, everybody, nobody; servers ---


def signer(secret: str = "s") -> Signer:
    salts = iter(range(100, 200))
    return Signer(11000001, secret, lambda: next(salts), lambda: 1_700_000_000_500)


SERVER = Sender(11000001, 1001, FileRoute(MAIN, proxied=False), signer=signer())


@pytest.mark.parametrize(
    ("kind", "target", "method", "params"),
    [
        (Conversation.P2P, (1002, -3), "sendfiles", {"tos": [1002, -3]}),
        (Conversation.P2P, (1002,), "sendfiles", {"tos": [1002]}),
        (Conversation.BROADCAST, None, "broadcastfile", {}),
    ],
)
@pytest.mark.parametrize("sender", [DIRECT, SERVER], ids=["user", "server"])
def test_a_file_for_several_or_for_everybody(
    kind: Conversation, target: Any, method: str, params: dict[str, object], sender: Sender
) -> None:
    world = World(good)
    sent = drive(transfer(sender=sender, kind=kind, target=target).run(), world)
    assert sent == FileSent(MID, 1_700_000_000_123, 1, duplicate=False)
    [ask] = [step for step in world.steps if isinstance(step, Ask)]
    [begin] = [step for step in world.steps if isinstance(step, Begin)]
    asked = dict(ask.params)
    assert {key: asked.pop(key) for key in ["cmd", *params]} == {"cmd": method, **params}
    assert set(asked) == ({"pid", "salt", "ts", "sign", "from"} if sender is SERVER else set())
    assert begin.method == method
    quest = decode(world.packages[0])
    names = ["pid", "from", *params, "mtype", "mid", "token", "file", "attrs"]
    assert list(quest) == names
    assert {key: quest[key] for key in params} == params


def test_a_server_signs_every_token_quest_anew_and_only_these() -> None:
    world = World(in_turn(refused(200006), kind=Ask))
    sender = Sender(11000001, 1001, FileRoute(MAIN, proxied=False), signer=signer("x"))
    assert isinstance(drive(transfer(sender=sender).run(), world), FileSent)
    asks = [step for step in world.steps if isinstance(step, Ask)]
    for salt, ask in zip((100, 101), asks, strict=True):
        assert ask.params == {
            "pid": 11000001,
            "salt": salt,
            "ts": 1_700_000_000,
            "sign": call_sign(11000001, "x", salt, "filetoken", 1_700_000_000),
            "from": 1001,
            "cmd": "sendfile",
            "to": 1002,
        }
    [payload] = world.packages
    assert list(decode(payload)) == [
        "pid", "from", "to", "mtype", "mid", "token", "file", "attrs"
    ]  # fmt: skip


@pytest.mark.parametrize("code", [Code.BAD_PROJECT_OR_SIGN, Code.CLOCK_MISMATCH])
def test_a_server_that_is_not_believed_is_refused_at_the_token_stage(code: int) -> None:
    failed = drive(transfer(sender=SERVER).run(), World(at(0, refused(code), Ask)))
    assert isinstance(failed, FileRefused)
    assert (failed.code, failed.stage) == (code, "token")


def upload(sender: Sender = DIRECT, **changes: Any) -> Upload:
    return Upload(sender, changes.pop("mtype", FileType.FILE), mid=MID, piece=4, **changes)


def kept(**changes: object) -> Callable[[Step, Sequence[object]], object]:
    """A gate that answers every upload."""
    answer = {"url": "http://gate.test/files/k/note.txt", "size": 10, **changes}
    stored = {key: value for key, value in answer.items() if value is not ...}
    return in_turn(*[stored] * 9, kind=Finish)


def test_an_upload_names_its_sender_and_gives_the_place_of_the_file() -> None:
    world = World(kept())
    assert ended(upload().run(), world) == FileUploaded("http://gate.test/files/k/note.txt", 10, 1)
    [ask] = [step for step in world.steps if isinstance(step, Ask)]
    assert ask.params == {"cmd": "uploadfile"}
    quest = decode(world.packages[0])
    assert list(quest) == ["pid", "from", "uid", "mtype", "mid", "token", "file", "attrs"]
    assert (quest["from"], quest["uid"], quest["file"]) == (1001, 1001, BODY)
    assert world.progress[-1].stage is Stage.DONE


def test_a_server_speaks_for_a_user_whose_uid_is_an_int64() -> None:
    signer = Signer(11000001, "secret", lambda: 1, lambda: 1_700_000_000_000)
    sender = Sender(11000001, 2**63, FileRoute(MAIN, proxied=False), signer=signer)
    with pytest.raises(LocalProtocolError, match=r"^from is an int64"):
        sender.token_quest({"cmd": "uploadfile"})


def test_a_server_uploads_for_a_user() -> None:
    world = World(kept())
    assert isinstance(ended(upload(SERVER).run(), world), FileUploaded)
    [ask] = [step for step in world.steps if isinstance(step, Ask)]
    assert (ask.params["from"], ask.params["cmd"]) == (1001, "uploadfile")
    assert "uid" not in ask.params


def test_a_size_that_is_not_told_is_the_one_that_was_sent() -> None:
    uploaded = ended(upload().run(), World(kept(size=...)))
    assert isinstance(uploaded, FileUploaded) and uploaded.size == len(BODY)


@pytest.mark.parametrize("changes", [{"url": ...}, {"url": 5}, {"size": "10"}, {"size": 1.5}])
def test_an_upload_that_is_confirmed_without_a_place_leaves_it_open(
    changes: dict[str, object],
) -> None:
    failed = ended(upload().run(), World(kept(**changes)))
    assert isinstance(failed, OutcomeUnknown)
    assert isinstance(failed.cause, QuestRefused) and failed.cause.code == 20009
    assert failed.stage == "confirming"


def test_a_duplicate_tells_nothing_of_where_an_upload_is() -> None:
    failed = ended(upload().run(), World(at(0, refused(200053), Finish)))
    assert isinstance(failed, FileRefused) and failed.code == 200053
    failed = ended(upload().run(), World(in_turn(LOST, refused(200053), kind=Finish)))
    assert isinstance(failed, OutcomeUnknown)


def test_what_is_wrong_with_an_upload_is_found_before_anybody_is_asked() -> None:
    faults: list[dict[str, Any]] = [{"mtype": 30}, {"timeout": 0}, {"name": 5}]
    for wrong in faults:
        world = World(good)
        failed = ended(upload(**wrong).run(), world)
        assert isinstance(failed, FileNotSent) and failed.stage == "check"
        assert not any(isinstance(step, Ask) for step in world.steps)


def test_the_outcome_of_an_upload_is_true_for_every_sequence_of_faults() -> None:
    outcomes: set[str] = set()

    def play(choose: Callable[[Step, Sequence[object]], object]) -> None:
        def chosen(step: Step, options: Sequence[object]) -> object:
            if isinstance(step, Finish):
                options = [{"url": "http://gate.test/f", "size": 5}, *options[1:]]
            return choose(step, options)

        world = World(chosen, body=b"12345")
        uploading = upload()
        outcome = ended(uploading.run(), world)
        outcomes.add(type(outcome).__name__)
        if isinstance(outcome, FileUploaded):
            assert world.handed and outcome.attempts == uploading.attempts
        else:
            assert isinstance(outcome, SendFailed)
            check_the_truth(world, uploading, outcome, repeat=False)

    assert every_world(play, 2) > 200
    assert outcomes == {"FileUploaded", "FileRefused", "FileNotSent", "OutcomeUnknown"}


# --- filetoken by itself, and the checks that it shares ---


def ask_for_token(answer: object, timeout: float = 2.0) -> FileToken:
    flow = file_token({"cmd": "sendfile", "to": 1}, timeout)
    assert next(flow) == Now()
    assert flow.send(START) == Ask("filetoken", {"cmd": "sendfile", "to": 1}, START + timeout)
    with pytest.raises(StopIteration) as stop:
        if isinstance(answer, Exception):
            flow.throw(answer)
        flow.send(answer)
    token = stop.value.value
    assert isinstance(token, FileToken)
    return token


def test_a_token_can_be_asked_for_by_itself() -> None:
    assert ask_for_token({"token": "t", "endpoint": "e:1"}) == FileToken("t", "e:1")


@pytest.mark.parametrize("cause", [LOST, LATE, refused(200010)])
def test_why_there_is_no_token_is_told_as_it_is(cause: QuestError) -> None:
    with pytest.raises(type(cause)) as caught:
        ask_for_token(cause)
    assert caught.value is cause


def test_a_bad_timeout_for_a_token_is_a_local_error() -> None:
    flow = file_token({}, 0)
    next(flow)
    with pytest.raises(LocalProtocolError):
        flow.send(START)


@pytest.mark.parametrize(
    ("cmd", "targets", "params"),
    [
        ("sendfile", {"to": 5}, {"cmd": "sendfile", "to": 5}),
        ("sendgroupfile", {"gid": -5}, {"cmd": "sendgroupfile", "gid": -5}),
        ("sendroomfile", {"rid": 0}, {"cmd": "sendroomfile", "rid": 0}),
        ("sendfiles", {"tos": [1, 2]}, {"cmd": "sendfiles", "tos": [1, 2]}),
        (
            "sendfiles",
            {"tos": [*range(MAX_RECEIVERS)]},
            {"cmd": "sendfiles", "tos": [*range(MAX_RECEIVERS)]},
        ),
        ("broadcastfile", {}, {"cmd": "broadcastfile"}),
        ("uploadfile", {}, {"cmd": "uploadfile"}),
    ],
)
def test_a_token_is_asked_for_with_exactly_the_target_of_its_command(
    cmd: str, targets: dict[str, Any], params: dict[str, object]
) -> None:
    assert token_params(cmd, **targets) == params


@pytest.mark.parametrize(
    ("cmd", "targets", "says"),
    [
        ("sendit", {}, "cmd is one of sendfile"),
        (None, {}, "cmd is one of"),
        ([], {}, "cmd is one of"),
        ("sendfile", {}, "needs to, got no target"),
        ("sendfile", {"gid": 1}, "needs to, got gid"),
        ("sendfile", {"to": 1, "gid": 1}, "got to, gid"),
        ("broadcastfile", {"to": 1}, "needs no target, got to"),
        ("sendfiles", {"tos": []}, "not empty"),
        ("sendfiles", {"tos": (1, 2)}, "list of uids"),
        ("sendfiles", {"tos": ["1"]}, "^tos is an int64"),
        ("sendfiles", {"tos": [1, 1]}, "more than once"),
        ("sendfiles", {"tos": list(range(MAX_RECEIVERS + 1))}, "1 to 2000 users"),
        ("sendroomfile", {"rid": 1.0}, "^rid is an int64"),
    ],
)
def test_wrong_targets_of_a_token_are_a_local_error(
    cmd: Any, targets: dict[str, Any], says: str
) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        token_params(cmd, **targets)


def test_what_is_checked_comes_back_as_it_was() -> None:
    assert check_timeout(1) == 1 and check_timeout(0.5) == 0.5
    assert check_int64("to", -(2**63)) == -(2**63) and check_int64("to", 2**63 - 1) == 2**63 - 1


def test_no_repr_shows_a_token() -> None:
    world = World(good)
    drive(transfer().run(), world)
    token = str(decode(world.packages[0])["token"])
    assert token not in repr(world.steps)
    assert "secret" not in repr(FileToken("secret", "a:1"))
