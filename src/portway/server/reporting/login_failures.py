"""Reports failed logins and handshakes to the operator, aggregated so that an attacker cannot flood the output."""

from portway.edge.aggregation import EventAggregator
from portway.engine.reactor import Reactor
from portway.server.events import EventSink, HandshakesFailed, LoginRefused

HANDSHAKES_EVERY_S = 60.0
"""A public address is scanned all day: at most one line per minute reports it."""

LOGINS_MAX = 20
LOGINS_EVERY_S = 10.0
"""Up to LOGINS_MAX refused logins per LOGINS_EVERY_S are reported individually: a team with an old token. More are guesses."""


class LoginFailureReporter:
    """Emits events for links that failed before they belonged to a session."""

    def __init__(self, reactor: Reactor, emit: EventSink) -> None:
        """`emit` is called immediately for the first ones, later with counts."""
        self._handshakes = EventAggregator[tuple[str, str]](
            reactor, lambda last, count: emit(HandshakesFailed(count, *last)), every_s=HANDSHAKES_EVERY_S
        )
        self._logins = EventAggregator[tuple[str, str]](
            reactor, lambda last, count: emit(LoginRefused(*last, count)), singles_max=LOGINS_MAX, every_s=LOGINS_EVERY_S
        )

    def handshake(self, peer: str, reason: str) -> None:
        """Record a connection that ended before a login."""
        self._handshakes.record((peer, reason))

    def login(self, peer: str, code: str) -> None:
        """Record a refused login."""
        self._logins.record((peer, code))
