"""FPNN's own encryption on a byte stream: a link for raw TCP, either role.

    client                                           server
    *key {publicKey, streamMode, bits}  in clear ─►  checks the point
                                                     secret = X of private key * point
                                                     is open
    is open                             ◄─ encrypted answer, the empty map
                                        ◄─ or, in clear: a refusal {code, ex}, and the end
    anything                            ◄─ encrypted ─►

    key      the first 16 bytes of the secret, or for 256 bits all 32 (else its SHA-256)
    IV       MD5 of the secret; AES-CFB-128; both directions begin with the same key and IV
    package  u32 LE length, then the package; the IV is used again for each
    stream   no length; one continuous CFB stream per direction

**This is obfuscation: use TLS.** Nothing protects the bytes from being changed. The same key stream
is used again (for every package, and in both directions), so equal beginnings show and differences
can be read. The server is known by its public key only, the client not at all; the server adds
nothing fresh, so what a client said can be said to it again, whole; and who learns the server's
private key can read what was recorded before. It is here to speak with servers that ask for it.

A client sends nothing behind ``*key`` before the answer, although servers would take it: they
refuse a key by closing without a word, and what was sent by then would have an unknown outcome.

Source: spec 14. FPNN's servers neither answer a bad ``*key`` nor check its point: ours do both.
Over TLS and WebSocket they close: there this link is of no use.
"""

from __future__ import annotations

from enum import Enum
from hashlib import md5, sha256

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.serialization import (
        load_der_private_key,
        load_der_public_key,
        load_pem_private_key,
        load_pem_public_key,
    )
except ModuleNotFoundError as exc:
    missing = str(exc.name).partition(".")[0]
    raise ImportError(
        f"rtm_proto.encryption needs {missing}: pip install 'rtm-proto[encryption]'", name=missing
    ) from exc

from .codes import Code
from .errors import FramingError, LocalProtocolError, PayloadError, show_bytes
from .events import CloseKind, CloseReason
from .link import Buffer, Link
from .package import (
    FLAG_JSON,
    FLAG_MSGPACK,
    HEADER_SIZE,
    MAX_PACKAGE,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_quest,
)
from .payload import EMPTY, bytes_of, decode, encode, int_of, text_of

SEED_SIZE = 40  # random bytes for a key: 8 more than the longest, so that all are equally likely
MAX_CLEAR = 4096  # bytes of a ``*key`` quest or its refusal; the quest has 116 in the C++ client
KEY_SIZES = (128, 256)  # bits; spec 14
KEY_SEQ = 1  # the session begins with 1 too, after this one has been answered
LENGTH_SIZE = 4  # bytes of the length before a package, in package mode

_POINT = b"\x04"  # what stands before X‖Y elsewhere: an uncompressed point (SEC 1, section 2.3.3)
_PEM = b"-----BEGIN "
_SEQ_END = HEADER_SIZE + 4  # bytes after which a package over the limit is known with its seq


class Curve(Enum):
    """The curves that FPNN knows."""

    SECP256K1 = "secp256k1"
    SECP256R1 = "secp256r1"
    SECP224R1 = "secp224r1"
    SECP192R1 = "secp192r1"

    @property
    def size(self) -> int:
        """Bytes of a coordinate, of a private key and of the secret."""
        return _CURVES[self].key_size // 8


_CURVES: dict[Curve, ec.EllipticCurve] = {
    Curve.SECP256K1: ec.SECP256K1(),
    Curve.SECP256R1: ec.SECP256R1(),
    Curve.SECP224R1: ec.SECP224R1(),
    Curve.SECP192R1: ec.SECP192R1(),
}


