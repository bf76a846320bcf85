"""Chooses the way out of each target: directly, or through another proxy."""

import ssl
from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.forward.connect.direct import DirectConnector
from portway.forward.connect.upstream import UpstreamConnector
from portway.forward.connect.via import Route
from portway.forward.interfaces import Cancel, Connector, ConnectRequest, OnConnected, TargetPolicy
from portway.forward.outcomes import Failure, Outcome
from portway.forward.policy.addresses import read_address
from portway.forward.policy.pattern_set import PatternSet
from portway.links.proxy_handshake import system_context
from portway.links.resolver import Address, Resolver


class RoutedConnector:
    """Connects through the first route that matches a target, and directly if none does. Patterns match what a client asked for."""

    def __init__(self, reactor: Reactor, direct: DirectConnector, policy: Callable[[], TargetPolicy], routes: tuple[Route, ...]) -> None:
        """Prepare connectors; TLS to HTTPS proxies uses the system's authorities."""
        self._direct = direct
        resolver = Resolver(reactor)
        self._routes: list[tuple[PatternSet, Connector]] = []
        for route in routes:
            way: Connector = direct
            if route.proxy is not None:
                context: ssl.SSLContext | None = system_context() if route.proxy.scheme == "https" else None
                way = UpstreamConnector(reactor, route.proxy, policy, resolver, context)
            self._routes.append((PatternSet((route.pattern,)), way))

    def connect(self, request: ConnectRequest, on_connected: OnConnected) -> Cancel:
        """Connect to the target of `request` by its deadline."""
        return self._way(request).connect(request, on_connected)

    def resolve(self, request: ConnectRequest, on_resolved: Callable[[list[Address] | Failure], None]) -> None:
        """Resolve a target of datagrams, which leave directly only: another proxy would have to relay them."""
        if self._way(request) is self._direct:
            self._direct.resolve(request, on_resolved)
        else:
            on_resolved(
                Failure(Outcome.FORBIDDEN, f"{request.target} is reached through another proxy, which this one sends no datagrams to.")
            )

    def _way(self, request: ConnectRequest) -> Connector:
        host, port = request.target.host, request.target.port
        return next((way for patterns, way in self._routes if _matches(patterns, host, port)), self._direct)


def _matches(patterns: PatternSet, host: str, port: int) -> bool:
    if patterns.match_target(host, port) is not None:
        return True
    if not patterns.has_networks:
        return False
    address = read_address(host)
    return address is not None and patterns.match_address(address, port) is not None
