"""The origin of bulk transfers behind TLS, for tunnels that pass TLS through: each connection in its own process.

`python -m bench.load.tls_origin COUNTERS CERTIFICATE KEY` prints its port and serves on 127.0.0.1 until it is killed.
"""

import signal
import socket
import ssl
import sys
from functools import partial
from pathlib import Path

from bench.load.counters import SLOTS, Counters
from bench.load.forks import Forks
from bench.load.http import HEAD_BYTES_MAX, HEAD_END, SMALL_RESPONSE
from bench.load.origin import SECONDS_MAX, transfer
from bench.load.tls import CONNECT_S, origin_context
from bench.parent_death import die_with_parent


def serve_connection(conn: socket.socket, context: ssl.SSLContext, slot: int, counters: Counters) -> None:
    """Respond to small requests, and serve a bulk transfer to its end; runs in its own process."""
    try:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.settimeout(CONNECT_S)
        with context.wrap_socket(conn, server_side=True) as tls:
            tls.settimeout(None)
            while data := tls.recv(HEAD_BYTES_MAX):
                if data.startswith((b"GET /down ", b"PUT /up ")):
                    transfer(tls, data, slot, counters)
                    return
                tls.sendall(SMALL_RESPONSE * data.count(HEAD_END))
    except OSError:
        pass  # the visitor disconnected


def main() -> None:
    """Listen, print the port, serve."""
    path, certificate, key = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    context, counters, forks = origin_context(certificate, key), Counters(Path(path)), Forks()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    slot = SLOTS // 2  # the plain origin, which shares the counters, begins at 0
    while True:
        conn, _ = listener.accept()
        slot += 1
        forks.start(partial(serve_connection, conn, context, slot, counters), SECONDS_MAX)
        conn.close()


if __name__ == "__main__":
    main()
