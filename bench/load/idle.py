"""Visitors that make one small request each and then keep their connections open, idle, until they are killed.

`python -m bench.load.idle PORT AUTHORITY COUNT [SERVER_NAME CERTIFICATE | PROTOCOL: TARGET]` prints "open" once all are connected.
"""

import signal
import socket
import sys

from bench.load.http import exchange
from bench.load.tls import Dialler
from bench.parent_death import die_with_parent

AT_ONCE = 32  # below every system's backlog, and enough to hide the round trips
SECONDS_MAX = 120


def arrive(dialler: Dialler, authority: str, count: int) -> list[socket.socket]:
    """Return the sockets of `count` new visitors, each with one request made."""
    group = [dialler.connect() for _ in range(count)]
    for sock in group:
        exchange(sock, authority)
    return group


def main() -> None:
    """Connect in groups, print "open", keep the connections."""
    port, authority, count, *words = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    dialler = Dialler(int(port), *words)
    visitors: list[socket.socket] = []
    while (missing := int(count) - len(visitors)) > 0:
        visitors += arrive(dialler, authority, min(AT_ONCE, missing))
    print("open", flush=True)
    signal.pause()  # the list keeps them open


if __name__ == "__main__":
    main()
