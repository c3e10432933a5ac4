"""attrs and sign: written in one shape, read in every one that was ever seen."""

from __future__ import annotations

import json
import math
from hashlib import md5
from operator import mul

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.attrs import (
    MAX_ATTRS,
    MAX_NAME,
    NO_SIGN,
    SIGN_SIZE,
    FileAttrs,
    VoiceInfo,
    as_unicode,
    clean_name,
    extension,
    file_sign,
    number,
    parse_attrs,
    read_json,
    safe_name,
    sign_matches,
    write_attrs,
)
from rtm_proto.codes import Code
from rtm_proto.errors import LocalProtocolError, PayloadError
from rtm_proto.payload import (
    INT64_MAX,
    INT64_MIN,
    MAX_DEPTH,
    MAX_NODES,
    bytes_of,
    decode,
    text_of,
)
from tests import vectors
from tests.pair import packages_in

SIGN = "bce6171ba6092137cae569ac76385827"  # rtm-files.md, 3.3
TOKEN = "678822B5E6776626411E900133943FF0"
DIGEST = md5(b"\x07", usedforsecurity=False).hexdigest()

unicode_text = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(INT64_MIN, INT64_MAX) | unicode_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(unicode_text, inner, max_size=4),
    max_leaves=12,
)


# --- the sign --------------------------------------------------------------------------------


def test_the_sign_of_the_javascript_sdk() -> None:
    assert file_sign(DIGEST, TOKEN) == SIGN
    assert len(SIGN) == len(NO_SIGN) == SIGN_SIZE


def test_a_sign_matches_in_either_case_and_over_either_digest() -> None:
    old = file_sign(DIGEST.upper(), TOKEN).upper()  # the JavaScript SDK before 2022-08
    for sign in (SIGN, SIGN.upper(), SIGN.title(), old, old.lower()):
        assert sign_matches(sign, DIGEST, TOKEN)


@given(st.text() | st.text("0123456789abcdef", min_size=32, max_size=32))
def test_no_other_text_matches(sign: str) -> None:
    assert not sign_matches(sign, DIGEST, TOKEN) or sign.lower() in (
        SIGN,
        file_sign(DIGEST.upper(), TOKEN),
    )
    assert not sign_matches(SIGN, DIGEST, "another token")


@pytest.mark.parametrize("sign", ["", "\ud800", "\udc80", "\u0130" * 32, "\x00", SIGN + " "])
def test_an_odd_sign_is_wrong_and_nothing_else(sign: str) -> None:
    assert not sign_matches(sign, DIGEST, TOKEN)


def test_a_token_that_is_no_text_is_signed_byte_for_byte() -> None:
    token = b"\xff\xfe".decode("utf-8", "surrogateescape")
    right = md5(DIGEST.encode() + b":\xff\xfe", usedforsecurity=False).hexdigest()
    assert file_sign(DIGEST, token) == right
    assert sign_matches(right, DIGEST, token)


ODD_SIGNS = ("sendfile-wrong-sign",)
SENDS = [
    vector
    for vector in vectors.js_sdk()
    if vector.name.startswith("send") and "file" in vector.name and "answer" not in vector.name
    if len(vector.data) < 1000
]


