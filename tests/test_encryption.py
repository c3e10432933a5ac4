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
from tests.feeding import check_feeding, cut_up, ways
from tests.parts import put_together

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
    """What either end sends once it encrypts, on secp256k1 with 128 bits."""
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


def test_the_sizes_are_what_is_written_of_them() -> None:
    assert (SEED_SIZE, MAX_CLEAR) == (40, 4096)


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
                assert PublicKey(plain_raw((x, y), curve), curve).curve is curve
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


def test_a_bad_public_key_is_shown() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        PublicKey(b"\x04\x01", K1)
    assert str(caught.value) == (
        "a public key of secp256k1 is X and Y, 64 bytes together, got 2 (04 01)"
    )
    with pytest.raises(LocalProtocolError) as caught:
        PublicKey(bytes(64), K1)
    shown = " ".join(["00"] * 16)
    assert str(caught.value) == (
        f"a public key must be a point of secp256k1, this is none ({shown} ...)"
    )


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


def test_a_key_of_a_curve_that_nobody_knows_is_refused() -> None:
    known, unknown = bytes.fromhex("2b8104000a"), bytes.fromhex("2b8104007f")  # 1.3.132.0.127
    (_, public), (_, private) = files(ec.derive_private_key(1, ec.SECP256K1()))
    assert known in public and known in private
    with pytest.raises(LocalProtocolError, match=r"^a public key that is neither PEM nor DER$"):
        PublicKey.load(public.replace(known, unknown))
    with pytest.raises(LocalProtocolError, match=r"^a private key that is neither PEM nor DER$"):
        PrivateKey.load(private.replace(known, unknown))


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
        with pytest.raises(LocalProtocolError, match=r"^a public key that is neither PEM nor DER$"):
            PublicKey.load(data)
        with pytest.raises(
            LocalProtocolError, match=r"^a private key that is neither PEM nor DER$"
        ):
            PrivateKey.load(data)
        if len(data) != 64:
            with pytest.raises(LocalProtocolError, match=r"nor DER nor 64 raw bytes of secp256k1$"):
                PublicKey.load(data, K1)
        with pytest.raises(LocalProtocolError, match=r"nor DER nor 32 raw bytes of secp256k1$"):
            PrivateKey.load(data, K1)


# --- what others wrote ---


def recorded(mode: str) -> tuple[dict[str, str], list[tuple[str, bytes, bytes]]]:
    """The keys, and each row's direction, bytes on the wire and bytes in clear."""
    rows: list[dict[str, Any]] = json.loads((vectors.FOLDER / "fpnn.json").read_text())
    chosen = [row for row in rows if row["name"].startswith(f"enc_{mode}_128_")]
    return chosen[0]["crypto"], [
        (
            row["direction"],
            bytes.fromhex(row["hex"]),
            bytes.fromhex(row["decoded"].get("plaintext_hex", row["hex"])),
        )
        for row in chosen
    ]


RECORDED = pytest.mark.parametrize("mode", ["package", "stream"])


def recorded_keys(crypto: dict[str, str]) -> tuple[PrivateKey, bytes]:
    """The server's key, and the seed of the client's."""
    number = int(crypto["client_private_hex"], 16)
    seed = (number - 1).to_bytes(SEED_SIZE, "big")
    assert PrivateKey.from_seed(seed, K1).public.raw.hex() == crypto["client_public_hex"]
    private = PrivateKey.load(bytes.fromhex(crypto["server_private_hex"]), K1)
    assert private.public.raw.hex() == crypto["server_public_hex"]
    return private, seed


@RECORDED
def test_a_recorded_conversation_is_said_and_understood_by_a_client(mode: str) -> None:
    crypto, rows = recorded(mode)
    private, seed = recorded_keys(crypto)
    assert private.secret(PrivateKey.from_seed(seed, K1).public).hex() == crypto["secret_hex"]
    link = EncryptedLink.client(private.public, seed=seed, stream=mode == "stream")
    link.start()
    (_, key, _), (_, key_answer, _), (_, quest, quest_clear), (_, answer, answer_clear) = rows
    assert written(link) == key
    assert hear(link, key_answer) == []
    assert link.is_open
    link.send_package(quest_clear)
    assert written(link) == quest
    assert hear(link, answer) == packages_in(answer_clear)


@RECORDED
def test_a_recorded_conversation_is_said_and_understood_by_a_server(mode: str) -> None:
    crypto, rows = recorded(mode)
    private, _ = recorded_keys(crypto)
    link = EncryptedLink.server(private, required=True)
    link.start()
    (_, key, _), (_, key_answer, _), (_, quest, quest_clear), (_, answer, answer_clear) = rows
    assert hear(link, key) == []
    assert written(link) == key_answer
    assert hear(link, quest) == packages_in(quest_clear)
    link.send_package(answer_clear)
    assert written(link) == answer


@pytest.mark.parametrize(
    ("stream", "bits", "ciphertext"),
    [
        (False, 128, "11000000 e3a1a57f2bbd61415abb8b12db3880b7e2"),
        (True, 256, "6e298f23b8792402a2529a264f7d67c96c"),
    ],
)
def test_the_answers_of_the_specification_are_understood(
    stream: bool, bits: int, ciphertext: str
) -> None:
    private, seed = recorded_keys(recorded("package")[0])
    link = EncryptedLink.client(private.public, seed=seed, stream=stream, bits=bits)
    link.start()
    assert hear(link, bytes.fromhex(ciphertext)) == []
    assert link.is_open


# --- one end speaks with the other ---


