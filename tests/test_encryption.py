"""FPNN's encryption: keys, the handshake of both roles, and what passes behind it."""

from __future__ import annotations

import importlib.util
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import md5, sha256
from itertools import pairwise, product
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

import rtm_proto.encryption
from rtm_proto.codes import Code
from rtm_proto.connection import Connection
from rtm_proto.encryption import (
    MAX_CLEAR,
    SEED_SIZE,
    Curve,
    EncryptedLink,
    PrivateKey,
    PublicKey,
    derive,
)
from rtm_proto.errors import LocalProtocolError
from rtm_proto.events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Lost,
    Opened,
    QuestReceived,
    Refused,
)
from rtm_proto.package import (
    FLAG_JSON,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
    quest_head,
)
from rtm_proto.payload import decode, encode
from tests import vectors
from tests.feeding import check_feeding, cut_up

K1, R1 = Curve.SECP256K1, Curve.SECP256R1
SERVER = {curve: PrivateKey(0xC0FFEE, curve) for curve in Curve}
SEED = bytes(range(SEED_SIZE))
CLIENT = {curve: PrivateKey.from_seed(SEED, curve) for curve in Curve}
MODES = [*product(Curve, (False, True), (128, 256))]
WAYS = pytest.mark.parametrize(("curve", "stream", "bits"), MODES)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["package", "stream"])

QUEST = encode_quest(b"ping", b"\x80", 2)
ANSWER = encode_answer(b"\x80", 2)
ONEWAY = encode_oneway(b"bye", b"\x80")
TINY = encode_oneway(b"", b"")  # 12 bytes: the smallest package
KEY_ANSWER = encode_answer(b"\x80", 1)


# --- an implementation of its own ---


class Field:
    """A short Weierstrass curve in plain arithmetic (SEC 2, version 2 and 1)."""

    def __init__(self, p: int, a: int, b: int, x: int, y: int) -> None:
        self.p, self.a, self.b, self.base = p, a % p, b, (x, y)

    def add(self, one: tuple[int, int] | None, two: tuple[int, int] | None) -> Any:
        if one is None or two is None:
            return one or two
        (x1, y1), (x2, y2), p = one, two, self.p
        if x1 == x2 and (y1 + y2) % p == 0:
            return None
        if one == two:
            slope = (3 * x1 * x1 + self.a) * pow(2 * y1, -1, p)
        else:
            slope = (y2 - y1) * pow(x2 - x1, -1, p)
        x = (slope * slope - x1 - x2) % p
        return x, (slope * (x1 - x) - y1) % p

    def times(self, number: int, point: tuple[int, int]) -> Any:
        total: tuple[int, int] | None = None
        step: tuple[int, int] | None = point
        while number:
            if number & 1:
                total = self.add(total, step)
            step = self.add(step, step)
            number >>= 1
        return total


