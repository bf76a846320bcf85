"""The chunked coding: strict decoding, and encoding in one form (RFC 9112 section 7.1)."""

import re
from collections.abc import Sequence

from portway.protocol.http1.chunk_runs import DecodeRun, extended_run, plain_run
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import Field
from portway.protocol.http1.serialise import field_lines
from portway.protocol.http1.trailers import is_allowed_trailer

EXTENSION_BYTES_MAX = 256
"""Bytes of extensions, which are dropped: they are practically unused, and must be bounded."""
TRAILERS_BYTES_MAX = 16 * 1024
TRAILERS_MAX = 100
"""Trailers are buffered until the end of the body: gRPC allows 16 KiB, with few different names."""
OVERHEAD_BYTES_FREE = 64 * 1024
OVERHEAD_PER_BYTE = 8
"""Framing bytes per payload byte beyond the free part: `1 CR LF x CR LF` has 5. More is a CPU attack (threats S2)."""

WORK_PER_CHUNK = 512
"""Work of decoding a single chunk, in bytes copied; measured 0.6 µs."""
WORK_PER_TINY_BYTE = 16
"""Work of decoding a byte within a run of tiny chunks, in bytes copied; measured 26 ns."""
WORK_MAX = 256 * 1024
"""Work of one `feed`: at most 512 chunks, or 16 KiB of tiny ones, so about 0.5 ms for any input."""

LAST_CHUNK = b"0\r\n\r\n"
"""The end of a body without trailers."""