@WAYS
def test_both_ends_say_what_plain_arithmetic_says(curve: Curve, stream: bool, bits: int) -> None:
    cipher = plain_cipher(curve, bits)
    near, far = client(stream, curve=curve, bits=bits), server(curve, required=True)
    first = written(near)
    (quest,) = packages_in(first)
    assert (quest.kind, quest.seq, quest.method) == (Kind.TWOWAY, 1, b"*key")
    params = decode(quest.payload)
    raw = CLIENT[curve].public.raw.decode("utf-8", "surrogateescape")
    assert params == {"publicKey": raw, "streamMode": stream, "bits": bits}
    assert hear(far, first) == []
    key_answer = written(far)
    assert hear(near, key_answer) == []
    assert near.encrypted
    assert far.encrypted

    sent: list[bytes] = [QUEST, ONEWAY, TINY, encode_quest(b"echo", bytes(200), 3)]
    up = b""
    for package in sent:
        near.send_package(package)
        up += written(near)
    assert up == cipher.sealed(sent, stream=stream)
    assert hear(far, up) == packages_in(b"".join(sent))

    for package in sent:
        far.send_package(package)
    down = key_answer + written(far)
    assert down == cipher.sealed([KEY_ANSWER, *sent], stream=stream)
    assert hear(near, down[len(key_answer) :]) == packages_in(b"".join(sent))
    for link in (near, far):
        link.receive_eof()
        assert link.ended == CloseReason(CloseKind.PEER_CLOSED)


@WAYS
def test_a_package_in_pieces_is_the_same_as_a_whole_one(
    curve: Curve, stream: bool, bits: int
) -> None:
    package = encode_quest(b"sendfile", bytes(range(200)), 3)
    ends: list[EncryptedLink] = []
    for _ in range(2):
        near, far = client(stream, curve=curve, bits=bits), server(curve)
        hear(far, written(near))
        hear(near, written(far))
        ends.append(near)
    whole, pieces = ends
    whole.send_package(package)
    pieces.begin_package(len(package), package[:40])
    for piece in (b"", package[40:41], bytearray(package[41:90]), memoryview(package[90:])):
        assert pieces.in_package
        pieces.send_piece(piece)
    assert not pieces.in_package
    for link in ends:
        link.begin_package(len(QUEST), QUEST)
        link.send_package(ANSWER)
    assert written(pieces) == written(whole)


@BOTH
def test_a_piece_is_ready_as_soon_as_it_is_there(stream: bool) -> None:
    link = open_client(stream, max_package=20)  # what the peer may send: not what we may
    head = quest_head(b"sendfile", 5000, 3)
    link.begin_package(len(head) + 5000, head)
    assert len(written(link)) == len(head) + (0 if stream else 4)
    for _ in range(5):
        link.send_piece(bytes(1000))
        assert len(written(link)) == 1000


@BOTH
def test_nothing_else_is_sent_inside_a_package_and_trying_changes_nothing(stream: bool) -> None:
    link = open_client(stream)
    link.begin_package(len(QUEST), QUEST[:5])
    missing = f"{len(QUEST) - 5} bytes are missing"
    with pytest.raises(LocalProtocolError, match=missing):
        link.send_package(ANSWER)
    with pytest.raises(LocalProtocolError, match=missing):
        link.begin_package(len(ANSWER), ANSWER)
    link.send_piece(QUEST[5:])
    assert written(link) == sealed(QUEST, stream=stream)


@BOTH
def test_a_piece_may_be_changed_once_it_was_sent(stream: bool) -> None:
    link, far = open_client(stream), open_server(stream)
    piece = bytearray(QUEST[5:])
    link.begin_package(len(QUEST), QUEST[:5])
    link.send_piece(piece)
    piece[:] = bytes(len(piece))
    assert hear(far, written(link)) == packages_in(QUEST)


def test_nothing_is_copied_in_clear() -> None:
    link = server()
    assert hear(link, QUEST) == packages_in(QUEST)
    body = bytes(1000)
    link.begin_package(1020, bytes(20))
    link.send_piece(body)
    assert any(buffer is body for buffer in link.data_to_send())


@BOTH
def test_what_a_client_sends_right_behind_its_key_is_taken(stream: bool) -> None:
    data = key_quest(stream) + sealed(QUEST, ONEWAY, stream=stream)
    link = server(required=True)
    assert hear(link, data) == packages_in(QUEST + ONEWAY)
    assert written(link) == sealed(KEY_ANSWER, stream=stream)


@BOTH
def test_what_a_server_sends_right_behind_its_answer_is_taken(stream: bool) -> None:
    link = client(stream)
    assert hear(link, sealed(KEY_ANSWER, QUEST, ONEWAY, stream=stream)) == packages_in(
        QUEST + ONEWAY
    )


def test_in_package_mode_equal_packages_look_equal_and_in_stream_mode_not() -> None:
    link = open_client()
    for _ in range(2):
        link.send_package(QUEST)
    one, two = link.data_to_send()
    assert one == two
    link = open_client(stream=True)
    for _ in range(2):
        link.send_package(QUEST)
    one, two = link.data_to_send()
    assert one != two


@pytest.mark.parametrize("role", [client, server])
def test_nothing_is_sent_before_the_handshake_is_done(role: Callable[[], EncryptedLink]) -> None:
    link = role()
    link.data_to_send()
    with pytest.raises(LocalProtocolError, match=r"^the handshake is not done yet$"):
        link.send_package(QUEST)
    with pytest.raises(LocalProtocolError, match=r"^the handshake is not done yet$"):
        link.begin_package(len(QUEST), QUEST[:10])
    assert not link.encrypted
    assert link.data_to_send() == []