class PublicKey:
    """A point that is on its curve; ``raw`` is X‖Y, big-endian, without a prefix."""

    __slots__ = ("curve", "point", "raw")

    def __init__(self, raw: bytes, curve: Curve) -> None:
        """Raises LocalProtocolError for a wrong length, and for what is no point of *curve*."""
        if len(raw) != 2 * curve.size:
            raise LocalProtocolError(
                f"a public key of {curve.value} is X and Y, {2 * curve.size} bytes together, "
                f"got {len(raw)} ({show_bytes(raw)})"
            )
        try:
            self.point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve], _POINT + raw)
        except ValueError as exc:
            raise LocalProtocolError(
                f"a public key must be a point of {curve.value}, this is none ({show_bytes(raw)})"
            ) from exc
        self.curve = curve
        self.raw = raw

    @classmethod
    def load(cls, data: bytes, curve: Curve | None = None) -> PublicKey:
        """The key in *data*: PEM, DER or, where *curve* says whose, raw.

        Raises LocalProtocolError for anything else, and for a key of another curve than *curve*.
        """
        if curve is not None and len(data) == 2 * curve.size:
            return cls(data, curve)
        try:
            key = load_pem_public_key(data) if _PEM in data else load_der_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise LocalProtocolError(_unreadable("public", 2, curve)) from exc
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise LocalProtocolError(f"a key on a curve is needed, got {type(key).__name__}")
        return _public(key, _curve(key.curve, curve))


