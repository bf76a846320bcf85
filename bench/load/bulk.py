"""Visitors that transfer as many bytes as they can, one process each, until they are killed.

`python -m bench.load.bulk down|up PORT AUTHORITY CONNECTIONS COUNTERS [SERVER_NAME CERTIFICATE | PROTOCOL: TARGET]`. Downloads are counted here, in COUNTERS; uploads are counted by the origin.
"""

import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

from bench.load.counters import Counters
from bench.load.forks import Forks
from bench.load.http import download_request, upload_head
from bench.load.tls import Dialler
from bench.parent_death import die_with_parent

CHUNK_BYTES = 1024 * 1024
SECONDS_MAX = 120


def download(sock: socket.socket, authority: str, slot: int, counters: Counters) -> None:
    """Read until killed and count the bytes (with the response head: 100 bytes of gigabytes)."""
    sock.sendall(download_request(authority))
    chunk = bytearray(CHUNK_BYTES)
    counted = 0
    while got := sock.recv_into(chunk):
        counted += got
        counters.put(slot, counted)


def upload(sock: socket.socket, authority: str) -> None:
    """Send until killed."""
    sock.sendall(upload_head(authority))
    chunk = os.urandom(CHUNK_BYTES)
    while True:
        sock.send(chunk)


def visit(direction: str, dialler: Dialler, authority: str, slot: int, counters: Counters) -> None:
    """Run one visitor; print the reason when the transfer breaks."""
    try:
        with dialler.connect() as sock:
            sock.settimeout(None)
            if direction == "down":
                download(sock, authority, slot, counters)
            else:
                upload(sock, authority)
        print(f"visitor {slot}: the transfer ended", file=sys.stderr, flush=True)
    except OSError as exc:
        print(f"visitor {slot}: {exc}", file=sys.stderr, flush=True)


def main() -> None:
    """Fork a visitor for each connection; exit with 1 as soon as one transfer ends, because none should."""
    direction, port, authority, connections, path, *words = sys.argv[1:]
    die_with_parent()
    counters, dialler = Counters(Path(path)), Dialler(int(port), *words)
    signal.alarm(SECONDS_MAX)
    forks = Forks()
    for slot in range(int(connections)):
        forks.start(partial(visit, direction, dialler, authority, slot, counters), SECONDS_MAX)
    while forks.all_alive(int(connections)):
        time.sleep(0.1)
    sys.exit(1)


if __name__ == "__main__":
    main()
