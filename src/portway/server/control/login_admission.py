"""Admits unauthenticated links, and reports failed logins and handshakes to the operator."""

import random

from portway.engine.listener import Address
from portway.engine.reactor import Reactor
from portway.errors import PeerError, PortwayError, RefusedError
from portway.links.sources import Sources
from portway.protocol.control import codes
from portway.server.access.login_throttle import LoginThrottle
from portway.server.control.incoming_link import UnauthenticatedPeer, format_peer
from portway.server.events import EventSink
from portway.server.reporting.login_failures import LoginFailureReporter

_PENALISED_CODES = frozenset({codes.BAD_CREDENTIALS, codes.BAD_TICKET, codes.NOT_LOGGED_IN, codes.BAD_MESSAGE})
"""Refusals that count as failures of the source, because correct agents do not cause them."""


class LoginAdmission:
    """The login throttle, with reports of failures."""

    def __init__(self, reactor: Reactor, on_event: EventSink, unauthenticated_max: int | None = None) -> None:
        """`unauthenticated_max` as for `LoginThrottle`."""
        self.sources = Sources()
        """Shared with the listener of links."""
        self._reactor = reactor
        self._throttle = LoginThrottle(self.sources, random.random, unauthenticated_max)
        self._failures = LoginFailureReporter(reactor, on_event)

    def admit(self, peer: UnauthenticatedPeer) -> None:
        """Take a login slot, which `peer.release` gives back; raises RefusedError."""
        peer.release_slot = self._throttle.admit(peer.host, peer, self._reactor.now)

    def check(self, peer: UnauthenticatedPeer, token: str = "") -> None:
        """Check that a login with `token` (without one, attaching to a session) is allowed now; raises RefusedError."""
        peer.token = token
        self._throttle.check(peer.host, token, self._reactor.now)

    def record_login(self, peer: UnauthenticatedPeer, token: str) -> None:
        """Record a successful login."""
        self._throttle.record_login(peer.host, token, self._reactor.now)

    def record_failure(self, peer: UnauthenticatedPeer, error: PortwayError) -> None:
        """Report a failed login, and delay its source if the peer is at fault."""
        if isinstance(error, RefusedError | PeerError):
            code = error.code if isinstance(error, RefusedError) else codes.BAD_MESSAGE
            self._failures.login(peer.address, code)
            if code in _PENALISED_CODES:
                self._throttle.record_failure(peer.host, self._reactor.refresh_now(), peer.token)

    def handshake_failed(self, address: Address, reason: str) -> None:
        """Record a connection whose handshake failed (LinkListener's `on_failure`): mostly scanners."""
        self._failures.handshake(format_peer(address), reason)

    def record_disconnect(self, peer: UnauthenticatedPeer, reason: str) -> None:
        """Record a link that was lost before its login."""
        self._failures.handshake(peer.address, f"closed before login: {reason}")