_RUN_BYTES_LEAST = 64
"""Shorter runs cost more than single chunks, so the next chunks are decoded one by one."""
_CHUNKS_AT_A_TIME = 64
"""Single chunks that are decoded before the next attempt to match a run."""
_PLAIN_IN_A_ROW = 4
"""Consecutive chunks with one digit after which a run is tried."""
_PLAIN_FRAMING = 5
"""Framing bytes of a chunk with one digit and without extension."""
_SIZES = {spelling: size for size in range(1, 256) for spelling in (b"%x" % size, b"%X" % size)}
_COPY_BYTES_MAX = 1024
"""Payload up to this size is cheaper to copy than to reference."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]{0,%d})?\r\n" % EXTENSION_BYTES_MAX)
_SIZE_LINE_SO_FAR = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\t -~\x80-\xff]{0,%d})?\r?" % EXTENSION_BYTES_MAX)
_TRAILER = re.compile(rb"(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*))?\r\n")
_TRAILER_SO_FAR = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*(?::[\t -~\x80-\xff]*)?\r?")

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkDecoder:
    """Decodes a body that may be cut anywhere. Buffers at most one incomplete line, and trailers.

    Extensions are dropped, and trailers that must not be forwarded (`trailers.is_allowed_trailer`). Any deviation from the
    grammar is an error: no white space, no bare LF, no `0x`, no sign.

    Complete chunks are decoded by a short loop, and runs of tiny ones by regular expressions. Both only accept valid input;
    the rest (an incomplete chunk, the last one, an error) is left to the state machine.
    """

    __slots__ = ("_left", "_line", "_overhead", "_payload", "_state", "_trailer_bytes", "_trailer_count", "trailers", "work")

    def __init__(self) -> None:
        """Start before the first chunk."""
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._overhead = 0
        self._payload = 0
        self._trailer_bytes = 0
        self._trailer_count = 0
        self.trailers: list[Field] = []
        """The forwarded trailers, complete once `done`."""
        self.work = 0
        """Work of the last `feed`, in bytes copied."""

    @property
    def done(self) -> bool:
        """True once the last chunk and its empty line were decoded."""
        return self._state == _DONE

    @property
    def left_in_chunk(self) -> int:
        """Bytes of the current chunk that are still to come; 0 between chunks."""
        return self._left if self._state == _DATA else 0

    def skip(self, count: int) -> None:
        """Pass over `count` bytes of payload without decoding them, at most `left_in_chunk`."""
        self._left -= count
        self._payload += count
        if not self._left:
            self._state = _DATA_END

    def feed(self, data: bytes) -> tuple[list[bytes | memoryview], bytes]:
        """Return the payload in `data`, and the bytes that were not decoded.

        When `done`, these follow the body's end; otherwise the call has used up WORK_MAX, and the caller feeds them again.

        Raises:
            MessageError: invalid chunked coding, or too much framing for the payload.
        """
        if self._line:
            data = self._line + data
            self._line = b""
        payload: list[bytes | memoryview] = []
        at, end = 0, len(data)
        self.work = 0
        while at < end and self._state != _DONE and self.work < WORK_MAX:
            if self._state == _SIZE:
                at = self._whole_chunks(data, at, payload)
                if at == end or self.work >= WORK_MAX:
                    break
            before = at
            self.work += WORK_PER_CHUNK
            if self._state == _SIZE:
                at = self._size_line(data, at)
            elif self._state == _DATA:
                at = min(end, before + self._left)
                payload.append(memoryview(data)[before:at])
                self._left -= at - before
                self._payload += at - before
                if not self._left:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                at = self._data_end(data, at)
            else:
                at = self._trailer(data, at)
            if at < 0:
                # An incomplete line: it is buffered for the next call.
                self._line = data[before:]
                return payload, b""
        return payload, data[at:]

    def _whole_chunks(self, data: bytes, at: int, payload: list[bytes | memoryview]) -> int:
        """Decode complete chunks from `at` on, within the work limit; return where the next one begins."""
        while self.work < WORK_MAX:
            before = at
            at = self._tiny_chunks(plain_run, data, at, payload)
            if at - before < _RUN_BYTES_LEAST:
                at = self._tiny_chunks(extended_run, data, at, payload)
            if at - before >= _RUN_BYTES_LEAST:
                continue
            before = at
            at = self._next_chunks(data, at, payload)
            if at == before:
                break
        return at

    def _tiny_chunks(self, decode_run: DecodeRun, data: bytes, at: int, payload: list[bytes | memoryview]) -> int:
        """Decode a run of tiny chunks, short enough that the framing limit cannot be exceeded; return where it ends."""
        spare = OVERHEAD_BYTES_FREE + OVERHEAD_PER_BYTE * self._payload - self._overhead
        pieces, end = decode_run(data, at, max(0, min(spare, (WORK_MAX - self.work) // WORK_PER_TINY_BYTE)))
        if end > at:
            self.work += (end - at) * WORK_PER_TINY_BYTE
            self._payload += len(pieces)
            self._overhead += end - at - len(pieces)
            payload.append(pieces)
        return end

    def _next_chunks(self, data: bytes, at: int, payload: list[bytes | memoryview]) -> int:
        """Decode up to _CHUNKS_AT_A_TIME complete chunks of any size; return where the next one begins."""
        match, size_of, first = _SIZE_LINE.match, _SIZES.get, len(payload)
        received, spare = self._payload, OVERHEAD_BYTES_FREE + OVERHEAD_PER_BYTE * self._payload - self._overhead
        plain = 0
        for _ in range(_CHUNKS_AT_A_TIME):
            line = match(data, at)
            if line is None:
                break
            size = size_of(line[1]) or int(line[1], 16)
            start = line.end()
            stop = start + size
            framing = start - at + 2
            if framing > spare or data[stop : stop + 2] != b"\r\n" or not size:
                break
            if framing == _PLAIN_FRAMING:
                plain += 1
                if plain > _PLAIN_IN_A_ROW:
                    break
            else:
                plain = 0
            received += size
            spare += OVERHEAD_PER_BYTE * size - framing
            payload.append(data[start:stop] if size <= _COPY_BYTES_MAX else memoryview(data)[start:stop])
            at = stop + 2
        self._payload, self._overhead = received, OVERHEAD_BYTES_FREE + OVERHEAD_PER_BYTE * received - spare
        self.work += WORK_PER_CHUNK * (len(payload) - first)
        return at

    def _size_line(self, data: bytes, at: int) -> int:
        """Parse a chunk's size; return where its data begins, or -1 when the line is incomplete."""
        line = _SIZE_LINE.match(data, at)
        if line is None:
            if _SIZE_LINE_SO_FAR.fullmatch(data, at) is not None:
                return -1
            raise MessageError("invalid chunk size: expected 1 to 16 hex digits and CR LF")
        size = int(line[1], 16)
        # Plus the CR LF after the data.
        self._overhead += line.end() - at + 2
        if self._overhead > OVERHEAD_BYTES_FREE + OVERHEAD_PER_BYTE * self._payload:
            raise MessageError(f"{self._overhead} bytes of chunk framing for {self._payload} bytes of payload")
        self._left = size
        self._state = _DATA if size else _TRAILERS
        return line.end()

    def _data_end(self, data: bytes, at: int) -> int:
        """Skip the CR LF after a chunk's data; return where the next size is, or -1 when it is incomplete."""
        ends = data[at : at + 2]
        if ends == b"\r\n":
            self._state = _SIZE
            return at + 2
        if ends == b"\r":
            return -1
        raise MessageError("a chunk has more data than its size: expected CR LF")

    def _trailer(self, data: bytes, at: int) -> int:
        """Parse a trailer line, or the final empty line; return where the next one is, or -1 when it is incomplete."""
        line = _TRAILER.match(data, at)
        length = (line.end() if line is not None else len(data)) - at
        if self._trailer_bytes + length > TRAILERS_BYTES_MAX:
            raise MessageError(f"more than {TRAILERS_BYTES_MAX} bytes of trailers")
        if line is None:
            if _TRAILER_SO_FAR.fullmatch(data, at) is not None:
                return -1
            raise MessageError("invalid trailer field")
        self._trailer_bytes += length
        if length == 2:
            self._state = _DONE
            return line.end()
        self._trailer_count += 1
        if self._trailer_count > TRAILERS_MAX:
            raise MessageError(f"more than {TRAILERS_MAX} trailers")
        if is_allowed_trailer(line[1]):
            self.trailers.append((line[1], line[2].strip(b" \t")))
        return line.end()


def encode_chunk(payload: Sequence[bytes | memoryview]) -> bytes:
    """Return one chunk with all of `payload`, or nothing when that is empty (an empty chunk would end the body)."""
    size = sum(map(len, payload))
    if not size:
        return b""
    return b"".join([b"%x\r\n" % size, *payload, b"\r\n"])


def encode_end(trailers: Sequence[Field] = ()) -> bytes:
    """Return the end of a body: the last chunk, and trailers."""
    return b"0\r\n%b\r\n" % field_lines(trailers) if trailers else LAST_CHUNK
