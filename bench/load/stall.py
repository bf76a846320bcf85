"""A visitor with a stalled transfer: it reads nothing of a download, or sends to an origin that reads nothing.

`python -m bench.load.stall down|up PORT AUTHORITY [PROTOCOL: TARGET]` prints how many bytes it could send (0 for a download) once nothing moves any more,
and keeps the connection until it is killed.
"""

import select
import signal
import socket
import sys
import time

from bench.load.http import STALLED_BYTES, download_request, unread_upload_head
from bench.load.tls import Dialler
from bench.parent_death import die_with_parent

CHUNK = bytes(256 * 1024)
QUIET_S = 0.5  # when nothing can be sent for so long, all buffers are full
SECONDS_MAX = 120


def send_until_stuck(sock: socket.socket, authority: str) -> int:
    """Send up to `STALLED_BYTES`, until nothing more can be sent; return the number of bytes."""
    sock.sendall(unread_upload_head(authority))
    sock.setblocking(False)
    sent = 0
    while sent < STALLED_BYTES:
        if not select.select([], [sock], [], QUIET_S)[1]:
            break
        sent += sock.send(CHUNK[: STALLED_BYTES - sent])
    return sent


def main() -> None:
    """Start the transfer, print the number of bytes once it stalls, keep the connection."""
    direction, port, authority, *words = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    sock = Dialler(int(port), *words).connect()
    sent = 0
    if direction == "down":
        sock.sendall(download_request(authority))
        time.sleep(QUIET_S)
    else:
        sent = send_until_stuck(sock, authority)
    print(sent, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