def test_a_client_asks_for_package_mode_and_128_bits_unless_told() -> None:
    link = EncryptedLink.client(SERVER[K1].public, seed=SEED)
    link.start()
    assert written(link) == key_quest(stream=False, bits=128)


@pytest.mark.parametrize("bits", [0, 64, 192, 512])
def test_a_client_asks_for_128_or_256_bits(bits: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"bits must be 128 or 256, got {bits}"):
        EncryptedLink.client(SERVER[K1].public, seed=SEED, bits=bits)


def test_a_client_that_was_not_started_takes_nothing_in_clear_either() -> None:
    link = EncryptedLink.client(SERVER[K1].public, seed=SEED)
    assert hear(link, KEY_ANSWER) == []
    assert not link.is_open
    assert link.data_to_send() == []


@BOTH
def test_closing_says_nothing_and_is_the_reason_from_then_on(stream: bool) -> None:
    reason = CloseReason(CloseKind.LOCAL, "done")
    for link in (client(), server(), open_client(stream), open_server(stream)):
        link.data_to_send()
        link.close(reason)
        assert hear(link, sealed(QUEST, stream=stream)) == []
        link.receive_eof()
        link.close(CloseReason(CloseKind.IDLE))
        assert link.ended == reason
        assert link.data_to_send() == []
        assert link.ping() is False


# --- a client is not let in ---

NO_ANSWER = "the peer closed before it answered *key: FPNN's servers refuse a key so"


def client_refusals(stream: bool) -> dict[str, tuple[bytes, str]]:
    """What a server sends instead of its answer, and what a client makes of it."""

    def error(params: dict[str, object], seq: int = 1) -> bytes:
        return encode_answer(encode(params), seq, status=1)

    forbidden = error({"code": 20013, "ex": "not here"})
    wanted = "the first package must be the answer to *key, got "
    other = wanted + "an answer with the seq 2 and the status 0"
    return {
        "refused": (sealed(forbidden, stream=stream), "*key was refused with 20013: not here"),
        "refused in clear": (forbidden, "*key was refused with 20013: not here, in clear"),
        "refused, more behind": (
            forbidden + b"more",
            "*key was refused with 20013: not here, in clear",
        ),
        "no text": (error({"code": 20013}), "*key was refused with 20013: (no text), in clear"),
        "no code": (error({"ex": "no"}), "*key was refused with 20001: no, in clear"),
        "no words": (
            error({"code": 1, "ex": b"\xff"}),
            "*key was refused with 1: \N{REPLACEMENT CHARACTER}, in clear",
        ),
        "bad code": (error({"code": "1"}), "*key was refused with 20001: (no text), in clear"),
        "unreadable": (
            encode_answer(b"", 1, status=1),
            "*key was refused with 20001: (no text), in clear",
        ),
        "another seq": (sealed(ANSWER, stream=stream), other),
        "another seq, more behind": (sealed(ANSWER, KEY_ANSWER, QUEST, stream=stream), other),
        "taken in clear": (
            KEY_ANSWER,
            wanted + "an answer with the seq 1 and the status 0, in clear",
        ),
        "a quest": (sealed(QUEST, stream=stream), wanted + "a quest ping"),
        "a quest with its seq": (
            sealed(encode_quest(b"\xff", b"\x80", 1), stream=stream),
            wanted + "a quest \N{REPLACEMENT CHARACTER}",
        ),
        "a quest in clear": (QUEST, wanted + "a quest ping, in clear"),
        "a one-way": (sealed(ONEWAY, stream=stream), wanted + "a quest bye"),
        "nothing": (b"", NO_ANSWER),
        "half of it": (sealed(KEY_ANSWER, stream=stream)[:-1], NO_ANSWER),
        "half of it in clear": (forbidden[:-1], NO_ANSWER),
        "a letter": (b"F", NO_ANSWER),
    }


@BOTH
@pytest.mark.parametrize("name", client_refusals(stream=False))
def test_a_client_says_why_it_was_not_let_in(name: str, stream: bool) -> None:
    data, text = client_refusals(stream)[name]
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        link = client(stream)
        written(link)
        for piece in pieces:
            assert hear(link, piece) == []
        link.receive_eof()
        assert refused_text(link) == text
        assert hear(link, sealed(KEY_ANSWER, stream=stream)) == []
        assert link.data_to_send() == []


@pytest.mark.parametrize(
    ("stream", "data", "text"),
    [
        (False, b"HTTP/1.1 400 Bad Request", "a package of 1347703880 bytes is over the limit"),
        (False, b"\x0b\0\0\0", "a length of 11 is not that of the package behind it"),
        (False, b"\x11\0\0\0" + bytes(17), "a package begins with 46 50 4e 4e, got "),
        (False, b"FPNN\x01\x80\x03", "a package begins with 46 50 4e 4e, got "),
        (True, b"HTTP/1.1 400 Bad Request", "a package begins with 46 50 4e 4e, got "),
        (True, b"FPNN\x01\x80\x03", "a package begins with 46 50 4e 4e, got "),
    ],
)
def test_a_client_that_hears_garbage_was_not_answered(stream: bool, data: bytes, text: str) -> None:
    link = client(stream)
    assert hear(link, data) == []
    if not stream and data.startswith(b"HTTP"):
        text = "a package begins with"  # seen first, with the bytes behind the length
    assert refused_text(link).startswith(f"no answer to *key: {text}")


@BOTH
def test_an_answer_over_the_limit_is_none(stream: bool) -> None:
    link = client(stream, max_package=16)
    assert hear(link, sealed(KEY_ANSWER, stream=stream)) == []
    assert refused_text(link) == (
        "no answer to *key: a package of 17 bytes is over the limit of 16"
    )


