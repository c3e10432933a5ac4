"""Links to files: which paths mean one, and whose sign is good for how long."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.gate.links import MAX_TARGET, FileLink, Links, parse_link, path_of

KEY = "abcDEF_-0123456789"
OTHER = "0123456789abcdef"
WALL = 1_700_000_000_500  # ms since 1970
NOW = WALL // 1000
SIGN = "a" * 64


class Clock:
    """Wall time that is set by hand."""

    def __init__(self) -> None:
        self.ms = WALL

    def __call__(self) -> int:
        """Milliseconds since 1970."""
        return self.ms


def links(clock: Clock | None = None, *, key: str = "secret", life: float | None = 60.0) -> Links:
    return Links(clock or Clock(), key=key, life=life)


# --- what a path means ---


@pytest.mark.parametrize(
    ("target", "key"),
    [
        (f"/files/{KEY}", KEY),
        (f"/files/{KEY}/", KEY),
        (f"/files/{KEY}/name.png", KEY),
        (f"/files/{KEY}/%C3%BC%0A%00.png", KEY),
        (f"/files/{KEY}/..", KEY),
        (f"/files/{KEY}?a=b", KEY),
        (f"/files/{KEY}%2Fname", KEY),
        (f"/files/%61{KEY}", f"a{KEY}"),
        (f"http://gate:80/files/{KEY}/x", KEY),
        (f"HTTPS://gate/files/{KEY}?x", KEY),
        ("/files/" + "x" * 16, "x" * 16),
        ("/files/" + "x" * 128, "x" * 128),
        ("/files/" + "x" * 15, None),
        ("/files/" + "x" * 129, None),
        (f"/files/{KEY}/a/b", None),
        (f"/files/{KEY}/a%2fb", None),
        (f"/files/{KEY}%0A", None),
        (f"/files/{KEY}.png", None),
        (f"/files/../{KEY}", None),
        (f"/files/%2e%2e/{KEY}", None),
        (f"/files/..%2f..%2fetc%2fpasswd{KEY}", None),
        (f"/files/%252e%252e/{KEY}", None),
        (f"/files//{KEY}", None),
        (f"//files/{KEY}", None),
        (f"/Files/{KEY}", None),
        (f"/file/{KEY}", None),
        (f"files/{KEY}", None),
        (f"/files/%C3%BC{KEY}", None),
        (f"/files/{KEY}#x", None),
        (f"ftp://gate/files/{KEY}", None),
        ("/files/" + "%61" * 5, None),
        (f"/files/{KEY}/" + "x" * MAX_TARGET, None),
        (f"/files/{KEY}?" + "x" * MAX_TARGET, None),
        ("*", None),
        ("/", None),
        ("", None),
    ],
)
def test_only_a_well_formed_target_is_a_file(target: str, key: str | None) -> None:
    link = parse_link(target)
    assert link == (None if key is None else FileLink(key))


@pytest.mark.parametrize(
    ("target", "thumbnail"),
    [
        (f"/files/{KEY}/thumbnail/a.jpg", True),
        (f"/files/{KEY}/thumbnail/", True),
        (f"/files/{KEY}/thumbnail%2Fa", True),
        (f"/files/{KEY}/thumbnail", False),  # a file of this name
        (f"/files/{KEY}/thumbnails", False),
        (f"/files/{KEY}?thumbnail/", False),
    ],
)
def test_the_small_picture_has_a_segment_of_its_own(target: str, thumbnail: bool) -> None:
    assert parse_link(target) == FileLink(KEY, thumbnail)


def test_there_is_no_picture_of_a_picture() -> None:
    assert parse_link(f"/files/{KEY}/thumbnail/thumbnail/a") is None


@pytest.mark.parametrize(
    ("query", "until", "sign"),
    [
        (f"until=5&sign={SIGN}", 5, SIGN),
        (f"until=999999999999&sign={SIGN}&utm=1", 999_999_999_999, SIGN),
        (f"until=1000000000000&sign={SIGN}", None, None),
        (f"until=&sign={SIGN}", None, None),
        (f"until=-5&sign={SIGN}", None, None),
        (f"until=5&sign={SIGN[1:]}", None, None),
        (f"until=5&sign={SIGN}a", None, None),
        (f"until=5&sign={SIGN.upper()}", None, None),
        (f"sign={SIGN}&until=5", None, None),
        (f"a=b&until=5&sign={SIGN}", None, None),
        (f"until=%35&sign={SIGN}", None, None),
        (f"?until=5&sign={SIGN}", None, None),
        ("", None, None),
    ],
)
def test_a_sign_stands_as_we_write_it(query: str, until: int | None, sign: str | None) -> None:
    assert parse_link(f"/files/{KEY}/a?{query}") == FileLink(KEY, False, until, sign)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a%20b?c=d#e", "/a b"),
        ("http://gate:80/a", "/a"),
        ("HTTPS://gate/a?b", "/a"),
        ("http://gate", ""),
        ("/http://gate/a", "/http://gate/a"),
        ("/%ff%zz", "/\ufffd%zz"),
        ("*", "*"),
    ],
)
def test_the_path_is_decoded_and_without_a_query(target: str, path: str) -> None:
    assert path_of(target) == path


@given(st.text())
def test_no_target_is_raised_for(target: str) -> None:
    link = parse_link(target)
    assert link is None or set(link.key) <= set(string.ascii_letters + string.digits + "_-")


# --- without a life ---


def test_links_without_a_life_are_as_they_are() -> None:
    free = links(key="", life=None)
    assert free.signed("http://g/files/k/n", KEY) == "http://g/files/k/n"
    assert free.told("anything", KEY) == "anything"
    assert free.refusal(FileLink(KEY)) is None
    assert free.refusal(FileLink(KEY, until=5, sign=SIGN)) is None
    assert free.seconds_left(FileLink(KEY, until=5, sign=SIGN)) is None


# --- with one ---


def follow(url: str) -> FileLink:
    link = parse_link(url)
    assert link is not None
    return link


def test_a_signed_link_is_good_until_its_time() -> None:
    clock = Clock()
    gate = links(clock)
    url = gate.signed(f"http://g:1/files/{KEY}/a.png", KEY)
    link = follow(url)
    assert url == f"http://g:1/files/{KEY}/a.png?until={NOW + 60}&sign={link.sign}"
    assert link == FileLink(KEY, False, NOW + 60, link.sign)
    assert link.query == url[url.index("?") :]
    assert (gate.refusal(link), gate.seconds_left(link)) == (None, 60)
    clock.ms += 59_000
    assert (gate.refusal(link), gate.seconds_left(link)) == (None, 1)
    clock.ms += 500
    assert (gate.refusal(link), gate.seconds_left(link)) == ((410, "the link has expired"), 0)
    clock.ms += 10_000_000
    assert (gate.refusal(link), gate.seconds_left(link)) == ((410, "the link has expired"), 0)
    clock.ms = WALL - 10_000  # a clock that steps back makes a link good for longer, never for less
    assert (gate.refusal(link), gate.seconds_left(link)) == (None, 70)


def test_the_sign_is_what_is_written_down() -> None:
    """echo -n abcDEF_-0123456789:1700000060 | openssl dgst -sha256 -hmac secret."""
    expected = "a865f6bc602c023961cb795269af98224219ba460a3b11c4877a5b5681e3afb9"
    assert follow(links().signed(f"/files/{KEY}", KEY)).sign == expected


def test_one_sign_is_good_for_the_file_and_its_small_picture() -> None:
    gate = links()
    query = follow(gate.signed(f"/files/{KEY}/a", KEY)).query
    assert gate.refusal(follow(f"/files/{KEY}/thumbnail/a{query}")) is None
    assert gate.refusal(follow(f"/files/{KEY}/b{query}")) is None


def test_a_link_without_a_sign_is_not_followed() -> None:
    assert links().refusal(FileLink(KEY, until=NOW)) == (403, "a link has to be signed here")
    assert FileLink(KEY).query == ""
    assert links().refusal(FileLink(KEY)) == (403, "a link has to be signed here")
    assert links().seconds_left(FileLink(KEY)) is None


def test_a_sign_is_for_one_file_one_time_and_one_gate() -> None:
    gate = links()
    good = follow(gate.signed(f"/files/{KEY}", KEY))
    wrong = (403, "the link's sign is wrong")
    assert good.until is not None and good.sign is not None
    assert gate.refusal(good._replace(key=OTHER)) == wrong
    assert gate.refusal(good._replace(until=good.until + 1)) == wrong
    assert gate.refusal(good._replace(until=0)) == wrong  # a forged sign is never called too old
    assert gate.refusal(good._replace(sign=good.sign[::-1])) == wrong
    assert links(key="another").refusal(good) == wrong
    assert links(life=5).refusal(good) is None  # what was promised is kept


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_no_guessed_sign_is_good(sign: str) -> None:
    assert links().refusal(FileLink(KEY, until=NOW + 60, sign=sign)) is not None


def test_a_message_is_told_with_signed_links() -> None:
    gate = links()
    url, surl = f"http://g/files/{KEY}/a", f"http://g/files/{KEY}/thumbnail/a"
    told = json.loads(gate.told(json.dumps({"url": url, "size": 5, "surl": surl}), KEY))
    assert told == {"url": gate.signed(url, KEY), "size": 5, "surl": gate.signed(surl, KEY)}
    told = json.loads(gate.told(json.dumps({"url": url, "size": 5}), KEY))
    assert told == {"url": gate.signed(url, KEY), "size": 5}


def test_a_target_may_be_so_long() -> None:
    assert MAX_TARGET == 4096
    longest = f"/files/{KEY}?".ljust(MAX_TARGET, "x")
    assert parse_link(longest) is not None and parse_link(longest + "x") is None


@pytest.mark.parametrize("life", [0.0, -1.0, 0.9])
def test_a_link_is_good_for_a_second_at_the_least(life: float) -> None:
    assert links(life=1.0).refusal(follow(links(life=1.0).signed(f"/files/{KEY}", KEY))) is None
    with pytest.raises(ValueError, match="a second at the least"):
        links(life=life)


def test_a_secret_is_needed_and_never_shown() -> None:
    with pytest.raises(ValueError, match="a key is missing"):
        Links(Clock(), life=5.0)
    assert "secret" not in repr(links())
