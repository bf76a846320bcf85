"""The bytes of the sample download, identical in every demo, and their checksums."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_BYTES = 100_000_000
"""Size of the page's download: large enough to measure throughput, small enough to wait for."""

SAMPLE_BYTES_MAX = 2_000_000_000
"""Largest download that can be requested; it is generated, so it needs no memory."""

BLOCK_BYTES = 256 * 1024
_COUNTER_BYTES = 8

# SHAKE output is the same on every platform, and no hop can compress it.
_NOISE = hashlib.shake_256(b"portway demo").digest(BLOCK_BYTES - _COUNTER_BYTES)


@dataclass(frozen=True, slots=True)
class Sums:
    """Checksums of the first `count` bytes of the sample."""

    count: int
    """Number of bytes."""
    crc32: str
    """CRC-32 (zlib, PNG) as eight hex digits: cheap enough for a page to compute."""
    sha256: str
    """SHA-256 as 64 hex digits, for `sha256sum`."""


def blocks(count: int) -> Iterator[bytes]:
    """Yield the first `count` bytes of the sample, in blocks of up to 256 KiB.

    Each block starts with its number, so that lost, repeated or swapped blocks change the checksums.
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
