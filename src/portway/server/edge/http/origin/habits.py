"""What an origin has shown of how it treats its connections: how long it keeps them, and how many it serves at once."""

AT_ONCE_S = 0.25
"""An origin that ends a connection within this time after an answer does so after every answer: the shortest idle timeouts of
real servers are a second."""
FORGIVE_S = 1.0
"""How long ends are forgiven after a connection was found to have been kept before: an origin that restarts ends all of them."""
VERDICT_S = 60.0
"""How long an origin is taken for one that closes; then one connection is tried again, with a request that may be repeated."""


class OriginHabits:
    """Evidence about one tunnel's origin, gathered from the connections to it. No clock: `now` comes in.

    Without evidence an origin is taken for one that serves one connection at a time, and that may close any of them.
    """

    __slots__ = ("_alone_s", "_forgive_until", "_idle_s", "_limit_s", "_verdict_until", "at_once", "held", "keep_s", "survived_s")

    def __init__(self, idle_s: float, alone_s: float) -> None:
        """Connections are kept for `idle_s`, and for `alone_s` while the origin has not served several at once."""
        self._idle_s = idle_s
        self._alone_s = min(alone_s, idle_s)
        self._limit_s = idle_s
        self._verdict_until = self._forgive_until = 0.0
        self.at_once = 1
        """Connections that it has served at the same time, at most."""
        self.held = 0
        """Connections that it has answered on and that are still open: each may occupy one of its threads."""
        self.keep_s = self._alone_s
        """How long a connection without a request is worth keeping; 0: it is not."""
        self.survived_s = 0.0
        """The longest rest after which a connection served another request: for so long nothing is risked."""

    def answered_first(self) -> None:
        """A connection was answered on for the first time, while the other `held` ones were open."""
        self.held += 1
        if self.held > self.at_once:
            self.at_once = self.held
            self._decide()

    def distrust(self) -> None:
        """Forget how many it serves at once: a new connection is not answered."""
        self.at_once = 1
        self._decide()

    def closed(self, rested_s: float, now: float) -> None:
        """The origin ended a connection that had been without a request for `rested_s`."""
        kept_before = self.survived_s > 0
        self.survived_s = min(self.survived_s, rested_s / 2)
        if rested_s >= AT_ONCE_S:
            self._limit_s = min(self._limit_s, rested_s / 2)
        elif kept_before:
            self.survived_s = 0.0
            self._forgive_until = now + FORGIVE_S
        elif now >= self._forgive_until:
            self._limit_s = 0.0
        self._verdict_until = now + VERDICT_S
        self._decide()

    def lapse(self, now: float) -> None:
        """Forget how soon it closes, when that is long ago."""
        if self._limit_s < self._idle_s and now >= self._verdict_until:
            self._limit_s = self._idle_s
            self._decide()

    def _decide(self) -> None:
        self.keep_s = min(self._limit_s, self._alone_s if self.at_once < 2 else self._idle_s)
