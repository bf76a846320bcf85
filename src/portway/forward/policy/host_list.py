"""A host list with up to millions of names in 8 to 9 bytes each. Pure: the key of its hashes is an argument.

Names are stored as 64-bit salted hashes in sorted buckets. With a million names two are confused once in 10**13 lookups, and the salt is secret,
so that such a name cannot be chosen. A trie or a set of texts would need 60 to 150 bytes per name.
"""

from array import array
from bisect import bisect_left
from hashlib import blake2b

BUCKETS = 4096
"""About 250 hashes each with a million names: sorting one takes 20 µs, in which the interpreter's lock is held."""

NAMES_MAX = 4_000_000
"""Names of one list, about 36 MB."""

_HASH_BYTES = 8


class HostList:
    """Names, each of which stands for itself and everything below it."""

    __slots__ = ("_buckets", "_key", "count", "path", "skipped")

    def __init__(self, key: bytes, path: str = "") -> None:
        """Create an empty list; `path` is the name of its file for messages."""
        self._key = key
        self._buckets = [array("Q") for _ in range(BUCKETS)]
        self.path = path
        self.count = 0
        """Names, those that are repeated included until `finish_bucket`."""
        self.skipped = 0
        """Lines that were not understood."""

    def add(self, name: bytes) -> None:
        """Add a normalised name; `finish_bucket` must follow for each bucket before the first lookup."""
        hashed = self._hash(name)
        self._buckets[hashed % BUCKETS].append(hashed)
        self.count += 1

    def finish_bucket(self, number: int) -> None:
        """Sort a bucket, and remove repeated names from it."""
        bucket = self._buckets[number]
        unique = sorted(set(bucket))
        self.count -= len(bucket) - len(unique)
        self._buckets[number] = array("Q", unique)

    def matches(self, host: str) -> bool:
        """Return whether the list has `host`, normalised, or a name above it. An address matches only as a whole."""
        name = host.encode("ascii", "replace")
        if self._has(name):
            return True
        if b":" in name or name.rpartition(b".")[2].isdigit():
            return False
        at = name.find(b".")
        while at != -1:
            if self._has(name[at + 1 :]):
                return True
            at = name.find(b".", at + 1)
        return False

    def _has(self, name: bytes) -> bool:
        hashed = self._hash(name)
        bucket = self._buckets[hashed % BUCKETS]
        at = bisect_left(bucket, hashed)
        return at < len(bucket) and bucket[at] == hashed

    def _hash(self, name: bytes) -> int:
        # A salt costs nothing, a key one more block of 128 bytes for each name.
        return int.from_bytes(blake2b(name, digest_size=_HASH_BYTES, salt=self._key).digest(), "little")
