"""Takes agents' connections in and deals them out, unread: a further link to its session's worker, else to who has the least."""

import random
import socket
from collections import deque
from collections.abc import Callable, Iterable

from portway.engine.listener import Address, Listener
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError
from portway.links.fair_slots import FairSlots
from portway.links.sources import Sources
from portway.links.worker_hint import FIRST_BYTES_MAX, hint_complete, worker_from
from portway.protocol.source_key import source_key
from portway.server.edge.admission import NEWCOMERS_PART, descriptor_limit

FIRST_BYTES_S_MAX = 1.0
"""How long a connection's first bytes are waited for. Without them it goes to a worker by load, whose own deadlines hold."""

PEEKS_MAX = 512
"""Connections whose first bytes are waited for. Beyond, one goes on by load at once, of the source that has most of them here: a
further link that nobody looked at comes to the wrong worker and is refused. Each costs a descriptor and 0.5 kB. At a low limit of
descriptors fewer (`places.NEWCOMERS_PART`)."""

RECENT_S = 1.0
"""A login takes milliseconds, and until it is through only the deal itself counts."""

Deal = Callable[[int, socket.socket, Address], bool]
"""Gives a worker a connection; False, and it stays here, when the worker is gone."""


class AgentBalancer:
    """The agents' listener of a server with workers."""

    def __init__(self, reactor: Reactor, sock: socket.socket, sessions: Callable[[], dict[int, int]], assign: Deal) -> None:
        """Accept on `sock`; `sessions` returns how many each worker has that takes some."""
        self.reactor = reactor
        self._sessions = sessions
        self._deal = assign
        self._looks: set[_HintPeek] = set()
        looks_max = min(PEEKS_MAX, descriptor_limit() // NEWCOMERS_PART)
        self._slots: FairSlots[_HintPeek] = FairSlots(looks_max, Sources(), random.random)
        self._lately: deque[tuple[float, int]] = deque()
        self._listener = Listener(reactor, sock, self._accept)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._listener.address

    def close(self) -> None:
        """Stop listening, and let go of whom nobody has yet."""
        self._listener.close()
        for look in list(self._looks):
            look.close()

    def _accept(self, sock: socket.socket, address: Address) -> None:
        look = _HintPeek(self, sock, address)
        try:
            loser = self._slots.acquire(look.source, look, self.reactor.now)
        except UnavailableError:
            self.assign(sock, address, 0)
            return
        self._looks.add(look)
        look.start()
        if loser is not None:
            loser.give_up()

    def seen(self, look: "_HintPeek", worker: int) -> None:
        """Deal a connection out that was looked at; `worker` is its hint, or 0."""
        self.left(look)
        self.assign(look.sock, look.address, worker)

    def left(self, look: "_HintPeek") -> None:
        """Forget a connection that is not looked at any more."""
        self._looks.discard(look)
        self._slots.release(look.source, look)

    def assign(self, sock: socket.socket, address: Address, worker: int) -> None:
        """Give a connection to `worker`, if there is such, else to whoever has the least; without anybody close it."""
        for number in self._best(worker):
            if self._deal(number, sock, address):
                self._lately.append((self.reactor.now, number))
                return
        self.reactor.discard(sock)

    def _best(self, hint: int) -> Iterable[int]:
        """Return the workers in the order in which they are to be asked."""
        load = self._sessions()
        while self._lately and self._lately[0][0] < self.reactor.now - RECENT_S:
            self._lately.popleft()
        for _, number in self._lately:
            if number in load:
                load[number] += 1
        return sorted(load, key=lambda number: (number != hint, load[number], number))


class _HintPeek:
    """One connection whose first bytes are waited for. They stay in the kernel."""

    def __init__(self, dealer: AgentBalancer, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address
        self.source = source_key(address[0])
        self._dealer = dealer
        self._over = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look at once, and wait if that is not enough."""
        reactor = self._dealer.reactor
        self._timer = reactor.call_later(FIRST_BYTES_S_MAX, self.give_up)
        reactor.watch(self.sock.fileno(), self._on_events)

    def close(self) -> None:
        """Close the connection."""
        if self._leave():
            self._dealer.left(self)
            self._dealer.reactor.discard(self.sock)

    abort = close

    def _on_events(self, _mask: int) -> None:
        try:
            first = self.sock.recv(FIRST_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            if self._dealer.reactor.level_poller is not None:
                self._dealer.reactor.level_poller.want_read(self.sock.fileno())
            return
        except OSError:
            self.close()
            return
        if not first or hint_complete(first):
            self._go(worker_from(first))
        elif self._dealer.reactor.level_poller is not None:
            self._dealer.reactor.level_poller.want_read(self.sock.fileno())

    def give_up(self) -> None:
        """Let the connection go on by load."""
        self._go(0)

    def _go(self, worker: int) -> None:
        if self._leave():
            self._dealer.seen(self, worker)

    def _leave(self) -> bool:
        """Let go of the socket, which the reactor must not know any more when others have it; False the second time."""
        if self._over:
            return False
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._dealer.reactor.unwatch(self.sock.fileno())
        return True
