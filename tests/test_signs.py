"""The sign of a server's call."""

from __future__ import annotations

import itertools
from hashlib import md5
from typing import Any

import pytest

from rtm_proto.errors import LocalProtocolError
from rtm_proto.signs import Signer, call_sign

PID, SECRET = 11000001, "a project's secret"


def test_a_sign_is_the_upper_case_md5_of_its_five_parts() -> None:
    text = f"{PID}:{SECRET}:77:filetoken:1700000000"
    right = md5(text.encode()).hexdigest().upper()
    assert call_sign(PID, SECRET, 77, "filetoken", 1_700_000_000) == right


def test_a_sign_is_what_md5sum_says() -> None:
    """printf '1:s:2:m:3' | md5sum, and the same for '1:s:2'."""
    assert call_sign(1, "s", 2, "m", 3) == "0AF0D8EDC3426EEA66DE3DF475FE1EA8"
    assert call_sign(1, "s", 2, "m", None) == "2C643113E400383594025E75F4CAD4B5"


def test_without_a_time_it_is_the_sign_of_2018() -> None:
    right = md5(f"{PID}:{SECRET}:-5".encode()).hexdigest().upper()
    assert call_sign(PID, SECRET, -5, "whatever", None) == right


@pytest.mark.parametrize("secret", ["é", "\udcff", "", "a:b"])
def test_any_text_can_be_a_secret(secret: str) -> None:
    data = f"1:{secret}:2:m:3".encode("utf-8", "surrogateescape")
    assert call_sign(1, secret, 2, "m", 3) == md5(data).hexdigest().upper()


def test_a_signer_signs_each_call_with_a_salt_of_its_own_and_the_time() -> None:
    salts = itertools.count(100)
    signer = Signer(PID, SECRET, lambda: next(salts), lambda: 1_700_000_000_999)
    first = signer.signed("gettoken", {"uid": 5})
    assert first == {
        "pid": PID,
        "salt": 100,
        "ts": 1_700_000_000,
        "sign": call_sign(PID, SECRET, 100, "gettoken", 1_700_000_000),
        "uid": 5,
    }
    assert signer.signed("gettoken", {"uid": 5})["salt"] == 101


def test_what_is_signed_is_as_it_was() -> None:
    params = {"uid": 5}
    Signer(PID, SECRET, lambda: 1, lambda: 0).signed("kickout", params)
    assert params == {"uid": 5}


def test_no_repr_shows_a_secret() -> None:
    signer = Signer(PID, SECRET, lambda: 1, lambda: 0)
    assert repr(signer) == f"Signer(pid={PID})"


@pytest.mark.parametrize("pid", [1, 2**63 - 1])
def test_a_pid_is_any_positive_int64(pid: int) -> None:
    assert Signer(pid, SECRET, lambda: 1, lambda: 0).signed("m", {})["pid"] == pid


@pytest.mark.parametrize(
    ("pid", "secret"),
    [
        (0, SECRET),
        (-1, SECRET),
        (2**63, SECRET),
        (True, SECRET),
        ("1", SECRET),
        (1, ""),
        (1, None),
        (1, b"bytes"),
        (1, f"{SECRET}\ud800"),
        (1, f"{SECRET}\udfff"),
    ],
)
def test_what_no_project_has_is_a_local_error_that_quotes_no_secret(pid: Any, secret: Any) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Signer(pid, secret, lambda: 1, lambda: 0)
    assert SECRET not in str(caught.value)


def test_a_secret_may_be_bytes_that_are_not_utf_8() -> None:
    signer = Signer(1, "s\udcff", lambda: 2, lambda: 3000)
    assert signer.signed("m", {})["sign"] == md5(b"1:s\xff:2:m:3").hexdigest().upper()