FIELDS = {
    Curve.SECP256K1: Field(
        2**256 - 2**32 - 977,
        0,
        7,
        0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
        0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
    ),
    Curve.SECP256R1: Field(
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        -3,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    Curve.SECP224R1: Field(
        2**224 - 2**96 + 1,
        -3,
        0xB4050A850C04B3ABF54132565044B0B7D7BFD8BA270B39432355FFB4,
        0xB70E0CBD6BB4BF7F321390B94A03C1D356C21122343280D6115C1D21,
        0xBD376388B5F723FB4C22DFE6CD4375A05A07476444D5819985007E34,
    ),
    Curve.SECP192R1: Field(
        2**192 - 2**64 - 1,
        -3,
        0x64210519E59C80E70FA7E9AB72243049FEB8DEECC146B9B1,
        0x188DA80EB03090F67CBF20EB43A18800F4FF0AFD82FF1012,
        0x07192B95FFC8DA78631011ED6B24CDD573F977A11E794811,
    ),
}


def plain_raw(point: tuple[int, int], curve: Curve) -> bytes:
    return b"".join(number.to_bytes(curve.size, "big") for number in point)


class PlainCipher:
    """AES-CFB-128 one block at a time: c = p xor E(last c), and the same key schedule."""

    def __init__(self, curve: Curve, bits: int, *, private: int, server: int) -> None:
        field = FIELDS[curve]
        shared: tuple[int, int] = field.times(private, field.times(server, field.base))
        secret = shared[0].to_bytes(curve.size, "big")
        key = secret[:16]
        if bits == 256:
            key = secret if curve.size == 32 else sha256(secret).digest()
        self._block = Cipher(AES(key), ECB()).encryptor()
        self._iv = md5(secret).digest()

    def encrypt(self, data: bytes) -> bytes:
        last, out = self._iv, b""
        for start in range(0, len(data), 16):
            pad = self._block.update(last)
            last = bytes(a ^ b for a, b in zip(data[start : start + 16], pad, strict=False))
            out += last
        return out

    def sealed(self, packages: list[bytes], *, stream: bool) -> bytes:
        """*packages* as they go over the wire in one direction, from its beginning."""
        if stream:
            return self.encrypt(b"".join(packages))
        return b"".join(
            len(package).to_bytes(4, "little") + self.encrypt(package) for package in packages
        )


def plain_cipher(curve: Curve = K1, bits: int = 128) -> PlainCipher:
    private = 1 + int.from_bytes(SEED, "big") % (ORDERS[curve] - 1)
    return PlainCipher(curve, bits, private=private, server=0xC0FFEE)


ORDERS = {
    Curve.SECP256K1: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    Curve.SECP256R1: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.SECP224R1: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
    Curve.SECP192R1: 0xFFFFFFFFFFFFFFFFFFFFFFFF99DEF836146BC9B1B4D22831,
}
CIPHER = plain_cipher()


def sealed(*packages: bytes, stream: bool = False) -> bytes:
    """What the server, and as well the client, sends after the beginning, on secp256k1, 128 bits."""
    return CIPHER.sealed([*packages], stream=stream)


# --- two ends ---


def client(
    stream: bool = False, *, curve: Curve = K1, bits: int = 128, max_package: int = 1000
) -> EncryptedLink:
    """A client that has sent its key."""
    link = EncryptedLink.client(
        SERVER[curve].public, seed=SEED, stream=stream, bits=bits, max_package=max_package
    )
    link.start()
    return link


def server(curve: Curve = K1, *, required: bool = False, max_package: int = 1000) -> EncryptedLink:
    link = EncryptedLink.server(SERVER[curve], required=required, max_package=max_package)
    link.start()
    return link


def written(link: EncryptedLink) -> bytes:
    return b"".join(link.data_to_send())


def hear(link: EncryptedLink, data: bytes) -> list[Package]:
    link.receive_data(data, now=0.0)
    return link.packages()


def key_quest(stream: bool = False, *, curve: Curve = K1, bits: int = 128) -> bytes:
    return written(client(stream, curve=curve, bits=bits))


def asking(params: dict[str, object], *, seq: int = 7) -> bytes:
    """A ``*key`` quest with the client's good key, and *params* instead of what is usual."""
    good = {"publicKey": CLIENT[K1].public.raw, "streamMode": False, "bits": 128}
    entries = {key: value for key, value in (good | params).items() if value is not ...}
    return encode_quest(b"*key", encode(entries), seq)


def open_client(stream: bool = False, *, max_package: int = 1000) -> EncryptedLink:
    link = client(stream, max_package=max_package)
    written(link)
    assert hear(link, sealed(KEY_ANSWER, stream=stream)) == []
    assert link.is_open
    return link


def open_server(stream: bool = False, *, max_package: int = 1000) -> EncryptedLink:
    link = server(max_package=max_package)
    assert hear(link, key_quest(stream)) == []
    assert written(link) == sealed(KEY_ANSWER, stream=stream)
    assert link.is_open
    return link


def packages_in(data: bytes) -> list[Package]:
    return Splitter().feed(data)


def refusal(data: bytes, *, seq: int = 7) -> tuple[object, object]:
    """The code and the text of the one package in *data*, which is an error answer in clear."""
    (package,) = packages_in(data)
    assert (package.kind, package.status, package.seq) == (Kind.ANSWER, 1, seq)
    params = decode(package.payload)
    assert [*params] == ["code", "ex"]
    return params["code"], params["ex"]


def refused_text(link: EncryptedLink) -> str:
    assert not link.is_open
    assert link.fault is None
    assert link.packages() == []
    assert link.ended is not None
    assert link.ended.kind is CloseKind.HANDSHAKE
    return link.ended.text


# --- keys ---


def test_the_values_of_the_specification_come_out() -> None:
    secret = bytes.fromhex("46c52869948c802b5cf0bf90e6d94a1348bececcf4662086e9eb0a2943489785")
    iv = bytes.fromhex("35efc38db894a93e41f44bf99788062d")
    assert derive(secret, 128) == (bytes.fromhex("46c52869948c802b5cf0bf90e6d94a13"), iv)
    assert derive(secret, 256) == (secret, iv)


@pytest.mark.parametrize("size", [24, 28])
def test_a_short_secret_is_hashed_for_256_bits(size: int) -> None:
    secret = bytes(range(size))
    assert derive(secret, 128)[0] == secret[:16]
    assert derive(secret, 256)[0] == sha256(secret).digest()


@pytest.mark.parametrize("curve", Curve)
def test_keys_and_secrets_are_those_of_plain_arithmetic(curve: Curve) -> None:
    field, size = FIELDS[curve], curve.size
    assert size == {"256": 32, "224": 28, "192": 24}[curve.value[4:7]]
    for one, two in pairwise([1, 2, 3, 0xC0FFEE, ORDERS[curve] - 1]):
        mine, theirs = PrivateKey(one, curve), PrivateKey(two, curve)
        assert mine.public.raw == plain_raw(field.times(one, field.base), curve)
        assert mine.public.curve is curve
        secret = mine.secret(theirs.public)
        assert secret == theirs.secret(mine.public)
        assert secret == plain_raw(field.times(one * two, field.base), curve)[:size]


@pytest.mark.parametrize("curve", Curve)
def test_a_secret_that_begins_with_zeros_keeps_them(curve: Curve) -> None:
    field = FIELDS[curve]
    point: tuple[int, int] = field.base
    number = 1
    while point[0] >> (8 * (curve.size - 1)):
        point, number = field.add(point, field.base), number + 1
    secret = PrivateKey(number, curve).secret(PrivateKey(1, curve).public)
    assert secret == point[0].to_bytes(curve.size, "big")
    assert secret[0] == 0


@pytest.mark.parametrize("curve", Curve)
def test_every_seed_gives_a_key(curve: Curve) -> None:
    order = ORDERS[curve]
    for seed in (0, 1, order - 2, order - 1, order, 2 ** (8 * SEED_SIZE) - 1):
        key = PrivateKey.from_seed(seed.to_bytes(SEED_SIZE, "big"), curve)
        assert key.public.raw == PrivateKey(1 + seed % (order - 1), curve).public.raw


@pytest.mark.parametrize("size", [0, SEED_SIZE - 1, SEED_SIZE + 1])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"a seed has 40 bytes, got {size}"):
        PrivateKey.from_seed(bytes(size), K1)


