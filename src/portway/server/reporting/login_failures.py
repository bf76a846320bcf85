"""Tells the operator of logins and handshakes that fail; whoever makes them fail cannot flood him."""

from portway.engine.reactor import Reactor
from portway.server.events import EventSink, HandshakesFailed, LoginRefused
from portway.server.reporting.aggregation import EventAggregator

HANDSHAKES_EVERY_S = 60.0
"""An address on the internet is scanned all day: one line a minute says so."""

LOGINS_MAX = 20
LOGINS_EVERY_S = 10.0
"""So many refused logins are told one by one in so many seconds: a team with an old token. More are somebody's guesses."""


class LoginFailureReporter:
    """What agents' links came to that never became one of a session."""

    def __init__(self, reactor: Reactor, tell: EventSink) -> None:
        """`tell` hears of the first ones at once, and of the others as sums."""
        self._handshakes = EventAggregator[tuple[str, str]](
            reactor, lambda last, count: tell(HandshakesFailed(count, *last)), every_s=HANDSHAKES_EVERY_S
        )
        self._logins = EventAggregator[tuple[str, str]](
            reactor, lambda last, count: tell(LoginRefused(*last, count)), singles_max=LOGINS_MAX, every_s=LOGINS_EVERY_S
        )

    def handshake(self, peer: str, why: str) -> None:
        """Note a connection that was no agent's, as far as one could see."""
        self._handshakes.record((peer, why))

    def login(self, peer: str, code: str) -> None:
        """Note an agent that may not log in."""
        self._logins.record((peer, code))
