"""The bytes of the sample download: the same in every demo, so that anybody can check them."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_BYTES = 100_000_000
"""What the page downloads: long enough to have a speed, short enough to wait for."""

SAMPLE_BYTES_MAX = 2_000_000_000
"""The longest stream that may be asked for; it is generated, so it costs time and no memory."""

BLOCK_BYTES = 256 * 1024
_COUNTER_BYTES = 8

# SHAKE is defined to the last bit, so every Python makes the same block; noise, so that nothing on the way can compress it.
_NOISE = hashlib.shake_256(b"portway demo").digest(BLOCK_BYTES - _COUNTER_BYTES)


@dataclass(frozen=True, slots=True)
class Sums:
    """Checksums of the first `count` bytes of the sample."""

    count: int
    """Bytes that were summed."""
    crc32: str
    """CRC-32 (zlib, PNG) as eight hex digits: cheap enough for a page to compute."""
    sha256: str
    """SHA-256 as 64 hex digits, for `sha256sum`."""


def blocks(count: int) -> Iterator[bytes]:
    """Yield the first `count` bytes of the sample, in blocks of up to 256 KiB.

    Each block starts with its number, so that a lost, repeated or swapped block changes the checksums.
    """
    for number, start in enumerate(range(0, count, BLOCK_BYTES)):
        block = number.to_bytes(_COUNTER_BYTES, "big") + _NOISE
        yield block if count - start >= BLOCK_BYTES else block[: count - start]


def sums(count: int) -> Sums:
    """Return the checksums of the first `count` bytes; a few tenths of a second for 100 MB, so call it in a thread."""
    crc32, sha256 = 0, hashlib.sha256()
    for block in blocks(count):
        crc32 = zlib.crc32(block, crc32)
        sha256.update(block)
    return Sums(count, f"{crc32:08x}", sha256.hexdigest())
