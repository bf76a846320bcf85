"""Names and byte streams per tenant, so that visitors and origins detect foreign bytes."""

import hashlib
from collections.abc import Iterator

from tests.kit.streams import blocks, stream_hash

TENANTS = 5


def name_of(tenant: int) -> str:
    """Return the name of a tenant, which its responses also contain."""
    return f"tenant-{tenant}"


def down_seed(tenant: int) -> int:
    """Return the seed of downloads, which differ between tenants."""
    return 100 + tenant


def up_seed(tenant: int) -> int:
    """Return the seed of uploads."""
    return 200 + tenant


def down_hash(tenant: int, size: int) -> str:
    """Return the SHA-256 of a download."""
    return stream_hash(size, down_seed(tenant))


def up_hash(tenant: int, size: int) -> str:
    """Return the SHA-256 of an upload."""
    return stream_hash(size, up_seed(tenant))


def pieces(size: int, seed: int, piece_bytes: int = 32 * 1024) -> Iterator[bytes]:
    """Yield a stream in small pieces, so that one loop can serve many connections."""
    for block in blocks(size, seed):
        view = memoryview(block)
        for at in range(0, len(view), piece_bytes):
            yield bytes(view[at : at + piece_bytes])


def digest() -> "hashlib._Hash":
    """Return a new hash."""
    return hashlib.sha256()