@BOTH
def test_a_client_is_open_before_what_is_wrong_behind_the_answer(stream: bool) -> None:
    good, bad = sealed(KEY_ANSWER, QUEST, stream=stream), bytes(20)
    whole, cut = client(stream), client(stream)
    assert hear(whole, good + bad) == packages_in(QUEST)
    assert hear(cut, good) == packages_in(QUEST)
    assert hear(cut, bad) == []
    for link in (whole, cut):
        assert link.is_open
        assert link.ended is not None
        assert link.ended.kind is CloseKind.PROTOCOL_ERROR
        assert str(link.fault) == link.ended.text
    assert whole.ended == cut.ended


# --- a server does not let a client in ---

GOOD = CLIENT[K1].public.raw
SHORT = {curve: CLIENT[curve].public.raw for curve in Curve}
BAD_KEYS: dict[str, tuple[bytes, Code, str]] = {
    "no key": (asking({"publicKey": ...}), Code.KEY_NOT_FOUND, "publicKey is missing"),
    "nil": (asking({"publicKey": None}), Code.TYPE_CONVERSION, "publicKey must be bytes"),
    "a number": (asking({"publicKey": 5}), Code.TYPE_CONVERSION, "publicKey must be bytes"),
    "empty": (asking({"publicKey": b""}), Code.MAP_VALUE, "64 bytes together, got 0"),
    "prefix": (asking({"publicKey": b"\x04" + GOOD}), Code.MAP_VALUE, "64 bytes together, got 65"),
    "compressed": (
        asking({"publicKey": b"\x02" + GOOD[:32]}),
        Code.MAP_VALUE,
        "64 bytes together, got 33",
    ),
    "short": (asking({"publicKey": GOOD[:-1]}), Code.MAP_VALUE, "64 bytes together, got 63"),
    "long": (asking({"publicKey": GOOD + b"\0"}), Code.MAP_VALUE, "64 bytes together, got 65"),
    "zeros": (asking({"publicKey": bytes(64)}), Code.MAP_VALUE, "must be a point of secp256k1"),
    "another curve": (
        asking({"publicKey": SHORT[R1]}),
        Code.MAP_VALUE,
        "must be a point of secp256k1",
    ),
    "a shorter curve": (
        asking({"publicKey": SHORT[Curve.SECP192R1]}),
        Code.MAP_VALUE,
        "64 bytes together, got 48",
    ),
    "192 bits": (asking({"bits": 192}), Code.MAP_VALUE, "bits must be 128 or 256, got 192"),
    "0 bits": (asking({"bits": 0}), Code.MAP_VALUE, "bits must be 128 or 256, got 0"),
    "bits as text": (asking({"bits": "128"}), Code.TYPE_CONVERSION, "bits must be an integer"),
    "bits as float": (asking({"bits": 128.0}), Code.TYPE_CONVERSION, "bits must be an integer"),
    "a mode": (asking({"streamMode": 1}), Code.TYPE_CONVERSION, "streamMode must be a bool, got i"),
    "no payload": (encode_quest(b"*key", b"", 7), Code.INVALID_PACKAGE, "payload"),
    "no map": (encode_quest(b"*key", b"\x90", 7), Code.INVALID_PACKAGE, "payload must be a map"),
    "no msgpack": (encode_quest(b"*key", b"\xc1", 7), Code.INVALID_PACKAGE, "payload"),
    "json": (
        encode_quest(b"*key", b"{}", 7, flag=FLAG_JSON),
        Code.NOT_SUPPORTED,
        "flag must be 0x80, got 0x40",
    ),
    "no flag": (
        encode_quest(b"*key", b"\x80", 7, flag=0),
        Code.NOT_SUPPORTED,
        "flag must be 0x80, got 0x00",
    ),
}


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_refused_in_clear_and_ends_the_link(name: str, required: bool) -> None:
    data, code, text = BAD_KEYS[name]
    for behind in (b"", QUEST, bytes(100)):
        link = server(required=required)
        assert hear(link, data + behind) == []
        told, ex = refusal(written(link))
        assert told == code
        assert isinstance(ex, str)
        assert text in ex
        assert refused_text(link) == f"*key was refused: {ex}"
        assert hear(link, QUEST) == []
        link.receive_eof()
        assert link.data_to_send() == []


@pytest.mark.parametrize(("curve", "raw"), NOT_POINTS)
def test_a_key_that_is_no_point_is_refused(curve: Curve, raw: bytes) -> None:
    link = server(curve)
    hear(link, asking({"publicKey": raw}))
    code, ex = refusal(written(link))
    assert code == Code.MAP_VALUE
    assert f"a public key must be a point of {curve.value}, this is none" in refused_text(link)
    assert isinstance(ex, str)


GOOD_KEYS: dict[str, tuple[dict[str, object], bool, int]] = {
    "as bin": ({"publicKey": GOOD}, False, 128),
    "as str": ({"publicKey": GOOD.decode("utf-8", "surrogateescape")}, False, 128),
    "alone": ({"streamMode": ..., "bits": ...}, False, 128),
    "nil": ({"streamMode": None, "bits": None}, False, 128),
    "stream": ({"streamMode": True, "bits": ...}, True, 128),
    "256": ({"bits": 256}, False, 256),
    "both": ({"streamMode": True, "bits": 256}, True, 256),
    "and more": ({"extra": [1, 2]}, False, 128),
}


