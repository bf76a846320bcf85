"""Long pseudo-random streams at low cost; every block differs, so that lost or swapped ones are detected."""

import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache

BLOCK_BYTES = 1 << 20


@lru_cache(maxsize=8)
def _block(seed: int) -> bytes:
    return random.Random(seed).randbytes(BLOCK_BYTES)


def blocks(size_bytes: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `size_bytes` in blocks of 1 MiB, each with its number in its first eight bytes."""
    rest = memoryview(_block(seed))[8:]
    for number in range((size_bytes + BLOCK_BYTES - 1) // BLOCK_BYTES):
        block = number.to_bytes(8, "big") + rest
        yield block[: size_bytes - number * BLOCK_BYTES]


@lru_cache(maxsize=64)
def stream_hash(size_bytes: int, seed: int = 1) -> str:
    """Return the SHA-256 of such a stream, in hex."""
    digest = hashlib.sha256()
    for block in blocks(size_bytes, seed):
        digest.update(block)
    return digest.hexdigest()
