"""Every exception says who is at fault, and what the caller needs to go on."""

from __future__ import annotations

import pytest

from rtm_proto import errors
from rtm_proto.codes import Code
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    DownloadFailed,
    FileNotSent,
    FileRefused,
    FileUnusable,
    FramingError,
    LocalProtocolError,
    LoginFailed,
    OutcomeUnknown,
    PayloadError,
    QuestError,
    QuestRefused,
    QuestTimeout,
    RemoteFault,
    RtmError,
    SendFailed,
    carry_outcome,
    outcome_of,
    show_bytes,
)
from rtm_proto.events import CloseKind, CloseReason

MID = 111_411_200_000_000_001


@pytest.mark.parametrize(
    ("raised", "caught_as"),
    [
        (LocalProtocolError, (RtmError, ValueError)),
        (FramingError, (RemoteFault, RtmError)),
        (PayloadError, (RemoteFault, RtmError)),
        (QuestRefused, (QuestError, RtmError)),
        (QuestTimeout, (QuestError, RtmError)),
        (ConnectionLost, (QuestError, RtmError)),
        (ConnectFailed, (RtmError,)),
        (LoginFailed, (RtmError,)),
        (FileUnusable, (RtmError,)),
        (FileRefused, (SendFailed, RtmError)),
        (FileNotSent, (SendFailed, RtmError)),
        (OutcomeUnknown, (SendFailed, RtmError)),
        (DownloadFailed, (RtmError,)),
    ],
)
def test_every_error_can_be_caught_by_who_is_at_fault(
    raised: type[Exception], caught_as: tuple[type[Exception], ...]
) -> None:
    assert issubclass(raised, caught_as[0])
    assert all(issubclass(raised, each) for each in caught_as)


def test_every_error_has_the_one_base() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    own = [each for each in classes if each.__module__ == errors.__name__]
    assert len(own) > 10
    assert all(issubclass(each, RtmError) for each in own)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", ""),
        (b"FPNN", "46 50 4e 4e"),
        (bytes(16), " ".join(["00"] * 16)),
        (bytes(17), " ".join(["00"] * 16) + " ..."),
    ],
)
def test_offending_bytes_are_shown_as_hex_and_cut_with_a_sign_of_it(
    data: bytes, shown: str
) -> None:
    assert show_bytes(data) == show_bytes(bytearray(data)) == show_bytes(memoryview(data)) == shown


def test_a_remote_fault_carries_the_code_that_answers_it() -> None:
    assert PayloadError("payload is cut short", Code.INVALID_PACKAGE).code == 10003


def test_a_framing_error_says_whether_it_is_a_limit_and_which_quest_it_hit() -> None:
    plain = FramingError("wrong magic", Code.INVALID_PACKAGE)
    assert (plain.limit, plain.seq) == (False, None)
    large = FramingError("too large", Code.INVALID_PACKAGE, limit=True, seq=7)
    assert (str(large), large.code, large.limit, large.seq) == ("too large", 10003, True, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate limit", "filetoken was refused with 200010: rate limit"),
        ("", "filetoken was refused with 200010: (no text)"),
    ],
)
def test_a_refused_quest_shows_method_code_and_text(text: str, message: str) -> None:
    error = QuestRefused("filetoken", 200010, text)
    assert str(error) == message
    assert (error.method, error.code, error.text) == ("filetoken", 200010, text)


def test_a_quest_that_timed_out_names_its_method() -> None:
    error = QuestTimeout("auth")
    assert (error.method, str(error)) == ("auth", "no answer to auth by the deadline")


def test_a_lost_quest_says_why_the_connection_ended() -> None:
    reason = CloseReason(CloseKind.IDLE, "nothing for 35 s")
    error = ConnectionLost("auth", reason)
    assert (error.method, error.reason) == ("auth", reason)
    assert str(error) == (
        "connection lost before the answer to auth: silent for too long: nothing for 35 s"
    )


def test_a_failed_login_has_the_code_of_the_gate_if_it_gave_one() -> None:
    assert LoginFailed("wrong login token").code is None
    error = LoginFailed("refused", 200027)
    assert (str(error), error.code) == ("refused", 200027)


def test_a_failed_download_has_the_http_status_if_one_came() -> None:
    assert DownloadFailed("no answer").status is None
    error = DownloadFailed("not found", 404)
    assert (str(error), error.status) == ("not found", 404)


@pytest.mark.parametrize(("text", "shown"), [("invalid sign", "invalid sign"), ("", "(no text)")])
def test_a_refused_file_has_the_code_and_text_of_the_gate(text: str, shown: str) -> None:
    cause = QuestRefused("sendfile", 200003, text)
    error = FileRefused(mid=MID, stage="upload", cause=cause)
    assert (error.mid, error.stage, error.cause) == (MID, "upload", cause)
    assert (error.code, error.text) == (200003, text)
    assert (
        str(error) == f"the gate refused the file at stage upload with 200003: {shown} (mid {MID})"
    )


@pytest.mark.parametrize("kind", [FileNotSent, OutcomeUnknown])
def test_a_file_that_was_not_confirmed_still_has_its_mid(
    kind: type[FileNotSent] | type[OutcomeUnknown],
) -> None:
    cause = QuestTimeout("sendfile")
    error = kind(mid=MID, stage="upload", cause=cause)
    assert (error.mid, error.stage, error.cause) == (MID, "upload", cause)
    assert str(MID) in str(error)
    assert "it ended at stage upload: no answer to sendfile by the deadline" in str(error)


def test_an_unknown_outcome_says_that_sending_again_is_safe() -> None:
    error = OutcomeUnknown(mid=MID, stage="answer", cause=QuestTimeout("sendfile"))
    assert str(error).endswith(f"sending again with mid {MID} is safe")


def test_the_outcome_of_a_send_is_found_in_what_came_of_it() -> None:
    outcome = FileNotSent(mid=MID, stage="token", cause=KeyError())
    cancelled = BaseException()
    assert outcome_of(None) is None and outcome_of(cancelled) is None
    assert outcome_of(outcome) is outcome
    carry_outcome(cancelled, outcome)
    assert outcome_of(cancelled) is outcome
    late = TimeoutError()
    late.__context__ = cancelled
    assert outcome_of(late) is outcome
    later = TimeoutError()
    later.__cause__, later.__context__ = late, KeyError()
    assert outcome_of(later) is outcome


def test_errors_in_a_circle_have_no_outcome() -> None:
    one, two = KeyError(), KeyError()
    one.__context__, two.__context__ = two, one
    assert outcome_of(one) is None
    one.rtm_outcome = "no outcome"  # type: ignore[attr-defined]
    assert outcome_of(two) is None