@pytest.mark.parametrize("name", GOOD_KEYS)
@pytest.mark.parametrize(("seq", "version"), [(0, 0), (1, 1), (0xFFFFFFFF, 255)])
def test_a_good_key_is_answered_as_it_was_asked(name: str, seq: int, version: int) -> None:
    params, stream, bits = GOOD_KEYS[name]
    link = server()
    data = asking(params, seq=seq)
    assert hear(link, data[:4] + bytes([version]) + data[5:]) == []
    answer = encode_answer(b"\x80", seq, version=version)
    assert written(link) == plain_cipher(bits=bits).sealed([answer], stream=stream)
    assert link.is_open


# --- in clear ---

FIRST_IN_CLEAR: dict[str, bytes] = {
    "a quest": QUEST,
    "a one-way": ONEWAY,
    "a one-way *key": encode_oneway(b"*key", encode({"publicKey": GOOD})),
    "an answer": ANSWER,
    "the smallest": TINY,
    "a large one": encode_quest(b"sendfile", bytes(2 * MAX_CLEAR), 7),
    "a *key over every size": asking({"padding": bytes(2 * MAX_CLEAR)}),
    "two": QUEST + ONEWAY,
    "a *key that is not the first": ONEWAY + asking({}),
}


@pytest.mark.parametrize("name", FIRST_IN_CLEAR)
def test_without_a_key_it_is_a_link_in_clear(name: str) -> None:
    data = FIRST_IN_CLEAR[name]

    def reader() -> Callable[[bytes], list[Package]]:
        link = server(max_package=10 * MAX_CLEAR)
        return lambda piece: hear(link, piece)

    check_feeding(reader, data, packages_in(data), tail=QUEST[:-1])
    link = server(max_package=10 * MAX_CLEAR)
    hear(link, data)
    assert link.is_open
    assert not link.encrypted
    link.send_package(QUEST)
    assert written(link) == QUEST
    link.receive_eof()
    assert link.ended == CloseReason(CloseKind.PEER_CLOSED)


def test_what_is_wrong_in_clear_ends_the_link_as_one_in_clear() -> None:
    link = server()
    assert hear(link, b"HTTP/1.1") == []
    assert link.is_open
    assert str(link.ended) == "protocol error: a package begins with 46 50 4e 4e, got 48"
    link = server()
    assert hear(link, quest_head(b"sendfile", 2 * MAX_CLEAR, 9)) == []
    assert link.is_open
    text = f"a package of {2 * MAX_CLEAR + 24} bytes is over the limit of 1000"
    assert link.ended == CloseReason(CloseKind.LIMIT, text)
    assert link.fault is not None
    assert link.fault.seq == 9


def test_a_small_package_over_the_limit_is_over_it_in_clear_too() -> None:
    link = server(max_package=20)
    assert hear(link, QUEST) == []
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT
    assert link.fault is not None
    assert link.fault.seq == 2


@pytest.mark.parametrize("name", FIRST_IN_CLEAR)
def test_where_encryption_is_required_nothing_else_is_taken(name: str) -> None:
    data = FIRST_IN_CLEAR[name]
    first = packages_in(data)[0]
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        link = server(required=True)
        for piece in pieces:
            assert hear(link, piece) == []
        text = refused_text(link)
        assert text.startswith("encryption is required: the first package must be *key")
        if first.kind == Kind.TWOWAY:
            assert refusal(written(link), seq=first.seq) == (Code.FORBIDDEN, text)
        assert link.data_to_send() == []


def test_what_came_first_is_named() -> None:
    for data, name in (
        (QUEST, "got a quest ping"),
        (encode_quest(b"*ping", b"\x80", 2), "got a quest *ping"),
        (ANSWER, "got an answer with the seq 2 and the status 0"),
        (b"\x16\x03\x01", ": a package begins with 46 50 4e 4e, got 16"),
        (b"FPNN\x01\x80\x07", ": mtype must be 0, 1 or 2, got 7"),
    ):
        link = server(required=True)
        hear(link, data)
        text = "encryption is required: the first package must be *key"
        assert refused_text(link) == text + ("" if name.startswith(":") else ", ") + name
        written(link)


@pytest.mark.parametrize("required", [False, True])
def test_a_peer_that_leaves_without_a_package_is_told_of(required: bool) -> None:
    for data in (b"", b"FPN", key_quest()[:-1]):
        link = server(required=required)
        hear(link, data)
        link.receive_eof()
        assert refused_text(link) == "the peer closed before it sent a package"
        assert link.data_to_send() == []


# --- behind the handshake ---


def sized(size: int, data: bytes) -> bytes:
    return size.to_bytes(4, "little") + CIPHER.encrypt(data)


MISFITS: dict[str, tuple[bytes, int]] = {
    "no bytes": (sized(0, b""), 0),
    "less than a header": (sized(11, bytes(11)), 11),
    "a package and a byte": (sized(len(QUEST) + 1, QUEST + b"F"), len(QUEST) + 1),
    "a package and garbage": (sized(len(QUEST) + 9, QUEST + bytes(9)), len(QUEST) + 9),
    "two packages": (sized(len(QUEST + ANSWER), QUEST + ANSWER), len(QUEST + ANSWER)),
    "two small ones": (sized(2 * len(TINY), TINY + TINY), 2 * len(TINY)),
    "a package that lacks a byte": (sized(len(QUEST) - 1, QUEST[:-1]), len(QUEST) - 1),
    "a header": (sized(12, QUEST[:12]), 12),
    "over the limit, a small package": (sized(1001, TINY + bytes(989)), 1001),
}


@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("role", [open_client, open_server])
def test_a_length_must_be_that_of_one_package(name: str, role: Callable[[], EncryptedLink]) -> None:
    data, size = MISFITS[name]
    text = f"a length of {size} is not that of the package behind it"
    good = sealed(ANSWER)
    for pieces in ([good + data + good], [good, *(data[at : at + 1] for at in range(len(data)))]):
        link = role()
        assert [each for piece in pieces for each in hear(link, piece)] == packages_in(ANSWER)
        assert link.ended == CloseReason(CloseKind.PROTOCOL_ERROR, text)
        assert link.fault is not None
        assert link.fault.code == Code.INVALID_PACKAGE


