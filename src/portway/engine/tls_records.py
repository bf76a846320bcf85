"""Ciphertext on its way into OpenSSL: a bounded number of records at a time, as OpenSSL takes all that it is given."""

import ssl

from portway.protocol.work import RECORD_WORK, VAIN_RECORD_WORK

FEED_VISITOR_BYTES = 16 * 1024
"""Ciphertext fed to a visitor's BIO at a time: BIOs never shrink (ADR 0003: 17 to 19 kB idle)."""
FEEDS_A_CALL = 2
"""Feeds in one call, each of a bounded number of records. A record of 16 KiB may lie across two of a visitor's."""
EMPTY_RECORDS_MAX = 512
"""Records in a row without a byte of plaintext: what does nothing but keep OpenSSL busy is an attack."""
RECORDS_A_FEED = 32
"""Records given to OpenSSL at a time. A full read of the smallest would be 10,000: key updates cost it 15 µs each and
yield nothing, so that nobody else would be served for as long as one peer sends them."""

_HEADER_BYTES = 5
"""type, version, version, length, length (RFC 8446 §5.1; the same in TLS 1.2)."""


class RecordFeed:
    """Feeds a BIO, and keeps what is more than a feed until the next one; at most what one `put` was given."""

    __slots__ = ("_bio", "_kept", "_left", "_split", "fed", "reads", "without_data")

    def __init__(self, bio: ssl.MemoryBIO) -> None:
        """Feed `bio`, from the beginning of a connection on."""
        self.without_data = 0
        """Records fed since the last one that gave plaintext; set to 0 by the caller that decrypts."""
        self.fed = self.reads = 0
        """Records fed, and reads that gave plaintext (counted by the caller), since `take_work`."""
        self._bio = bio
        self._kept: memoryview | None = None
        self._left = 0
        self._split = b""

    @property
    def waiting(self) -> bool:
        """True while something is kept: nothing may be `put` then."""
        return self._kept is not None

    def take_work(self) -> int:
        """Return the work of the records fed since the last time, beside the copying."""
        vain = self.fed - self.reads
        work = self.reads * RECORD_WORK + (vain * VAIN_RECORD_WORK if vain > 0 else 0)
        self.fed = self.reads = 0
        return work

    def put(self, data: memoryview) -> None:
        """Feed the first records of `data`, cut anywhere, and keep a copy of the others."""
        size = self._cut(data)
        if size < len(data):
            self._kept = memoryview(bytes(data[size:]))
        self._bio.write(data[:size])

    def put_kept(self) -> None:
        """Feed the next records of what is kept."""
        kept = self._kept
        if kept is not None:
            size = self._cut(kept)
            self._kept = kept[size:] if size < len(kept) else None
            self._bio.write(kept[:size])

    def _cut(self, data: memoryview) -> int:
        """Return how much of `data` is one feed, up to the beginning of the first record too many, and count its records."""
        end = len(data)
        at = self._left
        if self._split:
            missing = _HEADER_BYTES - len(self._split)
            self._split += data[:missing]
            if len(self._split) < _HEADER_BYTES:
                return end
            at = missing + int.from_bytes(self._split[3:], "big")
            self._split = b""
            self.without_data += 1
            self.fed += 1
        records = 0
        while end - at >= _HEADER_BYTES:
            if records == RECORDS_A_FEED:
                self._left = 0
                self.without_data += records
                self.fed += records
                return at
            records += 1
            at += _HEADER_BYTES + (data[at + 3] << 8 | data[at + 4])
        self.without_data += records
        self.fed += records
        if at < end:
            self._split = bytes(data[at:])
            self._left = 0
        else:
            self._left = at - end
        return end
