"""ClientHellos made by hand, right and wrong ones, and the records around them."""

import struct
from collections.abc import Iterable

TLS_1_2, TLS_1_3 = 0x0303, 0x0304
SERVER_NAME, GROUPS, SIGNATURES, ALPN, PADDING, PSK, EARLY_DATA, VERSIONS, PSK_MODES, KEY_SHARE = 0, 10, 13, 16, 21, 41, 42, 43, 45, 51
ECH = 0xFE0D
UNKNOWN = 0x1234


def vector(length_bytes: int, content: bytes, lie: int = 0) -> bytes:
    """Return `content` behind its length, which is wrong by `lie`."""
    return ((len(content) + lie) % (1 << 8 * length_bytes)).to_bytes(length_bytes, "big") + content


def extension(kind: int, body: bytes = b"", lie: int = 0) -> bytes:
    return struct.pack(">HH", kind, (len(body) + lie) % 0x10000) + body


def server_name(host: bytes, kind: int = 0) -> bytes:
    return extension(SERVER_NAME, vector(2, bytes((kind,)) + vector(2, host)))


def alpn(*names: bytes) -> bytes:
    return extension(ALPN, vector(2, b"".join(vector(1, name) for name in names)))


def versions(*numbers: int) -> bytes:
    return extension(VERSIONS, vector(1, b"".join(number.to_bytes(2, "big") for number in numbers)))


def grease(number: int) -> int:
    """Return one of the 16 values of RFC 8701."""
    return (number % 16 * 16 + 10) * 0x0101


def psk() -> bytes:
    """Return an offer of one ticket, with a binder that fits nothing (RFC 8446 section 4.2.11)."""
    return extension(PSK, vector(2, vector(2, b"a ticket") + bytes(4)) + vector(2, vector(1, bytes(32))))


# Extensions that OpenSSL requires before it selects a certificate by name.
GOOD_GROUPS = extension(GROUPS, vector(2, b"\x00\x1d\x00\x17"))
GOOD_SIGNATURES = extension(SIGNATURES, vector(2, b"\x04\x03\x08\x04"))
GOOD_KEY_SHARE = extension(KEY_SHARE, vector(2, b"\x00\x1d" + vector(2, bytes(range(1, 33)))))
USUAL = GOOD_GROUPS + GOOD_SIGNATURES + GOOD_KEY_SHARE


def message(kind: int, body: bytes, lie: int = 0) -> bytes:
    return bytes((kind,)) + vector(3, body, lie)


def hello(
    *extensions: bytes,
    legacy: int = TLS_1_2,
    session_id: bytes = b"",
    suites: bytes = b"\x13\x01\xc0\x2b",
    methods: bytes = b"\0",
    rest: bytes | None = None,
) -> bytes:
    """Return a hello as a handshake message; `rest` stands where the extensions and their length would."""
    block = vector(2, b"".join(extensions)) if rest is None else rest
    body = legacy.to_bytes(2, "big") + bytes(range(32)) + vector(1, session_id) + vector(2, suites) + vector(1, methods) + block
    return message(1, body)


def modern(*extensions: bytes) -> bytes:
    """Return a hello of TLS 1.3 and 1.2 with further extensions in front."""
    return hello(*extensions, USUAL, versions(TLS_1_3, TLS_1_2))


def record(fragment: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return struct.pack(">BHH", kind, version, len(fragment)) + fragment


def records(handshake: bytes, size: int = 1 << 14) -> bytes:
    """Return a message in records of at most `size` bytes."""
    return b"".join(record(handshake[at : at + size]) for at in range(0, len(handshake), size))


def joined(wire: bytes) -> bytes:
    """Return the message in records that hold nothing else."""
    found = b""
    while wire:
        size = int.from_bytes(wire[3:5], "big")
        found += wire[5 : 5 + size]
        wire = wire[5 + size :]
    return found


def pieces(wire: bytes, size: int) -> Iterable[bytes]:
    return (wire[at : at + size] for at in range(0, len(wire), size))
