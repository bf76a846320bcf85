"""Decodes runs of tiny chunks with regular expressions: decoded one by one, chunks of one byte cost ten times as much.

Each function decodes only complete chunks and returns their payload in one piece, and where the run ends. `findall` runs over
text that was matched before, so it stays aligned: only leading zeros are between two matches.
"""

import re
from collections.abc import Callable

DecodeRun = Callable[[bytes, int, int], tuple[bytes, int]]


def _of_sizes(sizes: range, template: bytes) -> bytes:
    """Return a pattern with one alternative of `template` per size; its arguments are the last digit of the size line and the size."""
    return b"(?:%s)" % b"|".join(template % (b"[%x%X]" % (size, size), size) for size in sizes)


_PLAIN_SIZES = range(1, 16)
_PLAIN_RUN = re.compile(rb"(?:0{0,15}+%s\r\n)++" % _of_sizes(_PLAIN_SIZES, rb"%s\r\n[\s\S]{%d}"))
"""Any number of complete chunks of one digit, without extensions."""
_PLAIN_DATA = re.compile(rb"[1-9A-Fa-f]\r\n(%s)\r\n" % _of_sizes(_PLAIN_SIZES, rb"(?<=%s\r\n)[\s\S]{%d}"))
"""The data of one of them: `findall` within such a run skips only leading zeros."""
_EXTENDED_SIZES = range(1, 8)
_EXTENSION = rb"(?:;[\t -~\x80-\xff]{0,256}+)?"
_EXTENDED_RUN = re.compile(rb"(?:0{0,15}+%s\r\n)++" % _of_sizes(_EXTENDED_SIZES, rb"%%s%s\r\n[\s\S]{%%d}" % _EXTENSION))
"""The same with or without extensions (`chunked` bounds them, too), for fewer sizes."""
_EXTENDED_DATA = re.compile(rb"%s\r\n" % _of_sizes(_EXTENDED_SIZES, rb"%%s%s\r\n([\s\S]{%%d})" % _EXTENSION))
"""The length of an extension varies, so each size needs its own group: `findall` returns tuples, at twice the cost."""


def plain_run(data: bytes, at: int, bytes_max: int) -> tuple[bytes, int]:
    """Decode chunks of one digit (1 to 15 bytes), from `at` on and at most `bytes_max` of `data`."""
    run = _PLAIN_RUN.match(data, at, at + bytes_max)
    if run is None:
        return b"", at
    return b"".join(_PLAIN_DATA.findall(data, at, run.end())), run.end()


def extended_run(data: bytes, at: int, bytes_max: int) -> tuple[bytes, int]:
    """Decode chunks of 1 to 7 bytes, with or without extensions, from `at` on and at most `bytes_max` of `data`."""
    run = _EXTENDED_RUN.match(data, at, at + bytes_max)
    if run is None:
        return b"", at
    return b"".join(map(b"".join, _EXTENDED_DATA.findall(data, at, run.end()))), run.end()
