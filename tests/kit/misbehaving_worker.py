"""A worker process without listeners that behaves as a test requests: `misbehaving_worker.py HOW ... DESCRIPTOR`.

HOW: `healthy` replies to everything and exits on Stop; `never-ready` never sends Ready; `hangs` sends Ready and then handles
nothing; `exits` sends Ready and exits with 3 at once; `ignores-stop` replies to everything and never exits.
"""

import socket
import sys
import time

from portway.server.workers.ipc import receive_one
from portway.server.workers.messages import Configure, Ping, Pong, Ready, RoutesComplete, Stop, decode_for_worker, encode

FINISH_S_MAX = 60.0


def main() -> int:
    """Run the worker; return the exit code."""
    how, descriptor = sys.argv[1], int(sys.argv[-1])
    line = socket.socket(fileno=descriptor)
    while True:
        try:
            data, socks = receive_one(line, FINISH_S_MAX)
        except ConnectionResetError:
            if how == "ignores-stop":
                time.sleep(FINISH_S_MAX)
            return 0
        message = decode_for_worker(memoryview(data))
        if isinstance(message, Configure):
            assert len(socks) == 2
        elif isinstance(message, RoutesComplete) and how != "never-ready":
            line.send(encode(Ready()))
            if how == "exits":
                return 3
            if how == "hangs":
                time.sleep(FINISH_S_MAX)
        elif isinstance(message, Ping):
            line.send(encode(Pong()))
        elif isinstance(message, Stop) and how != "ignores-stop":
            return 0


if __name__ == "__main__":
    sys.exit(main())