LARGE = encode_quest(b"sendfile", bytes(range(200)), 7)


@BOTH
@pytest.mark.parametrize("role", [open_client, open_server])
def test_a_large_package_comes_in_parts(
    stream: bool, role: Callable[[bool], EncryptedLink]
) -> None:
    packages = [KEY_ANSWER, QUEST, LARGE, ANSWER, LARGE, TINY]
    begun = len(sealed(KEY_ANSWER, stream=stream))
    data = sealed(*packages, stream=stream)[begun:]
    if role is open_server:
        data = sealed(*packages[1:], stream=stream)
    for pieces in [*ways(data), [data[:90], data[90:]]]:
        link = role(stream)
        link.set_max_whole(50)
        got = [each for piece in pieces for each in hear(link, piece)]
        assert put_together(got) == packages_in(b"".join(packages[1:]))
        assert link.ended is None
        link.receive_eof()
        assert link.ended == CloseReason(CloseKind.PEER_CLOSED)


@pytest.mark.parametrize("cut", [1, 4, 5, 20, 27, 28, 29, 100, 227])
def test_an_end_inside_a_package_in_parts_says_how_much_of_it_came(cut: int) -> None:
    for step in (cut, 1):
        link = open_server()
        link.set_max_whole(50)
        data = sealed(LARGE)[:cut]
        for at in range(0, cut, step):
            hear(link, data[at : at + step])
        link.receive_eof()
        text = f"inside a package, after {cut} bytes of it"
        assert link.ended == CloseReason(CloseKind.PEER_CLOSED, text)


LARGE_MISFITS = {
    "a package and a byte": (sized(len(LARGE) + 1, LARGE + b"F"), len(LARGE) + 1),
    "a package and garbage": (sized(len(LARGE) + 90, LARGE + bytes(90)), len(LARGE) + 90),
    "two packages": (sized(2 * len(LARGE), LARGE + LARGE), 2 * len(LARGE)),
    "a package that lacks a byte": (sized(len(LARGE) - 1, LARGE[:-1]), len(LARGE) - 1),
    "a head": (sized(24, LARGE[:24]), 24),
    "less than a head": (sized(23, LARGE[:23]), 23),
    "small, a large one behind it": (
        sized(len(QUEST + LARGE), QUEST + LARGE),
        len(QUEST + LARGE),
    ),
    "over the limit, a large package": (sized(1001, LARGE + bytes(800)), 1001),
    "over the limit, a small head": (sized(1001, encode_oneway(b"a", bytes(100)) * 9), 1001),
}


@pytest.mark.parametrize("name", LARGE_MISFITS)
def test_a_length_must_be_that_of_one_large_package(name: str) -> None:
    """It is seen with the head at the latest: no part of such a package comes."""
    data, size = LARGE_MISFITS[name]
    text = f"a length of {size} is not that of the package behind it"
    good = sealed(ANSWER)
    for pieces in ways(good + data + good):
        link = open_server()
        link.set_max_whole(50)
        assert [each for piece in pieces for each in hear(link, piece)] == packages_in(ANSWER)
        assert link.ended is not None
        if name == "over the limit, a large package":
            assert link.ended.kind is CloseKind.LIMIT
        else:
            assert link.ended == CloseReason(CloseKind.PROTOCOL_ERROR, text)


@BOTH
def test_a_quest_over_the_limit_ends_the_link_and_says_which_it_was(stream: bool) -> None:
    big = encode_quest(b"sendfile", bytes(1000), 7)
    text = f"a package of {len(big)} bytes is over the limit of 1000"
    data = sealed(KEY_ANSWER, big, stream=stream)[len(sealed(KEY_ANSWER, stream=stream)) :]
    early = data[: 16 if stream else 20]  # the seq is there
    for pieces in ([data], [early], [data[at : at + 1] for at in range(len(early))]):
        link = open_client(stream)
        for piece in pieces:
            assert link.ended is None
            assert hear(link, piece) == []
        assert link.ended == CloseReason(CloseKind.LIMIT, text)
        assert link.fault is not None
        assert link.fault.seq == 7


def test_a_length_over_the_limit_is_enough() -> None:
    for data in (sized(1001, QUEST), sized(2**32 - 1, QUEST), sized(1001, QUEST[:16])):
        for pieces in ([data], [data[at : at + 1] for at in range(20)]):
            link = open_client()
            for piece in pieces:
                assert link.ended is None
                assert hear(link, piece) == []
            size = int.from_bytes(data[:4], "little")
            text = f"a package of {size} bytes is over the limit of 1000"
            assert link.ended == CloseReason(CloseKind.LIMIT, text)
            assert link.fault is not None
            assert (link.fault.seq, link.fault.limit) == (None, True)


def test_a_package_that_announces_more_than_the_limit_is_over_it() -> None:
    link = open_client()
    assert hear(link, sized(30, quest_head(b"sendfile", 1000, 7) + bytes(6))) == []
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT
    assert link.fault is not None
    assert link.fault.seq == 7


def test_a_limit_below_a_header_is_a_limit() -> None:
    link = open_client()
    link.set_max_package(5)
    assert hear(link, sealed(QUEST)) == []
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT


