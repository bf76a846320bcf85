"""Feeds ciphertext to OpenSSL: a bounded number of records at a time, because OpenSSL processes all that it is given."""

import ssl

from portway.protocol.work import EMPTY_RECORD_WORK, RECORD_WORK

FEED_VISITOR_BYTES = 16 * 1024
"""Ciphertext per read of a peer that sends little, or is not verified: BIOs never shrink (ADR 0003: 17 to 19 kB idle)."""
READ_BULK_BYTES = 64 * 1024
"""Ciphertext per read of a visitor that sends much. It is fed to OpenSSL in parts, and what exceeds the first one is buffered."""
FEED_RECORD_BYTES = 16 * 1024 + 512
"""Bytes of such a part: the longest record (RFC 8446 section 5.2), so that most parts are whole records."""
HANDSHAKE_FEEDS_A_CALL = 2
"""Feeds per step of a handshake, each of a bounded number of records."""
FEEDS_A_CALL = 8
"""Feeds per call: as many whole records of a visitor that sends much."""
RECORDS_A_CALL = 64
"""Records after which a call feeds no more."""
EMPTY_RECORDS_MAX = 512
"""Consecutive records without plaintext; more are an attack that only uses CPU time."""
RECORDS_A_FEED = 32
"""Records per feed. A full read could contain 10,000 of the smallest: key updates cost 15 µs each and yield no data, so one peer
that sends them would block all others."""

_UNLIMITED = 1 << 30
_HEADER_BYTES = 5
"""type, version, version, length, length (RFC 8446 §5.1; the same in TLS 1.2)."""


class RecordFeed:
    """Feeds a BIO, and buffers what exceeds one feed for the next one; at most the data of one `put`."""

    __slots__ = ("_bio", "_bounded", "_bytes_max", "_left", "_split", "_waiting", "fed", "reads", "without_data")

    def __init__(self, bio: ssl.MemoryBIO, *, in_parts: bool = False) -> None:
        """Feed `bio`, starting at the beginning of a connection; with `in_parts`, records of 16 KiB one at a time."""
        self.without_data = 0
        """Records fed since the last one with plaintext; set to 0 by the caller that decrypts."""
        self.fed = self.reads = 0
        """Records fed, and reads that returned plaintext (counted by the caller), since the last `take_work`."""
        self._bio = bio
        self._bytes_max = FEED_RECORD_BYTES if in_parts else _UNLIMITED
        self._bounded = False
        self._waiting: memoryview | None = None
        self._left = 0
        self._split = b""

    @property
    def waiting(self) -> bool:
        """True while data is buffered: `put` must not be called then."""
        return self._waiting is not None

    def take_work(self) -> int:
        """Return the work of the records fed since the last call, without the copying."""
        empty = self.fed - self.reads
        work = self.reads * RECORD_WORK + (empty * EMPTY_RECORD_WORK if empty > 0 else 0)
        self.fed = self.reads = 0
        return work

    def goes_on(self, feeds: int) -> bool:
        """Return whether a call that made so many feeds may make one more."""
        return feeds < FEEDS_A_CALL and self.fed < RECORDS_A_CALL

    def put(self, data: memoryview) -> None:
        """Feed the first records of `data`, which may be cut anywhere, and buffer a copy of the others."""
        size = self._cut(data)
        if size < len(data):
            self._waiting = memoryview(bytes(data[size:]))
        self._bio.write(data[:size])

    def put_received(self, data: memoryview) -> None:
        """Feed what was read before there was a channel, a hello, whose bytes and records were bounded then: a long one may be in
        more records than are accepted without data later.
        """
        self.put(data)
        self.without_data = 0
        self._bounded = self.waiting

    def put_waiting(self) -> None:
        """Feed the next buffered records."""
        waiting = self._waiting
        if waiting is not None:
            size = self._cut(waiting)
            self._waiting = waiting[size:] if size < len(waiting) else None
            self._bio.write(waiting[:size])
            if self._bounded:
                self.without_data = 0
                self._bounded = self.waiting

    def _cut(self, data: memoryview) -> int:
        """Return how much of `data` is one feed, up to the beginning of the first excess record, and count its records."""
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
            following = at + _HEADER_BYTES + (data[at + 3] << 8 | data[at + 4])
            if records == RECORDS_A_FEED or (at and following > self._bytes_max):
                self._left = 0
                self.without_data += records
                self.fed += records
                return at
            records += 1
            at = following
        self.without_data += records
        self.fed += records
        if at < end:
            self._split = bytes(data[at:])
            self._left = 0
        else:
            self._left = at - end
        return end