@pytest.mark.parametrize("curve", Curve)
def test_a_number_that_is_no_private_key_is_refused(curve: Curve) -> None:
    for value in (-1, 0, ORDERS[curve], 2 ** (8 * curve.size)):
        with pytest.raises(LocalProtocolError, match=f"out of range for a key of {curve.value}"):
            PrivateKey(value, curve)
    with pytest.raises(LocalProtocolError, match="out of range"):
        PrivateKey.load(bytes(curve.size), curve)


def test_a_secret_needs_two_keys_of_one_curve() -> None:
    with pytest.raises(LocalProtocolError, match="a key of secp256k1 is needed, got one of secp2"):
        SERVER[K1].secret(SERVER[R1].public)


def test_a_private_key_does_not_show_itself() -> None:
    key = PrivateKey(0xC0FFEE, K1)
    assert "c0ffee" not in f"{key!r} {key!s} {EncryptedLink.server(key, required=True)!r}".lower()
    assert str(0xC0FFEE) not in f"{key!r} {key!s}"


def not_points(curve: Curve) -> Iterator[bytes]:
    """Of the right length, but no points."""
    field, size = FIELDS[curve], curve.size
    x, y = field.base
    yield bytes(2 * size)
    yield b"\xff" * (2 * size)
    yield bytes(range(2 * size))
    yield plain_raw((y, x), curve)
    yield plain_raw((x, y ^ 1), curve)
    yield plain_raw((x ^ 1, y), curve)
    yield plain_raw((x, 0), curve)
    yield plain_raw((0, y), curve)
    if field.p % 4 == 3:  # a point, but with an X that is not reduced: not the one way to write it
        for x in range(2 ** (8 * size) - field.p):
            square = (x**3 + field.a * x + field.b) % field.p
            y = pow(square, (field.p + 1) // 4, field.p)
            if y * y % field.p == square:
                assert PublicKey(plain_raw((x, y), curve), curve)
                yield plain_raw((x + field.p, y), curve)
                break


NOT_POINTS = [(curve, raw) for curve in Curve for raw in not_points(curve)]


@pytest.mark.parametrize(("curve", "raw"), NOT_POINTS)
def test_what_is_no_point_of_the_curve_is_no_public_key(curve: Curve, raw: bytes) -> None:
    text = f"a public key must be a point of {curve.value}, this is none"
    with pytest.raises(LocalProtocolError, match=text):
        PublicKey(raw, curve)
    with pytest.raises(LocalProtocolError, match=text):
        PublicKey.load(raw, curve)


def test_a_point_of_another_curve_is_no_public_key() -> None:
    with pytest.raises(LocalProtocolError, match="a point of secp256r1"):
        PublicKey(SERVER[K1].public.raw, R1)


@pytest.mark.parametrize("curve", Curve)
def test_a_public_key_has_no_prefix_and_is_whole(curve: Curve) -> None:
    raw = SERVER[curve].public.raw
    for wrong in (b"", b"\x04", b"\x04" + raw, raw[:-1], raw + b"\0", b"\x02" + raw[: curve.size]):
        text = f"X and Y, {2 * curve.size} bytes together, got {len(wrong)}"
        with pytest.raises(LocalProtocolError, match=text):
            PublicKey(wrong, curve)


def files(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    secrecy: KeySerializationEncryption | None = None,
) -> tuple[list[bytes], list[bytes]]:
    """The public and the private key as PEM and as DER."""
    public, private = key.public_key(), PrivateFormat.PKCS8
    kinds = (Encoding.PEM, Encoding.DER)
    return (
        [public.public_bytes(kind, PublicFormat.SubjectPublicKeyInfo) for kind in kinds],
        [key.private_bytes(kind, private, secrecy or NoEncryption()) for kind in kinds],
    )


EC = {
    Curve.SECP256K1: ec.SECP256K1(),
    Curve.SECP256R1: ec.SECP256R1(),
    Curve.SECP224R1: ec.SECP224R1(),
    Curve.SECP192R1: ec.SECP192R1(),
}


@pytest.mark.parametrize("curve", Curve)
def test_keys_are_read_from_every_kind_of_file(curve: Curve) -> None:
    own = SERVER[curve]
    key = ec.derive_private_key(0xC0FFEE, EC[curve])
    public, private = files(key)
    private.append(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    for data in public:
        for wanted in (None, curve):
            assert PublicKey.load(data, wanted).raw == own.public.raw
            assert PublicKey.load(data, wanted).curve is curve
    for data in private:
        for wanted in (None, curve):
            assert PrivateKey.load(data, wanted).public.raw == own.public.raw
            assert PrivateKey.load(data, wanted).public.curve is curve
    assert PublicKey.load(own.public.raw, curve).raw == own.public.raw
    raw = (0xC0FFEE).to_bytes(curve.size, "big")
    assert PrivateKey.load(raw, curve).public.raw == own.public.raw


def test_a_key_of_another_curve_than_wanted_is_refused() -> None:
    public, private = files(ec.derive_private_key(1, ec.SECP256R1()))
    text = "a key of secp256k1 is needed, got one of secp256r1"
    for data in public:
        with pytest.raises(LocalProtocolError, match=text):
            PublicKey.load(data, K1)
    for data in private:
        with pytest.raises(LocalProtocolError, match=text):
            PrivateKey.load(data, K1)


def test_a_key_of_a_curve_that_fpnn_does_not_know_is_refused() -> None:
    public, private = files(ec.derive_private_key(1, ec.SECP384R1()))
    text = "secp256k1 or secp256r1 or secp224r1 or secp192r1 is needed, got one of secp384r1"
    with pytest.raises(LocalProtocolError, match=text):
        PublicKey.load(public[0])
    with pytest.raises(LocalProtocolError, match=text):
        PrivateKey.load(private[0])


def test_a_key_that_is_not_on_a_curve_is_refused() -> None:
    public, private = files(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
    for data in public:
        with pytest.raises(LocalProtocolError, match="a key on a curve is needed, got Ed25519Pub"):
            PublicKey.load(data)
    for data in private:
        with pytest.raises(LocalProtocolError, match="a key on a curve is needed, got Ed25519Priv"):
            PrivateKey.load(data, K1)


def test_what_is_no_key_is_refused_and_not_shown() -> None:
    _, private = files(ec.derive_private_key(1, ec.SECP256K1()), BestAvailableEncryption(b"x"))
    wrong = [b"", b"secret", bytes(64), b"-----BEGIN nonsense", b"\x04" + SERVER[K1].public.raw]
    for data in [*wrong, *private]:
        with pytest.raises(LocalProtocolError, match="public key that is neither PEM nor DER$"):
            PublicKey.load(data)
        with pytest.raises(LocalProtocolError, match="neither PEM nor DER$"):
            PrivateKey.load(data)
        if len(data) != 64:
            with pytest.raises(LocalProtocolError, match="nor DER nor 64 raw bytes of secp256k1$"):
                PublicKey.load(data, K1)
        with pytest.raises(LocalProtocolError, match="nor DER nor 32 raw bytes of secp256k1$"):
            PrivateKey.load(data, K1)


# --- what others wrote ---


def recorded(mode: str, bits: int) -> tuple[dict[str, str], list[tuple[str, bytes, bytes]]]:
    """The keys, and each row's direction, bytes on the wire and bytes in clear."""
    rows: list[dict[str, Any]] = json.loads((vectors.FOLDER / "fpnn.json").read_text())
    chosen = [row for row in rows if row["name"].startswith(f"enc_{mode}_{bits}_")]
    return chosen[0]["crypto"], [
        (
            row["direction"],
            bytes.fromhex(row["hex"]),
            bytes.fromhex(row["decoded"].get("plaintext_hex", row["hex"])),
        )
        for row in chosen
    ]


RECORDED = pytest.mark.parametrize(
    ("mode", "bits"), [("package", 128), ("stream", 128), ("stream", 256)]
)
