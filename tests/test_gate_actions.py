"""Who asks a gate, and what it says."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import PayloadError
from rtm_proto.gate.actions import HEAD, SERVER, Answer, Asked, Body, Push, Refusal, Visitor, Who


def test_a_user_speaks_for_himself_and_a_server_for_whom_it_names() -> None:
    asked = Asked(Visitor("v"), 1, "some", {"uid": 5}, 0.0)
    assert asked.user == SERVER and asked.speaks_for("uid") == 5
    assert asked._replace(user=7).speaks_for("uid") == 7
    with pytest.raises(PayloadError) as caught:
        asked.speaks_for("from")
    assert caught.value.code == Code.KEY_NOT_FOUND


def test_a_refusal_is_a_code_and_a_text() -> None:
    refusal = Refusal(Code.NOT_IN_ROOM, "not there")
    assert (refusal.code, refusal.text, str(refusal)) == (
        Code.NOT_IN_ROOM,
        "not there",
        "not there",
    )


def test_two_visitors_of_one_name_are_two() -> None:
    assert Visitor("v") != Visitor("v")
    assert len({Visitor("v"), Visitor("v")}) == 2


def test_no_repr_shows_what_is_secret() -> None:
    assert "secret" not in repr(Answer(Visitor("v"), 1, {"token": "secret"}))
    assert "secret" not in repr(Body("key", 9, "digest", 0, b"secret", b"secret"))
    assert HEAD == 512


def test_who_may_call_is_said_in_words() -> None:
    assert [who.value for who in Who] == ["anybody", "a user", "a server", "a user or a server"]


def test_who_has_just_come_is_nobody_yet() -> None:
    visitor = Visitor("v")
    assert (visitor.uid, visitor.peer, visitor.failed, visitor.rooms) == (None, None, 0, set())
    assert not (visitor.server or visitor.operator or visitor.tls)


def test_what_is_not_said_of_a_push_or_a_body() -> None:
    push = Push(Visitor("v"), "pushmsg", {"msg": "secret"})
    assert (push.oneway, push.message_id) == (False, None) and "secret" not in repr(push)
    assert Body("key", 9, "digest", 0, b"rest").head == b""
