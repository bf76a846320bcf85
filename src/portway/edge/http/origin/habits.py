"""Observed behaviour of an origin: how long it keeps connections, and how many it serves at once."""

IMMEDIATE_CLOSE_S = 0.25
"""An origin that closes a connection within this time after a response does so after every response: the shortest idle timeouts of
real servers are one second."""
FORGIVE_S = 1.0
"""How long closes are ignored after a connection that had been kept before was closed: an origin that restarts closes all of them."""
VERDICT_S = 60.0
"""How long an origin counts as one that closes; then one connection is tried again, with a repeatable request."""


class OriginHabits:
    """Evidence about one tunnel's origin, from the connections to it. No clock: `now` is passed in.

    Without evidence an origin is assumed to serve one connection at a time, and to close any of them.
    """

    __slots__ = (
        "_forgive_until",
        "_idle_s",
        "_limit_s",
        "_serial_idle_s",
        "_verdict_until",
        "active",
        "concurrency",
        "keep_s",
        "survived_s",
    )

    def __init__(self, idle_s: float, serial_idle_s: float) -> None:
        """Connections are kept for `idle_s`, and for `serial_idle_s` while the origin has not served several at once."""
        self._idle_s = idle_s
        self._serial_idle_s = min(serial_idle_s, idle_s)
        self._limit_s = idle_s
        self._verdict_until = self._forgive_until = 0.0
        self.concurrency = 1
        """Maximum number of connections that it has served at the same time."""
        self.active = 0
        """Open connections with at least one response: each may occupy one of its threads."""
        self.keep_s = self._serial_idle_s
        """How long to keep a connection without a request; 0: not at all."""
        self.survived_s = 0.0
        """The longest idle period after which a connection served another request: up to it, reuse is safe."""

    def on_first_response(self) -> None:
        """Record the first response on a connection, while `active` others were open."""
        self.active += 1
        if self.active > self.concurrency:
            self.concurrency = self.active
            self._decide()

    def reset_concurrency(self) -> None:
        """Forget the measured concurrency: a new connection gets no response."""
        self.concurrency = 1
        self._decide()

    def on_closed(self, idle_for_s: float, now: float) -> None:
        """Record that the origin closed a connection after it had been idle for `idle_for_s`."""
        kept_before = self.survived_s > 0
        self.survived_s = min(self.survived_s, idle_for_s / 2)
        if idle_for_s >= IMMEDIATE_CLOSE_S:
            self._limit_s = min(self._limit_s, idle_for_s / 2)
        elif kept_before:
            self.survived_s = 0.0
            self._forgive_until = now + FORGIVE_S
        elif now >= self._forgive_until:
            self._limit_s = 0.0
        self._verdict_until = now + VERDICT_S
        self._decide()

    def expire_verdict(self, now: float) -> None:
        """Forget how soon it closes, after VERDICT_S."""
        if self._limit_s < self._idle_s and now >= self._verdict_until:
            self._limit_s = self._idle_s
            self._decide()

    def _decide(self) -> None:
        self.keep_s = min(self._limit_s, self._serial_idle_s if self.concurrency < 2 else self._idle_s)
