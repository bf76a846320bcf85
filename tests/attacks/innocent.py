"""An innocent client in its own process: small requests at a fixed rate; each response is checked against its request.

Latencies count from the due time of a request, so waiting for a free connection counts (no coordinated omission). Every tenth
request uses a new connection. A request without a response counts with its waiting time.
"""

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.parent_death import wake_on_time
from bench.percentiles import percentile
from portway.protocol.join_string import parse
from tests.attacks.child import send_line, task_of_child, wait_for_start
from tests.kit.blocking_link import BlockingLink, LinkError

CONNECTIONS = 24
GRACE_S = 5.0
"""For responses that are outstanding when the last request is due."""
FRESH_EVERY = 10
LOGIN_EVERY_S = 0.5
LOGIN_S_MAX = 12.0


@dataclass
class ClientResults:
    """Latencies and errors of a client."""

    took_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    crossed: int = 0
    """Responses that belong to another client."""
    retried: int = 0
    """Requests that were repeated because their idle connection had been closed (RFC 9112 §9.3.1)."""

    def summary(self) -> dict[str, Any]:
        """Return the figures."""
        took = self.took_ms or [0.0]
        return {
            "count": len(self.took_ms),
            "p50_ms": percentile(took, 50),
            "p99_ms": percentile(took, 99),
            "max_ms": max(took),
            "errors": dict(self.errors),
            "crossed": self.crossed,
            "retried": self.retried,
        }


