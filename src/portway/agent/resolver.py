"""Names of origins to addresses: numbers at once, `localhost` both ways, other names cached, nobody waits twice."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

from portway.engine.reactor import Reactor

FRESH_S = 30.0
"""How long an answer is used; containers that start again get new addresses in about that time."""

FAILED_S = 1.0
"""How long a failure is: long enough that a burst of visitors asks once."""

NAMES_MAX = 256
"""Names kept; an agent has as many as it has tunnels."""

Address = tuple[int, tuple[str, int]]
"""Family, and numeric host and port."""

Found = Callable[[list[Address]], None]
"""Gets the addresses in the order to try them; none when the name cannot be resolved."""


@dataclass(slots=True)
class _Name:
    """What is known of one name."""

    addresses: list[Address] = field(default_factory=list)
    until: float = 0.0
    waiting: list[Found] | None = None
    """Who waits for the answer; None while nothing is asked."""


class Resolver:
    """Resolves in the background, through the system's resolver, one question a name at a time."""

    def __init__(self, reactor: Reactor) -> None:
        """Use the running loop's threads, because the system's resolver blocks."""
        self._reactor = reactor
        self._loop = asyncio.get_running_loop()
        self._names: dict[tuple[str, int], _Name] = {}

    def resolve(self, host: str, port: int, on_found: Found) -> None:
        """Call `on_found` with the addresses of `host`: at once when they are known, otherwise from the reactor."""
        known = _without_asking(host, port)
        if known is not None:
            on_found(known)
            return
        name = self._names.get((host, port))
        if name is None:
            if len(self._names) >= NAMES_MAX:
                del self._names[next(iter(self._names))]
            name = self._names[host, port] = _Name()
        if name.waiting is not None:
            name.waiting.append(on_found)
        elif self._reactor.now < name.until:
            on_found(name.addresses)
        else:
            name.waiting = [on_found]
            self._ask(host, port, name)

    def forget(self, host: str, port: int) -> None:
        """Ask again next time, because no address of it answered."""
        name = self._names.get((host, port))
        if name is not None:
            name.until = 0.0

    def _ask(self, host: str, port: int, name: _Name) -> None:
        question = self._loop.run_in_executor(None, _look_up, host, port)
        question.add_done_callback(lambda reply: self._reactor.call_soon(partial(self._answered, name, reply)))

    def _answered(self, name: _Name, reply: "asyncio.Future[list[Address]]") -> None:
        failed = reply.cancelled() or reply.exception() is not None
        name.addresses = [] if failed else reply.result()
        name.until = self._reactor.now + (FAILED_S if failed else FRESH_S)
        waiting, name.waiting = name.waiting or [], None
        for on_found in waiting:
            on_found(name.addresses)


def _look_up(host: str, port: int) -> list[Address]:
    """Ask the system's resolver, which blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


@lru_cache(maxsize=NAMES_MAX)
def _without_asking(host: str, port: int) -> list[Address] | None:
    """Return the addresses of a numeric host, or of `localhost`, which is this machine whatever a resolver says.

    Cached, because every visitor comes by here.
    """
    if host.lower() == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (host, port))]
