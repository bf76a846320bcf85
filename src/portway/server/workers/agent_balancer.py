"""Accepts agent connections and assigns them without reading: to the worker named by the hint, otherwise to the least loaded."""

import random
import socket
from collections import deque
from collections.abc import Callable, Iterable

from portway.edge.admission import UNAUTHENTICATED_PART, descriptor_limit
from portway.engine.listener import Address, Listener
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError
from portway.links.fair_slots import FairSlots
from portway.links.sources import Sources
from portway.links.worker_hint import FIRST_BYTES_MAX, hint_complete, worker_from
from portway.protocol.source_key import source_key

PEEK_S_MAX = 1.0
"""How long to wait for a connection's first bytes. Without them it is assigned by load; the worker's own deadlines apply."""

PEEKS_MAX = 512
"""Connections that wait for their first bytes. Beyond, one is assigned by load at once, of the source with the most of them: a
further link without its hint reaches the wrong worker and is refused. Each costs a descriptor and 0.5 kB. Fewer at a low limit of
descriptors (`admission.UNAUTHENTICATED_PART`)."""

RECENT_S = 1.0
"""A login takes milliseconds; until it is complete, the assignment counts as a session."""

SendAgent = Callable[[int, socket.socket, Address], bool]
"""Sends a connection to a worker; False if the worker is gone, and the socket stays the caller's."""


class AgentBalancer:
    """The agents' listener of a server with workers."""

    def __init__(self, reactor: Reactor, sock: socket.socket, sessions: Callable[[], dict[int, int]], send_to: SendAgent) -> None:
        """Accept on `sock`; `sessions` returns the number of sessions of each worker that accepts some."""
        self.reactor = reactor
        self._sessions = sessions
        self._send_to = send_to
        self._peeks: set[_HintPeek] = set()
        peeks_max = min(PEEKS_MAX, descriptor_limit() // UNAUTHENTICATED_PART)
        self._peek_slots: FairSlots[_HintPeek] = FairSlots(peeks_max, Sources(), random.random)
        self._recent: deque[tuple[float, int]] = deque()
        self._listener = Listener(reactor, sock, self._accept)

    @property
    def address(self) -> Address:
        """The listening address."""
        return self._listener.address

    def close(self) -> None:
        """Stop listening, and close unassigned connections."""
        self._listener.close()
        for peek in list(self._peeks):
            peek.close()

    def _accept(self, sock: socket.socket, address: Address) -> None:
        peek = _HintPeek(self, sock, address)
        try:
            evicted = self._peek_slots.acquire(peek.source, peek, self.reactor.now)
        except UnavailableError:
            self.assign(sock, address, 0)
            return
        self._peeks.add(peek)
        peek.start()
        if evicted is not None:
            evicted.skip()

    def on_hint(self, peek: "_HintPeek", worker: int) -> None:
        """Assign a connection; `worker` is its hint, or 0."""
        self.forget(peek)
        self.assign(peek.sock, peek.address, worker)

    def forget(self, peek: "_HintPeek") -> None:
        """Forget a connection that no longer waits."""
        self._peeks.discard(peek)
        self._peek_slots.release(peek.source, peek)

    def assign(self, sock: socket.socket, address: Address, worker: int) -> None:
        """Send a connection to `worker` if it exists, otherwise to the least loaded; close it if there is none."""
        for number in self._best(worker):
            if self._send_to(number, sock, address):
                self._recent.append((self.reactor.now, number))
                return
        self.reactor.discard(sock)

    def _best(self, hint: int) -> Iterable[int]:
        """Return the workers in order of preference."""
        load = self._sessions()
        while self._recent and self._recent[0][0] < self.reactor.now - RECENT_S:
            self._recent.popleft()
        for _, number in self._recent:
            if number in load:
                load[number] += 1
        return sorted(load, key=lambda number: (number != hint, load[number], number))


class _HintPeek:
    """One connection that waits for its first bytes, which stay in the kernel."""

    def __init__(self, balancer: AgentBalancer, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address
        self.source = source_key(address[0])
        self._balancer = balancer
        self._closed = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Peek now, and wait if that is not enough."""
        reactor = self._balancer.reactor
        self._timer = reactor.call_later(PEEK_S_MAX, self.skip)
        reactor.watch(self.sock.fileno(), self._on_events)

    def close(self) -> None:
        """Close the connection."""
        if self._detach():
            self._balancer.forget(self)
            self._balancer.reactor.discard(self.sock)

    abort = close

    def _on_events(self, _mask: int) -> None:
        try:
            first = self.sock.recv(FIRST_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            if self._balancer.reactor.level_poller is not None:
                self._balancer.reactor.level_poller.want_read(self.sock.fileno())
            return
        except OSError:
            self.close()
            return
        if not first or hint_complete(first):
            self._finish(worker_from(first))
        elif self._balancer.reactor.level_poller is not None:
            self._balancer.reactor.level_poller.want_read(self.sock.fileno())

    def skip(self) -> None:
        """Assign the connection by load."""
        self._finish(0)

    def _finish(self, worker: int) -> None:
        if self._detach():
            self._balancer.on_hint(self, worker)

    def _detach(self) -> bool:
        """Remove the socket from the reactor, before another process uses it; return False the second time."""
        if self._closed:
            return False
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._balancer.reactor.unwatch(self.sock.fileno())
        return True
