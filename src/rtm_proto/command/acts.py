"""What ``rtm admin`` can do: each act as the quests that do it, and its outcome in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from ..gate.limits import MAX_ITEMS


class AdminQuest(NamedTuple):
    """One quest, of those that servers may ask and operators without a sign."""

    method: str
    params: Mapping[str, object]


def token(uid: int) -> list[AdminQuest]:
    """A login token for this user; an earlier one is good no more."""
    return [AdminQuest("gettoken", {"uid": uid})]


def remove_token(uid: int) -> list[AdminQuest]:
    """His token is good no more."""
    return [AdminQuest("removetoken", {"uid": uid})]


def kick(uid: int) -> list[AdminQuest]:
    """End his logins."""
    return [AdminQuest("kickout", {"uid": uid})]


def ban(uid: int, seconds: int, gid: int | None, rid: int | None) -> list[AdminQuest]:
    """Ban him for so long (0: for ever): from the project, or from speaking in one place."""
    method, place = _place("add", gid, rid)
    return [AdminQuest(method, {**place, "uid": uid, "btime": seconds})]


def unban(uid: int, gid: int | None, rid: int | None) -> list[AdminQuest]:
    """The end of that."""
    method, place = _place("remove", gid, rid)
    return [AdminQuest(method, {**place, "uid": uid})]


def group_add(gid: int, uids: Sequence[int]) -> list[AdminQuest]:
    """Take users into a group; the gate takes MAX_ITEMS of them at a time."""
    return _in_parts("addgroupmembers", gid, uids)


def group_del(gid: int, uids: Sequence[int]) -> list[AdminQuest]:
    """Take users out of it."""
    return _in_parts("delgroupmembers", gid, uids)


def group_list(gid: int) -> list[AdminQuest]:
    """Its members."""
    return [AdminQuest("getgroupmembers", {"gid": gid})]


def group_of(uid: int) -> list[AdminQuest]:
    """The groups that he is in."""
    return [AdminQuest("getusergroups", {"uid": uid})]


def group_delete(gid: int) -> list[AdminQuest]:
    """No group any more."""
    return [AdminQuest("delgroup", {"gid": gid})]


def room_add(rid: int, uid: int) -> list[AdminQuest]:
    """Take a user who is online into a room."""
    return [AdminQuest("addroommember", {"rid": rid, "uid": uid})]


def room_del(rid: int, uid: int) -> list[AdminQuest]:
    """Take him out of it."""
    return [AdminQuest("delroommember", {"rid": rid, "uid": uid})]


def stats() -> list[AdminQuest]:
    """How the gate is."""
    return [AdminQuest("stats", {})]


def outcome_lines(answer: Mapping[str, object]) -> list[str]:
    """An answer in lines: values alone where there is one thing, names before them where not."""
    if not answer:
        return ["done"]
    if len(answer) == 1:
        [value] = answer.values()
        if isinstance(value, list):
            return [str(item) for item in cast("list[object]", value)]
        return [str(value)]
    width = max(map(len, answer))
    return [f"{name.replace('_', ' '):<{width}}  {_shown(value)}" for name, value in answer.items()]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _place(verb: str, gid: int | None, rid: int | None) -> tuple[str, dict[str, object]]:
    if gid is not None:
        return f"{verb}groupban", {"gid": gid}
    if rid is not None:
        return f"{verb}roomban", {"rid": rid}
    return f"{verb}projectblack", {}


def _in_parts(method: str, gid: int, uids: Sequence[int]) -> list[AdminQuest]:
    parts = [uids[i : i + MAX_ITEMS] for i in range(0, len(uids), MAX_ITEMS)]
    return [AdminQuest(method, {"gid": gid, "uids": list(part)}) for part in parts]
