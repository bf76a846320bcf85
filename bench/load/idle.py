"""Visitors that make one small request each and then keep their connections open, idle, until they are killed.

`python -m bench.load.idle PORT AUTHORITY COUNT` prints "open" once all are connected.
"""

import signal
import socket
import sys

from bench.load.http import exchange
from bench.parent_death import die_with_parent

AT_ONCE = 32  # below every system's backlog, and enough to hide the round trips
SECONDS_MAX = 120


def arrive(port: int, authority: str, count: int) -> list[socket.socket]:
    """Return the sockets of `count` new visitors, each with one request made."""
    group = [socket.create_connection(("127.0.0.1", port), timeout=15) for _ in range(count)]
    for sock in group:
        exchange(sock, authority)
    return group


def main() -> None:
    """Connect in groups, print "open", keep the connections."""
    port, authority, count = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    visitors: list[socket.socket] = []
    while (missing := int(count) - len(visitors)) > 0:
        visitors += arrive(int(port), authority, min(AT_ONCE, missing))
    print("open", flush=True)
    signal.pause()  # the list keeps them open


if __name__ == "__main__":
    main()
