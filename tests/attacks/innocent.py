"""An innocent client in a process of its own: small requests at a fixed rate, each answer checked against what was asked.

Latencies count from when a request was due, so that one that had to wait for a free connection counts as late (no
coordinated omission). Every tenth request comes on a new connection. What is never answered counts with the time that it
was waited for.
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
from tests.attacks.child import await_go, say, task_of_child
from tests.kit.blocking_link import BlockingLink, LinkError

CONNECTIONS = 24
GRACE_S = 5.0
"""For answers that are still on their way when the last request was due."""
FRESH_EVERY = 10
LOGIN_EVERY_S = 0.5
LOGIN_S_MAX = 12.0


@dataclass
class Experience:
    """What a client saw."""

    took_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    crossed: int = 0
    """Answers that belong to somebody else."""
    again: int = 0
    """Requests that went out once more, because their kept connection had been closed while it was idle (RFC 9112 §9.3.1)."""

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
            "again": self.again,
        }


class Caller:
    """One connection, and the request on it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sock: socket.socket | None = None
        self.due = 0.0
        self.word = b""
        self._request = b""
        self._asked = b""
        self._kept = False
        self._held = b""

    def call(self, request: bytes, word: bytes, due: float, *, fresh: bool) -> None:
        """Send a request, on a new connection if it has to be."""
        self.due, self.word, self._request, self._asked = due, word, request, request
        self._kept = not fresh and self.sock is not None
        if fresh or self.sock is None:
            self.close()
            self.sock = socket.socket()
            self.sock.setblocking(False)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.connect_ex(("127.0.0.1", self._port))
        else:
            self.write()

    def write(self) -> None:
        """Send the request once the connection stands."""
        assert self.sock is not None
        if self._request:
            self.sock.send(self._request)
            self._request = b""

    @property
    def connecting(self) -> bool:
        """True until the request is out."""
        return bool(self._request)

    def read(self) -> bytes | None:
        """Return the whole answer, or None while it is not there."""
        assert self.sock is not None
        piece = self.sock.recv(65536)
        if not piece:
            raise ConnectionError("closed without an answer")
        self._held += piece
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        answer, self._held = self._held, b""
        return answer

    def call_again(self) -> bool:
        """Send the request on a new connection if the kept one was closed before it brought a byte; return whether it was."""
        if not self._kept or self._held:
            return False
        self.call(self._asked, self.word, self.due, fresh=True)
        return True

    def close(self) -> None:
        """Forget the connection."""
        if self.sock is not None:
            self.sock.close()
        self.sock, self._held = None, b""


class Client:
    """All connections of an innocent client."""

    def __init__(self, port: int, host: str, tenant: str, rate_per_s: float) -> None:
        self._host, self._tenant, self._rate_per_s = host, tenant, rate_per_s
        self._idle = deque(Caller(port) for _ in range(CONNECTIONS))
        self._busy: dict[int, Caller] = {}
        self._number = 0

    def run(self, seconds: float) -> Experience:
        """Make requests for so long."""
        seen = Experience()
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
            self._over(seen, number, end, "no answer")
        for late in range(made, wanted):  # never sent, as all connections were stuck
            seen.took_ms.append(1000 * (end - start - late / self._rate_per_s))
            seen.errors["never sent"] += 1
        return seen

    def close(self) -> None:
        """Close all connections; none may be busy."""
        for caller in self._idle:
            caller.close()

    def _begin(self, seen: Experience, due: float) -> None:
        caller = self._idle.popleft()
        self._number += 1
        word = b"%d-%d" % (self._number, time.monotonic_ns())
        request = b"GET /echo/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (word, self._host.encode())
        try:
            caller.call(request, word, due, fresh=self._number % FRESH_EVERY == 0)
        except OSError as exc:
            self._failed(seen, caller, type(exc).__name__)
        else:
            self._await(caller)

    def _await(self, caller: Caller) -> None:
        assert caller.sock is not None
        self._busy[caller.sock.fileno()] = caller

    def _failed(self, seen: Experience, caller: Caller, why: str) -> None:
        """Try a request once more where any client would, else count it as lost."""
        if caller.call_again():
            seen.again += 1
            self._await(caller)
            return
        caller.close()
        self._idle.append(caller)
        seen.took_ms.append(1000 * (time.perf_counter() - caller.due))
        seen.errors[why] += 1

    def _wait(self, seen: Experience, wait_s: float) -> None:
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
                elif (answer := caller.read()) is not None:
                    self._judge(seen, caller, answer, number)
            except OSError as exc:
                del self._busy[number]
                self._failed(seen, caller, type(exc).__name__)

    def _judge(self, seen: Experience, caller: Caller, answer: bytes, number: int) -> None:
        now = time.perf_counter()
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            if body != self._tenant.encode() + b" " + caller.word:
                seen.crossed += 1
            del self._busy[number]
            self._idle.append(caller)
            seen.took_ms.append(1000 * (now - caller.due))
        else:
            code = head.lower().partition(b"portway-error: ")[2].partition(b"\r\n")[0]
            self._over(seen, number, now, f"{head[9:12].decode()} {code.decode()}")

    def _over(self, seen: Experience, number: int, now: float, why: str) -> None:
        caller = self._busy.pop(number)
        caller.close()
        self._idle.append(caller)
        seen.took_ms.append(1000 * (now - caller.due))
        seen.errors[why] += 1


def log_in_for(join_text: str, seconds: float) -> Experience:
    """Log in as an agent twice a second, one at a time, and leave."""
    seen = Experience()
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
    """Get ready, run as often as the parent wants."""
    task = task_of_child()
    wake_on_time()
    run: Callable[[float], Experience]
    if task["kind"] == "login":
        run = partial(log_in_for, task["join"])
    else:
        run = Client(task["port"], task["host"], task["tenant"], task["rate_per_s"]).run
    run(task["warm_s"])
    say("ready")
    await_go()
    say(run(task["seconds"]).summary())


if __name__ == "__main__":
    main()