@pytest.mark.parametrize("vector", SENDS, ids=[vector.name for vector in SENDS])
def test_the_attrs_that_the_javascript_sdk_sends(vector: vectors.Vector) -> None:
    (package,) = packages_in(vector.data)
    params = decode(package.payload)
    parsed = parse_attrs(text_of(params, "attrs"))
    digest = md5(bytes_of(params, "file"), usedforsecurity=False).hexdigest()
    assert parsed.sign is not None
    right = vector.name.removesuffix("-chromium") not in ODD_SIGNS
    assert sign_matches(parsed.sign, digest, text_of(params, "token")) == right
    assert (parsed.name, parsed.custom, parsed.voice) == (None, None, None)
    ext = json.dumps(parsed.ext, ensure_ascii=False)
    assert f'"ext":{ext}' in text_of(params, "attrs")


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "custom", "text"),
    [
        ("a.b.png", None, '{"rtm":{"sign":"S","ext":"png","filename":"a.b.png"}}'),
        ("a", None, '{"rtm":{"sign":"S","ext":"","filename":"a"}}'),
        ("a.", None, '{"rtm":{"sign":"S","ext":"","filename":"a."}}'),
        (".bashrc", None, '{"rtm":{"sign":"S","ext":"bashrc","filename":".bashrc"}}'),
        ("", None, '{"rtm":{"sign":"S","ext":"","filename":""}}'),
        ("/folder/x.y/a", None, '{"rtm":{"sign":"S","ext":"","filename":"a"}}'),
        ("C:\\x\\a.png", None, '{"rtm":{"sign":"S","ext":"png","filename":"a.png"}}'),
        ("\u732b.gif", None, '{"rtm":{"sign":"S","ext":"gif","filename":"\u732b.gif"}}'),
        ('"\\".gif', None, '{"rtm":{"sign":"S","ext":"gif","filename":"\\".gif"}}'),
        ("a\n\u202e.gif", None, '{"rtm":{"sign":"S","ext":"gif","filename":"a.gif"}}'),
        ("a\udc80", None, '{"rtm":{"sign":"S","ext":"","filename":"a"}}'),
        ("a", "", '{"rtm":{"sign":"S","ext":"","filename":"a"},"custom":""}'),
        ("a", {"b": [1]}, '{"rtm":{"sign":"S","ext":"","filename":"a"},"custom":{"b":[1]}}'),
        ("a", False, '{"rtm":{"sign":"S","ext":"","filename":"a"},"custom":false}'),
    ],
)
def test_attrs_are_written_in_the_modern_shape(name: str, custom: object, text: str) -> None:
    assert write_attrs(name, "S", custom) == text


@given(unicode_text.map(lambda text: text[:60]), json_values)
def test_what_is_written_is_read_and_every_sign_takes_the_same_place(
    name: str, custom: object
) -> None:
    try:
        text = write_attrs(name, NO_SIGN, custom)
    except LocalProtocolError as exc:
        assert "over the limit" in str(exc)
        return
    signed = write_attrs(name, SIGN, custom)
    assert signed == text.replace(NO_SIGN, SIGN)
    assert len(signed.encode()) == len(text.encode()) <= MAX_ATTRS
    parsed = parse_attrs(signed)
    assert (parsed.sign, parsed.name) == (SIGN, clean_name(name))
    assert parsed.ext == extension(clean_name(name))
    assert parsed.custom == custom


