"""Resolves names of origins: numeric addresses at once, `localhost` to both loopbacks, other names with a cache."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

from portway.engine.reactor import Reactor

CACHE_S = 30.0
"""How long addresses are used; restarted containers get new ones in about that time."""

FAILURE_CACHE_S = 1.0
"""How long a failure is used: long enough that a burst of visitors causes one query."""

NAMES_MAX = 256
"""Names in the cache; an agent has as many as tunnels."""

Address = tuple[int, tuple[str, int]]
"""Family, and numeric host and port."""

OnResolved = Callable[[list[Address]], None]
"""Gets the addresses in the order to try them; empty when the name cannot be resolved."""


@dataclass(slots=True)
class _Name:
    """Cache entry of one name."""

    addresses: list[Address] = field(default_factory=list)
    valid_until: float = 0.0
    waiters: list[OnResolved] | None = None
    """Callbacks of a running query; None while there is none."""


class Resolver:
    """Resolves in the background with the system's resolver, one query per name at a time."""

    def __init__(self, reactor: Reactor) -> None:
        """Use the running loop's threads, because the system's resolver blocks."""
        self._reactor = reactor
        self._loop = asyncio.get_running_loop()
        self._names: dict[tuple[str, int], _Name] = {}

    def resolve(self, host: str, port: int, on_resolved: OnResolved) -> None:
        """Call `on_resolved` with the addresses of `host`: at once if they are known, otherwise from the reactor."""
        known = _resolve_locally(host, port)
        if known is not None:
            on_resolved(known)
            return
        name = self._names.get((host, port))
        if name is None:
            if len(self._names) >= NAMES_MAX:
                del self._names[next(iter(self._names))]
            name = self._names[host, port] = _Name()
        if name.waiters is not None:
            name.waiters.append(on_resolved)
        elif self._reactor.now < name.valid_until:
            on_resolved(name.addresses)
        else:
            name.waiters = [on_resolved]
            self._query(host, port, name)

    def invalidate(self, host: str, port: int) -> None:
        """Query again next time, because no address accepted a connection."""
        name = self._names.get((host, port))
        if name is not None:
            name.valid_until = 0.0

    def _query(self, host: str, port: int, name: _Name) -> None:
        query = self._loop.run_in_executor(None, _query_system, host, port)
        query.add_done_callback(lambda future: self._reactor.call_soon(partial(self._on_result, name, future)))

    def _on_result(self, name: _Name, future: "asyncio.Future[list[Address]]") -> None:
        failed = future.cancelled() or future.exception() is not None
        name.addresses = [] if failed else future.result()
        name.valid_until = self._reactor.now + (FAILURE_CACHE_S if failed else CACHE_S)
        waiters, name.waiters = name.waiters or [], None
        for on_resolved in waiters:
            on_resolved(name.addresses)


def _query_system(host: str, port: int) -> list[Address]:
    """Query the system's resolver, which blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


@lru_cache(maxsize=NAMES_MAX)
def _resolve_locally(host: str, port: int) -> list[Address] | None:
    """Return the addresses of a numeric host, or of `localhost`, which is always this machine; None for other names.

    Cached, because every visitor needs it.
    """
    if host.lower() == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (host, port))]
