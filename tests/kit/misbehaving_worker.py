"""A worker that serves nobody and does what a test wants, as a program: `misbehaving_worker.py HOW ... DESCRIPTOR`.

HOW: `well` answers everything and ends when told to; `mute` never says that it serves; `deaf` says so and then hears nothing;
`brief` says so and ends with 3 at once; `stubborn` hears everything and ends for nothing.
"""

import socket
import sys
import time

from portway.server.workers.ipc import receive_one
from portway.server.workers.messages import Configure, Ping, Pong, Ready, RoutesComplete, Stop, encode, for_worker

FINISH_S_MAX = 60.0


def main() -> int:
    """Play a worker; return the exit code."""
    how, descriptor = sys.argv[1], int(sys.argv[-1])
    line = socket.socket(fileno=descriptor)
    while True:
        try:
            data, socks = receive_one(line, FINISH_S_MAX)
        except ConnectionResetError:
            if how == "stubborn":
                time.sleep(FINISH_S_MAX)
            return 0
        message = for_worker(memoryview(data))
        if isinstance(message, Configure):
            assert len(socks) == 2
        elif isinstance(message, RoutesComplete) and how != "mute":
            line.send(encode(Ready()))
            if how == "brief":
                return 3
            if how == "deaf":
                time.sleep(FINISH_S_MAX)
        elif isinstance(message, Ping):
            line.send(encode(Pong()))
        elif isinstance(message, Stop) and how != "stubborn":
            return 0


if __name__ == "__main__":
    sys.exit(main())
