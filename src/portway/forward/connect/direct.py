"""The direct way out: resolves, has each address judged, and connects to the first judged address that responds."""

import errno
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from portway.engine.channel import Channel
from portway.engine.connect import Attempt, connect
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.forward.interfaces import Cancel, ConnectRequest, OnConnected, TargetPolicy
from portway.forward.outcomes import Failure, Outcome
from portway.forward.targets import CACHED_MAX
from portway.links.happy_eyeballs import Race, alternating
from portway.links.resolver import Address, Query, Resolver

DNS_THREADS = 8
"""Queries at a time; a dead name server blocks each for 10 to 30 s, and others wait for their own deadline."""

NAMES_MAX = 10_000
"""Names in the cache, 300 bytes each."""

ADDRESSES_MAX = 16
"""Addresses of a name that are tried; more would only delay the failure."""

_OUTCOMES = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETDOWN: Outcome.UNREACHABLE,
    errno.EADDRNOTAVAIL: Outcome.UNREACHABLE,
    errno.ETIMEDOUT: Outcome.CONNECT_TIMEOUT,
    errno.EMFILE: Outcome.INTERNAL,
    errno.ENFILE: Outcome.INTERNAL,
    errno.ENOBUFS: Outcome.INTERNAL,
    errno.ENOMEM: Outcome.INTERNAL,
}

TEXTS = {
    Outcome.REFUSED: "{target} refuses connections: is the service running there, on this port?",
    Outcome.UNREACHABLE: "{target} cannot be reached from this network ({reason}).",
    Outcome.CONNECT_TIMEOUT: "{target} does not respond: it may be down, or behind a firewall.",
    Outcome.INTERNAL: "The proxy has no free connections ({reason}): try again in a moment.",
    Outcome.CONNECT_FAILED: "Cannot connect to {target}: {reason}.",
}


class DirectConnector:
    """Connects from this machine. The address that was judged is the one that is dialled."""

    def __init__(self, reactor: Reactor, policy: Callable[[], TargetPolicy], *, dns_cache_s: float, query: Query | None = None) -> None:
        """`policy` returns the policy of the moment, which a reload may replace; `query` replaces the system's resolver."""
        self._reactor = reactor
        self._policy = policy
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="resolver")
        self._resolver = Resolver(reactor, cache_s=dns_cache_s, names_max=NAMES_MAX, executor=self._threads, query=query)

    def connect(self, request: ConnectRequest, on_connected: OnConnected) -> Cancel:
        """Connect to the target of `request` by its deadline."""
        dial = _Dial(self._reactor, self._policy(), request, on_connected)
        self._resolver.resolve(request.target.host, request.target.port, partial(self._on_resolved, dial))
        return dial.cancel

    def resolve(self, request: ConnectRequest, on_resolved: Callable[[list[Address] | Failure], None]) -> None:
        """Resolve a target and return its allowed addresses, for datagrams."""
        target = request.target

        def judged(addresses: list[Address]) -> None:
            found = _allowed(self._policy(), request, addresses) if addresses else self._dns_failure(request)
            on_resolved(found)

        self._resolver.resolve(target.host, target.port, judged)

    def close(self) -> None:
        """Stop the threads; running queries are abandoned."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _on_resolved(self, dial: "_Dial", addresses: list[Address]) -> None:
        if addresses:
            dial.start(addresses)
        else:
            dial.fail(self._dns_failure(dial.request))

    def _dns_failure(self, request: ConnectRequest) -> Failure:
        host = request.target.host
        reason = self._resolver.failure(host, request.target.port) or "no address"
        return Failure(Outcome.DNS_FAILED, f"Cannot resolve {host}: {reason}. Check the spelling of the name.")


class _Dial:
    """One attempt to connect, with one deadline for everything."""

    __slots__ = ("_on_connected", "_policy", "_race", "_reactor", "_timer", "request")

    def __init__(self, reactor: Reactor, policy: TargetPolicy, request: ConnectRequest, on_connected: OnConnected) -> None:
        self.request = request
        self._reactor = reactor
        self._policy = policy
        self._on_connected: OnConnected | None = on_connected
        self._race: Race | Attempt | None = None
        self._timer: Timer | None = reactor.call_later(max(0.0, request.deadline - reactor.now), self._expire)

    def start(self, addresses: list[Address]) -> None:
        """Connect to those of `addresses` that are allowed."""
        if self._on_connected is None:
            return
        allowed = _allowed(self._policy, self.request, addresses)
        if isinstance(allowed, Failure):
            self.fail(allowed)
        elif len(allowed) == 1:
            family, address = allowed[0]
            self._race = connect(self._reactor, family, address, None, self._on_result)
        else:
            self._race = Race(self._reactor, alternating(allowed), None, self._on_race)

    def fail(self, failure: Failure) -> None:
        """Report a failure."""
        on_connected = self._take()
        if on_connected is not None:
            on_connected(failure)

    def cancel(self) -> None:
        """Stop without calling back."""
        self._take()

    def abort(self) -> None:
        """Stop; called by the reactor after a failed callback."""
        self._take()

    def _on_race(self, outcome: socket.socket | list[OSError]) -> None:
        self._on_result(max(outcome, key=_usefulness) if isinstance(outcome, list) else outcome)

    def _on_result(self, outcome: socket.socket | OSError) -> None:
        self._race = None
        on_connected = self._take()
        if isinstance(outcome, OSError):
            if on_connected is not None:
                on_connected(_failure_of(outcome, self.request))
        elif on_connected is None:
            self._reactor.discard(outcome)
        else:
            channel: Channel = SocketChannel(self._reactor, outcome)
            on_connected(channel)

    def _expire(self) -> None:
        self.fail(Failure(Outcome.CONNECT_TIMEOUT, TEXTS[Outcome.CONNECT_TIMEOUT].format(target=self.request.target)))

    def _take(self) -> OnConnected | None:
        on_connected, self._on_connected = self._on_connected, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        race, self._race = self._race, None
        if isinstance(race, Race):
            race.stop()
        elif race is not None:
            race.cancel()
        return on_connected


def _allowed(policy: TargetPolicy, request: ConnectRequest, addresses: list[Address]) -> list[Address] | Failure:
    """Return the addresses that the policy allows, or why it allows none."""
    allowed: list[Address] = []
    refusal: Failure | None = None
    for family, address in addresses[:ADDRESSES_MAX]:
        failure = policy.judge_address(request.user, request.target, _without_zone(address[0]))
        if failure is None:
            allowed.append((family, address))
        else:
            refusal = refusal or failure
    return allowed or refusal or Failure(Outcome.DNS_FAILED, f"{request.target.host} has no address.")


@lru_cache(CACHED_MAX)
def _without_zone(host: str) -> IPv4Address | IPv6Address:
    return ip_address(host.partition("%")[0])


def _failure_of(error: OSError, request: ConnectRequest) -> Failure:
    outcome = _OUTCOMES.get(error.errno or 0, Outcome.CONNECT_FAILED)
    reason = (error.strerror or str(error)).lower()
    return Failure(outcome, TEXTS[outcome].format(target=request.target, reason=reason))


def _usefulness(error: OSError) -> int:
    """Return how much an error says about the target: a refusal more than a missing route."""
    order = (Outcome.CONNECT_FAILED, Outcome.UNREACHABLE, Outcome.INTERNAL, Outcome.CONNECT_TIMEOUT, Outcome.REFUSED)
    return order.index(_OUTCOMES.get(error.errno or 0, Outcome.CONNECT_FAILED))
