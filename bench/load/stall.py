"""A visitor that holds on to a transfer and does nothing: reads nothing of a download, or sends to an origin that reads nothing.

`python -m bench.load.stall down|up PORT AUTHORITY` prints how many bytes it got rid of (0 for a download) once nothing moves any more,
and stays until it is killed.
"""

import select
import signal
import socket
import sys
import time

from bench.load.http import STALLED_BYTES, deaf_head, download_request
from bench.parent_death import die_with_parent

CHUNK = bytes(256 * 1024)
QUIET_S = 0.5  # no room for so long: every buffer on the way is full
SECONDS_MAX = 120


def send_until_stuck(sock: socket.socket, authority: str) -> int:
    """Send all of `STALLED_BYTES`, or as much as goes; returns how much that was."""
    sock.sendall(deaf_head(authority))
    sock.setblocking(False)
    sent = 0
    while sent < STALLED_BYTES:
        if not select.select([], [sock], [], QUIET_S)[1]:
            break
        sent += sock.send(CHUNK[: STALLED_BYTES - sent])
    return sent


def main() -> None:
    """Begin, get stuck, say so, stay."""
    way, port, authority = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    sock = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
    sent = 0
    if way == "down":
        sock.sendall(download_request(authority))
        time.sleep(QUIET_S)
    else:
        sent = send_until_stuck(sock, authority)
    print(sent, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
