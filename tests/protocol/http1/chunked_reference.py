"""The chunked coding read one chunk at a time: slow, and simple enough to be checked by reading it."""

import re
from dataclasses import dataclass

from portway.protocol.http1 import chunked

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t -~\x80-\xff]{0,256})?\r\n")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*)?\r\n")


class InvalidError(Exception):
    """The input is not the chunked coding."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A prefix of the input, decoded."""

    payload: bytes
    rest: bytes
    """The bytes after the body; empty unless `done`."""
    done: bool


def decode(wire: bytes) -> Decoded:
    """Decode `wire` from the start of a body; it may stop anywhere.

    Raises:
        InvalidError: wherever the decoder under test has to raise MessageError.
    """
    payload, at, overhead = b"", 0, 0
    while True:
        line = _SIZE_LINE.match(wire, at)
        if line is None:
            _require_prefix(wire[at:], rb"[0-9A-Fa-f]{1,16}(;[\t -~\x80-\xff]{0,256})?\r?")
            return Decoded(payload, b"", done=False)
        overhead += len(line[0]) + 2
        if overhead > chunked.OVERHEAD_BYTES_FREE + chunked.OVERHEAD_PER_BYTE * len(payload):
            raise InvalidError
        size, at = int(line[1], 16), line.end()
        if not size:
            return _decode_trailers(wire, at, payload)
        payload += wire[at : at + size]
        at += size
        if not b"\r\n".startswith(wire[at : at + 2]):
            raise InvalidError
        if at + 2 > len(wire):
            return Decoded(payload, b"", done=False)
        at += 2


def _decode_trailers(wire: bytes, at: int, payload: bytes) -> Decoded:
    first = at
    count = 0
    while (line := _TRAILER.match(wire, at)) is not None:
        at = line.end()
        if at - first > chunked.TRAILERS_BYTES_MAX:
            raise InvalidError
        if line[0] == b"\r\n":
            return Decoded(payload, wire[at:], done=True)
        count += 1
        if count > chunked.TRAILERS_MAX:
            raise InvalidError
    if len(wire) - first > chunked.TRAILERS_BYTES_MAX:
        raise InvalidError
    _require_prefix(wire[at:], rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*(:[\t -~\x80-\xff]*)?\r?")
    return Decoded(payload, b"", done=False)


def _require_prefix(line: bytes, pattern: bytes) -> None:
    if line and re.fullmatch(pattern, line) is None:
        raise InvalidError
