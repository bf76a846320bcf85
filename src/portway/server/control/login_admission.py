"""Strangers at the agents' address: who may try to log in, and what the operator is told of those who may not."""

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
"""Refusals that a source has to answer for, because whoever has a right to be here does not cause them."""


class LoginAdmission:
    """The gate, and what is told of it."""

    def __init__(self, reactor: Reactor, on_event: EventSink, strangers_max: int | None = None) -> None:
        """Start with nobody; `strangers_max` as for `LoginThrottle`."""
        self.sources = Sources()
        """Shared with the listener of links."""
        self._reactor = reactor
        self._gate = LoginThrottle(self.sources, random.random, strangers_max)
        self._failures = LoginFailureReporter(reactor, on_event)

    def enter(self, stranger: UnauthenticatedPeer) -> None:
        """Take a place for a stranger until it departs; raises RefusedError."""
        stranger.leave = self._gate.enter(stranger.host, stranger, self._reactor.now)

    def check(self, stranger: UnauthenticatedPeer, token: str = "") -> None:
        """Make sure that the stranger may try to log in with `token` (or, without one, join a session); raises RefusedError."""
        stranger.token = token
        self._gate.check(stranger.host, token, self._reactor.now)

    def logged_in(self, stranger: UnauthenticatedPeer, token: str) -> None:
        """Note that a stranger has proved to be none."""
        self._gate.logged_in(stranger.host, token, self._reactor.now)

    def failed(self, stranger: UnauthenticatedPeer, error: PortwayError) -> None:
        """Tell of a login that failed, and let its source wait if it has to answer for that."""
        if isinstance(error, RefusedError | PeerError):
            code = error.code if isinstance(error, RefusedError) else codes.BAD_MESSAGE
            self._failures.login(stranger.peer, code)
            if code in _PENALISED_CODES:
                self._gate.failed(stranger.host, self._reactor.refresh_now(), stranger.token)

    def handshake_failed(self, address: Address, why: str) -> None:
        """Note a link that never came to be (LinkListener's `on_failure`): scanners, mostly."""
        self._failures.handshake(format_peer(address), why)

    def left(self, stranger: UnauthenticatedPeer, reason: str) -> None:
        """Note a stranger who left without a word."""
        self._failures.handshake(stranger.peer, f"it left without a login: {reason}")