def test_attrs_are_measured_in_bytes() -> None:
    empty = len(write_attrs("", NO_SIGN, ""))
    room = MAX_ATTRS - empty
    assert len(write_attrs("", NO_SIGN, "x" * room)) == MAX_ATTRS == 2048
    with pytest.raises(LocalProtocolError, match="attrs of 2049 bytes are over the limit of 2048"):
        write_attrs("", NO_SIGN, "x" * (room + 1))
    with pytest.raises(LocalProtocolError, match="attrs of 2049 bytes"):
        write_attrs("", NO_SIGN, "\u00fc" * ((room + 1) // 2) + "x" * ((room + 1) % 2))


def circle() -> object:
    loop: list[object] = []
    loop.append(loop)
    return loop


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "custom",
    [
        b"bytes",
        object(),
        {1, 2},
        math.nan,
        math.inf,
        "\ud800",
        {(1, 2): 3},
        circle(),
        10**5000,
        deep(100_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_cannot_be_sent_along(custom: object) -> None:
    with pytest.raises(LocalProtocolError, match="are not JSON"):
        write_attrs("a", NO_SIGN, custom)


# --- reading ---------------------------------------------------------------------------------


def with_raw(text: str, **fields: object) -> FileAttrs:
    return FileAttrs(**fields, raw=json.loads(text))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("{}", {}),
        ('{"rtm":{"sign":"S","ext":"png","filename":"a.png"}}',
         {"sign": "S", "ext": "png", "name": "a.png"}),
        ('{"rtm":{"sign":"S","ext":null}}', {"sign": "S"}),
        ('{"rtm":{"sign":"S","ext":""}}', {"sign": "S", "ext": ""}),
        ('{"rtm":{"sign":"S"}}', {"sign": "S"}),
        ('{"rtm":{"sign":"S","fileExtension":"png"}}', {"sign": "S", "ext": "png"}),
        ('{"rtm":{"ext":"a","fileExtension":"b"}}', {"ext": "a"}),
        ('{"sign":"S","ext":"png"}', {"sign": "S", "ext": "png"}),
        ('{"sign":"S","ext":"png","filename":"a"}', {"sign": "S", "ext": "png", "name": "a"}),
        ('{"sign":"S","rtm":"text"}', {"sign": "S"}),
        ('{"sign":"outer","rtm":{}}', {}),
        ('{"rtm":{"sign":1,"ext":2,"filename":3}}', {}),
        ('{"rtm":{},"custom":{"a":[1]}}', {"custom": {"a": [1]}}),
        ('{"rtm":{},"custom":"text"}', {"custom": "text"}),
        ('{"rtm":{},"custom":""}', {"custom": ""}),
        ('{"rtm":{"filename":"../../etc/passwd","ext":"../x"}}', {"name": "passwd", "ext": "x"}),
        ('{"rtm":{"filename":"..","ext":"a/.."}}', {"name": "", "ext": ""}),
        ('{"rtm":{"filename":"a\\u0000b\\n","ext":"p\\u0000ng"}}', {"name": "ab", "ext": "png"}),
        ('{"rtm":{"type":"audiomsg","codec":"AMR_WB","lang":"zh","duration":5,"srate":16000}}',
         {"voice": VoiceInfo("AMR_WB", "zh", 5, 16000)}),
        ('{"rtm":{"type":"audiomsg","duration":"5","srate":"16000"}}',
         {"voice": VoiceInfo(None, None, 5, 16000)}),
        ('{"rtm":{"type":"audiomsg","codec":1,"lang":[],"duration":1.5,"srate":"x"}}',
         {"voice": VoiceInfo()}),
        ('{"type":"audiomsg"}', {"voice": VoiceInfo()}),
        ('{"rtm":{"type":"other","codec":"x"}}', {}),
        ('{"excludedUids":["1","-2",3,"x","",null,[],1.0,true,"99999999999999999999"]}',
         {"excluded_uids": frozenset({1, -2, 3})}),
        ('{"excludedUids":"1"}', {}),
        ('{"rtm":{"sign":"first"},"rtm":{"sign":"last"}}', {"sign": "last"}),
        ('{"rtm":{"sign":"first","sign":"last"}}', {"sign": "last"}),
        (' {"rtm" : {"sign" : "S"} } ', {"sign": "S"}),
    ],
)  # fmt: skip
def test_every_shape_is_read(text: str, fields: dict[str, object]) -> None:
    assert parse_attrs(text) == with_raw(text, **fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "[]",
        '"text"',
        "1",
        "{",
        "{'a': 1}",
        '{"a":1}{',
        '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":' + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}",
        "[" * 1_000_000,
        '{"a":' * 100_000,
        '{"a":[' + "0," * MAX_NODES + "0]}",
        "\ufeff{}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(PayloadError, match="attrs") as caught:
        parse_attrs(text)
    assert caught.value.code == Code.ATTRS_LACK_SIGN_OR_EXT


def test_what_is_not_unicode_is_made_so() -> None:
    for text in ('{"rtm":{"sign":"\udc80","x":"\ud83d"},"custom":["\ud800"]}',
                 '{"rtm":{"sign":"\\udc80","x":"\\ud83d"},"custom":["\\uD800"]}'):  # fmt: skip
        attrs = parse_attrs(text)
        assert attrs.sign == "\ufffd"
        assert attrs.custom == ["\ufffd"]
        assert attrs.raw == {"rtm": {"sign": "\ufffd", "x": "\ufffd"}, "custom": ["\ufffd"]}
    pair = parse_attrs('{"custom":"\\ud83d\\ude00"}')
    assert pair.custom == "\U0001f600"


@given(
    st.text()
    | st.text('{}[]",:\\u0d8 ef.-1aNn', max_size=40)
    | json_values.map(json.dumps)
    | st.dictionaries(
        st.sampled_from(["rtm", "custom", "excludedUids", "sign", "ext", "filename", "type"]),
        json_values | st.dictionaries(st.sampled_from(["sign", "ext", "filename"]), json_values),
    ).map(json.dumps)
)
def test_every_text_is_attrs_or_a_payload_error(text: str) -> None:
    try:
        attrs = parse_attrs(text)
    except PayloadError:
        return
    for value in (attrs.sign, attrs.ext, attrs.name):
        assert value is None or value.encode() is not None
    for value in (attrs.ext or "", attrs.name or ""):
        assert not set("/\\\x00\n") & set(value) and value not in (".", "..")
    json.dumps(dict(attrs.raw), ensure_ascii=False).encode()


# --- the smaller tools -----------------------------------------------------------------------


@given(st.text() | st.text("./\\\x00\r\n\u202ea", max_size=12))
def test_a_clean_name_is_no_path(name: str) -> None:
    cleaned = clean_name(name)
    assert not set("/\\") & set(cleaned)
    assert cleaned == "" or cleaned.isprintable()
    assert cleaned not in (".", "..")
    assert clean_name(cleaned) == cleaned


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (5, 5),
        ("5", 5),
        ("-5", -5),
        ("007", 7),
        (INT64_MAX, INT64_MAX),
        (str(INT64_MIN), INT64_MIN),
        (INT64_MAX + 1, None),
        (str(INT64_MAX + 1), None),
        (10**4000, None),
        ("9" * 5000, None),
        ("", None),
        ("-", None),
        ("+5", None),
        ("5 ", None),
        ("5\n", None),
        ("\u0665", None),
        ("5.0", None),
        (5.0, None),
        (True, None),
        (b"5", None),
        (None, None),
    ],
)
def test_a_number_is_an_int64_or_its_decimal_text(value: object, read: int | None) -> None:
    assert number(value) == read
    assert type(number(value)) is type(read)