class PrivateKey:
    """A private key; ``public`` is what the peer is told."""

    __slots__ = ("_key", "public")

    def __init__(self, value: int, curve: Curve) -> None:
        """The key with the number *value*. Raises LocalProtocolError where *curve* has none."""
        if not 0 < value < _CURVES[curve].group_order:
            raise LocalProtocolError(f"the number is out of range for a key of {curve.value}")
        self._key = ec.derive_private_key(value, _CURVES[curve])
        self.public = _public(self._key.public_key(), curve)

    @classmethod
    def from_seed(cls, seed: bytes, curve: Curve) -> PrivateKey:
        """The key that *seed* gives: SEED_SIZE random bytes, never used for another one."""
        if len(seed) != SEED_SIZE:
            raise LocalProtocolError(f"a seed has {SEED_SIZE} bytes, got {len(seed)}")
        return cls(1 + int.from_bytes(seed, "big") % (_CURVES[curve].group_order - 1), curve)

    @classmethod
    def load(cls, data: bytes, curve: Curve | None = None) -> PrivateKey:
        """The key in *data*: PEM or DER without a password or, where *curve* says whose, raw
        (big-endian, as in the key files of FPNN's servers).

        Raises LocalProtocolError for anything else, and for a key of another curve than *curve*.
        """
        if curve is not None and len(data) == curve.size:
            return cls(int.from_bytes(data, "big"), curve)
        try:
            if _PEM in data:
                key = load_pem_private_key(data, None)
            else:
                key = load_der_private_key(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:  # TypeError: it has a password
            raise LocalProtocolError(_unreadable("private", 1, curve)) from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise LocalProtocolError(f"a key on a curve is needed, got {type(key).__name__}")
        return cls(key.private_numbers().private_value, _curve(key.curve, curve))

    def secret(self, peer: PublicKey) -> bytes:
        """What is shared with *peer*: X of the common point.

        Raises LocalProtocolError for a key of another curve.
        """
        if peer.curve is not self.public.curve:
            raise LocalProtocolError(
                f"a key of {self.public.curve.value} is needed, got one of {peer.curve.value}"
            )
        return self._key.exchange(ec.ECDH(), peer.point)


def derive(secret: bytes, bits: int) -> tuple[bytes, bytes]:
    """The AES key of *bits* bits and the IV that come of *secret*."""
    if bits == 128:
        key = secret[:16]
    else:
        key = secret if len(secret) == 32 else sha256(secret).digest()
    return key, md5(secret, usedforsecurity=False).digest()


class EncryptedLink(Link):
    """FPNN packages, encrypted, on a byte stream; made by ``client`` or ``server``.

    ``encrypted``  whether it is: a server that does not require it also talks in clear
    """

    def __init__(
        self,
        private_key: PrivateKey,
        server_public_key: PublicKey | None,
        *,
        stream: bool,
        bits: int,
        required: bool,
        max_package: int,
    ) -> None:
        """For the constructors below."""
        super().__init__()
        self._private_key = private_key
        self._server_public_key = server_public_key
        self._stream = stream
        self._bits = bits
        self._required = required
        self._cipher: Cipher[CFB] | None = None
        self._encryptor: CipherContext  # these two come with the cipher
        self._decryptor: CipherContext
        self._splitter = Splitter(max_package)
        # What came before it was clear how to read it: at most MAX_CLEAR bytes and one buffer.
        self._start = bytearray()
        self._clear = Splitter(MAX_CLEAR)
        # Package mode: the length that is coming in, or the package behind it.
        self._length = bytearray()
        self._size = 0
        self._missing = 0
        self._oversize = False
        if server_public_key is not None:
            self._begin_cipher(server_public_key)

    @classmethod
    def client(
        cls,
        server_public_key: PublicKey,
        *,
        seed: bytes,
        stream: bool = False,
        bits: int = 128,
        max_package: int = MAX_PACKAGE,
    ) -> EncryptedLink:
        """A client of the server with this key.

        *seed*: SEED_SIZE random bytes, for this connection only. *stream*: stream mode. *bits*:
        128 or 256. *max_package*: the largest package taken, in bytes, header included. The link
        is open when the answer to ``*key`` has arrived; every end before is a HANDSHAKE.

        Raises LocalProtocolError for another *bits* or a *seed* of another length.
        """
        if bits not in KEY_SIZES:
            raise LocalProtocolError(f"bits must be 128 or 256, got {bits}")
        private_key = PrivateKey.from_seed(seed, server_public_key.curve)
        return cls(
            private_key,
            server_public_key,
            stream=stream,
            bits=bits,
            required=True,
            max_package=max_package,
        )

    @classmethod
    def server(
        cls, private_key: PrivateKey, *, required: bool, max_package: int = MAX_PACKAGE
    ) -> EncryptedLink:
        """A server with this key, for one connection.

        The link is open with the first package: ``*key`` encrypts it, and anything else makes it
        a link in clear, or with *required* is refused with 20013 and ends it (``*ping`` too). What
        is wrong with a ``*key`` is told in clear, then the link ends; that is a HANDSHAKE.
        """
        return cls(
            private_key, None, stream=False, bits=128, required=required, max_package=max_package
        )

    @property
    def encrypted(self) -> bool:
        """Whether what passes now is encrypted."""
        return self.is_open and self._cipher is not None

    def start(self) -> None:
        """A client sends its key, in clear; a server waits."""
        if self._server_public_key is not None:
            self._out.append(self._key_quest())

    def set_max_package(self, size: int) -> None:
        """Change the limit."""
        self._splitter.limit = size

    def set_max_whole(self, size: int) -> None:
        """Give packages over *size* bytes in parts."""
        self._splitter.whole_to = size

    def close(self, reason: CloseReason) -> None:
        """Nothing to say: the end of the stream is the goodbye."""
        self._end(reason.kind, reason.text)

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Read the handshake, then decrypt *data* and cut it into packages."""
        if self.ended is not None:
            return
        if self.is_open:
            self._read(data)
        elif self._server_public_key is None:
            self._receive_first(data)
        else:
            self._receive_answer(data)

    def receive_eof(self) -> None:
        """The peer's end of the stream: in order between packages, a fault inside one."""
        if not self.is_open:
            what = "it sent a package"
            if self._server_public_key is not None:
                what = "it answered *key: FPNN's servers refuse a key so"
            self._end(CloseKind.HANDSHAKE, f"the peer closed before {what}")
            return
        pending = self._splitter.pending + len(self._length)
        if self._missing:
            pending += LENGTH_SIZE
        self._end(
            CloseKind.PEER_CLOSED,
            f"inside a package, after {pending} bytes of it" if pending else "",
        )

    # --- private: sending ---

    def _check_idle(self) -> None:
        if not self.is_open:
            raise LocalProtocolError("the handshake is not done yet")
        super()._check_idle()

    def _send_whole(self, package: bytes) -> None:
        self._send_begin(len(package), package)

    def _send_begin(self, size: int, head: bytes) -> None:
        if self._cipher is None:
            self._out.append(head)
        elif self._stream:
            self._out.append(self._encryptor.update(head))
        else:
            self._encryptor = self._cipher.encryptor()
            length = size.to_bytes(LENGTH_SIZE, "little")
            self._out.append(length + self._encryptor.update(head))

    def _send_more(self, piece: Buffer, *, last: bool) -> None:
        self._out.append(piece if self._cipher is None else self._encryptor.update(piece))

    # --- private: the handshake ---

    def _key_quest(self) -> bytes:
        """``*key``, byte for byte as the C++ client sends it: the key as str, not as bin."""
        params = {
            "publicKey": self._private_key.public.raw.decode("utf-8", "surrogateescape"),
            "streamMode": self._stream,
            "bits": self._bits,
        }
        return encode_quest(b"*key", encode(params), KEY_SEQ)

    def _begin_cipher(self, peer: PublicKey) -> None:
        key, iv = derive(self._private_key.secret(peer), self._bits)
        self._cipher = Cipher(AES(key), CFB(iv))
        self._encryptor = self._cipher.encryptor()
        self._decryptor = self._cipher.decryptor()

    def _hear_clear(self, data: Buffer) -> tuple[list[Package], FramingError | None]:
        """What the first bytes say if they are in clear; they are kept, if they are not."""
        self._start += data
        return self._clear.feed(data), self._clear.fault

    def _receive_first(self, data: Buffer) -> None:
        """A server: is it ``*key``?"""
        packages, fault = self._hear_clear(data)
        if not packages and fault is None:
            return
        start, self._start = self._start, bytearray()
        if packages and packages[0].kind == Kind.TWOWAY and packages[0].method == b"*key":
            if self._accept(packages[0]):
                self._read(start[packages[0].size :])
        elif not self._required:
            self.is_open = True
            self._read(start)
        elif packages:
            first = packages[0]
            text = f"encryption is required: the first package must be *key, got {_named(first)}"
            if first.kind == Kind.TWOWAY:
                self._refuse(first.seq, first.version, Code.FORBIDDEN, text)
            self._end(CloseKind.HANDSHAKE, text)
        else:
            text = f"encryption is required: the first package must be *key: {fault}"
            if fault is not None and fault.seq is not None:
                self._refuse(fault.seq, 1, Code.FORBIDDEN, text)
            self._end(CloseKind.HANDSHAKE, text)

    def _accept(self, quest: Package) -> bool:
        """Answer ``*key``; whether its key was taken."""
        try:
            peer, self._stream, self._bits = _read_key(quest, self._private_key.public.curve)
        except PayloadError as fault:
            self._refuse(quest.seq, quest.version, fault.code, str(fault))
            self._end(CloseKind.HANDSHAKE, f"*key was refused: {fault}")
            return False
        self._begin_cipher(peer)
        self.is_open = True
        self._send_whole(encode_answer(EMPTY, quest.seq, version=quest.version))
        return True

    def _refuse(self, seq: int, version: int, code: int, text: str) -> None:
        payload = encode({"code": int(code), "ex": text})
        self._out.append(encode_answer(payload, seq, status=1, version=version))

    def _receive_answer(self, data: Buffer) -> None:
        """A client: the answer, or a refusal in clear.

        Bytes in clear begin with FPNN, which in package mode is a length of more than 1 GiB, and
        in stream mode comes by chance once in 2^32 connections.
        """
        if self._clear.fault is None:
            packages, fault = self._hear_clear(data)
            if packages:
                self._end(CloseKind.HANDSHAKE, f"{_judged(packages[0])}, in clear")
                return
            if fault is None:
                return
            data, self._start = self._start, bytearray()
        self._read(data)
        self._settle()

    def _settle(self) -> None:
        """Take the answer to ``*key`` out of what has come: the session has not asked for it."""
        if self.is_open or not self._packages:
            return
        answer = self._packages.pop(0)
        if answer.kind == Kind.ANSWER and answer.seq == KEY_SEQ and answer.status == 0:
            self.is_open = True
        else:
            self._packages.clear()
            self._end(CloseKind.HANDSHAKE, _judged(answer))

    def _end_with(self, fault: FramingError) -> None:
        self._settle()
        if self.is_open:
            super()._end_with(fault)
        else:
            self._end(CloseKind.HANDSHAKE, f"no answer to *key: {fault}")

    # --- private: reading ---

    def _read(self, data: Buffer) -> None:
        if self._cipher is None:
            self._cut(data)
        elif self._stream:
            self._cut(self._decryptor.update(data))
        else:
            self._read_packages(self._cipher, memoryview(data))

    def _cut(self, data: Buffer) -> None:
        self._packages += self._splitter.feed(data)
        if self._splitter.fault is not None:
            self._end_with(self._splitter.fault)

    def _read_packages(self, cipher: Cipher[CFB], data: memoryview) -> None:
        """Package mode: each length must be that of the one package behind it."""
        while data and self.ended is None:
            if self._missing:
                taken = self._read_piece(data)
            else:
                taken = LENGTH_SIZE - len(self._length)
                self._length += data[:taken]
                if len(self._length) == LENGTH_SIZE:
                    self._begin_package(cipher)
            data = data[taken:]

    def _begin_package(self, cipher: Cipher[CFB]) -> None:
        self._size = self._missing = int.from_bytes(self._length, "little")
        self._length.clear()
        self._oversize = self._size > self._splitter.limit
        self._decryptor = cipher.decryptor()
        if self._size < HEADER_SIZE:
            self._end_inconsistent()

    def _read_piece(self, data: memoryview) -> int:
        """Decrypt what there is of a package; how many bytes that were.

        Of one over the limit that is what it takes to see whose quest it is: nothing is kept.
        """
        splitter = self._splitter
        room = self._missing
        if self._oversize:
            room = min(room, _SEQ_END - splitter.pending)
        plain = self._decryptor.update(data[:room])
        self._missing -= len(plain)
        packages = splitter.feed(plain)
        if packages:
            *parts, last = packages
            behind = not last.left and splitter.pending
            one = all(part.left for part in parts) and not behind and splitter.fault is None
            if one and last.left == self._missing:
                self._packages += packages
            else:
                self._end_inconsistent()
        elif splitter.fault is not None:
            self._end_with(splitter.fault)
        elif not self._missing:
            self._end_inconsistent()
        elif self._oversize and splitter.pending == _SEQ_END:
            text = f"a package of {self._size} bytes is over the limit of {splitter.limit}"
            self._end_with(FramingError(text, Code.INVALID_PACKAGE, limit=True))
        return len(plain)

    def _end_inconsistent(self) -> None:
        text = f"a length of {self._size} is not that of the package behind it"
        self._end_with(FramingError(text, Code.INVALID_PACKAGE))


def _read_key(quest: Package, curve: Curve) -> tuple[PublicKey, bool, int]:
    """The key, whether stream mode, and the bits in a ``*key`` quest; raises PayloadError."""
    if quest.flag & (FLAG_MSGPACK | FLAG_JSON) != FLAG_MSGPACK:
        raise PayloadError(f"flag must be 0x80, got {quest.flag:#04x}", Code.NOT_SUPPORTED)
    params = decode(quest.payload)
    raw = bytes_of(params, "publicKey")
    stream = params.get("streamMode")
    if stream is not None and not isinstance(stream, bool):
        text = f"streamMode must be a bool, got {type(stream).__name__}"
        raise PayloadError(text, Code.TYPE_CONVERSION)
    bits = int_of(params, "bits", 128)
    if bits not in KEY_SIZES:
        raise PayloadError(f"bits must be 128 or 256, got {bits}", Code.MAP_VALUE)
    try:
        return PublicKey(raw, curve), bool(stream), bits
    except LocalProtocolError as exc:
        raise PayloadError(str(exc), Code.MAP_VALUE) from exc


def _judged(package: Package) -> str:
    """What is wrong with a package that came instead of the good answer to ``*key``."""
    if package.kind != Kind.ANSWER or package.status == 0:
        return f"the first package must be the answer to *key, got {_named(package)}"
    try:
        params = decode(package.payload)
        code, text = int_of(params, "code", int(Code.UNKNOWN)), text_of(params, "ex", "")
    except PayloadError:
        code, text = int(Code.UNKNOWN), ""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return f"*key was refused with {code}: {text or '(no text)'}"


def _named(package: Package) -> str:
    if package.kind == Kind.ANSWER:
        return f"an answer with the seq {package.seq} and the status {package.status}"
    return f"a quest {package.method.decode('utf-8', 'replace')}"


def _public(key: ec.EllipticCurvePublicKey, curve: Curve) -> PublicKey:
    numbers, size = key.public_numbers(), curve.size
    return PublicKey(numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big"), curve)


def _curve(found: ec.EllipticCurve, wanted: Curve | None) -> Curve:
    for curve in Curve:
        if curve.value == found.name and wanted in (None, curve):
            return curve
    names = [curve.value for curve in Curve] if wanted is None else [wanted.value]
    raise LocalProtocolError(f"a key of {' or '.join(names)} is needed, got one of {found.name}")


def _unreadable(what: str, numbers: int, curve: Curve | None) -> str:
    raw = "" if curve is None else f" nor {numbers * curve.size} raw bytes of {curve.value}"
    return f"a {what} key that is neither PEM nor DER{raw}"