class ClientConnection:
    """One connection and its current request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sock: socket.socket | None = None
        self.due = 0.0
        self.word = b""
        self._request = b""
        self._sent_request = b""
        self._reused = False
        self._buffered = b""

    def send_request(self, request: bytes, word: bytes, due: float, *, fresh: bool) -> None:
        """Send a request, on a new connection if `fresh` or if there is none."""
        self.due, self.word, self._request, self._sent_request = due, word, request, request
        self._reused = not fresh and self.sock is not None
        if fresh or self.sock is None:
            self.close()
            self.sock = socket.socket()
            self.sock.setblocking(False)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.connect_ex(("127.0.0.1", self._port))
        else:
            self.write()

    def write(self) -> None:
        """Send the request once connected."""
        assert self.sock is not None
        if self._request:
            self.sock.send(self._request)
            self._request = b""

    @property
    def connecting(self) -> bool:
        """True until the request was sent."""
        return bool(self._request)

    def read(self) -> bytes | None:
        """Return the response, or None while it is incomplete."""
        assert self.sock is not None
        piece = self.sock.recv(65536)
        if not piece:
            raise ConnectionError("closed without a response")
        self._buffered += piece
        head, found, body = self._buffered.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        response, self._buffered = self._buffered, b""
        return response

    def retry(self) -> bool:
        """Repeat the request on a new connection if the reused one closed before its first byte; return whether it did."""
        if not self._reused or self._buffered:
            return False
        self.send_request(self._sent_request, self.word, self.due, fresh=True)
        return True

    def close(self) -> None:
        """Close the connection."""
        if self.sock is not None:
            self.sock.close()
        self.sock, self._buffered = None, b""


class Client:
    """All connections of an innocent client."""

    def __init__(self, port: int, host: str, tenant: str, rate_per_s: float) -> None:
        self._host, self._tenant, self._rate_per_s = host, tenant, rate_per_s
        self._idle = deque(ClientConnection(port) for _ in range(CONNECTIONS))
        self._busy: dict[int, ClientConnection] = {}
        self._number = 0

    def run(self, seconds: float) -> ClientResults:
        """Make requests for `seconds`."""
        seen = ClientResults()
        start = time.perf_counter()
        made, wanted = 0, int(self._rate_per_s * seconds)
        while (now := time.perf_counter()) < start + seconds + GRACE_S:
            while made < wanted and self._idle and start + made / self._rate_per_s <= now:
                self._begin(seen, start + made / self._rate_per_s)
                made += 1
            if made == wanted and not self._busy:
                break
            next_s = GRACE_S if made == wanted or not self._idle else start + made / self._rate_per_s - now
            self._wait(seen, max(0.0, min(next_s, 0.1)))
        end = time.perf_counter()
        for number in list(self._busy):
            self._finish(seen, number, end, "no response")
        for late in range(made, wanted):  # never sent, as all connections were stuck
            seen.took_ms.append(1000 * (end - start - late / self._rate_per_s))
            seen.errors["never sent"] += 1
        return seen

    def close(self) -> None:
        """Close all connections; none may be busy."""
        for caller in self._idle:
            caller.close()

    def _begin(self, seen: ClientResults, due: float) -> None:
        caller = self._idle.popleft()
        self._number += 1
        word = b"%d-%d" % (self._number, time.monotonic_ns())
        request = b"GET /echo/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (word, self._host.encode())
        try:
            caller.send_request(request, word, due, fresh=self._number % FRESH_EVERY == 0)
        except OSError as exc:
            self._failed(seen, caller, type(exc).__name__)
        else:
            self._await(caller)

    def _await(self, caller: ClientConnection) -> None:
        assert caller.sock is not None
        self._busy[caller.sock.fileno()] = caller

    def _failed(self, seen: ClientResults, caller: ClientConnection, why: str) -> None:
        """Retry a request where clients may, else record the error."""
        if caller.retry():
            seen.retried += 1
            self._await(caller)
            return
        caller.close()
        self._idle.append(caller)
        seen.took_ms.append(1000 * (time.perf_counter() - caller.due))
        seen.errors[why] += 1

    def _wait(self, seen: ClientResults, wait_s: float) -> None:
        # select rather than poll: its timeout is in microseconds.
        callers = list(self._busy.values())
        readers = [caller.sock for caller in callers if caller.sock is not None and not caller.connecting]
        writers = [caller.sock for caller in callers if caller.sock is not None and caller.connecting]
        readable, writable, _ = select.select(readers, writers, [], wait_s)
        for sock in (*writable, *readable):
            number = sock.fileno()
            caller = self._busy[number]
            try:
                if sock in writable:
                    caller.write()
                elif (response := caller.read()) is not None:
                    self._judge(seen, caller, response, number)
            except OSError as exc:
                del self._busy[number]
                self._failed(seen, caller, type(exc).__name__)

    def _judge(self, seen: ClientResults, caller: ClientConnection, response: bytes, number: int) -> None:
        now = time.perf_counter()
        head, _, body = response.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            if body != self._tenant.encode() + b" " + caller.word:
                seen.crossed += 1
            del self._busy[number]
            self._idle.append(caller)
            seen.took_ms.append(1000 * (now - caller.due))
        else:
            code = head.lower().partition(b"portway-error: ")[2].partition(b"\r\n")[0]
            self._finish(seen, number, now, f"{head[9:12].decode()} {code.decode()}")

    def _finish(self, seen: ClientResults, number: int, now: float, why: str) -> None:
        caller = self._busy.pop(number)
        caller.close()
        self._idle.append(caller)
        seen.took_ms.append(1000 * (now - caller.due))
        seen.errors[why] += 1


def log_in_for(join_text: str, seconds: float) -> ClientResults:
    """Log in as an agent twice a second, one login at a time, and close the link."""
    seen = ClientResults()
    join = parse(join_text)
    start = time.perf_counter()
    number = 0
    while time.perf_counter() < start + seconds:
        due = start + number * LOGIN_EVERY_S
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            with BlockingLink(join.host, join.port, tls=not join.plaintext, timeout_s=LOGIN_S_MAX) as link:
                link.log_in(join, identity=b"honest agent".ljust(32, b"."))
        except (OSError, LinkError) as exc:
            seen.errors[type(exc).__name__] += 1
        seen.took_ms.append(1000 * (time.perf_counter() - due))
        number = max(number + 1, int((time.perf_counter() - start) / LOGIN_EVERY_S))
    return seen


def main() -> None:
    """Warm up, wait for the start, run, send the results."""
    task = task_of_child()
    wake_on_time()
    run: Callable[[float], ClientResults]
    if task["kind"] == "login":
        run = partial(log_in_for, task["join"])
    else:
        run = Client(task["port"], task["host"], task["tenant"], task["rate_per_s"]).run
    run(task["warm_s"])
    send_line("ready")
    wait_for_start()
    send_line(run(task["seconds"]).summary())


if __name__ == "__main__":
    main()
