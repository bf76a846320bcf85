"""Runs of tiny chunks, decoded by regular expressions: one by one, chunks of a byte cost ten times as much.

Each function takes whole chunks only and returns their payload in one piece, and where the run ends. `findall` walks a
run that was matched before, so that it stays aligned: between two matches lie leading zeros and nothing else.
"""

import re
from collections.abc import Callable

DecodeRun = Callable[[bytes, int, int], tuple[bytes, int]]


def _of_sizes(sizes: range, template: bytes) -> bytes:
    """Return a pattern that is `template` for one of these sizes, which takes a size line's last digit and the size."""
    return b"(?:%s)" % b"|".join(template % (b"[%x%X]" % (size, size), size) for size in sizes)


_PLAIN_SIZES = range(1, 16)
_PLAIN_RUN = re.compile(rb"(?:0{0,15}+%s\r\n)++" % _of_sizes(_PLAIN_SIZES, rb"%s\r\n[\s\S]{%d}"))
"""As many whole chunks of one digit as there are, without extensions."""
_PLAIN_DATA = re.compile(rb"[1-9A-Fa-f]\r\n(%s)\r\n" % _of_sizes(_PLAIN_SIZES, rb"(?<=%s\r\n)[\s\S]{%d}"))
"""The data of one of them: `findall` within such a run steps over leading zeros and nothing else."""
_EXTENDED_SIZES = range(1, 8)
_EXTENSION = rb"(?:;[\t -~\x80-\xff]{0,256}+)?"
_EXTENDED_RUN = re.compile(rb"(?:0{0,15}+%s\r\n)++" % _of_sizes(_EXTENDED_SIZES, rb"%%s%s\r\n[\s\S]{%%d}" % _EXTENSION))
"""The same with or without extensions (`chunked` bounds them, too), for fewer sizes."""
_EXTENDED_DATA = re.compile(rb"%s\r\n" % _of_sizes(_EXTENDED_SIZES, rb"%%s%s\r\n([\s\S]{%%d})" % _EXTENSION))
"""An extension's length varies, so each size needs a group of its own: `findall` gives tuples, at twice the cost."""


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
