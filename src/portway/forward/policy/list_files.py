"""Reads host lists from files, in a thread that leaves the interpreter to the reactor most of the time."""

from collections.abc import Callable
from pathlib import Path

from portway.errors import ConfigError
from portway.forward.policy.host_list import BUCKETS, NAMES_MAX, HostList
from portway.forward.policy.list_formats import names_in_line

BLOCK_BYTES = 8 * 1024
"""Bytes between two pauses: about 400 names, 0.7 ms."""

LINE_BYTES_MAX = 4096

SKIPPED_SHARE_MAX = 0.5
"""A file most of whose lines are not understood is the wrong file."""

_BUCKETS_BETWEEN_PAUSES = 32


def read_host_list(path: Path, key: bytes, pause: Callable[[], None] = lambda: None) -> HostList:
    """Return the list in a file; `pause` is called after about each millisecond of work.

    Raises:
        ConfigError: the file cannot be read, has too many names, or does not look like a list of hosts.
    """
    found = HostList(key, str(path))
    lines = 0
    try:
        with path.open("rb") as file:
            rest = b""
            while block := file.read(BLOCK_BYTES):
                *whole, rest = (rest + block).split(b"\n")
                lines += len(whole)
                _add_lines(found, whole)
                if len(rest) > LINE_BYTES_MAX:
                    raise ConfigError(f"{path}: line {lines + 1}: too long: expected at most {LINE_BYTES_MAX} bytes")
                if found.count > NAMES_MAX:
                    raise ConfigError(f"{path}: too many names: expected at most {NAMES_MAX}")
                pause()
            _add_lines(found, [rest])
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    for number in range(BUCKETS):
        found.finish_bucket(number)
        if number % _BUCKETS_BETWEEN_PAUSES == 0:
            pause()
    if found.skipped > (found.count + found.skipped) * SKIPPED_SHARE_MAX:
        raise ConfigError(
            f"{path}: invalid host list: {found.skipped} lines not understood, {found.count} names: expected names, a hosts file or ||NAME^ rules"
        )
    return found


def _add_lines(found: HostList, lines: list[bytes]) -> None:
    for line in lines:
        names = names_in_line(line)
        if names is None:
            found.skipped += 1
            continue
        for name in names:
            found.add(name)