def test_json_that_is_read_is_unicode() -> None:
    assert read_json('["\\ud800", {"\\udfff": "\ud800"}]') == ["\ufffd", {"\ufffd": "\ufffd"}]
    assert read_json('"\\\\ud800"') == "\\ud800"
    assert as_unicode("a\ud800\udc00b") == "a\ufffd\ufffdb"
    with pytest.raises(PayloadError) as caught:
        read_json("[")
    assert caught.value.code == Code.JSON_CONVERSION


# --- names that are safe to use ---


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.txt", "a.txt"),
        ("a b (1).tar.gz", "a b (1).tar.gz"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        ("...", "file"),
        (" . . ", "file"),
        ("/", "file"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\a.exe", "a.exe"),
        ("C:\\a.txt", "a.txt"),
        ("C:a.txt", "C_a.txt"),
        ("a.txt:stream", "a.txt_stream"),
        ('<>:"|?*', "_______"),
        (".bashrc", "bashrc"),
        (" .ssh ", "ssh"),
        ("a.txt. . ", "a.txt"),
        ("a\x00b\r\n\x1b[31m\x7f.txt", "ab[31m.txt"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\ud800.txt", "a.txt"),
        ("日本語.png", "日本語.png"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("Com1 .tar.gz", "_Com1 .tar.gz"),
        ("lpt³", "_lpt³"),
        ("CONIN$", "_CONIN$"),
        ("CONSOLE", "CONSOLE"),
        ("COM10", "COM10"),
        ("COMx", "COMx"),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
        ("x" * 300, "x" * 200),
        ("x" * 195 + " .png", "x" * 195 + " .png"),
        ("a." + "x" * 300 + ".png", "a." + "x" * 194 + ".png"),
        ("x" * 300 + "." + "y" * 20, "x" * 179 + "." + "y" * 20),
        ("x" * 300 + "." + "y" * 21, "x" * 200),
        ("ü" * 300 + ".png", "ü" * 98 + ".png"),
        ("a." + "x" * 300, "a." + "x" * 198),
        ("CON" + " " * 300 + "x.txt", "_CON.txt"),
        ("CON." + "x" * 300, "_CON." + "x" * 195),
    ],
)
def test_a_name_is_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name
    assert safe_name(name) == name


@given(
    st.text(max_size=400)
    | st.text("./\\ :CONnul\u00e9\x00", max_size=400)
    | st.builds(mul, st.text(max_size=5), st.integers(0, 300))
)
def test_every_name_is_safe_and_stays_as_it_is(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name.encode()) <= MAX_NAME
    assert name.isprintable()
    assert not set(name) & set('/\\<>:"|?*')
    assert name == name.strip(" .")
    assert safe_name(name) == name
