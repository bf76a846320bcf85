"""A way out through another proxy: HTTP CONNECT, HTTPS or SOCKS5. That proxy resolves the target."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.forward.interfaces import Cancel, ConnectRequest, OnConnected, TargetPolicy
from portway.forward.outcomes import Failure, Outcome
from portway.links.happy_eyeballs import Race, alternating
from portway.links.proxy_handshake import ProxyHandshake
from portway.links.resolver import Address, Resolver
from portway.protocol.proxy_client import Refusal
from portway.protocol.proxy_status import ProxyStatus
from portway.protocol.proxy_url import ProxyUrl

_OUTCOMES = {
    "http_request_denied": Outcome.FORBIDDEN,
    "dns_error": Outcome.DNS_FAILED,
    "dns_timeout": Outcome.DNS_FAILED,
    "connection_refused": Outcome.REFUSED,
    "destination_ip_unroutable": Outcome.UNREACHABLE,
    "connection_timeout": Outcome.CONNECT_TIMEOUT,
    "proxy_loop_detected": Outcome.LOOP,
}
"""By error token of Proxy-Status; anything else is a failure to connect."""


class UpstreamConnector:
    """Connects through one proxy. Its own address is the operator's, and is not judged."""

    def __init__(
        self, reactor: Reactor, proxy: ProxyUrl, policy: Callable[[], TargetPolicy], resolver: Resolver, context: ssl.SSLContext | None
    ) -> None:
        """`policy` judges targets finally, because no address of theirs is known here; `context` is for an HTTPS proxy."""
        self._reactor = reactor
        self._proxy = proxy
        self._policy = policy
        self._resolver = resolver
        self._context = context

    def connect(self, request: ConnectRequest, on_connected: OnConnected) -> Cancel:
        """Connect to the target of `request` by its deadline."""
        policy, target = self._policy(), request.target
        failure = policy.judge_remote_target(request.user, target)
        address = numeric_address(target.host)
        if failure is None and address is not None:
            failure = policy.judge_address(request.user, target, address)
        if failure is not None:
            on_connected(failure)
            return _nothing
        attempt = _Attempt(self._reactor, self._proxy, request, on_connected, self._context)
        self._resolver.resolve(self._proxy.host, self._proxy.port, attempt.start)
        return attempt.cancel


def numeric_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host certainly means wherever it is resolved, in any spelling (`0x7f.1`, `localhost`); None for other names."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _nothing() -> None:
    """Do nothing: there is nothing to cancel."""


class _Attempt:
    """One connection through the proxy, with one deadline for everything."""

    __slots__ = ("_context", "_handshake", "_on_connected", "_proxy", "_race", "_reactor", "_request", "_timer")

    def __init__(
        self, reactor: Reactor, proxy: ProxyUrl, request: ConnectRequest, on_connected: OnConnected, context: ssl.SSLContext | None
    ) -> None:
        self._reactor = reactor
        self._proxy = proxy
        self._request = request
        self._on_connected: OnConnected | None = on_connected
        self._context = context
        self._race: Race | None = None
        self._handshake: ProxyHandshake | None = None
        self._timer: Timer | None = reactor.call_later(max(0.0, request.deadline - reactor.now), self._expire)

    def start(self, addresses: list[Address]) -> None:
        """Connect to the proxy at one of `addresses`."""
        if self._on_connected is None:
            return
        if not addresses:
            self._finish(self._unreachable("its name cannot be resolved"))
            return
        self._race = Race(self._reactor, alternating(addresses), None, self._on_race)

    def cancel(self) -> None:
        """Stop without calling back."""
        self._take()

    def abort(self) -> None:
        """Stop; called by the reactor after a failed callback."""
        self._take()

    def _on_race(self, outcome: socket.socket | list[OSError]) -> None:
        self._race = None
        if isinstance(outcome, list):
            error = outcome[0]
            self._finish(self._unreachable((error.strerror or str(error)).lower()))
        elif self._on_connected is None:
            self._reactor.discard(outcome)
        else:
            target = self._request.target
            self._handshake = ProxyHandshake(
                self._reactor, outcome, self._proxy, target.host, target.port, self._on_handshake, context=self._context
            )

    def _on_handshake(self, outcome: Channel | Refusal) -> None:
        self._handshake = None
        self._finish(self._failure_of(outcome) if isinstance(outcome, Refusal) else outcome)

    def _failure_of(self, refusal: Refusal) -> Failure:
        """Return the failure for a refusal, with the proxies behind this one that reported themselves."""
        name = f"{self._proxy.host}:{self._proxy.port}"
        hops = (
            (*refusal.hops[:-1], replace(refusal.hops[-1], name=name))
            if refusal.hops
            else (ProxyStatus(name, _token(refusal), refusal.text),)
        )
        failed = next((hop for hop in hops if hop.error), None)
        where = f" ({failed.name}: {failed.details or failed.error})" if failed is not None and refusal.hops else ""
        text = f"The proxy {self._proxy} did not connect to {self._request.target}: {refusal.text}{where}"
        if refusal.error == "authentication":
            text += "; the operator of this proxy must correct its credentials"
        return Failure(_OUTCOMES.get(refusal.error, Outcome.CONNECT_FAILED), f"{text}.", hops)

    def _unreachable(self, reason: str) -> Failure:
        return Failure(Outcome.CONNECT_FAILED, f"Cannot connect to the proxy {self._proxy}, the way to {self._request.target}: {reason}.")

    def _expire(self) -> None:
        text = f"The proxy {self._proxy} did not connect to {self._request.target} in time: one of the two may be down."
        self._finish(Failure(Outcome.CONNECT_TIMEOUT, text))

    def _finish(self, result: Channel | Failure) -> None:
        on_connected = self._take()
        if on_connected is not None:
            on_connected(result)
        elif not isinstance(result, Failure):
            result.abort()

    def _take(self) -> OnConnected | None:
        on_connected, self._on_connected = self._on_connected, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        race, self._race = self._race, None
        if race is not None:
            race.stop()
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.cancel()
        return on_connected


def _token(refusal: Refusal) -> str:
    """Return the error token of a proxy that sent none."""
    return "http_request_denied" if refusal.error == "authentication" else refusal.error