@BOTH
def test_the_limit_can_be_changed(stream: bool) -> None:
    big = encode_quest(b"sendfile", bytes(2000), 7)
    data = sealed(KEY_ANSWER, big, ANSWER, stream=stream)
    data = data[len(sealed(KEY_ANSWER, stream=stream)) :]
    link = open_client(stream)
    link.set_max_package(len(big))
    assert hear(link, data) == packages_in(big + ANSWER)
    assert link.ended is None
    link = open_client(stream)
    link.set_max_package(len(big))
    hear(link, data[:1000])
    link.set_max_package(100)  # holds for what has begun, too
    assert hear(link, data[1000:]) == []
    assert link.ended is not None
    assert link.ended.kind is CloseKind.LIMIT


@pytest.mark.parametrize("size", [5_000_000, 2**32 - 1])
def test_what_is_announced_takes_no_memory(size: int) -> None:
    link = open_client(max_package=8_000_000)
    data = sized(size, quest_head(b"x", size - 17, 7))
    tracemalloc.start()
    try:
        for piece in (data, b"") if size < 8_000_000 else (data, *[bytes(65536)] * 200):
            hear(link, piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000
    assert (link.ended is None) == (size < 8_000_000)


@BOTH
def test_the_end_of_the_stream_is_in_order_only_between_packages(stream: bool) -> None:
    data = sealed(KEY_ANSWER, QUEST, stream=stream)[len(sealed(KEY_ANSWER, stream=stream)) :]
    for size in range(len(data) + 1):
        link = open_client(stream)
        hear(link, data[:size])
        link.receive_eof()
        text = f"inside a package, after {size} bytes of it" if 0 < size < len(data) else ""
        assert link.ended == CloseReason(CloseKind.PEER_CLOSED, text)
        assert link.fault is None


# --- however it comes ---

TALK = [encode_quest(b"echo", bytes(range(100)), 2), ONEWAY, TINY, ANSWER]


@BOTH
def test_packages_arrive_however_the_bytes_do(stream: bool) -> None:
    expected = packages_in(b"".join(TALK))
    tail = CIPHER.sealed([*TALK, QUEST], stream=stream)
    down = CIPHER.sealed([KEY_ANSWER, *TALK], stream=stream)
    down_tail = CIPHER.sealed([KEY_ANSWER, *TALK, QUEST], stream=stream)[len(down) : -1]
    up = key_quest(stream) + CIPHER.sealed(TALK, stream=stream)
    up_tail = tail[len(CIPHER.sealed(TALK, stream=stream)) : -1]

    def reader(make: Callable[[], EncryptedLink]) -> Callable[[], Callable[[bytes], list[Package]]]:
        def fresh() -> Callable[[bytes], list[Package]]:
            link = make()
            return lambda piece: hear(link, piece)

        return fresh

    check_feeding(reader(lambda: client(stream)), down, expected, tail=down_tail)
    check_feeding(reader(server), up, expected, tail=up_tail)
    for cut in range(len(down) + 1):
        link = client(stream)
        assert hear(link, down[:cut]) + hear(link, down[cut:]) == expected
    for cut in range(len(up) + 1):
        link = server()
        assert hear(link, up[:cut]) + hear(link, up[cut:]) == expected


def outcome(link: EncryptedLink, pieces: list[bytes]) -> tuple[object, ...]:
    """All that can be seen of a link that hears *pieces* and then the end."""
    link.data_to_send()
    packages = [package for piece in pieces for package in hear(link, piece)]
    link.receive_eof()
    fault = None if link.fault is None else (str(link.fault), link.fault.code, link.fault.seq)
    return packages, written(link), link.is_open, link.encrypted, link.ended, fault


ROLES: dict[str, Callable[[], EncryptedLink]] = {
    "client": client,
    "client, stream": lambda: client(True),
    "open client": open_client,
    "open client, stream": lambda: open_client(True),
    "server": server,
    "required": lambda: server(required=True),
    "open server": open_server,
    "open server, stream": lambda: open_server(True),
}
BEGINNINGS = st.sampled_from(
    [
        b"",
        key_quest(),
        key_quest(True),
        asking({"bits": 1}),
        sealed(KEY_ANSWER),
        sealed(KEY_ANSWER, QUEST),
        sealed(KEY_ANSWER, QUEST, stream=True),
        sealed(QUEST, ONEWAY),
        QUEST,
        ONEWAY + TINY,
        encode_answer(encode({"code": 1, "ex": ""}), 1, status=1),
        sized(len(QUEST) + 3, QUEST),
        sized(2000, QUEST),
    ]
)


@pytest.mark.parametrize("role", ROLES)
@given(beginnings=st.lists(BEGINNINGS, max_size=3), tail=st.binary(max_size=40), choices=st.data())
def test_how_the_bytes_are_cut_does_not_matter(
    role: str, beginnings: list[bytes], tail: bytes, choices: st.DataObject
) -> None:
    data = b"".join(beginnings) + tail
    whole = outcome(ROLES[role](), [data])
    assert outcome(ROLES[role](), choices.draw(cut_up(data))) == whole
    assert outcome(ROLES[role](), [data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize("role", ROLES)
def test_a_changed_byte_never_raises_and_always_ends_in_a_reason(role: str) -> None:
    """Each byte of a good conversation, changed in three ways."""
    stream = "stream" in role
    talk = [QUEST, encode_quest(b"echo", b"\x81\xa1a\x01", 3), ONEWAY]
    if role == "client" or role == "client, stream":
        data = sealed(KEY_ANSWER, *talk, stream=stream)
    elif role in ("server", "required"):
        data = key_quest() + sealed(*talk)
    elif stream:
        data = sealed(KEY_ANSWER, *talk, stream=True)[len(KEY_ANSWER) :]
    else:
        data = sealed(*talk)
    for at in range(len(data)):
        for change in (1, 0x80, 0xFF):
            bad = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            link = ROLES[role]()
            result = outcome(link, [bad])
            assert link.ended is not None
            assert outcome(ROLES[role](), [bad[:at], bad[at:]]) == result


@pytest.mark.parametrize("role", ROLES)
def test_short_garbage_never_raises(role: str) -> None:
    """Every first byte, every second one behind two of them, every one behind a good magic."""
    for first in range(256):
        for second in range(0, 256, 1 if first in b"F\x0c" else 85):
            link = ROLES[role]()
            outcome(link, [bytes([first, second])])
            assert link.ended is not None
        link = ROLES[role]()
        outcome(link, [b"FPNN", bytes([first]) * 40])
        assert link.ended is not None


# --- in a connection ---


class Ends:
    """A client's connection and a server's, and what has passed between them."""

    def __init__(self, near: EncryptedLink, far: EncryptedLink) -> None:
        self.near, self.far = Connection(near), Connection(far, ping=False)
        self.far.connected(now=0.0)
        self.near.connected(now=0.0)
        self.up = b""

    def talk(self) -> None:
        moved = True
        while moved:
            up = b"".join(self.near.data_to_send())
            self.up += up
            self.far.receive_data(up, now=0.0)
            down = b"".join(self.far.data_to_send())
            self.near.receive_data(down, now=0.0)
            moved = bool(up or down)
        for one, other in ((self.near, self.far), (self.far, self.near)):
            if one.finished:
                other.receive_eof(now=0.0)


def fresh_client(stream: bool = False, curve: Curve = K1) -> EncryptedLink:
    return EncryptedLink.client(SERVER[curve].public, seed=SEED, stream=stream)


@BOTH
def test_connections_ask_and_answer_through_it(stream: bool) -> None:
    ends = Ends(fresh_client(stream), EncryptedLink.server(SERVER[K1], required=True))
    quest_id = ends.near.send_quest("echo", {"a": 1}, deadline=None)
    ends.talk()
    assert ends.near.events() == [Opened()]
    assert ends.far.events() == [Opened(), QuestReceived(1, "echo", {"a": 1})]
    ends.far.answer(1, {"b": 2})
    back = ends.far.send_quest("push", {}, deadline=None)
    body = ends.near.begin_quest("file", b"\x81\xa1a\xc4\x64", 105, deadline=None)
    ends.talk()
    for _ in range(5):
        ends.near.send_piece(body, b"01234567890123456789")
        ends.talk()
    assert Answered(quest_id, {"b": 2}) in ends.near.events()
    assert ends.far.events() == [QuestReceived(2, "file", {"a": b"0123456789" * 10})]
    ends.far.refuse(2, 200031, "too large")
    ends.talk()
    assert ends.near.events() == [Refused(body, 200031, "too large")]
    ends.near.answer(1, {})
    ends.talk()
    assert ends.far.events() == [Answered(back, {})]
    ends.near.close(now=0.0)
    ends.talk()
    assert ends.near.events() == [Closed(CloseReason(CloseKind.LOCAL))]
    assert ends.far.events() == [Closed(CloseReason(CloseKind.PEER_CLOSED))]


@BOTH
def test_a_second_key_is_refused(stream: bool) -> None:
    ends = Ends(fresh_client(stream), EncryptedLink.server(SERVER[K1], required=True))
    quest_id = ends.near.send_quest("*key", {"publicKey": GOOD}, deadline=None)
    ends.talk()
    assert ends.near.events() == [
        Opened(),
        Refused(quest_id, Code.FORBIDDEN, "*key is not allowed here"),
    ]


def test_a_refused_key_loses_only_what_was_never_sent() -> None:
    ends = Ends(fresh_client(curve=R1), EncryptedLink.server(SERVER[K1], required=False))
    quest_id = ends.near.send_quest("sendfile", {}, deadline=None)
    ends.talk()
    assert len(ends.up) == len(key_quest())
    lost, closed = ends.near.events()
    assert isinstance(closed, Closed)
    assert closed.reason.kind is CloseKind.HANDSHAKE
    assert "*key was refused with 10006: a public key must be a point of" in closed.reason.text
    assert lost == Lost(quest_id, closed.reason)
    (far_closed,) = ends.far.events()
    assert isinstance(far_closed, Closed)
    assert far_closed.reason.kind is CloseKind.HANDSHAKE


@BOTH
def test_a_quest_over_the_limit_is_refused_by_its_seq(stream: bool) -> None:
    far = EncryptedLink.server(SERVER[K1], required=True, max_package=1000)
    ends = Ends(fresh_client(stream), far)
    quest_id = ends.near.send_quest("sendfile", {"file": bytes(1000)}, deadline=None)
    ends.talk()
    opened, refused, closed = ends.near.events()
    assert opened == Opened()
    assert isinstance(refused, Refused)
    assert (refused.quest_id, refused.code) == (quest_id, Code.INVALID_PACKAGE)
    assert isinstance(closed, Closed)
    far_closed = ends.far.events()[-1]
    assert isinstance(far_closed, Closed)
    assert far_closed.reason.kind is CloseKind.LIMIT


# --- what it needs ---


@pytest.mark.parametrize("package", ["cryptography", "cryptography.hazmat.decrepit.ciphers.modes"])
def test_a_missing_or_old_cryptography_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name == package or name.startswith(package + "."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    file = rtm_proto.encryption.__file__
    spec = importlib.util.spec_from_file_location("rtm_proto.encryption_again", file)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError) as caught:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    text = "rtm_proto.encryption needs cryptography: pip install 'rtm-proto[encryption]'"
    assert str(caught.value) == text
    assert caught.value.name == "cryptography"
