"""Free ports on loopback, from below the range that outgoing connections use, so that none is taken before its program binds it."""

import random
import socket

from bench.errors import BenchError

LOWEST, HIGHEST = 11_000, 32_000  # Linux assigns 32768 and up to outgoing connections
TRIES_MAX = 200

_assigned: set[int] = set()


def _free(port: int) -> bool:
    if port in _assigned:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> range:
    """Return `count` consecutive ports that are free now and were not returned before.

    Raises:
        BenchError: no such range was found.
    """
    for _ in range(TRIES_MAX):
        first = random.randrange(LOWEST, HIGHEST - count)
        found = range(first, first + count)
        if all(_free(port) for port in found):
            _assigned.update(found)
            return found
    raise BenchError(f"cannot find {count} consecutive free ports between {LOWEST} and {HIGHEST}")


def free_port() -> int:
    """Return one free port."""
    return free_ports(1)[0]
